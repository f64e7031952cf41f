//! What is specific to PostgreSQL. Each statement is a round trip, so rows are gathered and written together, as
//! arrays. Others write at the same time, so rows are locked, those of sessions in the order of their keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable};

use super::Shared;
use super::connection::PgConn;
use super::forwards::Forwards;
use super::needs::Needs;
use super::pending::Pending;
use super::query::{Value, sql};
use super::resumed::Resumed;
use super::rows::NewOutboxRow;
use super::segments::Segments;
use super::sql::{ClaimOfRow, SAVEPOINT, Taking, Transaction};
use crate::clock::Clock;
use crate::store::numbers::{BEGINNING, PER_MS};
use crate::store::operation::*;
use crate::store::shard::{self, SHARDS};
use crate::store::statements::{Care, DbResult};

/// How long one part of maintenance may take, whatever the role's own limit.
const LONGEST_MAINTENANCE: Duration = Duration::from_secs(30);

/// Savepoint around what is read before a handler runs, so that the locks of those reads can be released.
const LOOKING: &str = "matssocket_looking";

/// The advisory lock held while raising the sequences.
const RAISING: i64 = 0x6d61_7473_6e75_6d00;

/// What a transaction has to remember.
pub struct Dialect {
    pub(super) shared: Arc<Shared>,
    care: Care,
    /// Whether times come from the system's clock rather than a test's.
    real_time: bool,
    pending: Pending,
    pub resumed: Resumed,
    /// What was read of forwarded rows that are locked and not yet settled.
    pub locked_forwarded: HashMap<i64, ClaimOfRow>,
    /// The newest publication's number, once it is locked.
    newest_publication: Option<i64>,
    /// The transaction's id, if it is known.
    pub xid: Option<i64>,
}

impl Dialect {
    pub fn new(shared: Arc<Shared>, care: Care) -> Dialect {
        Dialect {
            shared,
            care,
            real_time: true,
            pending: Pending::default(),
            resumed: Resumed::default(),
            locked_forwarded: HashMap::new(),
            newest_publication: None,
            xid: None,
        }
    }

    /// Pending writes to forwarded rows.
    pub fn forwards(&mut self) -> &mut Forwards {
        &mut self.pending.forwards
    }

    /// What is known of forwarded rows may no longer be true.
    pub fn forget_forwarded(&mut self) {
        self.locked_forwarded.clear();
    }

    /// Writes everything gathered, if it includes forwarded rows.
    pub fn write_forwarded(&mut self, conn: &mut PgConn) -> DbResult<()> {
        match self.pending.forwards.is_written() {
            true => Ok(()),
            false => self.write(conn),
        }
    }

    /// Whether a pooler sits in front of the database.
    pub fn is_pooled(&self) -> bool {
        self.shared.pooled
    }

    /// What is known of the segments.
    pub fn segments(&self) -> &Segments {
        &self.shared.segments
    }

    /// The database's time, as far as it is known here.
    pub fn now(&mut self, clock: &Clock) -> i64 {
        self.real_time = clock.is_real();
        let ahead = match self.real_time {
            true => self.shared.ahead.load(Ordering::Relaxed),
            false => 0,
        };
        clock.now_ms() + ahead
    }

    /// Writes everything gathered.
    pub fn write(&mut self, conn: &mut PgConn) -> DbResult<()> {
        self.resumed.write(conn)?;
        let (sessions, seqs) = &self.pending.completed;
        self.shared.known.note(sessions, seqs);
        let pending = std::mem::take(&mut self.pending);
        let deleted = pending.deletes() as u64;
        self.shared.deleted.fetch_add(deleted, Ordering::Relaxed);
        pending.write(conn, &self.shared.segments)
    }

    /// Writes everything gathered, and the new totals of sessions' outboxes.
    pub fn write_back(&mut self, conn: &mut PgConn, takings: &[Taking]) -> DbResult<()> {
        let pending = &mut self.pending.takings;
        for taking in takings {
            pending.session.push(taking.key);
            pending.last_seq.push(taking.taken.last_seq);
            pending.outbox_bytes.push(taking.taken.bytes);
            pending.skipped.push(taking.taken.skipped);
        }
        self.write(conn)
    }

