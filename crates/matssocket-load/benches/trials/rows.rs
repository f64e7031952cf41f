//! Rows that take long to come about by themselves.

use matssocket_testing::bench::conformance::Database;

/// The columns of a session that is alive for long.
const SESSION: &str = "(key, sid, smid_prefix, user_id, connection, client, app_name, app_version, \
    created, alive, last_seq)";
const ALIVE: u64 = 4_000_000_000_000;
/// Long ago.
const EXPIRED: u64 = 1_000_000_000_000;
/// Inbox rows of one session.
const EACH: u32 = 10_000;

/// Two thirds of these are publications, the rest inbox rows, and all were to be deleted long ago.
pub fn expired(database: Database, rows: u32) -> String {
    let prefix = database.prefix();
    let inbox = rows / 3;
    let publications = database.numbers(rows - inbox);
    let (sessions, inbox) = (
        database.numbers(inbox.div_ceil(EACH)),
        database.numbers(inbox),
    );
    let clock = match database {
        Database::Sqlite => String::new(),
        Database::Postgres => format!("UPDATE publication_clock SET newest = {rows};"),
    };
    format!(
        "{clock} INSERT INTO {prefix}publication (id, created, topic, tid, msg) \
        SELECT 1 + i, {EXPIRED}, 'topic-' || i % 1000, 'a-trace-id', '\"a publication of some length\"' \
        FROM ({publications}) AS numbers; \
        INSERT INTO {prefix}session {SESSION} SELECT 256000000 + i, 'expired-' || i, 'e' || i, 'expired-' || i, 1, 'c', 'a', '1', {ALIVE}, {ALIVE}, 0 \
        FROM ({sessions}) AS numbers; \
        INSERT INTO {prefix}inbox (session, cmid, answer, created) \
        SELECT 256000000 + i / {EACH}, 'cmid-' || i, '{{\"an\":\"answer\"}}', {EXPIRED} \
        FROM ({inbox}) AS numbers;"
    )
}

/// A query for whether any of them is left, but for the newest publication, which stays for its id.
pub fn expired_left(database: Database) -> String {
    let prefix = database.prefix();
    format!(
        "SELECT EXISTS (SELECT 1 FROM {prefix}publication WHERE created = {EXPIRED} \
         AND id < (SELECT max(id) FROM {prefix}publication)) \
         OR EXISTS (SELECT 1 FROM {prefix}inbox WHERE created = {EXPIRED}) AS is_left"
    )
}

/// Messages of so many characters, for each of the sessions `back-0`, `back-1` …
pub fn backlog(database: Database, sessions: u32, each: u32, size: usize) -> String {
    let prefix = database.prefix();
    let (all, messages) = (
        database.numbers(sessions),
        database.numbers(sessions * each),
    );
    let text = match database {
        Database::Sqlite => format!("hex(zeroblob({}))", size / 2),
        Database::Postgres => format!("repeat('0', {size})"),
    };
    format!(
        "INSERT INTO {prefix}session {SESSION} SELECT 256000000 + i, 'back-' || i, 'b' || i, 'back-' || i, 1, 'c', 'a', '1', {ALIVE}, {ALIVE}, {each} \
        FROM ({all}) AS numbers; \
        INSERT INTO {prefix}outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
        SELECT 256000000 + i / {each}, 1 + i % {each}, 'SEND', 'ClientSide.terminator', 'a-trace-id', \
            '{{\"number\":' || (i % {each}) || ',\"string\":\"' || {text} || '\"}}', 0, {ALIVE} \
        FROM ({messages}) AS numbers;"
    )
}
