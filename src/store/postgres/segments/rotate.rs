//! Advances to the next segment and empties former ones, one step at a time, each in a transaction of its own.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};

use super::super::connection::PgConn;
use super::super::query::{Value, sql};
use super::super::sql::Transaction;
use super::{COUNT, Segment};
use crate::store::operation::{Rotate, Rotated};
use crate::store::statements::{DbResult, Meaning};

/// Number of rows moved in one step.
const MOVED: i64 = 5_000;

/// The state of the rotation.
struct State {
    current: Segment,
    /// Whether the segment before the previous one is empty.
    emptied: bool,
    /// Whether no node of a version without segments exists, or existed until a moment ago.
    all_know: bool,
}

impl Transaction<'_> {
    /// Takes the next step, if there is one.
    pub fn rotate(&mut self, op: &Rotate) -> DbResult<Rotated> {
        self.maintain()?;
        if !may_truncate(self.raw_conn())? {
            self.with_dialect(|dialect, _| dialect.segments().note_refused());
            return Ok(Rotated::Done);
        }
        let rotated = self.take_step(op.beyond)?;
        self.with_dialect(|dialect, _| dialect.segments().note_held(rotated == Rotated::Held));
        Ok(rotated)
    }

    fn take_step(&mut self, beyond: u64) -> DbResult<Rotated> {
        let conn = self.raw_conn();
        // Reads whole tables, and waits for nobody.
        conn.batch_execute("SET LOCAL enable_seqscan TO on; SET LOCAL lock_timeout TO '50ms'")?;
        // Another node may be taking this step.
        let Some(state) = state(conn)? else {
            return Ok(Rotated::Done);
        };
        let current = state.current;
        if current == Segment::PARENT {
            return match state.all_know {
                true => begin(conn),
                false => Ok(Rotated::Done),
            };
        }
        if !state.emptied {
            return empty(conn, current.ago(2));
        }
        if size(conn, current)? <= beyond {
            return Ok(Rotated::Done);
        }
        let next = current.next();
        if size(conn, next)? > 0 && !truncate(conn, next)? {
            return Ok(Rotated::Held);
        }
        go_on_to(conn, next, false)
    }
}

/// Whether this role may truncate segments.
fn may_truncate(conn: &mut PgConn) -> DbResult<bool> {
    let ask = "SELECT bool_and(has_table_privilege(name || '_' || number, 'TRUNCATE')) \
        FROM unnest(ARRAY['inbox', 'outbox']) AS name, generate_series(1, ?) AS number";
    sql::<Bool>(ask, [Value::Long(COUNT.into())]).get_result(conn)
}

/// The state of the rotation, locked until the end of the transaction. `None`: another node is about to change it.
fn state(conn: &mut PgConn) -> DbResult<Option<State>> {
    if !lock(conn, "segments", "SHARE ROW EXCLUSIVE")? {
        return Ok(None);
    }
    // Queried under the lock: a node that joined before is seen, and one that joins later waits for the lock.
    let ask = "SELECT current::bigint, emptied, \
        not_before <= now() AND NOT EXISTS (SELECT FROM node WHERE node.segments IS NULL) \
        FROM segments ORDER BY turn DESC LIMIT 1";
    let (current, emptied, all_know): (i64, bool, bool) =
        sql::<(BigInt, Bool, Bool)>(ask, []).get_result(conn)?;
    Ok(Some(State {
        current: Segment(current as i32),
        emptied,
        all_know,
    }))
}

/// Makes the first segment current. No segment holds live rows, but dead ones may remain from earlier use.
fn begin(conn: &mut PgConn) -> DbResult<Rotated> {
    for segment in Segment::all() {
        if size(conn, segment)? > 0 && !truncate(conn, segment)? {
            return Ok(Rotated::Held);
        }
    }
    go_on_to(conn, Segment(1), true)
}

fn go_on_to(conn: &mut PgConn, segment: Segment, emptied: bool) -> DbResult<Rotated> {
    let next = "WITH before AS (DELETE FROM segments RETURNING turn, not_before) \
        INSERT INTO segments (turn, current, emptied, not_before) \
        SELECT turn + 1, ?, ? > 0, not_before FROM before";
    let values = [segment.0.into(), i64::from(emptied)].map(Value::Long);
    sql::<()>(next, values).execute(conn)?;
    Ok(Rotated::More)
}

/// Moves the surviving rows of a segment to the parents, one batch at a time. Backups do not prevent this.
fn empty(conn: &mut PgConn, segment: Segment) -> DbResult<Rotated> {
    if !lock(conn, &tables(segment), "EXCLUSIVE")? {
        return Ok(Rotated::Held);
    }
    for name in ["inbox", "outbox"] {
        let table = segment.table(name);
        let text = format!(
            "WITH moved AS (DELETE FROM ONLY {table} \
            WHERE ctid = ANY(ARRAY(SELECT ctid FROM ONLY {table} LIMIT {MOVED})) RETURNING *), \
            kept AS (INSERT INTO {name} SELECT * FROM moved ON CONFLICT DO NOTHING) SELECT count(*) FROM moved"
        );
        let moved: i64 = sql::<BigInt>(text, []).get_result(conn)?;
        if moved == MOVED {
            return Ok(Rotated::More);
        }
    }
    sql::<()>("UPDATE segments SET emptied = true", []).execute(conn)?;
    Ok(Rotated::More)
}

/// Truncates a segment, if it is not in use. False: it is.
fn truncate(conn: &mut PgConn, segment: Segment) -> DbResult<bool> {
    let tables = tables(segment);
    let is_locked = lock(conn, &tables, "ACCESS EXCLUSIVE")?;
    if is_locked {
        conn.batch_execute(&format!("TRUNCATE {tables}"))?;
    }
    Ok(is_locked)
}

/// Both tables of a segment, as named in statements.
fn tables(segment: Segment) -> String {
    let (inbox, outbox) = (segment.table("inbox"), segment.table("outbox"));
    format!("ONLY {inbox}, ONLY {outbox}")
}

/// Locks tables until the end of the transaction. False: one of them is in use.
fn lock(conn: &mut PgConn, tables: &str, mode: &str) -> DbResult<bool> {
    const SAVEPOINT: &str = "matssocket_lock";
    conn.batch_execute(&format!("SAVEPOINT {SAVEPOINT}"))?;
    match conn.batch_execute(&format!("LOCK TABLE {tables} IN {mode} MODE NOWAIT")) {
        Ok(()) => Ok(true),
        Err(error) if conn.meaning_of(&error) == Meaning::Again => {
            conn.batch_execute(&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Bytes of the larger of a segment's two tables, including long texts stored out of line.
fn size(conn: &mut PgConn, segment: Segment) -> DbResult<u64> {
    let (inbox, outbox) = (segment.table("inbox"), segment.table("outbox"));
    let ask = "SELECT max(pg_relation_size(oid) + \
        CASE WHEN reltoastrelid = 0 THEN 0 ELSE pg_relation_size(reltoastrelid) END) \
        FROM pg_class WHERE oid IN (?::text::regclass, ?::text::regclass)";
    let values = [Value::Text(&inbox), Value::Text(&outbox)];
    let size: i64 = sql::<BigInt>(ask, values).get_result(conn)?;
    Ok(size.max(0) as u64)
}