    /// Whether numbers may be reserved. Behind a pooler, a connection does not notice that another server has taken
    /// over. That server may lack the last commits, and with them the reservation.
    pub fn may_reserve(&self) -> bool {
        !self.is_pooled()
    }

    /// Marks the rest of the transaction as maintenance, to which the statement time limits of the role or the database
    /// do not apply.
    pub fn maintain(&self, conn: &mut PgConn) -> DbResult<()> {
        conn.be_patient(LONGEST_MAINTENANCE + Duration::from_secs(5));
        let longest = LONGEST_MAINTENANCE.as_millis();
        conn.batch_execute(&format!("SET LOCAL statement_timeout TO {longest}"))
    }

    /// Called before the reads that precede a handler, so that their locks are not held while the handler runs, which
    /// may be long.
    pub fn look_before_handler(&self, conn: &mut PgConn) -> DbResult<()> {
        conn.batch_execute(&format!("SAVEPOINT {LOOKING}"))
    }

    /// Prepares the connection for a handler that may use it for at most `limit`. The application's own tables are
    /// found by the user's settings.
    pub fn lend(&self, conn: &mut PgConn, limit: Duration) -> DbResult<()> {
        // A handler may compute for a while without using the database.
        let longest = limit.as_millis().clamp(1000, i32::MAX as u128);
        conn.batch_execute(&format!(
            "ROLLBACK TO SAVEPOINT {LOOKING}; RELEASE SAVEPOINT {LOOKING}; \
            SET LOCAL search_path TO DEFAULT; {}; SET LOCAL jit TO DEFAULT; \
            SET LOCAL statement_timeout TO DEFAULT; \
            SET LOCAL plan_cache_mode TO DEFAULT; \
            SET LOCAL idle_in_transaction_session_timeout TO {longest}; SAVEPOINT {SAVEPOINT}",
            Needs::free_plans()
        ))
    }

    /// The handler has ended, in whatever way.
    pub fn returned(&self) {}

    /// Takes the connection back. Fails if what the handler did cannot be committed: one of its statements failed, a
    /// deferred constraint is violated, or it ended the transaction.
    pub fn take_back(&self, conn: &mut PgConn) -> DbResult<()> {
        let settings = self.shared.needs.local();
        conn.batch_execute(&format!(
            "SET CONSTRAINTS ALL IMMEDIATE; RELEASE SAVEPOINT {SAVEPOINT}; {settings}"
        ))
    }
}

