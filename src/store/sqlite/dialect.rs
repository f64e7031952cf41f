//! What is specific to SQLite. There is one writer, so nothing needs a lock, and every row is written at once, by a
//! statement that can be cached. Rows are deleted in groups, because those of a session are neighbours.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection};
use diesel::dsl::{count, count_star, max, sum};
use diesel::prelude::*;

use super::held::Held;
use super::hot::Value::{Long, Maybe, Text};
use super::hot::{DeleteInbox, DeleteOutbox, InsertInbox, InsertOutbox, UpdateSession, execute};
use super::rows::{NewForwardedRow, NewOutboxRow};
use super::schema::{forwarded, outbox, session};
use super::sql::{ClaimOfRow, Forgotten, Owner, SAVEPOINT, Taking, ToResume, Transaction};
use crate::clock::{Clock, ms};
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// What a transaction has to remember: deletions, which are done together.
pub struct Dialect {
    /// Sessions and numbers of outbox rows to delete.
    completed: Vec<(i64, i64)>,
    forgotten: Forgotten,
    held: Arc<Held>,
}

impl Dialect {
    pub fn new(held: &Arc<Held>) -> Dialect {
        Dialect {
            completed: Vec::new(),
            forgotten: Forgotten::default(),
            held: held.clone(),
        }
    }

    pub fn now(&mut self, clock: &Clock) -> i64 {
        clock.now_ms()
    }

    /// Performs the pending deletions. Consecutive numbers of a session are deleted by one statement.
    pub fn write(&mut self, conn: &mut SqliteConnection) -> DbResult<()> {
        self.completed.sort_unstable();
        for (session, first, last) in runs(&self.completed) {
            execute::<DeleteOutbox, _>(conn, [Long(session), Long(first), Long(last)])?;
        }
        self.completed.clear();
        for (session, cmid) in self.forgotten.take() {
            execute::<DeleteInbox, _>(conn, [Long(session), Text(&cmid)])?;
        }
        Ok(())
    }

    /// Forwarded rows are never pending: each is written at once.
    pub fn write_forwarded(&mut self, _: &mut SqliteConnection) -> DbResult<()> {
        Ok(())
    }

    pub fn forget_forwarded(&mut self) {}

    /// Writes what is pending, and the new totals of sessions' outboxes.
    pub fn write_back(&mut self, conn: &mut SqliteConnection, takings: &[Taking]) -> DbResult<()> {
        self.write(conn)?;
        for taking in takings {
            let numbers = [
                taking.taken.last_seq,
                taking.taken.bytes,
                taking.taken.skipped,
                taking.key,
            ];
            execute::<UpdateSession, _>(conn, numbers.map(Long))?;
        }
        Ok(())
    }

    /// Whether numbers may be reserved.
    pub fn may_reserve(&self) -> bool {
        true
    }

    /// Marks the rest of the transaction as maintenance.
    pub fn maintain(&self, _: &mut SqliteConnection) -> DbResult<()> {
        Ok(())
    }

    /// Called before the reads that precede a handler.
    pub fn look_before_handler(&self, _: &mut SqliteConnection) -> DbResult<()> {
        Ok(())
    }

    /// Prepares the connection for a handler.
    pub fn lend(&self, conn: &mut SqliteConnection, _: Duration) -> DbResult<()> {
        conn.batch_execute(&format!("SAVEPOINT {SAVEPOINT}"))?;
        self.held.begin();
        Ok(())
    }

    /// The handler has ended, in whatever way.
    pub fn returned(&self) {
        self.held.end();
    }

    /// Takes the connection back. Fails if the handler, or an error in one of its statements, has ended the
    /// transaction.
    pub fn take_back(&self, conn: &mut SqliteConnection) -> DbResult<()> {
        let released = conn.batch_execute(&format!("RELEASE SAVEPOINT {SAVEPOINT}"));
        if released.is_err() {
            // Diesel expects a transaction that it can roll back. This fails if there still is one.
            let _ = AnsiTransactionManager::begin_transaction_sql(conn, "BEGIN");
        }
        released
    }
}

