//! A file that is also the application's: its tables and migrations are left alone, and it leaves ours alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};

use super::{attach, keyed, refusal};
use crate::store::Store;
use crate::store::operation::*;

/// The tables of a version without a prefix and without its two newest migrations.
const BARE: &str = include_str!("bare.sql");
/// What such a version left: its migrations, recorded in Diesel's own table, and a few rows.
const LEFT: &str = "
    CREATE TABLE __diesel_schema_migrations (
        version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
    );
    INSERT INTO __diesel_schema_migrations (version)
        VALUES ('20261123000000'), ('20261129000000'), ('20261130000000');
    INSERT INTO session (key, sid, smid_prefix, user_id, connection, client, app_name, app_version, created, alive, last_seq)
        VALUES (41, 'a-sid', 'p', 'anna', 1, 'c', 'a', '1', 0, 0, 7);
    INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created)
        VALUES (41, 7, 'SEND', 'e', 't', '\"waits\"', 0, 0);
    INSERT INTO sent_key VALUES ('k', 0);
";

fn open(path: &Path) -> SqliteConnection {
    SqliteConnection::establish(path.to_str().expect("text")).expect("opens")
}

fn texts(conn: &mut SqliteConnection, select: &str) -> Vec<String> {
    let select = diesel::dsl::sql::<Text>(select);
    select.load(conn).expect("works")
}

/// The schema of a file, by name. Quotes around names are removed, since they depend on the last `ALTER TABLE`.
fn schema(path: &Path) -> BTreeMap<String, String> {
    let all =
        "SELECT name || '|' || coalesce(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'";
    let all = texts(&mut open(path), all);
    let part = |text: String| {
        let (name, sql) = text.split_once('|').expect("two parts");
        (name.to_owned(), sql.replace('"', ""))
    };
    all.into_iter().map(part).collect()
}

/// The application's own migration, which creates a table with the same name as one of ours.
fn of_the_application(directory: &Path) -> FileBasedMigrations {
    let migration = directory.join("migrations/2026-01-02-030405_shop");
    fs::create_dir_all(&migration).expect("created");
    fs::write(
        migration.join("up.sql"),
        "CREATE TABLE session (cart TEXT);",
    )
    .expect("written");
    fs::write(migration.join("down.sql"), "DROP TABLE session;").expect("written");
    FileBasedMigrations::from_path(directory.join("migrations")).expect("read")
}

#[actix::test]
async fn the_application_has_its_own_tables_and_migrations_in_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("shop.db");
    let application = of_the_application(dir.path());
    let mut conn = open(&path);
    conn.run_pending_migrations(application.clone())
        .expect("runs");
    conn.batch_execute("INSERT INTO session VALUES ('apples')")
        .expect("works");
    drop(conn);
    {
        let handle = attach(&Store::sqlite(&path)).expect("opens");
        handle.run(keyed("k".into())).await.expect("works");
    }
    let mut conn = open(&path);
    assert_eq!(texts(&mut conn, "SELECT cart FROM session"), ["apples"]);
    // It finds no migrations to run or revert but its own.
    assert!(
        !conn
            .has_pending_migration(application.clone())
            .expect("asked")
    );
    let reverted = conn.revert_last_migration(application.clone());
    assert_eq!(reverted.expect("its own").to_string(), "20260102030405");
    let again = conn.run_pending_migrations(application).expect("runs");
    assert_eq!(again.len(), 1);
    drop(conn);
    let handle = attach(&Store::sqlite(&path)).expect("opens again");
    let repeated = handle.run(keyed("k".into())).await.expect("works");
    assert_eq!(repeated, UnitOutcome::Repeated);
}

