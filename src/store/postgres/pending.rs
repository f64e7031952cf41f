//! What a transaction has gathered and not yet written. It is written together: each kind of rows as arrays, and all
//! kinds by one statement, because a round trip costs more than many rows do.
//!
//! Plans are made once, often while a table is still empty, and then kept. For a plain join, the planner may then
//! choose to scan the whole table, and the array for each of its rows, dead rows included: ten times slower an hour
//! later. So each element is looked up separately by its key (`LATERAL … LIMIT 1`), whatever the statistics say. (Rows
//! are identified by their place in a table, `ctid`: their sessions are locked, so that nobody else changes them
//! meanwhile.)

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::BigInt;

use super::connection::PgConn;
use super::forwards::Forwards;
use super::query::{Value, sql};
use super::segments::{CURRENT, Segment, Segments};
use super::sql::Forgotten;
use crate::fault_injection::{Broken, is_broken};
use crate::store::statements::{DbError, DbResult};

/// Maximum number of bytes gathered before they are written, not counting the last message.
const LARGE: usize = 64 * 1024 * 1024;

/// Gathered rows, by column.
#[derive(Default)]
pub struct Pending {
    pub incoming: Incoming,
    pub outgoing: Outgoing,
    /// Inbox rows to delete.
    pub forgotten: Forgotten,
    /// Sessions and numbers of outbox rows to delete.
    pub completed: (Vec<i64>, Vec<i64>),
    /// Forwarded rows to insert and to delete.
    pub forwards: Forwards,
    /// The new totals of outboxes.
    pub takings: Takings,
    /// The newest publication's number, if it has changed.
    pub newest_publication: Option<i64>,
    /// Bytes of the gathered payloads and answers.
    pub bytes: usize,
}

impl Pending {
    /// Whether it is large enough to be written now. (A PostgreSQL value, and therefore an array, is limited to 1 GiB.)
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
    /// The first gathered number of each session.
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
    pub expires: Vec<Option<i64>>,
}

/// The totals that sessions' outboxes have taken.
#[derive(Default)]
pub struct Takings {
    pub session: Vec<i64>,
    /// Newest sequence numbers.
    pub last_seq: Vec<i64>,
    pub outbox_bytes: Vec<i64>,
    pub skipped: Vec<i64>,
}

/// A part of the combined statement: queries of its `WITH` clause, each with a name.
pub struct Part<'a> {
    pub text: String,
    /// Number of rows given to it.
    pub rows: usize,
    pub values: Vec<Value<'a>>,
}

/// The result of the combined statement: the segment that takes new rows, and the numbers of rows deleted from the
/// inbox, deleted from the outbox, and inserted into the inbox.
type Counts = (i64, i64, i64, i64);

impl Pending {
    /// Number of rows that it deletes.
    pub fn deletes(&self) -> usize {
        self.forgotten.len() + self.completed.0.len() + self.forwards.deletes()
    }

    /// Writes everything. No part sees the rows of another.
    pub fn write(mut self, conn: &mut PgConn, segments: &Segments) -> DbResult<()> {
        let forgotten: (Vec<_>, Vec<_>) = self.forgotten.take().into_iter().unzip();
        let given = self.completed.0.len() + forgotten.0.len();
        let (mut deleted, mut segment) = (0, segments.current());
        let inserted = loop {
            let Some((text, values)) = self.statement(&forgotten, segment) else {
                return Ok(());
            };
            let (is_current, forgotten, completed, inserted): Counts =
                sql::<(BigInt, BigInt, BigInt, BigInt)>(text, values).get_result(conn)?;
            deleted += forgotten as usize + completed as usize;
            let is_current = Segment(is_current as i32);
            if is_current == segment {
                break inserted as usize;
            }
            // The statement inserted nothing, and its other effects may be repeated.
            segments.note_current(is_current);
            segment = is_current;
        };
        if self.incoming.session.len() + self.outgoing.session.len() > 0 {
            segments.note_use();
        }
        if deleted < given {
            self.delete_older(conn, &forgotten, segment)?;
        }
        if inserted < self.incoming.session.len() && !is_broken(Broken::Deduplication) {
            return Err(duplicate());
        }
        Ok(())
    }

