//! What a transaction has gathered and not written yet. It is written together: each kind of rows as arrays, and all
//! kinds by one statement, since a round trip costs more than many rows do.
//!
//! Plans are made once, often while a table is still empty, and kept. In a plain join, the planner is then free to walk
//! through the whole table, and through the array for each of its rows, dead ones included: ten times slower an hour
//! later. So each element is looked up by itself (`LATERAL … LIMIT 1`), by its key, whatever the statistics say. (Rows are
//! named by their place, `ctid`: their sessions are locked, so that nobody moves them meanwhile.)

use std::borrow::Cow;
use std::collections::HashMap;

use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;

use super::connection::PgConn;
use super::query::{Value, sql};
use super::sql::Forgotten;
use crate::sabotage::{Broken, is_broken};
use crate::store::statements::{DbError, DbResult};

/// Bytes gathered at most before they are written, but for the last message.
const LARGE: usize = 64 * 1024 * 1024;

/// Rows gathered, column by column.
#[derive(Default)]
pub struct Pending {
    pub incoming: Incoming,
    pub outgoing: Outgoing,
    /// Inbox rows to delete.
    pub forgotten: Forgotten,
    /// Session and number of outbox rows to delete.
    pub completed: (Vec<i64>, Vec<i64>),
    /// What outboxes have taken.
    pub takings: Takings,
    /// The newest publication's number, if it has changed.
    pub newest_publication: Option<i64>,
    /// Bytes of payloads and answers in it.
    pub bytes: usize,
}

impl Pending {
    /// Whether it is large enough to be written now: a value of PostgreSQL, and so an array, has at most 1 GiB.
    pub fn is_large(&self) -> bool {
        self.bytes > LARGE
    }
}

/// New rows of the inbox.
#[derive(Default)]
pub struct Incoming {
    pub session: Vec<i64>,
    pub cmid: Vec<String>,
    pub answer: Vec<Option<String>>,
    pub created: Vec<i64>,
}

/// New rows of the outbox.
#[derive(Default)]
pub struct Outgoing {
    /// The first number of each session.
    pub first: HashMap<i64, i64>,
    pub session: Vec<i64>,
    pub seq: Vec<i64>,
    pub kind: Vec<String>,
    pub eid: Vec<Option<String>>,
    pub cmid: Vec<Option<String>>,
    pub tid: Vec<String>,
    pub msg: Vec<Option<String>>,
    pub debug: Vec<Option<String>>,
    pub deliveries: Vec<i32>,
    pub created: Vec<i64>,
}

/// What the outboxes of sessions have taken.
#[derive(Default)]
pub struct Takings {
    pub session: Vec<i64>,
    /// Newest sequence numbers.
    pub last_seq: Vec<i64>,
    pub outbox_bytes: Vec<i64>,
    pub skipped: Vec<i64>,
}

/// A part of the one statement.
pub struct Part<'a> {
    pub text: &'static str,
    /// How many rows it is given.
    rows: usize,
    pub values: Vec<Value<'a>>,
}

impl Pending {
    /// How many rows it deletes.
    pub fn deletes(&self) -> usize {
        self.forgotten.len() + self.completed.0.len()
    }

    /// Writes it. No part sees the rows of another.
    pub fn write(mut self, conn: &mut PgConn) -> DbResult<()> {
        let forgotten = self.forgotten.take().into_iter().unzip();
        let mut parts = Vec::from(self.parts(&forgotten));
        parts.retain(|part| part.rows > 0);
        // The last part is the statement, and what that has changed is told; those before are done as well.
        let Some(last) = parts.pop() else {
            return Ok(());
        };
        let text = match &parts[..] {
            [] => last.text.into(),
            _ => {
                let before = parts.iter().enumerate();
                let before: Vec<_> = before
                    .map(|(index, part)| format!("part{index} AS ({})", part.text))
                    .collect();
                Cow::Owned(format!("WITH {} {}", before.join(", "), last.text))
            }
        };
        parts.push(last);
        let values: Vec<_> = parts.into_iter().flat_map(|part| part.values).collect();
        let changed = sql::<()>(text, values).execute(conn)?;
        let incoming = self.incoming.session.len();
        if changed < incoming && !is_broken(Broken::Deduplication) {
            return Err(duplicate());
        }
        Ok(())
    }

