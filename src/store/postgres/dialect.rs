//! What PostgreSQL does in its own way: each statement is a round trip, so rows are gathered and written together, as
//! arrays; and others write at the same time, so rows are locked, those of sessions in the order of their keys.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::Shared;
use super::query::{Value, sql};
use super::sql::Transaction;
use crate::clock::Clock;
use crate::sabotage::{Broken, is_broken};
use crate::store::operation::*;
use crate::store::rows::NewOutboxRow;
use crate::store::statements::{Care, DbError, DbResult, Group, Touched};

/// Rows gathered, column by column, and what else a transaction has to remember.
pub struct Dialect {
    shared: Arc<Shared>,
    care: Care,
    /// Whether times are the system's, not a test's.
    real_time: bool,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Session and cmid of inbox rows to delete.
    forgotten: (Vec<i64>, Vec<String>),
    /// Session and number of outbox rows to delete.
    completed: (Vec<i64>, Vec<i64>),
    /// The newest publication's number, once it is locked, and whether it has changed.
    newest_publication: Option<(i64, bool)>,
    /// The transaction's id, if it is known.
    pub xid: Option<i64>,
}

/// New rows of the inbox.
#[derive(Default)]
struct Incoming {
    session: Vec<i64>,
    cmid: Vec<String>,
    answer: Vec<Option<String>>,
    created: Vec<i64>,
}

/// New rows of the outbox.
#[derive(Default)]
struct Outgoing {
    session: Vec<i64>,
    seq: Vec<i64>,
    kind: Vec<String>,
    eid: Vec<Option<String>>,
    cmid: Vec<Option<String>>,
    tid: Vec<String>,
    msg: Vec<Option<String>>,
    debug: Vec<Option<String>>,
    deliveries: Vec<i32>,
    created: Vec<i64>,
}

impl Dialect {
    pub fn new(shared: Arc<Shared>, care: Care) -> Dialect {
        Dialect {
            shared,
            care,
            real_time: true,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            forgotten: Default::default(),
            completed: Default::default(),
            newest_publication: None,
            xid: None,
        }
    }

    /// The database's time, as well as it is known here.
    pub fn now(&mut self, clock: &Clock) -> i64 {
        self.real_time = clock.is_real();
        let ahead = match self.real_time {
            true => self.shared.ahead.load(Ordering::Relaxed),
            false => 0,
        };
        clock.now() + ahead
    }

    /// Writes what was gathered. What is inserted comes before what is deleted: a message may come and go in one group.
    pub fn write(&mut self, conn: &mut PgConnection) -> DbResult<()> {
        self.insert_incoming(conn)?;
        self.insert_outgoing(conn)?;
        let (session, seq) = std::mem::take(&mut self.completed);
        if !session.is_empty() {
            let delete = "DELETE FROM outbox USING unnest(?, ?) AS done (session, seq) \
                WHERE outbox.session = done.session AND outbox.seq = done.seq";
            sql::<()>(delete, [Value::Longs(&session), Value::Longs(&seq)]).execute(conn)?;
        }
        let (session, cmid) = std::mem::take(&mut self.forgotten);
        if !session.is_empty() {
            let delete = "DELETE FROM inbox USING unnest(?, ?) AS done (session, cmid) \
                WHERE inbox.session = done.session AND inbox.cmid = done.cmid";
            sql::<()>(delete, [Value::Longs(&session), Value::Texts(&cmid)]).execute(conn)?;
        }
        if let Some((newest, changed @ true)) = &mut self.newest_publication {
            let update = "UPDATE publication_clock SET newest = ?";
            sql::<()>(update, [Value::Long(*newest)]).execute(conn)?;
            *changed = false;
        }
        Ok(())
    }

