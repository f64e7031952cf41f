//! Messages in the store that wait for sessions which are not connected, a hundred for each.

use matssocket_testing::bench::conformance::Database;

/// Messages of one session.
const EACH: u32 = 100;

/// SQL that inserts so many, for sessions that are alive for long.
pub fn rows(database: Database, rows: u32) -> String {
    let (sessions, messages) = (database.numbers(rows / EACH), database.numbers(rows));
    let prefix = database.prefix();
    let alive = 4_000_000_000_000_u64;
    format!(
        "INSERT INTO {prefix}session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, \
            alive, last_seq) \
        SELECT 256000000 + i, 'foreign-' || i, 'f', 'foreign-' || i, 1, 'c', 'a', '1', {alive}, {alive}, {EACH} \
        FROM ({sessions}) AS numbers; \
        INSERT INTO {prefix}outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
        SELECT 256000000 + i / {EACH}, 1 + i % {EACH}, 'SEND', 'ClientSide.terminator', 'a-trace-id', \
            '\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"', 0, {alive} \
        FROM ({messages}) AS numbers;"
    )
}
