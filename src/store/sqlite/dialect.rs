//! What SQLite does in its own way: there is one writer, so nothing needs a lock, and every row is written at once, by
//! a statement that can be cached.

use std::time::Duration;

use diesel::prelude::*;

use super::sql::Transaction;
use crate::clock::Clock;
use crate::store::operation::*;
use crate::store::rows::NewOutboxRow;
use crate::store::schema::{inbox, outbox, session};
use crate::store::statements::DbResult;

/// Nothing is ever pending.
pub struct Dialect;

impl Dialect {
    pub fn now(&mut self, clock: &Clock) -> i64 {
        clock.now()
    }

    pub fn write(&mut self, _: &mut SqliteConnection) -> DbResult<()> {
        Ok(())
    }

    /// Writes the newest sequence numbers of sessions.
    pub fn write_back(&mut self, conn: &mut SqliteConnection, seqs: &[(i64, i64)]) -> DbResult<()> {
        for (key, last_seq) in seqs {
            diesel::update(session::table.find(key))
                .set(session::last_seq.eq(last_seq))
                .execute(conn)?;
        }
        Ok(())
    }

    /// The connection is going to be a handler's.
    pub fn lend(&self, _: &mut SqliteConnection, _: Duration) -> DbResult<()> {
        Ok(())
    }

    /// The connection is ours again.
    pub fn take_back(&self, _: &mut SqliteConnection) -> DbResult<()> {
        Ok(())
    }
}

impl Transaction<'_> {
    /// The time by which leases are measured.
    pub fn lease_time(&mut self) -> DbResult<i64> {
        Ok(self.now)
    }

    /// What a client's message was answered, if that must be known before anything is written.
    pub fn known_answer(&mut self, of: SessionKey, cmid: &str) -> DbResult<Option<Option<String>>> {
        self.answer(of, cmid)
    }

    /// Notes a client's message. False: it is in the inbox already.
    pub fn note_incoming(
        &mut self,
        session: SessionKey,
        cmid: &str,
        answer: Option<&str>,
    ) -> DbResult<bool> {
        let now = self.now;
        // Not ON CONFLICT DO NOTHING: for that, Diesel builds the text of the statement each time anew to find it in
        // its cache. (This also ignores NULL where there must be none, but there is none.)
        let inserted = diesel::insert_or_ignore_into(inbox::table)
            .values((
                inbox::session.eq(session.0),
                inbox::cmid.eq(cmid),
                inbox::answer.eq(answer),
                inbox::created.eq(now),
            ))
            .execute(self.apart())?;
        Ok(inserted == 1)
    }

    pub fn forget_incoming(&mut self, session: SessionKey, cmids: &[String]) -> DbResult<()> {
        let conn = self.apart();
        for cmid in cmids {
            diesel::delete(inbox::table.find((session.0, cmid))).execute(conn)?;
        }
        Ok(())
    }

    pub fn insert_outbox(&mut self, row: &NewOutboxRow<'_>) -> DbResult<()> {
        diesel::insert_into(outbox::table)
            .values(row)
            .execute(self.apart())?;
        Ok(())
    }

    pub fn delete_outbox(&mut self, session: SessionKey, seqs: &[i64]) -> DbResult<()> {
        let conn = self.apart();
        for seq in seqs {
            diesel::delete(outbox::table.find((session.0, *seq))).execute(conn)?;
        }
        Ok(())
    }

    /// The number of the next publication; `None`: the table gives it.
    pub fn publication_number(&mut self) -> DbResult<Option<i64>> {
        Ok(None)
    }

    /// The key of a new session; `None`: the table gives it.
    pub fn new_session_key(&mut self, _: &str) -> DbResult<Option<i64>> {
        Ok(None)
    }

    /// A new session of this user is going to be counted.
    pub fn lock_user(&mut self, _: &str) -> DbResult<()> {
        Ok(())
    }

    pub fn which_exist(&mut self, op: &WhichExist) -> DbResult<Vec<SessionKey>> {
        let conn = self.direct()?;
        let mut existing = Vec::new();
        for key in &op.sessions {
            let found = session::table
                .find(key.0)
                .select(session::key)
                .first::<i64>(conn)
                .optional()?;
            existing.extend(found.map(SessionKey));
        }
        Ok(existing)
    }

    pub fn liveliness(&mut self, op: &Liveliness) -> DbResult<()> {
        let now = self.now;
        let conn = self.apart();
        for holder in &op.holders {
            let held = session::table
                .find(holder.session.0)
                .filter(session::connection.eq(holder.connection.0));
            diesel::update(held)
                .set(session::alive.eq(now))
                .execute(conn)?;
        }
        Ok(())
    }
}
