//! How PostgreSQL executes our statements, whatever its statistics say about the tables.

mod operations;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value as Json;

use super::probe::{ME, Probe};
use super::*;

/// The time of the test: so early that numbers are consecutive from 1.
const NOW: i64 = 1_500_000_000_000;

/// Rows in each table, in the stages with many.
const MANY: i64 = 100_000;

/// Maximum number of table and index pages that an operation may read, however many rows there are.
const MOST_PAGES: i64 = 500;

/// Operations that are rare.
const SELDOM: [&str; 8] = [
    "ListUsers",
    "ListConnected",
    "MendTimes",
    "ListDeadLetters",
    "RedriveDeadLetter",
    "DropDeadLetter",
    "DeadLettersBeyond",
    "ScavengeDeadLetters",
];

/// Operations that start at the beginning of an index here, and therefore step over deleted rows. (The tests of polls
/// check that they normally do not.)
const FROM_THE_START: [&str; 8] = [
    "ClaimForwarded",
    "ExpireKept",
    "FindUnserved",
    "ReadPresence",
    "ReviewPresence",
    "Scavenge",
    "SettlePresence",
    "Subscribe",
];

fn most_pages(operation: &str, when: &str) -> i64 {
    let steps_over = FROM_THE_START.contains(&operation) && when.contains("dead");
    match SELDOM.contains(&operation) || steps_over {
        true => i64::MAX,
        false => MOST_PAGES,
    }
}

/// Tables that may have many rows. (The others have a few rows, which may be scanned; dead letters are read seldom.)
const LARGE: [&str; 11] = [
    "session",
    "presence",
    "inbox",
    "outbox",
    "correlation",
    "subscription",
    "publication",
    "sent_key",
    "forwarded",
    "kept_message",
    "topic_value",
];

/// Operations that an operator runs now and then; they concern nearly all rows.
const ABOUT_ALL: [&str; 3] = ["ListSessions", "CountSessions", "ListNodes"];

macro_rules! names {
    ($($mode:ident $rank:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
        /// All operations.
        fn operations() -> Vec<&'static str> {
            vec![$(std::any::type_name::<$operation>()),*]
        }
    };
}
crate::store::statements::operations!(names);