impl Transaction<'_> {
    pub fn newest_publication_locked(&mut self) -> DbResult<i64> {
        if let Some(newest) = self.dialect.newest_publication {
            return Ok(newest);
        }
        let lock = "SELECT newest FROM publication_clock FOR UPDATE";
        let newest: i64 = sql::<BigInt>(lock, []).get_result(self.raw_conn())?;
        self.dialect.newest_publication = Some(newest);
        Ok(newest)
    }

    /// The number of the newest publication, and of the next one. Numbers become visible in order, because they are
    /// locked until the commit.
    pub fn publication_number(&mut self) -> DbResult<(i64, i64)> {
        let newest = self.newest_publication_locked()?;
        let number = self.number_after(newest);
        self.dialect.newest_publication = Some(number);
        self.dialect.pending.newest_publication = Some(number);
        Ok((newest, number))
    }

    /// The transaction's id, if it has written anything.
    pub fn xid(&mut self) -> DbResult<Option<i64>> {
        if self.dialect.xid.is_some() {
            return Ok(self.dialect.xid);
        }
        let ask = "SELECT pg_current_xact_id_if_assigned()::text::bigint";
        sql::<Nullable<BigInt>>(ask, []).get_result(self.raw_conn())
    }

    /// The time by which leases are measured: the database's, asked for at this moment, because a process may be
    /// suspended between any two of its steps.
    pub fn lease_time(&mut self) -> DbResult<i64> {
        if self.dialect.real_time {
            let ask = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            let now = sql::<BigInt>(ask, []).get_result(self.raw_conn())?;
            let ahead = now - Clock::system().now_ms();
            self.dialect.shared.ahead.store(ahead, Ordering::Relaxed);
            self.now = now;
        }
        Ok(self.now)
    }

    /// The answer to a client's message, if that must be known before anything is written.
    pub fn known_answer(&mut self, of: SessionKey, cmid: &str) -> DbResult<Option<Option<String>>> {
        match self.dialect.care {
            Care::Quick => Ok(None),
            Care::Careful => self.answer(of, cmid),
        }
    }

    /// Records a client's message. False: it is in the inbox already. With `Care::Quick`, a duplicate is detected only
    /// when the rows are written.
    pub fn note_incoming(
        &mut self,
        session: SessionKey,
        cmid: &str,
        answer: Option<&str>,
    ) -> DbResult<bool> {
        // The same message may be dropped and inserted again within one group.
        if self.dialect.pending.forgotten.has(session, cmid) {
            self.flushed_conn()?;
        }
        if self.known_answer(session, cmid)?.is_some() {
            return Ok(false);
        }
        let rows = &mut self.dialect.pending.incoming;
        rows.session.push(session.0);
        rows.cmid.push(cmid.to_owned());
        rows.answer.push(answer.map(str::to_owned));
        rows.created.push(self.now);
        self.gathered(answer)?;
        Ok(true)
    }

    pub fn forget_incoming(&mut self, session: SessionKey, cmids: &[String]) -> DbResult<()> {
        // A row inserted in this group must be written before it can be deleted.
        let incoming = &self.dialect.pending.incoming;
        if cmids.iter().any(|cmid| incoming.has(session.0, cmid)) {
            self.flushed_conn()?;
        }
        self.dialect.pending.forgotten.add(session, cmids);
        Ok(())
    }

    pub fn insert_outbox(&mut self, row: &NewOutboxRow<'_>) -> DbResult<()> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let rows = &mut self.dialect.pending.outgoing;
        rows.first.entry(row.session).or_insert(row.seq);
        rows.session.push(row.session);
        rows.seq.push(row.seq);
        rows.kind.push(row.kind.to_owned());
        rows.eid.push(owned(row.eid));
        rows.cmid.push(owned(row.cmid));
        rows.tid.push(row.tid.to_owned());
        rows.msg.push(owned(row.msg));
        rows.debug.push(owned(row.debug));
        rows.deliveries.push(row.deliveries);
        rows.created.push(row.created);
        rows.expires.push(row.expires);
        self.gathered(row.msg)
    }

    /// Accounts for a gathered text; flushes if too much has been gathered.
    pub fn gathered(&mut self, text: Option<&str>) -> DbResult<()> {
        self.dialect.pending.bytes += text.map_or(0, str::len);
        if self.dialect.pending.is_large() {
            self.flushed_conn()?;
        }
        Ok(())
    }

    pub fn delete_outbox(&mut self, session: SessionKey, seqs: &[i64]) -> DbResult<()> {
        // As for the inbox: rows inserted in this group must be written first.
        let outgoing = &self.dialect.pending.outgoing;
        if outgoing.has_any(session.0, seqs) {
            self.flushed_conn()?;
        }
        let (sessions, completed) = &mut self.dialect.pending.completed;
        sessions.extend(seqs.iter().map(|_| session.0));
        completed.extend_from_slice(seqs);
        Ok(())
    }

    /// Whether the clock may have been set back; the database's clock can be at any time.
    pub fn may_be_set_back(&mut self) -> bool {
        true
    }

    /// No times too far in the future are left, for now.
    pub fn is_mended(&mut self) {}

    /// Raises the database's own sequences to the current time, once per connection: a standby that has lost commits
    /// would otherwise reuse numbers under which running nodes still know sessions and work. (If another connection is
    /// doing this, it is left to that one. A role may have the right to use sequences but not to set them.)
    pub fn raise_sequences(&mut self) -> DbResult<()> {
        if self.has_begun() {
            return Ok(());
        }
        let raise = "WITH time AS ( \
                SELECT ((extract(epoch FROM clock_timestamp()) * 1000 - ?) * ?)::bigint AS number, \
                pg_try_advisory_xact_lock(?) AS is_ours \
            ) SELECT count(setval(name::regclass, number)) FROM time, unnest(ARRAY['session_number', \
                pg_get_serial_sequence('forwarded', 'id'), pg_get_serial_sequence('dead_letter', 'id')]) AS name \
            WHERE is_ours AND coalesce(pg_sequence_last_value(name::regclass), 0) < number \
            AND has_sequence_privilege(name, 'UPDATE')";
        let values = [BEGINNING, PER_MS, RAISING].map(Value::Long);
        sql::<BigInt>(raise, values).get_result::<i64>(self.raw_conn())?;
        self.note_begun();
        Ok(())
    }

    /// The key of a new session, which encodes the shard.
    pub fn new_session_key(&mut self, sid: &str) -> DbResult<Option<i64>> {
        self.raise_sequences()?;
        let ask = "SELECT nextval('session_number') * ? + ?";
        let values = [Value::Long(SHARDS), Value::Long(shard::of_sid(sid))];
        let key: i64 = sql::<BigInt>(ask, values).get_result(self.raw_conn())?;
        Ok(Some(key))
    }

    pub fn insert_subscriptions(&mut self, op: &Subscribe) -> DbResult<()> {
        let topics = op.topics.iter();
        let (topics, seen): (Vec<_>, Vec<_>) = topics
            .map(|(topic, seen)| (topic.clone(), seen.unwrap_or(i64::MAX)))
            .unzip();
        let insert = "INSERT INTO subscription (session, topic, since) \
            SELECT ?, new.topic, least(new.seen, (SELECT coalesce(max(id), 0) FROM publication)) \
            FROM unnest(?, ?) AS new (topic, seen) ON CONFLICT DO NOTHING";
        let values = [
            Value::Long(op.holder.session.0),
            Value::Texts(&topics),
            Value::Longs(&seen),
        ];
        sql::<()>(insert, values).execute(self.raw_conn())?;
        Ok(())
    }

    pub fn note_positions(&mut self, op: &NotePositions) -> DbResult<()> {
        let positions = op.positions.iter();
        let (keys, positions): (Vec<i64>, Vec<i64>) = positions
            .map(|(session, position)| (session.0, *position))
            .unzip();
        let update = "UPDATE session SET position = new.position FROM ( \
                SELECT found.ctid AS place, given.position FROM unnest(?, ?) AS given (key, position) \
                CROSS JOIN LATERAL (SELECT ctid, position FROM session WHERE session.key = given.key LIMIT 1) AS found \
                WHERE found.position IS NULL OR found.position < given.position \
            ) AS new WHERE session.ctid = new.place";
        let values = [Value::Longs(&keys), Value::Longs(&positions)];
        sql::<()>(update, values).execute(self.raw_conn())?;
        Ok(())
    }

    pub fn liveliness(&mut self, op: &Liveliness) -> DbResult<()> {
        let held = op.holders.iter();
        let (keys, connections): (Vec<i64>, Vec<i64>) = held
            .map(|holder| (holder.session.0, holder.connection.0))
            .unzip();
        let update = "UPDATE session SET alive = ? WHERE ctid = ANY(ARRAY( \
                SELECT found.ctid FROM unnest(?, ?) AS held (key, connection) \
                CROSS JOIN LATERAL (SELECT ctid, connection FROM session WHERE session.key = held.key LIMIT 1) AS found \
                WHERE found.connection = held.connection))";
        let values = [
            Value::Long(self.now),
            Value::Longs(&keys),
            Value::Longs(&connections),
        ];
        sql::<()>(update, values).execute(self.reset_conn()?)?;
        Ok(())
    }
}
