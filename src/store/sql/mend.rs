//! Repairs times that lie too far in the future because the clock was set back.

use diesel::prelude::*;

use super::Transaction;
use super::schema::{correlation, forwarded, session};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// Tolerance for times written as the present, in milliseconds, since the clocks of several nodes differ.
const AHEAD: i64 = 60_000;

impl Transaction<'_> {
    pub fn mend_times(&mut self, op: &MendTimes) -> DbResult<u64> {
        if !self.may_be_set_back() {
            return Ok(0);
        }
        self.maintain()?;
        // If leases have a clock of their own, it lags; times written just now would seem to lie ahead of it.
        self.lease_time()?;
        let now = self.now;
        let mended = [
            self.mend_sessions(op, now)?,
            self.mend_closing(op, now)?,
            self.mend_claimed(op, now)?,
            self.mend_free(op, now)?,
            self.mend_requests(op, now)?,
        ];
        let mended = mended.into_iter().sum::<usize>() as u64;
        if mended == 0 {
            self.is_mended();
        }
        Ok(mended)
    }

    /// Sessions last alive in the future would be kept for that much longer.
    fn mend_sessions(&mut self, op: &MendTimes, now: i64) -> DbResult<usize> {
        let ahead = session::table
            .filter(session::alive.gt(now.saturating_add(AHEAD)))
            .limit(op.limit.into())
            .select(session::key);
        let keys: Vec<i64> = unclaimed!(ahead).load(self.reset_conn()?)?;
        diesel::update(session::table.filter(session::key.eq_any(keys)))
            .set(session::alive.eq(now))
            .execute(self.reset_conn()?)
    }

    fn mend_closing(&mut self, op: &MendTimes, now: i64) -> DbResult<usize> {
        let at = now.saturating_add(ms(op.close_after));
        let ahead = session::table
            .filter(session::close_at.gt(at.saturating_add(AHEAD)))
            .limit(op.limit.into())
            .select(session::key);
        let keys: Vec<i64> = unclaimed!(ahead).load(self.reset_conn()?)?;
        diesel::update(session::table.filter(session::key.eq_any(keys)))
            .set(session::close_at.eq(at))
            .execute(self.reset_conn()?)
    }

    /// A claimed row's due time is when it was claimed.
    fn mend_claimed(&mut self, op: &MendTimes, now: i64) -> DbResult<usize> {
        let ahead = forwarded::table
            .filter(forwarded::due.gt(now.saturating_add(AHEAD)))
            .filter(forwarded::node.is_not_null())
            .limit(op.limit.into())
            .select(forwarded::id);
        let ids: Vec<i64> = unclaimed!(ahead).load(self.raw_conn())?;
        diesel::update(forwarded::table.filter(forwarded::id.eq_any(ids)))
            .set(forwarded::due.eq(now))
            .execute(self.raw_conn())
    }

    /// Work postponed at a time in the future is postponed by the same delay from now on.
    fn mend_free(&mut self, op: &MendTimes, now: i64) -> DbResult<usize> {
        let ahead = now.saturating_add(AHEAD);
        let postponed = forwarded::table
            .filter(forwarded::due.gt(ahead))
            .filter(forwarded::node.is_null())
            .filter(forwarded::postponed.gt(ahead))
            .limit(op.limit.into())
            .select((forwarded::id, forwarded::due, forwarded::postponed));
        let rows: Vec<(i64, i64, Option<i64>)> = unclaimed!(postponed).load(self.raw_conn())?;
        for (id, due, postponed) in &rows {
            let delay = due.saturating_sub(postponed.unwrap_or(*due));
            diesel::update(forwarded::table.find(id))
                .set((
                    forwarded::due.eq(now.saturating_add(delay)),
                    forwarded::postponed.eq(now),
                ))
                .execute(self.raw_conn())?;
        }
        Ok(rows.len())
    }

    /// Requests made in the future time out as if they were made now. Requests that have ended and were claimed for
    /// notification become due now.
    fn mend_requests(&mut self, op: &MendTimes, now: i64) -> DbResult<usize> {
        let ahead = now.saturating_add(AHEAD);
        // No timeout is negative, so all open ones that are too late also satisfy this condition, which has an index.
        let late = correlation::due.gt(ahead);
        let open = correlation::reason
            .is_null()
            // Subtracted, because a sum may overflow in the database.
            .and((correlation::due - ahead).gt(correlation::timeout_ms));
        let ended = correlation::reason
            .is_not_null()
            .and(correlation::due.gt(ahead.saturating_add(ms(op.again))));
        let found = correlation::table
            .filter(late.and(open.or(ended)))
            .limit(op.limit.into())
            .select((
                correlation::session,
                correlation::seq,
                correlation::timeout_ms,
                correlation::reason.is_not_null(),
            ));
        let rows: Vec<(i64, i64, i64, bool)> = unclaimed!(found).load(self.raw_conn())?;
        for (session, seq, timeout_ms, has_ended) in &rows {
            let wait = if *has_ended { 0 } else { *timeout_ms };
            diesel::update(correlation::table.find((session, seq)))
                .set(correlation::due.eq(now.saturating_add(wait)))
                .execute(self.raw_conn())?;
        }
        Ok(rows.len())
    }
}