    fn insert_incoming(&mut self, conn: &mut PgConnection) -> DbResult<()> {
        let rows = std::mem::take(&mut self.incoming);
        if rows.session.is_empty() {
            return Ok(());
        }
        let insert = "INSERT INTO inbox (session, cmid, answer, created) \
            SELECT * FROM unnest(?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let values = [
            Value::Longs(&rows.session),
            Value::Texts(&rows.cmid),
            Value::Maybes(&rows.answer),
            Value::Longs(&rows.created),
        ];
        let inserted = sql::<()>(insert, values).execute(conn)?;
        if inserted == rows.session.len() || is_broken(Broken::Deduplication) {
            return Ok(());
        }
        // Found out too late, which is unlikely: a session knows its inbox.
        let why = "a client's message is in the inbox already".to_owned();
        let kind = DatabaseErrorKind::UniqueViolation;
        Err(DbError::DatabaseError(kind, Box::new(why)))
    }

    fn insert_outgoing(&mut self, conn: &mut PgConnection) -> DbResult<()> {
        let rows = std::mem::take(&mut self.outgoing);
        if rows.session.is_empty() {
            return Ok(());
        }
        let insert = "INSERT INTO outbox (session, seq, kind, eid, cmid, tid, msg, debug, deliveries, created) \
            SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let values = [
            Value::Longs(&rows.session),
            Value::Longs(&rows.seq),
            Value::Texts(&rows.kind),
            Value::Maybes(&rows.eid),
            Value::Maybes(&rows.cmid),
            Value::Texts(&rows.tid),
            Value::Maybes(&rows.msg),
            Value::Maybes(&rows.debug),
            Value::Ints(&rows.deliveries),
            Value::Longs(&rows.created),
        ];
        sql::<()>(insert, values).execute(conn)?;
        Ok(())
    }

    pub fn write_last_seqs(&self, conn: &mut PgConnection, seqs: &[(i64, i64)]) -> DbResult<()> {
        let (keys, seqs): (Vec<i64>, Vec<i64>) = seqs.iter().copied().unzip();
        let update = "UPDATE session SET last_seq = new.seq FROM unnest(?, ?) AS new (key, seq) \
            WHERE session.key = new.key";
        sql::<()>(update, [Value::Longs(&keys), Value::Longs(&seqs)]).execute(conn)?;
        Ok(())
    }

    /// The connection is going to be a handler's for at most so long. Its own tables are where the user's settings say.
    pub fn lend(&self, conn: &mut PgConnection, limit: Duration) -> DbResult<()> {
        // A handler may compute for a while without asking the database.
        let longest = limit.as_millis().clamp(1000, i32::MAX as u128);
        conn.batch_execute(&format!(
            "SET LOCAL search_path TO DEFAULT; SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL jit TO DEFAULT; \
            SET LOCAL idle_in_transaction_session_timeout TO {longest}"
        ))
    }

    /// The connection is ours again.
    pub fn take_back(&self, conn: &mut PgConnection) -> DbResult<()> {
        conn.batch_execute(&self.shared.settings)
    }
}

/// Locks a user's number of sessions; those of several users in one order.
fn lock_users(conn: &mut PgConnection, users: &[i64]) -> DbResult<()> {
    let lock = "SELECT count(pg_advisory_xact_lock(id)) FROM (SELECT unnest(?) AS id) AS users";
    sql::<BigInt>(lock, [Value::Longs(users)]).get_result::<i64>(conn)?;
    Ok(())
}

fn id_of_user(user_id: &str) -> i64 {
    let mut hasher = DefaultHasher::new();
    ("matssocket user", user_id).hash(&mut hasher);
    hasher.finish() as i64
}

