//! What a transaction locks before it does anything, in one order for everybody: users, then sessions by their keys,
//! then forwarded rows by their ids, then the order of publications.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::connection::PgConn;
use super::query::{Value, sql};
use super::sql::{RowColumns, Transaction};
use crate::store::Operation;
use crate::store::operation::*;
use crate::store::shard;
use crate::store::statements::{DbResult, Group, Touched};

/// What is to be locked.
#[derive(Default)]
struct ToLock {
    /// Advisory locks on users' numbers of sessions.
    users: Vec<i64>,
    keys: Vec<i64>,
    sids: Vec<String>,
    /// Users all of whose sessions are to be locked.
    sessions_of: Vec<String>,
    /// Sessions that are resumed before anything else happens to sessions.
    resumed: Vec<String>,
    /// Whether something other than resuming sessions is to be done.
    more_than_resumed: bool,
    forwarded: Vec<i64>,
    publications: bool,
}

impl ToLock {
    fn see(&mut self, touched: Touched<'_>) {
        self.more_than_resumed |= !matches!(touched, Touched::Resumed(_));
        match touched {
            Touched::Session(key) => self.keys.push(key.0),
            Touched::Sid(sid) => self.sids.push(sid.to_owned()),
            Touched::Resumed(sid) => {
                self.sids.push(sid.to_owned());
                if !self.more_than_resumed {
                    self.resumed.push(sid.to_owned());
                }
            }
            Touched::User(user_id) => self.users.push(lock_of(user_id)),
            Touched::SessionsOf(user_id) => {
                self.users.push(lock_of(user_id));
                self.sessions_of.push(user_id.to_owned());
            }
            Touched::Forwarded(id) => self.forwarded.push(id),
            Touched::Publications => self.publications = true,
        }
    }
}

/// Locks the number of sessions of several users, in one order.
fn lock_users(conn: &mut PgConn, users: &[i64]) -> DbResult<()> {
    let lock = "SELECT count(pg_advisory_xact_lock(id)) FROM (SELECT unnest(?) AS id) AS users";
    sql::<BigInt>(lock, [Value::Longs(users)]).get_result::<i64>(conn)?;
    Ok(())
}

/// The advisory lock on a user's number of sessions.
fn lock_of(user_id: &str) -> i64 {
    shard::hash(user_id) as i64
}

/// Sorts, and removes what is there twice.
fn in_order<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

impl Transaction<'_> {
    /// Locks what a group touches.
    pub fn lock(&mut self, group: &dyn Group) -> DbResult<()> {
        let mut to_lock = ToLock::default();
        group.touches(&mut |touched| to_lock.see(touched));
        self.lock_all(to_lock)
    }

    /// Locks what a unit touches, when nothing is locked yet.
    pub fn lock_unit(&mut self, unit: &Unit) -> DbResult<()> {
        let mut to_lock = ToLock::default();
        Operation::touches(unit, &mut |touched| to_lock.see(touched));
        self.lock_all(to_lock)
    }

    fn lock_all(&mut self, to_lock: ToLock) -> DbResult<()> {
        let users = in_order(to_lock.users);
        if !users.is_empty() {
            // By a statement of its own: only a later one sees the sessions of those who held the locks before.
            lock_users(self.raw_conn(), &users)?;
        }
        let (keys, sids) = (in_order(to_lock.keys), in_order(to_lock.sids));
        let sessions_of = in_order(to_lock.sessions_of);
        if !keys.is_empty() || !sids.is_empty() || !sessions_of.is_empty() {
            self.lock_sessions(&keys, sids, sessions_of)?;
        }
        if !to_lock.resumed.is_empty() {
            self.read_resumed(to_lock.resumed)?;
        }
        self.lock_forwarded(to_lock.forwarded)?;
        if to_lock.publications {
            self.newest_publication_locked()?;
        }
        Ok(())
    }

    fn lock_sessions(
        &mut self,
        keys: &[i64],
        sids: Vec<String>,
        users: Vec<String>,
    ) -> DbResult<()> {
        type Row = (
            BigInt,
            Text,
            Text,
            BigInt,
            Nullable<Text>,
            BigInt,
            BigInt,
            BigInt,
            Nullable<BigInt>,
        );
        type Columns = (Row, BigInt);
        let mut values = vec![Value::Longs(keys), Value::Texts(&sids)];
        // Rare, so that it is left out of the statement where there is none. (Without `OFFSET 0`, the planner might scan
        // the whole table.)
        let mut of_users = "";
        if !users.is_empty() {
            values.push(Value::Texts(&users));
            of_users = "UNION ALL SELECT found.key FROM unnest(?) AS named (user_id) \
                CROSS JOIN LATERAL (SELECT key FROM session WHERE session.user_id = named.user_id OFFSET 0) AS found";
        }
        // Also returns the transaction's id, which reveals the outcome if the answer to COMMIT is lost.
        let lock = format!(
            "SELECT key, sid, user_id, connection, node, last_seq, outbox_bytes, skipped, reserves, \
            pg_current_xact_id()::text::bigint \
            FROM session WHERE key = ANY(ARRAY( \
                SELECT unnest(?) UNION ALL SELECT found.key FROM unnest(?) AS named (sid) \
                CROSS JOIN LATERAL (SELECT key FROM session WHERE session.sid = named.sid LIMIT 1) AS found \
                {of_users} \
            )) ORDER BY key FOR NO KEY UPDATE"
        );
        let rows: Vec<(RowColumns, i64)> = sql::<Columns>(lock, values).load(self.raw_conn())?;
        let mut of_users: HashMap<String, Vec<SessionKey>> =
            users.into_iter().map(|user| (user, Vec::new())).collect();
        for sid in sids {
            self.remember_none(sid);
        }
        for (row, xid) in rows {
            if let Some(keys) = of_users.get_mut(&row.2) {
                keys.push(SessionKey(row.0));
            }
            self.dialect.xid = Some(xid);
            self.remember(row);
        }
        for (user_id, keys) in of_users {
            self.remember_sessions_of(user_id, keys);
        }
        Ok(())
    }

    /// Locks the user's number of sessions, so that nobody else opens one while they are counted.
    pub fn lock_user(&mut self, user_id: &str) -> DbResult<()> {
        lock_users(self.raw_conn(), &[lock_of(user_id)])
    }
}