    /// Deletes rows that are no longer in the newest segments.
    fn delete_older(
        &self,
        conn: &mut PgConn,
        forgotten: &(Vec<i64>, Vec<String>),
        segment: Segment,
    ) -> DbResult<()> {
        let tables = segment.older();
        if !tables.is_empty() {
            let parts = self.deletions(forgotten, &tables);
            if let Some((text, values)) = joined(parts) {
                sql::<(BigInt, BigInt, BigInt, BigInt)>(text, values).get_result::<Counts>(conn)?;
            }
        }
        Ok(())
    }

    /// The combined statement and its values. `None`: there is nothing to write.
    pub(super) fn statement<'a>(
        &'a self,
        forgotten: &'a (Vec<i64>, Vec<String>),
        segment: Segment,
    ) -> Option<(String, Vec<Value<'a>>)> {
        let if_current = format!("(SELECT current FROM state) = {}", segment.0);
        let parts = self.insertions(segment, &if_current).into_iter();
        let parts = parts.chain(self.deletions(forgotten, &segment.newest()));
        let parts = parts.chain(self.forwards.parts(&if_current));
        joined(parts.chain(self.updates()))
    }

    /// Inserts new rows into the segment, if it is the current one.
    fn insertions(&self, segment: Segment, if_current: &str) -> [Part<'_>; 2] {
        let (inbox, outbox) = (segment.table("inbox"), segment.table("outbox"));
        // The primary key detects duplicates in its own table. The session is locked, so none can appear meanwhile.
        let is_new = match elsewhere(segment) {
            Some(others) => format!("({others}) IS NULL"),
            None => "true".into(),
        };
        let Pending {
            incoming, outgoing, ..
        } = self;
        let (expires, value) = match outgoing.any_expires() {
            true => (", expires", ", ?"),
            false => ("", ""),
        };
        [
            Part {
                text: format!(
                    "new_outbox AS (INSERT INTO {outbox} \
                    (session, seq, kind, eid, cmid, tid, msg, debug, deliveries, created{expires}) \
                    SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?{value}) WHERE {if_current})"
                ),
                rows: outgoing.session.len(),
                values: outgoing.values(),
            },
            Part {
                text: format!(
                    "new_inbox AS (INSERT INTO {inbox} (session, cmid, answer, created) \
                    SELECT * FROM unnest(?, ?, ?, ?) AS new (session, cmid, answer, created) \
                    WHERE {if_current} AND {is_new} ON CONFLICT DO NOTHING RETURNING 1)"
                ),
                rows: incoming.session.len(),
                values: incoming.values(),
            },
        ]
    }

    /// Deletes rows in these tables, searching them in this order.
    fn deletions<'a>(
        &'a self,
        forgotten: &'a (Vec<i64>, Vec<String>),
        tables: &[Segment],
    ) -> [Part<'a>; 2] {
        [
            Part {
                text: deletion("inbox", "cmid", tables),
                rows: forgotten.0.len(),
                values: vec![Value::Longs(&forgotten.0), Value::Texts(&forgotten.1)],
            },
            Part {
                text: deletion("outbox", "seq", tables),
                rows: self.completed.0.len(),
                values: vec![
                    Value::Longs(&self.completed.0),
                    Value::Longs(&self.completed.1),
                ],
            },
        ]
    }

    fn updates(&self) -> [Part<'_>; 2] {
        let Pending {
            takings,
            newest_publication,
            ..
        } = self;
        [
            Part {
                text: "takings AS (\
                    UPDATE session SET last_seq = new.seq, outbox_bytes = new.bytes, skipped = new.skipped FROM ( \
                    SELECT found.ctid AS place, given.seq, given.bytes, given.skipped \
                    FROM unnest(?, ?, ?, ?) AS given (key, seq, bytes, skipped) \
                    CROSS JOIN LATERAL (SELECT ctid FROM session \
                    WHERE session.key = given.key LIMIT 1) AS found) AS new \
                    WHERE session.ctid = new.place)"
                    .into(),
                rows: takings.session.len(),
                values: vec![
                    Value::Longs(&takings.session),
                    Value::Longs(&takings.last_seq),
                    Value::Longs(&takings.outbox_bytes),
                    Value::Longs(&takings.skipped),
                ],
            },
            Part {
                text: "clock AS (UPDATE publication_clock SET newest = ?)".into(),
                rows: newest_publication.iter().len(),
                values: vec![Value::Long(newest_publication.unwrap_or_default())],
            },
        ]
    }
}