impl Transaction<'_> {
    /// Locks what a group touches: users, then sessions by their keys, then the order of publications.
    pub fn lock(&mut self, group: &dyn Group) -> DbResult<()> {
        let (mut keys, mut sids, mut users, mut publications) = (vec![], vec![], vec![], false);
        group.touches(&mut |touched| match touched {
            Touched::Session(key) => keys.push(key.0),
            Touched::Sid(sid) => sids.push(sid.to_owned()),
            Touched::User(user_id) => users.push(id_of_user(user_id)),
            Touched::Publications => publications = true,
        });
        keys.sort_unstable();
        keys.dedup();
        sids.sort_unstable();
        sids.dedup();
        users.sort_unstable();
        users.dedup();
        if !users.is_empty() {
            lock_users(self.apart(), &users)?;
        }
        if !keys.is_empty() || !sids.is_empty() {
            self.lock_sessions(&keys, sids)?;
        }
        if publications {
            self.newest_publication_locked()?;
        }
        Ok(())
    }

    fn lock_sessions(&mut self, keys: &[i64], sids: Vec<String>) -> DbResult<()> {
        type Columns = (BigInt, Text, Text, BigInt, Nullable<Text>, BigInt, BigInt);
        // The transaction's id comes with them: should the answer to COMMIT be lost, it tells what became of it.
        let lock = "SELECT key, sid, user_id, connection, node, last_seq, pg_current_xact_id()::text::bigint \
            FROM session WHERE key = ANY(?) OR sid = ANY(?) ORDER BY key FOR NO KEY UPDATE";
        let values = [Value::Longs(keys), Value::Texts(&sids)];
        let rows: Vec<(i64, String, String, i64, Option<String>, i64, i64)> =
            sql::<Columns>(lock, values).load(self.apart())?;
        for sid in sids {
            self.keys.insert(sid, None);
        }
        for (key, sid, user_id, connection, node, last_seq, xid) in rows {
            self.dialect.xid = Some(xid);
            self.remember((key, sid, user_id, connection, node, last_seq));
        }
        Ok(())
    }

    fn newest_publication_locked(&mut self) -> DbResult<i64> {
        if let Some((newest, _)) = self.dialect.newest_publication {
            return Ok(newest);
        }
        let lock = "SELECT newest FROM publication_clock FOR UPDATE";
        let newest: i64 = sql::<BigInt>(lock, []).get_result(self.apart())?;
        self.dialect.newest_publication = Some((newest, false));
        Ok(newest)
    }

    /// The number of the next publication: numbers come to light in their order, since they are locked until the commit.
    pub fn publication_number(&mut self) -> DbResult<Option<i64>> {
        let number = self.newest_publication_locked()? + 1;
        self.dialect.newest_publication = Some((number, true));
        Ok(Some(number))
    }

    /// The transaction's id, if it has written anything.
    pub fn xid(&mut self) -> DbResult<Option<i64>> {
        if self.dialect.xid.is_some() {
            return Ok(self.dialect.xid);
        }
        let ask = "SELECT pg_current_xact_id_if_assigned()::text::bigint";
        sql::<Nullable<BigInt>>(ask, []).get_result(self.apart())
    }

    /// The time by which leases are measured: the database's, asked now, since a process may have been stopped between
    /// any two of its steps.
    pub fn lease_time(&mut self) -> DbResult<i64> {
        if self.dialect.real_time {
            let ask = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            let now = sql::<BigInt>(ask, []).get_result(self.apart())?;
            let ahead = now - Clock::system().now();
            self.dialect.shared.ahead.store(ahead, Ordering::Relaxed);
            self.now = now;
        }
        Ok(self.now)
    }

    /// What a client's message was answered, if that must be known before anything is written.
    pub fn known_answer(&mut self, of: SessionKey, cmid: &str) -> DbResult<Option<Option<String>>> {
        match self.dialect.care {
            Care::Quick => Ok(None),
            Care::Careful => self.answer(of, cmid),
        }
    }

    /// Notes a client's message. False: it is in the inbox already. Without care that is found out when it is written.
    pub fn note_incoming(
        &mut self,
        session: SessionKey,
        cmid: &str,
        answer: Option<&str>,
    ) -> DbResult<bool> {
        if self.known_answer(session, cmid)?.is_some() {
            return Ok(false);
        }
        let rows = &mut self.dialect.incoming;
        rows.session.push(session.0);
        rows.cmid.push(cmid.to_owned());
        rows.answer.push(answer.map(str::to_owned));
        rows.created.push(self.now);
        Ok(true)
    }

    pub fn forget_incoming(&mut self, session: SessionKey, cmids: &[String]) -> DbResult<()> {
        let (sessions, forgotten) = &mut self.dialect.forgotten;
        sessions.extend(cmids.iter().map(|_| session.0));
        forgotten.extend_from_slice(cmids);
        Ok(())
    }

    pub fn insert_outbox(&mut self, row: &NewOutboxRow<'_>) -> DbResult<()> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let rows = &mut self.dialect.outgoing;
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
        Ok(())
    }

    pub fn delete_outbox(&mut self, session: SessionKey, seqs: &[i64]) -> DbResult<()> {
        let (sessions, completed) = &mut self.dialect.completed;
        sessions.extend(seqs.iter().map(|_| session.0));
        completed.extend_from_slice(seqs);
        Ok(())
    }

    /// A new session of this user is going to be counted: nobody else opens one meanwhile.
    pub fn lock_user(&mut self, user_id: &str) -> DbResult<()> {
        lock_users(self.apart(), &[id_of_user(user_id)])
    }

    pub fn which_exist(&mut self, op: &WhichExist) -> DbResult<Vec<SessionKey>> {
        let keys: Vec<i64> = op.sessions.iter().map(|key| key.0).collect();
        let ask = "SELECT key FROM session WHERE key = ANY(?)";
        let found: Vec<i64> = sql::<BigInt>(ask, [Value::Longs(&keys)]).load(self.direct()?)?;
        Ok(found.into_iter().map(SessionKey).collect())
    }

    pub fn liveliness(&mut self, op: &Liveliness) -> DbResult<()> {
        let held = op.holders.iter();
        let (keys, connections): (Vec<i64>, Vec<i64>) = held
            .map(|holder| (holder.session.0, holder.connection.0))
            .unzip();
        let update = "UPDATE session SET alive = ? FROM unnest(?, ?) AS held (key, connection) \
            WHERE session.key = held.key AND session.connection = held.connection";
        let values = [
            Value::Long(self.now),
            Value::Longs(&keys),
            Value::Longs(&connections),
        ];
        sql::<()>(update, values).execute(self.direct()?)?;
        Ok(())
    }
}