#[actix::test]
async fn tables_without_a_prefix_are_renamed_and_keep_their_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (dir.path().join("old.db"), dir.path().join("new.db"));
    let mut conn = open(&old);
    for sql in [BARE, LEFT] {
        conn.batch_execute(sql).expect("works");
    }
    // The application has its own there, too.
    let own = "INSERT INTO __diesel_schema_migrations (version) VALUES ('20260102030405'); CREATE TABLE cart (x TEXT)";
    conn.batch_execute(own).expect("works");
    drop(conn);
    {
        let handle = attach(&Store::sqlite(&old)).expect("opens");
        let repeated = handle.run(keyed("k".into())).await.expect("works");
        assert_eq!(repeated, UnitOutcome::Repeated);
        attach(&Store::sqlite(&new)).expect("opens");
    }
    let mut renamed = schema(&old);
    assert!(
        renamed.remove("cart").is_some() && renamed.remove("__diesel_schema_migrations").is_some()
    );
    let names = |schema: BTreeMap<String, String>| schema.into_keys().collect::<Vec<_>>();
    let fresh = schema(&new);
    for (name, sql) in fresh.iter().filter(|(_, sql)| sql.contains("INDEX")) {
        assert_eq!(&renamed[name], sql);
    }
    assert_eq!(names(renamed), names(fresh));
    let mut conn = open(&old);
    let versions = "SELECT version FROM __diesel_schema_migrations";
    assert_eq!(texts(&mut conn, versions), ["20260102030405"]);
    let message = "SELECT msg FROM matssocket_outbox WHERE session = 41 AND seq = 7";
    assert_eq!(texts(&mut conn, message), ["\"waits\""]);
    // Keys are never reused.
    let newest = "SELECT CAST(seq AS TEXT) FROM sqlite_sequence WHERE name = 'matssocket_session'";
    assert_eq!(texts(&mut conn, newest), ["41"]);
}

#[actix::test]
async fn an_otherwise_unused_migrations_table_is_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let mut conn = open(&path);
    for sql in [BARE, LEFT] {
        conn.batch_execute(sql).expect("works");
    }
    drop(conn);
    drop(attach(&Store::sqlite(&path)).expect("opens"));
    assert!(!schema(&path).contains_key("__diesel_schema_migrations"));
}

#[actix::test]
async fn a_file_that_cannot_be_brought_up_to_date_is_left_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    let mut conn = open(&path);
    // The last one is in the way.
    for sql in [BARE, LEFT, "CREATE TABLE matssocket_sent_key (x TEXT)"] {
        conn.batch_execute(sql).expect("works");
    }
    drop(conn);
    let before = schema(&path);
    let text = refusal(&Store::sqlite(&path));
    assert!(text.contains("matssocket_sent_key"), "{text}");
    assert_eq!(schema(&path), before);
}

/// A downgrade followed by an upgrade: what the earlier version had accepted meanwhile was silently ignored.
#[actix::test]
async fn tables_of_a_version_before_that_came_back_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("test.db");
    {
        let handle = attach(&Store::sqlite(&path)).expect("opens");
        handle.run(keyed("newer".into())).await.expect("works");
    }
    let mut conn = open(&path);
    for sql in [BARE, LEFT] {
        conn.batch_execute(sql).expect("works");
    }
    drop(conn);
    let text = refusal(&Store::sqlite(&path));
    for named in ["session", "sent_key", "20261123000000", "restore a copy"] {
        assert!(text.contains(named), "{text}");
    }
    // Following the advice in the refusal.
    let (_, drop_them) = text.split_once("of its own (").expect("names them");
    let (tables, rest) = drop_them.split_once(')').expect("names them");
    let (_, delete) = rest.split_once("tables and ").expect("says how");
    let mut conn = open(&path);
    for table in tables.split(", ") {
        let dropped = conn.batch_execute(&format!("DROP TABLE {table}"));
        dropped.expect("there");
    }
    conn.batch_execute(delete).expect("works");
    drop(conn);
    let handle = attach(&Store::sqlite(&path)).expect("opens");
    let repeated = handle.run(keyed("newer".into())).await.expect("works");
    assert_eq!(repeated, UnitOutcome::Repeated);
}