/// Combines the parts that are given rows into one statement, which returns [`Counts`].
fn joined<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> Option<(String, Vec<Value<'a>>)> {
    let parts = parts.into_iter().filter(|part| part.rows > 0);
    let (texts, values): (Vec<_>, Vec<_>) = parts.map(|part| (part.text, part.values)).unzip();
    if texts.is_empty() {
        return None;
    }
    let before = texts.join(", ");
    // An absent part counts nothing.
    let count = |name: &str| match before.contains(&format!("{name} AS")) {
        true => format!("(SELECT count(*) FROM {name})"),
        false => "0::bigint".to_owned(),
    };
    let counts = ["gone_inbox", "gone_outbox", "new_inbox"]
        .map(count)
        .join(", ");
    let text = format!(
        "WITH state AS MATERIALIZED ({CURRENT}), {before} \
        SELECT (SELECT current FROM state)::bigint, {counts}"
    );
    Some((text, values.into_iter().flatten().collect()))
}

/// Finds each row by its key, in one table after the other, and deletes it by its place in the table where it was
/// found: two tables may have a row at the same place.
fn deletion(name: &str, second: &str, tables: &[Segment]) -> String {
    let tables = tables.iter().map(|it| it.table(name)).enumerate();
    let tables: Vec<_> = tables.collect();
    let looks = tables.iter().map(|(at, table)| {
        format!(
            "SELECT {at} AS at, ctid AS place FROM ONLY {table} AS it \
            WHERE it.session = done.session AND it.{second} = done.{second}"
        )
    });
    let looks = looks.collect::<Vec<_>>().join(" UNION ALL ");
    let mut text = format!(
        "gone_{name} AS (SELECT found.at, found.place FROM unnest(?, ?) AS done (session, {second}) \
        CROSS JOIN LATERAL ({looks} LIMIT 1) AS found)"
    );
    for (at, table) in tables {
        text += &format!(
            ", {table}_gone AS (DELETE FROM ONLY {table} \
            WHERE ctid = ANY(ARRAY(SELECT place FROM gone_{name} WHERE at = {at})))"
        );
    }
    text
}

/// Finds a new inbox row in the tables, other than its own, that may already contain it.
fn elsewhere(segment: Segment) -> Option<String> {
    let others = segment.newest().into_iter().skip(1).chain(segment.older());
    let looks = others.map(|other| {
        format!(
            "SELECT true FROM ONLY {} AS it WHERE it.session = new.session AND it.cmid = new.cmid",
            other.table("inbox")
        )
    });
    let looks: Vec<_> = looks.collect();
    (!looks.is_empty()).then(|| format!("{} LIMIT 1", looks.join(" UNION ALL ")))
}

impl Incoming {
    /// Whether this row is among them.
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
    /// Whether any of these rows may be among them.
    pub fn has_any(&self, session: i64, seqs: &[i64]) -> bool {
        let first = self.first.get(&session);
        first.is_some_and(|first| seqs.iter().any(|seq| seq >= first))
    }

    /// Whether any of them has a time to live. Few have: the column is left out then.
    fn any_expires(&self) -> bool {
        self.expires.iter().any(Option::is_some)
    }

    fn values(&self) -> Vec<Value<'_>> {
        let mut values = vec![
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
        ];
        if self.any_expires() {
            values.push(Value::MaybeLongs(&self.expires));
        }
        values
    }
}

/// A duplicate that is detected late, which is rare because a session knows its inbox.
fn duplicate() -> DbError {
    let why = "a client's message is in the inbox already".to_owned();
    DbError::DatabaseError(DatabaseErrorKind::UniqueViolation, Box::new(why))
}