/// Runs of consecutive numbers in sorted input: session, first and last number.
fn runs(sorted: &[(i64, i64)]) -> Vec<(i64, i64, i64)> {
    let mut runs: Vec<(i64, i64, i64)> = Vec::new();
    for (session, seq) in sorted {
        match runs.last_mut() {
            Some((of, _, last)) if of == session && (*last == *seq || *last + 1 == *seq) => {
                *last = *seq;
            }
            _ => runs.push((*session, *seq, *seq)),
        }
    }
    runs
}

impl Transaction<'_> {
    /// The sessions that a node holds: key, connection, and the newest number in the outbox. (The session row may
    /// contain a higher number than is stored, because numbers are reserved.)
    pub fn newest_of_sessions(&mut self, node: &str) -> DbResult<Vec<(i64, i64, Option<i64>)>> {
        let newest = outbox::table
            .filter(outbox::session.eq(session::key))
            .select(max(outbox::seq))
            .single_value();
        session::table
            .filter(session::node.eq(node))
            .select((session::key, session::connection, newest))
            .load(self.reset_conn()?)
    }

    /// What decides who may settle a forwarded row. `None`: there is no such row.
    pub fn claim_of_forwarded(&mut self, id: i64) -> DbResult<Option<ClaimOfRow>> {
        self.read_claim_of_forwarded(id)
    }

    /// Inserts a forwarded row and returns its id.
    pub fn insert_forwarded(&mut self, row: &NewForwardedRow<'_>) -> DbResult<i64> {
        diesel::insert_into(forwarded::table)
            .values(row)
            .returning(forwarded::id)
            .get_result(self.raw_conn())
    }

    /// Deletes a forwarded row.
    pub fn delete_forwarded(&mut self, id: i64) -> DbResult<()> {
        diesel::delete(forwarded::table.find(id)).execute(self.raw_conn())?;
        Ok(())
    }

    /// Counts what a user has forwarded: all rows, those of one session, and the bytes of all. The start time and the
    /// time of the first row do not matter here, because deleted rows leave nothing behind.
    pub fn forwarded_since(
        &mut self,
        user_id: &str,
        sid: &str,
        _: i64,
    ) -> DbResult<(i64, i64, Option<i64>, Option<i64>)> {
        let (all, of_session, bytes) = forwarded::table
            .filter(forwarded::user_id.eq(user_id))
            .select((
                count_star(),
                count(forwarded::sid).aggregate_filter(forwarded::sid.eq(sid)),
                sum(forwarded::bytes),
            ))
            .get_result(self.raw_conn())?;
        Ok((all, of_session, bytes, None))
    }

    /// Which of these services have rows of this owner. (Start times do not matter here, because deleted rows leave
    /// nothing behind.)
    pub fn services_with_rows(
        &mut self,
        owner: Owner<'_>,
        wanted: &[(String, i64)],
        _: i64,
    ) -> DbResult<Vec<String>> {
        let mut services = self.services_of(owner)?;
        services.retain(|service| wanted.iter().any(|(name, _)| name == service));
        Ok(services)
    }

    /// The time by which leases are measured. It stands still while a handler keeps every node from renewing its lease.
    pub fn lease_time(&mut self) -> DbResult<i64> {
        Ok(self.now - ms(self.dialect.held.so_far()))
    }

    /// The answer to a client's message, if that must be known before anything is written.
    pub fn known_answer(&mut self, of: SessionKey, cmid: &str) -> DbResult<Option<Option<String>>> {
        self.answer(of, cmid)
    }

    /// Records a client's message. False: it is in the inbox already.
    pub fn note_incoming(
        &mut self,
        session: SessionKey,
        cmid: &str,
        answer: Option<&str>,
    ) -> DbResult<bool> {
        let now = self.now;
        // The same message may be dropped and inserted again within one group.
        if self.dialect.forgotten.has(session, cmid) {
            self.flushed_conn()?;
        }
        let values = [Long(session.0), Text(cmid), Maybe(answer), Long(now)];
        let inserted = execute::<InsertInbox, _>(self.raw_conn(), values)?;
        Ok(inserted == 1)
    }

    pub fn forget_incoming(&mut self, session: SessionKey, cmids: &[String]) -> DbResult<()> {
        self.dialect.forgotten.add(session, cmids);
        Ok(())
    }

    pub fn insert_outbox(&mut self, row: &NewOutboxRow<'_>) -> DbResult<()> {
        let conn = self.raw_conn();
        if let (None, None, 0, None) = (row.cmid, row.debug, row.deliveries, row.expires) {
            let values = [
                Long(row.session),
                Long(row.seq),
                Text(row.kind),
                Maybe(row.eid),
                Text(row.tid),
                Maybe(row.msg),
                Long(row.created),
            ];
            execute::<InsertOutbox, _>(conn, values)?;
        } else {
            diesel::insert_into(outbox::table)
                .values(row)
                .execute(conn)?;
        }
        Ok(())
    }

    pub fn delete_outbox(&mut self, session: SessionKey, seqs: &[i64]) -> DbResult<()> {
        let completed = seqs.iter().map(|seq| (session.0, *seq));
        self.dialect.completed.extend(completed);
        Ok(())
    }

    /// There are no segments: deleted rows leave nothing behind.
    pub fn rotate(&mut self, _: &Rotate) -> DbResult<Rotated> {
        Ok(Rotated::Done)
    }

    /// Whether the clock may have been set back. Times never decrease while a process runs, only between processes.
    pub fn may_be_set_back(&mut self) -> bool {
        !self.has_begun()
    }

    /// No times too far in the future are left.
    pub fn is_mended(&mut self) {
        self.note_begun();
    }

    /// Nothing to do: nobody who knows a number assigned by this database outlives its being set back.
    pub fn raise_sequences(&mut self) -> DbResult<()> {
        Ok(())
    }

    /// The key of a new session. `None`: the table assigns it.
    pub fn new_session_key(&mut self, _: &str) -> DbResult<Option<i64>> {
        Ok(None)
    }

    pub fn find_to_resume(&mut self, sid: &str) -> DbResult<Option<ToResume>> {
        self.read_to_resume(sid)
    }

    pub fn note_resumed(&mut self, holder: Holder, op: &Register) -> DbResult<()> {
        let (by, now) = (self.by.clone(), self.now);
        diesel::update(session::table.find(holder.session.0))
            .set((
                session::connection.eq(holder.connection.0),
                session::reserves.eq(holder.connection.0),
                session::node.eq(&*by),
                session::client.eq(&op.client),
                session::app_name.eq(&op.app_name),
                session::app_version.eq(&op.app_version),
                session::connected.eq(now),
                session::alive.eq(now),
                session::close_at.eq(None::<i64>),
                session::close_connection.eq(None::<i64>),
            ))
            .execute(self.reset_conn()?)?;
        Ok(())
    }

    /// Nothing to lock: there is one writer.
    pub fn lock_unit(&mut self, _: &Unit) -> DbResult<()> {
        Ok(())
    }

    /// Nothing to lock before a user's sessions are counted: there is one writer.
    pub fn lock_user(&mut self, _: &str) -> DbResult<()> {
        Ok(())
    }

    pub fn which_exist(&mut self, op: &WhichExist) -> DbResult<Vec<SessionKey>> {
        let conn = self.reset_conn()?;
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
        let conn = self.raw_conn();
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

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn numbers_without_a_gap_are_one_run() {
        let sorted = [
            (1, 4),
            (1, 5),
            (1, 6),
            (1, 8),
            (2, 7),
            (2, 8),
            (2, 8),
            (3, 9),
        ];
        assert_eq!(runs(&sorted), [(1, 4, 6), (1, 8, 8), (2, 7, 8), (3, 9, 9)]);
        assert_eq!(runs(&[]), []);
    }
}
