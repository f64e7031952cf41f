//! Messages in the store that wait for sessions which are not connected, a hundred for each.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

/// Messages of one session.
const EACH: u32 = 100;

/// Rows numbered from 0, of sessions that are alive for long, by an expression that makes the numbers.
fn fill(numbers: impl Fn(u32) -> String, rows: u32) -> String {
    let (sessions, messages) = (numbers(rows / EACH), numbers(rows));
    let alive = 4_000_000_000_000_u64;
    format!(
        "INSERT INTO session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, \
            alive, last_seq) \
        SELECT 256000000 + i, 'foreign-' || i, 'f', 'foreign-' || i, 1, 'c', 'a', '1', {alive}, {alive}, {EACH} \
        FROM ({sessions}) AS numbers; \
        INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
        SELECT 256000000 + i / {EACH}, 1 + i % {EACH}, 'SEND', 'ClientSide.terminator', 'a-trace-id', \
            '\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"', 0, {alive} \
        FROM ({messages}) AS numbers;"
    )
}

/// Fills the SQLite file of a server that is not running.
pub fn fill_sqlite(path: &str, rows: u32) {
    let numbers = |count: u32| {
        format!(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1) SELECT i FROM n"
        )
    };
    let mut conn = SqliteConnection::establish(path).expect("the server has made it");
    let filled = conn.batch_execute(&format!("BEGIN; {} COMMIT", fill(numbers, rows)));
    filled.expect("rows can be inserted");
}

/// Fills the schema of the conformance server.
pub fn fill_postgres(url: &str, rows: u32) {
    let numbers = |count: u32| format!("SELECT generate_series(0, {count} - 1) AS i");
    let mut conn = PgConnection::establish(url).expect("it is there");
    let fill = fill(numbers, rows);
    let filled = conn.batch_execute(&format!("SET search_path TO matssocket; {fill} ANALYZE"));
    filled.expect("rows can be inserted");
}