fn short(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// Fills all tables. The probe's node holds a few of the sessions and some of the work.
fn fill(rows: i64) -> String {
    format!(
        "INSERT INTO node (name, lease_until, services) VALUES ('other', {NOW} + 1000000000, '[\"other\\u0027s\"]') ON CONFLICT DO NOTHING; \
        UPDATE publication_clock SET newest = greatest(newest, {rows}); \
        INSERT INTO session (key, sid, smid_prefix, user_id, connection, node, client, app_name, app_version, created, alive, last_seq) \
        SELECT i * 256, 's' || i, 'p', 'u' || i / 4, 1, CASE WHEN i <= 10 THEN '{ME}' WHEN i % 2 = 0 THEN 'other' END, 'c', 'a', '1', \
            {NOW}, {NOW} - CASE WHEN i > {rows} - 5 THEN 100000000 ELSE i % 1000 END, 1000000 FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO inbox (session, cmid, created) \
        SELECT (i % 1000 + 1) * 256, 'c' || i, {NOW} FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO inbox_1 (session, cmid, created) \
        SELECT (i % 1000 + 1) * 256, 'd' || i, {NOW} FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO outbox_1 (session, seq, kind, eid, tid, msg, deliveries, created, expires) \
        SELECT (i % 1000 + 1) * 256, {rows} + i, 'SEND', 'e', 't', '1', 0, {NOW}, {NOW} + CASE WHEN i <= 5 THEN -60000 ELSE i * 1000 END \
        FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
        SELECT (i % 1000 + 1) * 256, i, 'SEND', 'e', 't', '1', 0, {NOW} FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO correlation (session, seq, sid, user_id, tid, terminator, requested, timeout_ms, due) \
        SELECT (i % 1000 + 1) * 256, i, 's', 'u', 't', 'r', {NOW}, 1000, {NOW} + i % 50000 FROM generate_series(1, {rows}) AS i \
        ON CONFLICT DO NOTHING; \
        INSERT INTO subscription (session, topic) \
        SELECT (i % 1000 + 1) * 256, 't' || i FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO publication (id, created, topic, tid, msg) \
        SELECT i, {NOW}, 't' || i % 1000, 't', '1' FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO presence (user_id, since, absent) \
        SELECT 'u' || i, {NOW}, CASE WHEN i % 2 = 0 THEN {NOW} - i % 100000 END FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO topic_value (topic, key, id, created, tid, msg) \
        SELECT 't' || i % 10000, 'k' || i, i, {NOW}, 't', '1' FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO sent_key (key, created) \
        SELECT 'k' || i, {NOW} - i FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
        INSERT INTO kept_message (user_id, eid, tid, msg, bytes, created, kept_until, for_every_session, session, seq) \
        SELECT 'u' || i / 4, 'e', 't', '1', 1, {NOW}, {NOW} + CASE WHEN i <= 5 THEN -60000 ELSE i * 1000 END, false, \
            CASE WHEN i % 2 = 0 THEN i * 256 END, CASE WHEN i % 2 = 0 THEN i END FROM generate_series(1, {rows}) AS i; \
        INSERT INTO dead_letter (origin, sid, user_id, kind, tid, created, reason, deliveries, died, bytes) \
        SELECT 'outbox', 's', 'u', 'SEND', 't', {NOW}, 'r', 1, {NOW}, 1 FROM generate_series(1, {rows}) AS i; \
        INSERT INTO forwarded (epoch, node, due, attempts, secret, created, service, endpoint, sid, user_id, kind, tid, msg, key) \
        SELECT 1, CASE WHEN i % 10000 = 0 THEN '{ME}' WHEN i % 3 = 0 THEN 'other' END, {NOW} - i % 100, 0, 's', {NOW}, \
            CASE WHEN i % 2 = 0 THEN 'service' ELSE 'other''s' END, 'e', 's' || i, 'u' || i / 4, 'SEND', 't', '1', 'k' || i \
        FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING;"
    )
}

fn on_all(statement: impl Fn(&str) -> String) -> String {
    LARGE.map(statement).concat()
}

/// Whether a table, or a segment of one, may have many rows.
fn is_large(table: &str) -> bool {
    let table = table.trim_end_matches(|it: char| it == '_' || it.is_ascii_digit());
    LARGE.contains(&table)
}

/// Describes what is wrong with a plan, if anything: it scans whole tables or indexes, sorts what an index could return
/// in order, or scans the given values for each row of a table.
fn complaint(plan: &Json, parents: &[&str], of_table: bool) -> Option<String> {
    let text = |key: &str| plan[key].as_str().unwrap_or_default();
    let (kind, table) = (text("Node Type"), text("Relation Name"));
    let is_large = is_large(table);
    let is_index = kind.contains("Index");
    let is_limited = parents.first() == Some(&"Limit");
    let wrong = match kind {
        "Seq Scan" if is_large => "walks through a table",
        "Hash Join" | "Merge Join" => "joins whole tables",
        "Function Scan" if text("Parent Relationship") == "Inner" && of_table => {
            "goes through the values for each row"
        }
        "Sort" if is_limited => "sorts all to take the first",
        _ if is_index && plan["Index Cond"].is_null() && !is_limited && is_large => {
            "walks through an index"
        }
        _ => "",
    };
    if !wrong.is_empty() {
        return Some(format!("{wrong}: {kind} {table} {}", text("Index Name")));
    }
    // A node that locks rows stands between them.
    let parents: Vec<_> = match kind {
        "LockRows" => parents.to_vec(),
        _ => [kind].iter().chain(parents).copied().collect(),
    };
    let below = plan["Plans"].as_array();
    let mut below = below.into_iter().flatten();
    let of_table = below.clone().any(reads_a_table);
    below.find_map(|below| complaint(below, &parents, of_table))
}

/// Whether part of a plan reads a table that may have many rows.
fn reads_a_table(plan: &Json) -> bool {
    let table = plan["Relation Name"].as_str();
    let below = plan["Plans"].as_array().into_iter().flatten();
    table.is_some_and(is_large) || below.into_iter().any(reads_a_table)
}

/// A node that started on an empty table kept a plan that scanned the whole inbox, dead rows included, and the array
/// for each of those rows.
#[test]
fn the_plans_are_right_whatever_the_statistics_say() {
    let _alone = dead_rows_are_ours();
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    let mut probe = Probe::new(&schema, NOW);
    probe.execute(&on_all(|it| {
        format!("ALTER TABLE {it} SET (autovacuum_enabled = off);")
    }));
    let stages = [
        ("with empty tables", "SELECT 1".to_owned()),
        ("analysed when empty", "ANALYZE".to_owned()),
        ("with one row", fill(1)),
        ("with one row, analysed", "ANALYZE".to_owned()),
        ("with many rows", fill(MANY)),
        ("with many rows, analysed", "ANALYZE".to_owned()),
        ("with dead rows", on_all(|it| format!("DELETE FROM {it};"))),
        ("with dead rows, analysed", "ANALYZE".to_owned()),
        ("with many rows again", fill(MANY)),
    ];
    let mut complaints = BTreeSet::new();
    for (when, sql) in stages {
        probe.execute(&sql);
        // First with the plans of the previous stage.
        for plans in ["earlier plans", "fresh plans"] {
            probe.ran.clear();
            probe.run_all();
            let many = probe
                .ran
                .iter()
                .filter(|(name, pages)| **pages > most_pages(short(name), when));
            complaints.extend(
                many.map(|(name, pages)| {
                    format!("{name} looks at {pages} pages {when}, by {plans}")
                }),
            );
            probe.forget_plans();
        }
        for prepared in probe.prepared() {
            let plan = probe.plan(&prepared);
            let wrong = complaint(&plan[0]["Plan"], &[], false);
            complaints
                .extend(wrong.map(|wrong| format!("{when}, this {wrong}\n    {}", prepared.text)));
        }
    }
    let complaints = Vec::from_iter(complaints).join("\n");
    assert!(complaints.is_empty(), "{complaints}");
    let forgotten = operations()
        .into_iter()
        .filter(|it| !probe.ran.contains_key(it) && !ABOUT_ALL.contains(&short(it)));
    assert_eq!(
        forgotten.collect::<Vec<_>>(),
        [""; 0],
        "these are not looked at"
    );
}
