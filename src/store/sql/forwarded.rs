//! Forwarded rows: work for services, claimed by one node at a time.

use diesel::prelude::*;

use super::Transaction;
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::rows::{ForwardedRow, NewDeadLetterRow, NewForwardedRow, debug_text, secret};
use crate::store::schema::{dead_letter, forwarded, node};
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Stores work, claimed by the caller's node.
    pub fn store_forwarded(&mut self, work: &NewForward) -> DbResult<Forwarded> {
        let (by, now) = (self.by.clone(), self.now);
        let (secret, debug) = (secret(), debug_text(&work.debug)?);
        let new = NewForwardedRow {
            epoch: 1,
            node: Some(&by),
            due: now,
            attempts: 0,
            secret: &secret,
            created: now,
            service: &work.service,
            endpoint: &work.endpoint,
            sid: &work.sid,
            user_id: &work.user_id,
            cmid: work.cmid.as_deref(),
            kind: work.kind.name(),
            tid: &work.tid,
            msg: work.msg.get(),
            correlation: work.correlation.as_deref().map(|it| it.get()),
            debug: debug.as_deref(),
        };
        let id = diesel::insert_into(forwarded::table)
            .values(&new)
            .returning(forwarded::id)
            .get_result(self.apart())?;
        Ok(Forwarded {
            id,
            epoch: 1,
            secret,
            attempts: 0,
            work: Box::new(work.clone()),
        })
    }

    pub fn claim_forwarded(&mut self, op: &ClaimForwarded) -> DbResult<Vec<Forwarded>> {
        let (by, now) = (self.by.clone(), self.lease_time()?);
        let conn = self.apart();
        let free = forwarded::table
            .filter(forwarded::node.is_null().and(forwarded::due.le(now)))
            .order((forwarded::due, forwarded::id))
            .limit(op.limit.into())
            .select(forwarded::id);
        let mut ids: Vec<i64> = unclaimed!(free).load(conn)?;
        let living = node::table
            .filter(node::lease_until.gt(now))
            .select(node::name.nullable());
        let orphaned = forwarded::table
            .filter(forwarded::node.is_not_null().and(forwarded::node.ne(&*by)))
            .filter(forwarded::node.ne_all(living))
            .order(forwarded::id)
            .limit(i64::from(op.limit).saturating_sub(ids.len() as i64))
            .select(forwarded::id);
        ids.extend(unclaimed!(orphaned).load::<i64>(conn)?);
        // What the caller holds itself it need not take from itself, whatever its own lease, unless it has never heard
        // of its claim.
        let room = (op.limit as usize).saturating_sub(ids.len());
        let mine = forwarded::table
            .filter(forwarded::node.eq(&*by))
            .filter(forwarded::due.lt(now.saturating_sub(ms(op.hearing))))
            .order(forwarded::id)
            .limit((room + op.holding.len()) as i64)
            .select(forwarded::id);
        let unheard = unclaimed!(mine).load::<i64>(conn)?.into_iter();
        ids.extend(unheard.filter(|id| !op.holding.contains(id)).take(room));
        let mut claimed = Vec::with_capacity(ids.len());
        for id in ids {
            let row: ForwardedRow = diesel::update(forwarded::table.find(id))
                .set((
                    forwarded::node.eq(&*by),
                    forwarded::epoch.eq(forwarded::epoch + 1),
                    forwarded::due.eq(now),
                ))
                .returning(ForwardedRow::as_returning())
                .get_result(conn)?;
            claimed.push(row.try_into()?);
        }
        Ok(claimed)
    }

    pub fn postpone_forwarded(&mut self, op: &PostponeForwarded) -> DbResult<bool> {
        let (by, now) = (self.by.clone(), self.now);
        let mine = forwarded::table
            .find(op.id)
            .filter(forwarded::epoch.eq(op.epoch).and(forwarded::node.eq(&*by)));
        let changed = diesel::update(mine)
            .set((
                forwarded::node.eq(None::<&str>),
                forwarded::due.eq(now.saturating_add(ms(op.delay))),
                forwarded::attempts.eq(op.attempts.min(i32::MAX as u32) as i32),
            ))
            .execute(self.apart())?;
        Ok(changed == 1)
    }

    pub fn bury_forwarded(&mut self, op: &BuryForwarded) -> DbResult<bool> {
        let (by, now) = (self.by.clone(), self.now);
        let conn = self.apart();
        let mine = forwarded::table
            .find(op.id)
            .filter(forwarded::epoch.eq(op.epoch).and(forwarded::node.eq(&*by)));
        let row: Option<ForwardedRow> = diesel::delete(mine)
            .returning(ForwardedRow::as_returning())
            .get_result(conn)
            .optional()?;
        let Some(row) = row else { return Ok(false) };
        let dead = NewDeadLetterRow {
            origin: "service",
            session: None,
            seq: None,
            sid: &row.sid,
            user_id: &row.user_id,
            service: Some(&row.service),
            endpoint: Some(&row.endpoint),
            cmid: row.cmid.as_deref(),
            kind: &row.kind,
            tid: &row.tid,
            msg: Some(&row.msg),
            correlation: row.correlation.as_deref(),
            debug: row.debug.as_deref(),
            created: row.created,
            reason: &op.reason,
            // The attempt that gave it up was not counted yet.
            deliveries: row.attempts.saturating_add(1),
            died: now,
        };
        diesel::insert_into(dead_letter::table)
            .values(&dead)
            .execute(conn)?;
        Ok(true)
    }

    pub fn read_forwarded(&mut self, op: &ReadForwarded) -> DbResult<Option<Forwarded>> {
        let row: Option<ForwardedRow> = forwarded::table
            .find(op.id)
            .filter(forwarded::secret.eq(&op.secret))
            .select(ForwardedRow::as_select())
            .get_result(self.apart())
            .optional()?;
        row.map(Forwarded::try_from).transpose()
    }
}
