//! A transaction in progress: its connection, the session rows known to it, and its pending writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use diesel::prelude::*;

use super::allowances::Allowances;
use super::known::{Known, Row};
use super::reserved::Taken;
use super::schema::session;
use super::{Conn, Dialect, Rooms};
use crate::clock::Clock;
use crate::fault_injection::{Broken, Step, is_broken, reached};
use crate::store::operation::*;
use crate::store::statements::{DbResult, Statements, operations};

/// A transaction in progress.
///
/// Single rows are read with `get_result`, never with `first`: `first` adds `LIMIT ?`, for whose value SQLite (since
/// 3.48) prepares the statement again at each execution.
pub struct Transaction<'a> {
    conn: &'a mut Conn,
    rooms: &'a mut Rooms,
    /// The behaviour specific to this database.
    pub dialect: Dialect,
    pub by: Arc<str>,
    pub now: i64,
    pub news: News,
    known: &'a mut Known,
}

/// The columns read of a session row: key, sid, user, connection, node, newest sequence number, bytes of the outbox,
/// skipped numbers, and the registration that knows of reserved numbers.
pub type RowColumns = (
    i64,
    String,
    String,
    i64,
    Option<String>,
    i64,
    i64,
    i64,
    Option<i64>,
);

/// What is written back to a session row.
pub struct Taking {
    pub key: i64,
    pub taken: Taken,
}

impl<'a> Transaction<'a> {
    pub fn new(
        conn: &'a mut Conn,
        rooms: &'a mut Rooms,
        known: &'a mut Known,
        dialect: Dialect,
    ) -> Transaction<'a> {
        Transaction {
            conn,
            rooms,
            dialect,
            by: "".into(),
            now: 0,
            news: News::default(),
            known,
        }
    }

    /// What this connection remembers from one transaction to the next.
    pub fn rooms(&mut self) -> &mut Rooms {
        self.rooms
    }

    /// What clients may still forward.
    pub fn allowances(&mut self) -> &mut Allowances {
        &mut self.rooms.forwards
    }

    /// The connection, for tables that never have pending writes: all but `session`, `inbox`, `outbox` and `forwarded`.
    pub fn raw_conn(&mut self) -> &mut Conn {
        self.conn
    }

    /// The connection, for tables other than `session`, after their pending writes.
    pub fn flushed_conn(&mut self) -> DbResult<&mut Conn> {
        self.dialect.write(self.conn)?;
        Ok(self.conn)
    }

    /// The connection, for reading `forwarded`, after its pending writes.
    pub fn flushed_forwarded_conn(&mut self) -> DbResult<&mut Conn> {
        self.dialect.write_forwarded(self.conn)?;
        Ok(self.conn)
    }

    /// The connection, for changing `forwarded`; also forgets what is known of locked rows.
    pub fn reset_forwarded_conn(&mut self) -> DbResult<&mut Conn> {
        self.dialect.forget_forwarded();
        self.flushed_forwarded_conn()
    }

    /// The connection, for anything; writes back and forgets what is known of session rows.
    pub fn reset_conn(&mut self) -> DbResult<&mut Conn> {
        self.write_back()?;
        self.known.forget();
        self.dialect.forget_forwarded();
        Ok(self.conn)
    }

    /// Gives the dialect access to the connection.
    pub fn with_dialect<T>(&mut self, run: impl FnOnce(&mut Dialect, &mut Conn) -> T) -> T {
        run(&mut self.dialect, self.conn)
    }

    /// Writes everything that is pending.
    pub fn write_back(&mut self) -> DbResult<()> {
        let Known { rows, dirty, .. } = &mut *self.known;
        let (now, limits, reserved) = (self.now, self.rooms.limits(), &mut self.rooms.reserved);
        let written = dirty.drain(..).filter_map(|key| {
            let row = rows.get_mut(&key)?;
            row.dirty = false;
            let taken = row.numbers.store(row.may_reserve, now, &limits);
            reserved.note(key, row.numbers);
            taken.map(|taken| Taking { key: key.0, taken })
        });
        let takings: Vec<_> = written.collect();
        self.dialect.write_back(self.conn, &takings)?;
        reached(Step::BeforeCommit);
        Ok(())
    }

    /// Remembers a session row that was read.
    pub fn remember(
        &mut self,
        (key, sid, user_id, connection, node, last_seq, bytes, skipped, reserves): RowColumns,
    ) -> SessionKey {
        let key = SessionKey(key);
        self.known.keys.insert(sid.clone(), Some(key));
        let may_reserve =
            self.dialect.may_reserve() && (node.is_none() || reserves == Some(connection));
        let connection = ConnectionId(connection);
        let written = Taken {
            last_seq,
            skipped,
            bytes,
        };
        let numbers = self.rooms.reserved.numbers(key, connection, written);
        self.known.rows.insert(
            key,
            Row {
                sid,
                user_id,
                connection,
                node: node.map(Arc::from),
                numbers,
                before: numbers.taken.last_seq,
                may_reserve,
                dirty: false,
            },
        );
        key
    }

    /// The row of a session.
    pub fn row(&mut self, key: SessionKey) -> DbResult<Option<&Row>> {
        if !self.known.rows.contains_key(&key) {
            let found: Option<RowColumns> = locked!(session::table.find(key.0).select(ROW))
                .get_result(self.conn)
                .optional()?;
            match found {
                Some(found) => self.remember(found),
                None => return Ok(None),
            };
        }
        Ok(self.known.rows.get(&key))
    }

    /// Takes the session's next sequence number for a message with this payload. The number is the newest in the
    /// returned row.
    pub fn take_number(
        &mut self,
        key: SessionKey,
        payload: Option<&str>,
    ) -> DbResult<Option<&Row>> {
        self.row(key)?;
        let Known { rows, dirty, .. } = &mut *self.known;
        let Some(row) = rows.get_mut(&key) else {
            return Ok(None);
        };
        let taken = &mut row.numbers.taken;
        let number = self.rooms.floor.next(taken.last_seq, self.now);
        taken.skipped += number - taken.last_seq - 1;
        row.before = std::mem::replace(&mut taken.last_seq, number);
        taken.bytes += payload.map_or(0, |payload| payload.len() as i64);
        if !std::mem::replace(&mut row.dirty, true) {
            dirty.push(key);
        }
        Ok(Some(row))
    }

    /// Whether the initial work is done.
    pub fn has_begun(&self) -> bool {
        self.rooms.begun.load(Ordering::Relaxed)
    }

    /// Records that the initial work is done.
    pub fn note_begun(&self) {
        self.rooms.begun.store(true, Ordering::Relaxed);
    }

    /// The number to assign after `newest`, for publications or for registrations of a session.
    pub fn number_after(&mut self, newest: i64) -> i64 {
        self.rooms.floor.next(newest, self.now)
    }

    /// Records that there is no session with this id, as far as this transaction is concerned.
    #[allow(dead_code)] // SQLite does not look sessions up in advance
    pub fn remember_none(&mut self, sid: String) {
        self.known.keys.insert(sid, None);
    }

    /// What is known of the session with this id. `None`: it is not known whether it exists.
    #[allow(dead_code)] // SQLite does not look sessions up in advance
    pub fn known(&self, sid: &str) -> Option<Option<(SessionKey, &Row)>> {
        let key = self.known.keys.get(sid)?;
        let Some(key) = *key else { return Some(None) };
        Some(Some((key, self.known.rows.get(&key)?)))
    }

    /// Records that a session belongs to this registration from now on. Returns whether its row was known.
    #[allow(dead_code)] // SQLite writes that at once and forgets the row
    pub fn remember_holder(&mut self, holder: Holder) -> bool {
        let row = self.known.rows.remove(&holder.session);
        let is_known = row.is_some();
        if let Some(row) = row {
            let Taken {
                last_seq,
                bytes,
                skipped,
            } = row.numbers.written;
            let (key, connection) = (holder.session.0, holder.connection.0);
            let node = Some(self.by.to_string());
            let reserves = Some(connection);
            self.remember((
                key,
                row.sid,
                row.user_id,
                connection,
                node,
                last_seq,
                bytes,
                skipped,
                reserves,
            ));
        }
        is_known
    }

    /// The key of the session with this id.
    pub fn key_of(&mut self, sid: &str) -> DbResult<Option<SessionKey>> {
        if let Some(key) = self.known.keys.get(sid) {
            return Ok(*key);
        }
        let found: Option<RowColumns> =
            locked!(session::table.filter(session::sid.eq(sid)).select(ROW))
                .get_result(self.conn)
                .optional()?;
        Ok(found.map(|found| self.remember(found)))
    }

    /// Remembers all sessions of a user, in the order of their keys.
    pub fn remember_sessions_of(&mut self, user_id: String, keys: Vec<SessionKey>) {
        self.known.of_users.insert(user_id, keys);
    }

    /// All sessions of a user, in the order of their keys. Nobody else opens one before this transaction ends.
    pub fn keys_of_user(&mut self, user_id: &str) -> DbResult<Vec<SessionKey>> {
        if let Some(known) = self.known.of_users.get(user_id) {
            return Ok(known.clone());
        }
        self.lock_user(user_id)?;
        let found: Vec<i64> = session::table
            .filter(session::user_id.eq(user_id))
            .order(session::key)
            .select(session::key)
            .load(self.conn)?;
        let keys: Vec<_> = found.into_iter().map(SessionKey).collect();
        self.remember_sessions_of(user_id.to_owned(), keys.clone());
        Ok(keys)
    }

    /// Whether this registration still holds its session.
    pub fn holds(&mut self, holder: Holder) -> DbResult<bool> {
        Ok(self
            .row(holder.session)?
            .is_some_and(|row| row.connection == holder.connection || is_broken(Broken::Fencing)))
    }
}