    pub(super) fn parts<'a>(&'a self, forgotten: &'a (Vec<i64>, Vec<String>)) -> [Part<'a>; 6] {
        let part = |text, rows, values| Part { text, rows, values };
        let Pending {
            incoming,
            outgoing,
            completed,
            takings,
            newest_publication,
            ..
        } = self;
        [
            part(
                "INSERT INTO outbox (session, seq, kind, eid, cmid, tid, msg, debug, deliveries, created) \
                SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                outgoing.session.len(),
                outgoing.values(),
            ),
            part(
                "DELETE FROM outbox WHERE ctid = ANY(ARRAY( \
                SELECT found.ctid FROM unnest(?, ?) AS done (session, seq) \
                CROSS JOIN LATERAL (SELECT ctid FROM outbox \
                WHERE outbox.session = done.session AND outbox.seq = done.seq LIMIT 1) AS found))",
                completed.0.len(),
                vec![Value::Longs(&completed.0), Value::Longs(&completed.1)],
            ),
            part(
                "DELETE FROM inbox WHERE ctid = ANY(ARRAY( \
                SELECT found.ctid FROM unnest(?, ?) AS done (session, cmid) \
                CROSS JOIN LATERAL (SELECT ctid FROM inbox \
                WHERE inbox.session = done.session AND inbox.cmid = done.cmid LIMIT 1) AS found))",
                forgotten.0.len(),
                vec![Value::Longs(&forgotten.0), Value::Texts(&forgotten.1)],
            ),
            part(
                "UPDATE session SET last_seq = new.seq, outbox_bytes = new.bytes, skipped = new.skipped FROM ( \
                SELECT found.ctid AS place, given.seq, given.bytes, given.skipped \
                FROM unnest(?, ?, ?, ?) AS given (key, seq, bytes, skipped) \
                CROSS JOIN LATERAL (SELECT ctid FROM session \
                WHERE session.key = given.key LIMIT 1) AS found) AS new \
                WHERE session.ctid = new.place",
                takings.session.len(),
                vec![
                    Value::Longs(&takings.session),
                    Value::Longs(&takings.last_seq),
                    Value::Longs(&takings.outbox_bytes),
                    Value::Longs(&takings.skipped),
                ],
            ),
            part(
                "UPDATE publication_clock SET newest = ?",
                newest_publication.iter().len(),
                vec![Value::Long(newest_publication.unwrap_or_default())],
            ),
            // The last, of which it is known how many rows it has inserted.
            part(
                "INSERT INTO inbox (session, cmid, answer, created) \
                SELECT * FROM unnest(?, ?, ?, ?) ON CONFLICT DO NOTHING",
                incoming.session.len(),
                incoming.values(),
            ),
        ]
    }
}

impl Incoming {
    /// Whether this one is among them.
    pub fn has(&self, session: i64, cmid: &str) -> bool {
        let mut rows = self.session.iter().zip(&self.cmid);
        rows.any(|(of, it)| *of == session && it == cmid)
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Longs(&self.session),
            Value::Texts(&self.cmid),
            Value::Maybes(&self.answer),
            Value::Longs(&self.created),
        ]
    }
}

impl Outgoing {
    /// Whether one of these is among them.
    pub fn has_any(&self, session: i64, seqs: &[i64]) -> bool {
        let first = self.first.get(&session);
        first.is_some_and(|first| seqs.iter().any(|seq| seq >= first))
    }

    fn values(&self) -> Vec<Value<'_>> {
        vec![
            Value::Longs(&self.session),
            Value::Longs(&self.seq),
            Value::Texts(&self.kind),
            Value::Maybes(&self.eid),
            Value::Maybes(&self.cmid),
            Value::Texts(&self.tid),
            Value::Maybes(&self.msg),
            Value::Maybes(&self.debug),
            Value::Ints(&self.deliveries),
            Value::Longs(&self.created),
        ]
    }
}

/// Found out late, which is unlikely: a session knows its inbox.
fn duplicate() -> DbError {
    let why = "a client's message is in the inbox already".to_owned();
    DbError::DatabaseError(DatabaseErrorKind::UniqueViolation, Box::new(why))
}
