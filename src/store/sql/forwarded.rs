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
use crate::store::statements::{DbError, DbResult};

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
    /// Stores work, and announces it: the claimed row if the caller's node has the service and the work is not delayed.
    pub fn forward(&mut self, work: &NewForward) -> DbResult<EffectOutcome> {
        let delay = work.begins.delay(self.now);
        let Some((id, claimed)) = self.store_forwarded(work, delay)? else {
            return Ok(EffectOutcome::Outstanding);
        };
        match delay.is_zero() {
            true => self.news.work |= claimed.is_none(),
            false => self.news.is_due_after(delay),
        }
        self.news.forwarded.extend(claimed);
        Ok(EffectOutcome::Forwarded(id))
    }

    /// `None`: the service has outstanding work with this key.
    fn store_forwarded(
        &mut self,
        work: &NewForward,
        delay: Duration,
    ) -> DbResult<Option<(i64, Option<Forwarded>)>> {
        self.raise_sequences()?;
        let (by, now) = (self.by.clone(), self.now);
        let (secret, debug) = (secret(), debug_text(&work.debug)?);
        let here = work.here && delay.is_zero();
        let new = NewForwardedRow {
            epoch: i64::from(here),
            node: here.then_some(&*by),
            due: now.saturating_add(ms(delay)),
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
            key: work.key.as_deref(),
        };
        let id = match new.key {
            None => Some(self.insert_forwarded(&new)?),
            Some(_) => self.insert_unless_outstanding(&new)?,
        };
        let Some(id) = id else { return Ok(None) };
        let claimed = here.then(|| Forwarded {
            id,
            epoch: 1,
            secret,
            attempts: 0,
            failing: Duration::ZERO,
            read: Instant::now(),
            work: Box::new(work.clone()),
        });
        Ok(Some((id, claimed)))
    }

    /// Inserts a row with a key, at once: whether there is one with the same key decides what its caller is told. Waits
    /// for transactions that may be about to commit one.
    fn insert_unless_outstanding(&mut self, row: &NewForwardedRow<'_>) -> DbResult<Option<i64>> {
        const TRIES: u32 = 3;
        for _ in 0..TRIES {
            let conn = self.flushed_forwarded_conn()?;
            let inserted = diesel::insert_into(forwarded::table)
                .values(row)
                .on_conflict_do_nothing()
                .returning(forwarded::id)
                .get_result(conn)
                .optional()?;
            if inserted.is_some() {
                return Ok(inserted);
            }
            // No other conflict may pass for this one; and what was in the way may just have been settled.
            let outstanding: i64 = forwarded::table
                .filter(forwarded::service.eq(row.service))
                .filter(forwarded::key.eq(row.key))
                .count()
                .get_result(conn)?;
            if outstanding > 0 {
                return Ok(None);
            }
        }
        let why = format!(
            "work for the service {:?} conflicts with another row",
            row.service
        );
        Err(DbError::SerializationError(why.into()))
    }

    /// Deletes a service's outstanding work with this key, unless a node has claimed it. Returns whether there was any.
    pub fn cancel(&mut self, service: &str, key: &str) -> DbResult<bool> {
        let conn = self.reset_forwarded_conn()?;
        let work = forwarded::table
            .filter(forwarded::service.eq(service))
            .filter(forwarded::key.eq(key))
            .filter(forwarded::node.is_null());
        Ok(diesel::delete(work).execute(conn)? > 0)
    }

    /// What decides who may settle a forwarded row. Locks the row.
    pub fn read_claim_of_forwarded(&mut self, id: i64) -> DbResult<Option<ClaimOfRow>> {
        let columns = (forwarded::epoch, forwarded::node, forwarded::secret);
        locked!(forwarded::table.find(id).select(columns))
            .get_result(self.flushed_forwarded_conn()?)
            .optional()
    }

    /// The limit that a client's message would exceed by what it forwards, if any. What a service forwards is never
    /// limited: it continues work already accepted. Nor is what a client's reply causes: there are as many replies as the
    /// application has made requests, and a reply cannot be sent again later.
    pub fn too_much_forwarded(&mut self, unit: &Unit) -> DbResult<Option<ForwardLimit>> {
        if !matches!(unit.cause, Cause::Incoming { settles: None, .. }) {
            return Ok(None);
        }
        let works = || {
            unit.effects.iter().filter_map(|effect| match effect {
                Effect::Forward(work) => Some(work),
                _ => None,
            })
        };
        if self.exceeds_limits_alone(works()) {
            return Ok(Some(ForwardLimit::OneMessage));
        }
        // Counts do not include what the unit itself is about to store.
        let (mut rows, mut bytes) = (0, 0);
        for work in works() {
            if let Some(limit) = self.refuse_forward(work, rows, bytes)? {
                return Ok(Some(limit));
            }
            rows += 1;
            bytes += work.bytes() as i64;
        }
        Ok(None)
    }

    /// Whether this is refused however little else is stored. (A single row may have any size.)
    fn exceeds_limits_alone<'w>(
        &mut self,
        works: impl Iterator<Item = &'w Box<NewForward>>,
    ) -> bool {
        let limits = self.rooms().limits();
        let (mut rows, mut bytes) = (0, 0);
        for work in works {
            rows += 1;
            bytes += work.bytes() as i64;
        }
        rows > limits.forwarded_of_session.min(limits.forwarded_of_user)
            || (rows > 1 && bytes > limits.forwarded_bytes_of_user)
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