type RowSelection = (
    session::key,
    session::sid,
    session::user_id,
    session::connection,
    session::node,
    session::last_seq,
    session::outbox_bytes,
    session::skipped,
    session::reserves,
);
const ROW: RowSelection = (
    session::key,
    session::sid,
    session::user_id,
    session::connection,
    session::node,
    session::last_seq,
    session::outbox_bytes,
    session::skipped,
    session::reserves,
);

macro_rules! delegate {
    ($($mode:ident $rank:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
        impl Statements for Transaction<'_> {
            fn on_behalf_of(&mut self, node: &Arc<str>, clock: &Clock) {
                // Mostly the same as for the operation before; both then share one point in time.
                if !Arc::ptr_eq(node, &self.by) {
                    self.by = node.clone();
                    self.now = self.dialect.now(clock);
                }
            }

            fn take_news(&mut self) -> News {
                std::mem::take(&mut self.news)
            }

            fn unit(&mut self, operation: &Unit) -> DbResult<UnitOutcome> {
                Transaction::unit(self, operation)
            }

            fn transact(&mut self, operation: &mut Transact) -> DbResult<Transacted> {
                self.run_handler(operation)
            }

            $(
                // Each is an inherent method, defined in the file of its subject.
                fn $method(&mut self, operation: &$operation) -> DbResult<$outcome> {
                    Transaction::$method(self, operation)
                }
            )*
        }
    };
}
operations!(delegate);
