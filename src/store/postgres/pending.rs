//! What a transaction has gathered and not written yet. It is written together: each kind of rows as arrays, and all
//! kinds by one statement, since a round trip costs more than many rows do.

use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::{Array, BigInt};

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
    /// Sessions and their newest numbers.
    pub last_seqs: (Vec<i64>, Vec<i64>),
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

/// A part of the one statement.
struct Part<'a> {
    text: &'static str,
    /// How many rows it is given.
    rows: usize,
    values: Vec<Value<'a>>,
    otherwise: Otherwise,
}

/// What if fewer rows were changed than given.
enum Otherwise {
    /// Cannot be, or does no harm.
    Never,
    /// Some were there already.
    Duplicate,
    /// Some were inserted by another part, which this one cannot see: once more, alone.
    Again,
}

impl Pending {
    /// Writes it. What is inserted comes before what is deleted: a message may come and go in one group.
    pub fn write(mut self, conn: &mut PgConnection) -> DbResult<()> {
        let forgotten = self.forgotten.take().into_iter().unzip();
        let mut parts = self.parts(&forgotten);
        parts.retain(|part| part.rows > 0);
        for (part, changed) in parts.iter().zip(run(conn, &parts)?) {
            match part.otherwise {
                Otherwise::Duplicate
                    if changed < part.rows && !is_broken(Broken::Deduplication) =>
                {
                    return Err(duplicate());
                }
                Otherwise::Again if changed < part.rows && parts.len() > 1 => {
                    run(conn, std::slice::from_ref(part))?;
                }
                Otherwise::Never | Otherwise::Duplicate | Otherwise::Again => {}
            }
        }
        Ok(())
    }

    fn parts<'a>(&'a self, forgotten: &'a (Vec<i64>, Vec<String>)) -> Vec<Part<'a>> {
        let part = |text, rows, values, otherwise| Part {
            text,
            rows,
            values,
            otherwise,
        };
        let Pending {
            incoming,
            outgoing,
            completed,
            last_seqs,
            newest_publication,
            ..
        } = self;
        vec![
            part(
                "INSERT INTO inbox (session, cmid, answer, created) \
                SELECT * FROM unnest(?, ?, ?, ?) ON CONFLICT DO NOTHING",
                incoming.session.len(),
                incoming.values(),
                Otherwise::Duplicate,
            ),
            part(
                "INSERT INTO outbox (session, seq, kind, eid, cmid, tid, msg, debug, deliveries, created) \
                SELECT * FROM unnest(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                outgoing.session.len(),
                outgoing.values(),
                Otherwise::Never,
            ),
            part(
                "DELETE FROM outbox USING unnest(?, ?) AS done (session, seq) \
                WHERE outbox.session = done.session AND outbox.seq = done.seq",
                completed.0.len(),
                vec![Value::Longs(&completed.0), Value::Longs(&completed.1)],
                Otherwise::Again,
            ),
            part(
                "DELETE FROM inbox USING unnest(?, ?) AS done (session, cmid) \
                WHERE inbox.session = done.session AND inbox.cmid = done.cmid",
                forgotten.0.len(),
                vec![Value::Longs(&forgotten.0), Value::Texts(&forgotten.1)],
                Otherwise::Again,
            ),
            part(
                "UPDATE session SET last_seq = new.seq FROM unnest(?, ?) AS new (key, seq) \
                WHERE session.key = new.key",
                last_seqs.0.len(),
                vec![Value::Longs(&last_seqs.0), Value::Longs(&last_seqs.1)],
                Otherwise::Never,
            ),
            part(
                "UPDATE publication_clock SET newest = ?",
                newest_publication.iter().len(),
                newest_publication.map(Value::Long).into_iter().collect(),
                Otherwise::Never,
            ),
        ]
    }
}

impl Incoming {
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

/// Runs the parts as one statement; how many rows each has changed.
fn run(conn: &mut PgConnection, parts: &[Part<'_>]) -> DbResult<Vec<usize>> {
    match parts {
        [] => Ok(Vec::new()),
        [part] => Ok(vec![sql::<()>(part.text, &*part.values).execute(conn)?]),
        _ => {
            let number = |index| format!("part{index}");
            let with: Vec<_> = (parts.iter().enumerate())
                .map(|(index, part)| format!("{} AS ({} RETURNING 1)", number(index), part.text))
                .collect();
            let counts: Vec<_> = (0..parts.len())
                .map(|index| format!("(SELECT count(*) FROM {})", number(index)))
                .collect();
            let text = format!(
                "WITH {} SELECT ARRAY[{}]",
                with.join(", "),
                counts.join(", ")
            );
            let values: Vec<_> = parts.iter().flat_map(|part| part.values.clone()).collect();
            let changed: Vec<i64> = sql::<Array<BigInt>>(text, values).get_result(conn)?;
            Ok(changed.into_iter().map(|rows| rows as usize).collect())
        }
    }
}

/// Found out late, which is unlikely: a session knows its inbox.
fn duplicate() -> DbError {
    let why = "a client's message is in the inbox already".to_owned();
    DbError::DatabaseError(DatabaseErrorKind::UniqueViolation, Box::new(why))
}
