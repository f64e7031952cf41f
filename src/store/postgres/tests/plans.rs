//! What PostgreSQL makes of the statements that every group runs, whatever it believes about the tables.

use std::fmt::Write;

use diesel::sql_types::Text;

use super::super::needs::Needs;
use super::super::pending::{Incoming, Outgoing, Pending, Takings};
use super::super::query::Value;
use super::super::segments::Segment;
use super::*;
use crate::store::Access;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    #[diesel(column_name = "QUERY PLAN")]
    text: String,
}

/// The plan of a statement, made for all values.
fn plan(conn: &mut PgConnection, text: &str, values: &[Value<'_>]) -> Vec<String> {
    let (mut numbered, mut types, mut nulls) = (String::new(), vec![], vec![]);
    for (index, part) in text.split('?').enumerate() {
        if let Some(value) = index.checked_sub(1).map(|before| &values[before]) {
            let of = match value {
                Value::Long(_) => "bigint",
                Value::Text(_) => "text",
                Value::Longs(_) => "bigint[]",
                Value::Ints(_) => "int[]",
                Value::Texts(_) | Value::Maybes(_) => "text[]",
            };
            write!(numbered, "${index}").expect("a text takes it");
            types.push(of);
            nulls.push("NULL");
        }
        numbered += part;
    }
    let (types, nulls) = (types.join(", "), nulls.join(", "));
    conn.batch_execute(&format!("PREPARE it ({types}) AS {numbered}"))
        .expect(text);
    let lines = diesel::sql_query(format!("EXPLAIN EXECUTE it ({nulls})")).load::<Line>(conn);
    conn.batch_execute("DEALLOCATE it").expect("it is there");
    lines.expect(text).into_iter().map(|it| it.text).collect()
}

/// Each row is looked up by its key: no table or index is walked through.
fn check(plan: &[String], when: &str) {
    let next_is_a_key = |at: usize| plan.get(at + 1).is_some_and(|it| it.contains("Index Cond"));
    for (at, line) in plan.iter().enumerate() {
        let walks = line.contains("Seq Scan")
            || line.contains("Materialize")
            || line.contains("Hash Join")
            || line.contains("Merge Join")
            || (line.contains("Index") && line.contains("Scan ") && !next_is_a_key(at));
        // One row, and always there, or at the end.
        let is_one = line.contains("publication_clock") || line.contains("segments_pkey");
        assert!(
            !walks || is_one,
            "{when}, this walks through a whole table: {line}\n{}",
            plan.join("\n")
        );
    }
}

/// A node that started on an empty table kept a plan that walked through the whole inbox, dead rows included, and through
/// the array for each of them.
#[test]
fn the_plans_of_every_group_are_right_whatever_the_statistics_say() {
    let schema = Schema::new();
    drop(Node::attach("a", schema.settings()).expect("it opens"));
    let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
    let needs = Needs::new(&schema.settings(), &StoreConfig::default(), Access::Full);
    conn.batch_execute(&needs.for_good(None)).expect("set");
    let pending = Pending {
        incoming: Incoming {
            session: vec![1],
            ..Incoming::default()
        },
        outgoing: Outgoing {
            session: vec![1],
            ..Outgoing::default()
        },
        completed: (vec![1], vec![]),
        takings: Takings {
            session: vec![1],
            ..Takings::default()
        },
        newest_publication: Some(1),
        ..Pending::default()
    };
    let forgotten = (vec![1], vec![]);
    let mut check_all = |when: &str, sql: &str| {
        schema.execute(sql);
        for segment in 0..=4 {
            let statement = pending.statement(&forgotten, Segment(segment));
            let (text, values) = statement.expect("all parts have rows");
            check(&plan(&mut conn, &text, &values), when);
        }
    };
    let autovacuum_off = ["session", "inbox", "outbox"]
        .map(|table| format!("ALTER TABLE {table} SET (autovacuum_enabled = off);"))
        .concat();
    let fill = |rows: u32| {
        format!(
            "INSERT INTO session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, alive, last_seq) \
            SELECT i, 's' || i, 'p' || i, 'u', 1, 'c', 'a', '1', 0, 0, 0 FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING; \
            INSERT INTO inbox (session, cmid, answer, created) SELECT i % 100, 'c' || i, NULL, 0 FROM generate_series(1, {rows}) AS i \
            ON CONFLICT DO NOTHING; \
            INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
            SELECT i % 100, i, 'SEND', 'e', 't', '', 0, 0 FROM generate_series(1, {rows}) AS i ON CONFLICT DO NOTHING;"
        )
    };
    check_all("with empty tables", &autovacuum_off);
    check_all("analysed when empty", "ANALYZE");
    check_all("with one row", &fill(1));
    check_all("with one row, analysed", "ANALYZE");
    check_all("with many rows, analysed when there was one", &fill(50_000));
    check_all("with many rows, analysed", "ANALYZE");
    check_all(
        "with dead rows only",
        "DELETE FROM inbox; DELETE FROM outbox; DELETE FROM session",
    );
    check_all("with dead rows only, analysed", "ANALYZE");
}
