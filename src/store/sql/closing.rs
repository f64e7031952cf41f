//! Sessions that are scheduled to be closed, or make room for new ones.

use std::time::Instant;

use diesel::prelude::*;
use diesel::sql_types::Bool;

use super::Transaction;
use super::passed::{from, passed};
use super::schema::{node, session};
use super::sessions::{CLOSING, Closing};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::DbResult;

impl Transaction<'_> {
    /// Closes sessions of the user to make room for a new one. `None`: all of them are connected, or were until a
    /// moment ago.
    pub fn make_room(&mut self, op: &Register) -> DbResult<Option<Vec<ClosedSession>>> {
        let most = i64::from(op.max_sessions_per_user);
        let excess = self.sessions_of(&op.user_id)? - most + 1;
        if excess <= 0 {
            return Ok(Some(Vec::new()));
        }
        if most == 0 {
            return Ok(None);
        }
        let now = self.lease_time()?;
        if !self.lives(now)? {
            return Ok(None);
        }
        let (ended, before) = (
            now.saturating_sub(ms(op.min_absence)),
            self.now.saturating_sub(ms(op.min_absence)),
        );
        // When a node dies, all its sessions are without a connection for a moment, so its lease must have expired at
        // least that long ago as well.
        let absent: Vec<i64> = with_living_nodes!(ended)
            .filter(session::user_id.eq(&op.user_id))
            .filter(session::alive.lt(before))
            .filter(node::name.is_null())
            .filter(
                session::node
                    .is_null()
                    .or(op.of_the_dead.into_sql::<Bool>()),
            )
            .order(session::alive)
            .limit(excess)
            .select(session::key)
            .load(self.raw_conn())?;
        let mut closed = Vec::new();
        for key in absent {
            if let Some(found) = self.still_idle(key, before)? {
                let reason = "the session made room for a newer one of its user";
                self.take_back_kept(SessionKey(found.0))?;
                self.bury_outbox(SessionKey(found.0), (&found.1, &found.2), reason)?;
                closed.push(self.close(found, reason)?);
            }
        }
        // After the limit was lowered, there may be more sessions than can be closed now; each new session closes more
        // of them.
        Ok((!closed.is_empty()).then_some(closed))
    }

    pub fn close_later(&mut self, op: &CloseLater) -> DbResult<Option<ClosesLater>> {
        type Columns = (i64, i64, Option<String>, Option<i64>);
        let at = self.lease_time()?.saturating_add(ms(op.after));
        let conn = self.reset_conn()?;
        let found = session::table.filter(session::sid.eq(&op.sid)).select((
            session::key,
            session::connection,
            session::node,
            session::close_connection,
        ));
        let found: Option<Columns> = locked!(found).get_result(conn).optional()?;
        let Some((key, connection, node, noted)) = found else {
            return Ok(None);
        };
        if noted != Some(connection) {
            diesel::update(session::table.find(key))
                .set((
                    session::close_at.eq(at),
                    session::close_connection.eq(connection),
                ))
                .execute(conn)?;
        }
        Ok(Some(ClosesLater {
            holder: Holder {
                session: SessionKey(key),
                connection: ConnectionId(connection),
            },
            node,
        }))
    }

    pub fn close_due(&mut self, op: &CloseDue) -> DbResult<ClosedDue> {
        let now = self.lease_time()?;
        let mut outcome = ClosedDue::default();
        let Some(first) = self.first_to_close(now)? else {
            return Ok(outcome);
        };
        let due: Vec<(i64, Option<String>)> = with_living_nodes!(now)
            .filter(session::close_at.between(first, now))
            .order(session::close_at)
            .limit(op.limit.into())
            .select((session::key, node::name.nullable()))
            .load(self.reset_conn()?)?;
        outcome.more = due.len() >= op.limit as usize;
        for (key, living) in due {
            // Its client may have returned, or another node may be closing it at this moment.
            let still = session::table
                .find(key)
                .filter(session::close_at.le(now))
                .select((CLOSING, session::close_connection));
            let found: Option<(Closing, Option<i64>)> = unclaimed!(still)
                .get_result(self.reset_conn()?)
                .optional()?;
            let Some((found, noted)) = found else {
                continue;
            };
            let (node, connection) = (found.3.clone(), found.4);
            if noted != Some(connection) {
                self.close_at(key, None)?;
            } else if living.is_some() && node == living {
                self.close_at(key, Some(now.saturating_add(ms(op.after))))?;
                let holder = Holder {
                    session: SessionKey(key),
                    connection: ConnectionId(connection),
                };
                outcome.connected.push(ClosesLater { holder, node });
            } else {
                let reason = "the client closed the session out of band";
                outcome.closed.push(self.close(found, reason)?);
            }
        }
        Ok(outcome)
    }

    /// When the first session that is due by now was to be closed. The query starts where the one before ended.
    pub fn first_to_close(&mut self, now: i64) -> DbResult<Option<i64>> {
        let begun = Instant::now();
        let since = from(self.rooms().closing.begin(begun), now);
        let first: Option<Option<i64>> = session::table
            .filter(session::close_at.between(since, now))
            .order(session::close_at)
            .limit(1)
            .select(session::close_at)
            .get_result(self.reset_conn()?)
            .optional()?;
        let first = first.flatten();
        let since = first.unwrap_or(now).min(passed(now));
        let ended = Instant::now();
        self.rooms().closing.end(since, ended - begun, ended);
        Ok(first)
    }

    fn close_at(&mut self, key: i64, at: Option<i64>) -> DbResult<()> {
        diesel::update(session::table.find(key))
            .set(session::close_at.eq(at))
            .execute(self.reset_conn()?)?;
        Ok(())
    }

    pub fn read_standing(&mut self, op: &ReadStanding) -> DbResult<Option<Standing>> {
        let found: Option<(i64, Option<i64>)> = session::table
            .find(op.session.0)
            .select((session::connection, session::close_connection))
            .get_result(self.reset_conn()?)
            .optional()?;
        Ok(found.map(|(connection, noted)| Standing {
            connection: ConnectionId(connection),
            closes: noted == Some(connection),
        }))
    }
}
