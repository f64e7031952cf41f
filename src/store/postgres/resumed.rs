//! Sessions being resumed: after a node has died, thousands at once. The sessions of a group are read together and
//! written together, so that none costs a round trip of its own.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::connection::PgConn;
use super::query::{Value, sql};
use super::sql::{ToResume, Transaction};
use crate::store::operation::*;
use crate::store::statements::DbResult;

/// The sessions that a group resumes.
#[derive(Default)]
pub struct Resumed {
    /// What was read of them, by id. Contains only sessions resumed before anything else in the group can have changed
    /// them; each is taken out once.
    found: HashMap<String, ToResume>,
    noted: Noted,
}

/// What is to be written to their rows, by column.
#[derive(Default)]
struct Noted {
    session: Vec<i64>,
    connection: Vec<i64>,
    node: Vec<String>,
    client: Vec<String>,
    app_name: Vec<String>,
    app_version: Vec<String>,
    alive: Vec<i64>,
}

impl Resumed {
    /// Writes what was noted.
    pub fn write(&mut self, conn: &mut PgConn) -> DbResult<()> {
        let noted = std::mem::take(&mut self.noted);
        if noted.session.is_empty() {
            return Ok(());
        }
        // Looked up one by one, by their keys; see `pending`.
        let update = "UPDATE session SET connection = new.connection, reserves = new.connection, node = new.node, \
            client = new.client, app_name = new.app_name, app_version = new.app_version, alive = new.alive, \
            connected = new.alive, close_at = NULL, close_connection = NULL FROM ( \
            SELECT found.ctid AS place, given.* \
            FROM unnest(?, ?, ?, ?, ?, ?, ?) AS given (key, connection, node, client, app_name, app_version, alive) \
            CROSS JOIN LATERAL (SELECT ctid FROM session WHERE session.key = given.key LIMIT 1) AS found) AS new \
            WHERE session.ctid = new.place";
        let values = [
            Value::Longs(&noted.session),
            Value::Longs(&noted.connection),
            Value::Texts(&noted.node),
            Value::Texts(&noted.client),
            Value::Texts(&noted.app_name),
            Value::Texts(&noted.app_version),
            Value::Longs(&noted.alive),
        ];
        sql::<()>(update, values).execute(conn)?;
        Ok(())
    }
}

/// The kinds of row in the result of `READ`.
const SESSION: i64 = 0;
const INBOX: i64 = 1;
const TOPIC: i64 = 2;

/// For each key: its prefix and whether anything is in the outbox; the contents of the inbox; and its topics. (Without
/// `OFFSET 0`, the planner might scan whole tables.)
const READ: &str = "SELECT key, 0::bigint, found.text, found.number FROM unnest(?) AS given (key) \
    CROSS JOIN LATERAL (SELECT smid_prefix COLLATE \"C\" AS text, \
        EXISTS (SELECT FROM outbox WHERE outbox.session = given.key)::int::bigint AS number \
        FROM session WHERE session.key = given.key OFFSET 0) AS found \
    UNION ALL SELECT key, 1::bigint, found.text, found.number FROM unnest(?) AS given (key) \
    CROSS JOIN LATERAL (SELECT cmid AS text, octet_length(answer)::bigint AS number \
        FROM inbox WHERE inbox.session = given.key OFFSET 0) AS found \
    UNION ALL SELECT key, 2::bigint, found.text, found.number FROM unnest(?) AS given (key) \
    CROSS JOIN LATERAL (SELECT topic AS text, since AS number \
        FROM subscription WHERE subscription.session = given.key OFFSET 0) AS found";

impl Transaction<'_> {
    /// Reads what is needed to resume these sessions, whose rows are locked and known.
    pub fn read_resumed(&mut self, sids: Vec<String>) -> DbResult<()> {
        let mut found = HashMap::with_capacity(sids.len());
        for sid in sids {
            if let Some(Some((key, row))) = self.known(&sid) {
                let it = ToResume {
                    key: key.0,
                    user_id: row.user_id.clone(),
                    smid_prefix: String::new(),
                    connection: row.connection.0,
                    node: row.node.as_deref().map(str::to_owned),
                    last_seq: row.written_seq(),
                    inbox: Vec::new(),
                    topics: Vec::new(),
                    has_outbox: false,
                };
                found.insert(key.0, (sid, it));
            }
        }
        let keys: Vec<i64> = found.keys().copied().collect();
        if keys.is_empty() {
            return Ok(());
        }
        type Columns = (BigInt, BigInt, Text, Nullable<BigInt>);
        let rows: Vec<(i64, i64, String, Option<i64>)> =
            sql::<Columns>(READ, [Value::Longs(&keys); 3]).load(self.raw_conn())?;
        for (key, what, text, number) in rows {
            let Some((_, it)) = found.get_mut(&key) else {
                continue;
            };
            match what {
                SESSION => {
                    it.smid_prefix = text;
                    it.has_outbox = number == Some(1);
                }
                INBOX => it.inbox.push((text, number.map_or(0, i64::unsigned_abs))),
                TOPIC => it.topics.push((text, number)),
                _ => {}
            }
        }
        self.dialect.resumed.found = found.into_values().collect();
        Ok(())
    }

    pub fn find_to_resume(&mut self, sid: &str) -> DbResult<Option<ToResume>> {
        // Earlier operations of the group may have changed the session; in that case its row is no longer known.
        match (
            self.known(sid).is_some(),
            self.dialect.resumed.found.remove(sid),
        ) {
            (true, Some(found)) => Ok(Some(found)),
            _ => self.read_to_resume(sid),
        }
    }

    pub fn note_resumed(&mut self, holder: Holder, op: &Register) -> DbResult<()> {
        let (node, now) = (self.by.to_string(), self.now);
        let noted = &mut self.dialect.resumed.noted;
        noted.session.push(holder.session.0);
        noted.connection.push(holder.connection.0);
        noted.node.push(node);
        noted.client.push(op.client.clone());
        noted.app_name.push(op.app_name.clone());
        noted.app_version.push(op.app_version.clone());
        noted.alive.push(now);
        if self.remember_holder(holder) {
            return Ok(());
        }
        // Later operations of the group read the row.
        self.flushed_conn()?;
        Ok(())
    }
}
