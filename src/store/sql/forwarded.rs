//! Forwarded rows: work for services, claimed by one node at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Transaction;
use super::allowances::{Allowed, Counted};
use super::passed::{from, passed};
use super::rows::{ForwardedRow, NewDeadLetterRow, NewForwardedRow, debug_text, secret};
use super::schema::{dead_letter, forwarded};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

diesel::define_sql_function! {
    fn coalesce(text: Nullable<Text>, otherwise: Text) -> Text;
}

/// Whether a row, which is found by its id, is held under this claim. (The node is compared through a function, so that
/// PostgreSQL does not search the index of rows held by nodes, all of which it might scan.)
macro_rules! is_claim {
    ($epoch:expr, $by:expr) => {
        forwarded::epoch
            .eq($epoch)
            .and(coalesce(forwarded::node, "").eq(&*$by))
    };
}

/// What decides who may settle a forwarded row: epoch and node of its claim, and the secret of its token.
pub type ClaimOfRow = (i64, Option<String>, String);

impl Transaction<'_> {
    /// Stores work. Returns the claimed row if the caller's node has the service and the work is not delayed, otherwise
    /// `None`.
    pub fn store_forwarded(&mut self, work: &NewForward) -> DbResult<(i64, Option<Forwarded>)> {
        self.raise_sequences()?;
        let (by, now) = (self.by.clone(), self.now);
        let (secret, debug) = (secret(), debug_text(&work.debug)?);
        let here = work.here && work.delay.is_zero();
        let new = NewForwardedRow {
            epoch: i64::from(here),
            node: here.then_some(&*by),
            due: now.saturating_add(ms(work.delay)),
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
            bytes: i32::try_from(work.bytes()).unwrap_or(i32::MAX),
            deadline: work.left.map(|left| now.saturating_add(ms(left))),
            adapted: work.adapted,
            postponed: (!here).then_some(now),
        };
        let id = self.insert_forwarded(&new)?;
        let claimed = here.then(|| Forwarded {
            id,
            epoch: 1,
            secret,
            attempts: 0,
            failing: Duration::ZERO,
            read: Instant::now(),
            work: Box::new(work.clone()),
        });
        Ok((id, claimed))
    }

    /// What decides who may settle a forwarded row. Locks the row.
    pub fn read_claim_of_forwarded(&mut self, id: i64) -> DbResult<Option<ClaimOfRow>> {
        let columns = (forwarded::epoch, forwarded::node, forwarded::secret);
        locked!(forwarded::table.find(id).select(columns))
            .get_result(self.flushed_forwarded_conn()?)
            .optional()
    }

    /// The limit that a client's message would exceed by what it forwards, if any. What a service forwards is never
    /// limited: it continues work already accepted.
    pub fn too_much_forwarded(&mut self, unit: &Unit) -> DbResult<Option<ForwardLimit>> {
        if !matches!(unit.cause, Cause::Incoming { .. }) {
            return Ok(None);
        }
        // Counts do not include what the unit itself is about to store.
        let (mut rows, mut bytes) = (0, 0);
        for effect in &unit.effects {
            if let Effect::Forward(work) = effect {
                if let Some(limit) = self.refuse_forward(work, rows, bytes)? {
                    return Ok(Some(limit));
                }
                rows += 1;
                bytes += work.bytes() as i64;
            }
        }
        Ok(None)
    }

    /// The limit that this would exceed after so many other rows and bytes of its unit, if any.
    fn refuse_forward(
        &mut self,
        work: &NewForward,
        rows: i64,
        bytes: i64,
    ) -> DbResult<Option<ForwardLimit>> {
        let begun = Instant::now();
        let mut allowed = self.allowances().spend(work, begun);
        if allowed == Allowed::Unknown {
            let counted = self.count_forwarded(work)?.plus(rows, bytes);
            let now = Instant::now();
            let allowances = self.allowances();
            allowances.learn(work, counted, now);
            allowances.counted_since(&work.user_id, counted.since, now - begun, now);
            allowed = allowances.spend(work, now);
        }
        Ok(match allowed {
            Allowed::No(limit) => Some(limit),
            Allowed::Yes | Allowed::Unknown => None,
        })
    }

    fn count_forwarded(&mut self, work: &NewForward) -> DbResult<Counted> {
        let now = self.now;
        let known = self.allowances().count_since(&work.user_id, Instant::now());
        let counts = self.forwarded_since(&work.user_id, &work.sid, from(known, now))?;
        let (of_user, of_session, bytes, oldest) = counts;
        Ok(Counted {
            of_user,
            of_session,
            bytes_of_user: bytes.unwrap_or_default(),
            since: oldest.unwrap_or(now).min(passed(now)),
        })
    }

    pub fn give_back_forwarded(&mut self, op: &GiveBackForwarded) -> DbResult<()> {
        self.reset_forwarded_conn()?;
        let (by, now) = (self.by.clone(), self.now);
        let mut by_epoch: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (id, epoch) in &op.rows {
            by_epoch.entry(*epoch).or_default().push(*id);
        }
        for (epoch, ids) in by_epoch {
            for ids in ids.chunks(super::MOST_VALUES) {
                let mine = forwarded::table
                    .filter(forwarded::id.eq_any(ids))
                    .filter(is_claim!(epoch, by));
                diesel::update(mine)
                    .set((
                        forwarded::node.eq(None::<&str>),
                        forwarded::due.eq(now),
                        forwarded::postponed.eq(now),
                    ))
                    .execute(self.raw_conn())?;
            }
        }
        Ok(())
    }

    pub fn postpone_forwarded(&mut self, op: &PostponeForwarded) -> DbResult<bool> {
        self.reset_forwarded_conn()?;
        let (by, now) = (self.by.clone(), self.now);
        let mine = forwarded::table.find(op.id).filter(is_claim!(op.epoch, by));
        let failed = (op.attempts > 0).then_some(now);
        let failed = sql::<Nullable<BigInt>>("coalesce(failed, ")
            .bind::<Nullable<BigInt>, _>(failed)
            .sql(")");
        let changed = diesel::update(mine)
            .set((
                forwarded::node.eq(None::<&str>),
                forwarded::due.eq(now.saturating_add(ms(op.delay))),
                forwarded::postponed.eq(now),
                forwarded::attempts.eq(op.attempts.min(i32::MAX as u32) as i32),
                forwarded::failed.eq(failed),
            ))
            .execute(self.raw_conn())?;
        Ok(changed == 1)
    }

    pub fn bury_forwarded(&mut self, op: &BuryForwarded) -> DbResult<bool> {
        let (by, now) = (self.by.clone(), self.now);
        let conn = self.reset_forwarded_conn()?;
        let mine = forwarded::table.find(op.id).filter(is_claim!(op.epoch, by));
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
            // The attempt that led to giving up has not been counted yet.
            deliveries: row.attempts.saturating_add(1),
            died: now,
            bytes: i32::try_from(row.msg.len()).ok(),
            adapted: row.adapted,
        };
        diesel::insert_into(dead_letter::table)
            .values(&dead)
            .execute(conn)?;
        Ok(true)
    }

    pub fn read_forwarded(&mut self, op: &ReadForwarded) -> DbResult<Option<Forwarded>> {
        let now = self.now;
        let row: Option<ForwardedRow> = forwarded::table
            .find(op.id)
            .filter(forwarded::secret.eq(&op.secret))
            .select(ForwardedRow::as_select())
            .get_result(self.flushed_forwarded_conn()?)
            .optional()?;
        row.map(|row| row.read_at(now)).transpose()
    }
}
