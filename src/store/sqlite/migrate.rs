//! Creates the tables and brings them up to date, in a file that the application may share.
//!
//! The migrations that have run are recorded in a table of our own. Diesel's `__diesel_schema_migrations` belongs to
//! the application: its `diesel migration revert` would mistake our newest migration for the application's. Earlier
//! versions did share that table, and their tables had no prefix; both are changed when such a file is opened, in the
//! same transaction as everything else.

use std::collections::HashSet;
use std::error::Error;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// What a next version might add, for tests of upgrades.
#[cfg(feature = "sabotage")]
const NEXT: EmbeddedMigrations = embed_migrations!("tests/upgrade/next/sqlite");

/// The tables of versions that used no prefix.
const BARE: [&str; 10] = [
    "session",
    "inbox",
    "outbox",
    "correlation",
    "subscription",
    "publication",
    "forwarded",
    "dead_letter",
    "node",
    "sent_key",
];

type Failure = Box<dyn Error + Send + Sync>;

/// Brings the tables up to date, in one transaction. Returns the names of the migrations that ran.
///
/// # Errors
/// The reason for the failure. Nothing was changed.
pub fn run(conn: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    refuse_both(conn)?;
    if missing(conn)?.is_empty() {
        return Ok(Vec::new());
    }
    conn.immediate_transaction(|conn| {
        conn.batch_execute(
            "CREATE TABLE IF NOT EXISTS matssocket_migration (
                 version TEXT NOT NULL PRIMARY KEY,
                 run_on TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
             ) WITHOUT ROWID",
        )?;
        if known(conn)?.is_empty() {
            take_over(conn)?;
        }
        let mut ran = Vec::new();
        for migration in missing(conn)? {
            migration.run(conn)?;
            note(conn, &version(&*migration))?;
            ran.push(migration.name().to_string());
        }
        Ok(ran)
    })
}

/// The migrations that have not run, oldest first. (A file may know more migrations than we do, after a newer version
/// has run.)
///
/// # Errors
/// Those of the database.
pub fn missing(conn: &mut SqliteConnection) -> Result<Vec<Box<dyn Migration<Sqlite>>>, Failure> {
    let known = known(conn)?;
    let mut all = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)?;
    #[cfg(feature = "sabotage")]
    if crate::fault_injection::is_next_version() {
        all.extend(MigrationSource::<Sqlite>::migrations(&NEXT)?);
    }
    all.retain(|it| !known.contains(&version(&**it)));
    all.sort_by_key(|it| version(&**it));
    Ok(all)
}

fn version(migration: &dyn Migration<Sqlite>) -> String {
    migration.name().version().to_string()
}

fn note(conn: &mut SqliteConnection, version: &str) -> QueryResult<usize> {
    diesel::sql_query("INSERT INTO matssocket_migration (version) VALUES (?)")
        .bind::<Text, _>(version)
        .execute(conn)
}

fn known(conn: &mut SqliteConnection) -> QueryResult<HashSet<String>> {
    versions(conn, "matssocket_migration")
}

/// The versions recorded in this table; none if it does not exist.
fn versions(conn: &mut SqliteConnection, table: &str) -> QueryResult<HashSet<String>> {
    let there = format!("FROM sqlite_master WHERE type = 'table' AND name = '{table}'");
    if count(conn, &there)? == 0 {
        return Ok(HashSet::new());
    }
    texts(conn, &format!("version FROM {table}")).map(HashSet::from_iter)
}

fn count(conn: &mut SqliteConnection, from: &str) -> QueryResult<i64> {
    diesel::dsl::sql::<BigInt>(&format!("SELECT count(*) {from}")).get_result(conn)
}

fn texts(conn: &mut SqliteConnection, what: &str) -> QueryResult<Vec<String>> {
    diesel::dsl::sql::<Text>(&format!("SELECT {what}")).load(conn)
}

/// Gives the tables and indexes of an earlier version their prefix, and moves the record of its migrations from the
/// table that the application may use to our own. Does nothing in a file without them, even if the application has a
/// table of the same name.
fn take_over(conn: &mut SqliteConnection) -> Result<(), Failure> {
    let ran = ran_before(conn)?;
    if ran.is_empty() {
        return Ok(());
    }
    for table in BARE {
        rename(conn, table)?;
    }
    for version in ran {
        note(conn, &version)?;
        diesel::sql_query("DELETE FROM __diesel_schema_migrations WHERE version = ?")
            .bind::<Text, _>(version)
            .execute(conn)?;
    }
    if versions(conn, "__diesel_schema_migrations")?.is_empty() {
        conn.batch_execute("DROP TABLE __diesel_schema_migrations")?;
    }
    Ok(())
}

/// The migrations that an earlier version ran, if its tables exist.
fn ran_before(conn: &mut SqliteConnection) -> Result<Vec<String>, Failure> {
    let shared = versions(conn, "__diesel_schema_migrations")?;
    let all = MigrationSource::<Sqlite>::migrations(&MIGRATIONS)?;
    let all = all.iter().map(|it| version(&**it));
    let ran: Vec<String> = all.filter(|it| shared.contains(it)).collect();
    let ours = "FROM pragma_table_info('session') WHERE name IN ('sid', 'smid_prefix', 'last_seq')";
    match ran.is_empty() || count(conn, ours)? != 3 {
        true => Ok(Vec::new()),
        false => Ok(ran),
    }
}

/// Refuses a file on which an earlier version was run after it had been brought up to date. That version found none of
/// its tables and created them again; what it has accepted since would be ignored.
fn refuse_both(conn: &mut SqliteConnection) -> Result<(), Failure> {
    if known(conn)?.is_empty() {
        return Ok(());
    }
    let ran = ran_before(conn)?;
    if ran.is_empty() {
        return Ok(());
    }
    let named: Vec<String> = BARE.iter().map(|table| format!("'{table}'")).collect();
    let named = named.join(", ");
    let tables = format!("name FROM sqlite_master WHERE type = 'table' AND name IN ({named})");
    let tables = texts(conn, &tables)?;
    Err(format!(
        "an earlier version was run on it after it had been brought up to date, and what it stored is in tables of its own \
         ({}), which this version does not read; restore a copy made before that, or, to discard what the earlier \
         version stored, drop these tables and DELETE FROM __diesel_schema_migrations WHERE version IN ('{}')",
        tables.join(", "),
        ran.join("', '")
    )
    .into())
}

/// Renames one table and recreates its indexes, since an index cannot be renamed. (Indexes without SQL text belong to a
/// primary key; those whose names do not begin with the table's name belong to the application.)
fn rename(conn: &mut SqliteConnection, table: &str) -> QueryResult<()> {
    conn.batch_execute(&format!("ALTER TABLE {table} RENAME TO matssocket_{table}"))?;
    let indexes = format!(
        "FROM sqlite_master WHERE type = 'index' AND tbl_name = 'matssocket_{table}' AND sql IS NOT NULL \
         AND substr(name, 1, length('{table}_')) = '{table}_' ORDER BY name"
    );
    let names = texts(conn, &format!("name {indexes}"))?;
    let definitions = texts(conn, &format!("sql {indexes}"))?;
    for (name, sql) in names.iter().zip(definitions) {
        let renamed = sql.replacen(name, &format!("matssocket_{name}"), 1);
        conn.batch_execute(&format!("DROP INDEX {name}; {renamed}"))?;
    }
    Ok(())
}
