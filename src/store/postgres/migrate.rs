//! Creates the tables and brings them up to date, one node at a time.

use std::collections::HashSet;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::connection::PgConn;
use super::query::{Value, sql};
use super::{Postgres, connect, quoted, unusable};
use crate::conninfo::one_line;
use crate::store::statements::DbResult;
use crate::store::{Access, StoreError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// What a next version might add, for tests of upgrades.
#[cfg(feature = "sabotage")]
const NEXT: EmbeddedMigrations = embed_migrations!("tests/upgrade/next/postgres");

/// The advisory lock under which migrations run: "matssock" in ASCII.
const LOCK: i64 = 0x6d61_7473_736f_636b;

/// The oldest supported server version.
const OLDEST: i32 = 130_000;

/// Migrations, and waiting for those of another node, are practically unlimited in time.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Brings the tables up to date and returns the names of the migrations that ran.
pub fn run(settings: &Postgres) -> Result<Vec<String>, StoreError> {
    let mut conn = connect(settings)?;
    check_server(&mut conn).map_err(|why| unusable(settings, &why))?;
    if missing(&mut conn, settings)
        .map_err(|why| unusable(settings, &why))?
        .is_empty()
    {
        check_grants(&mut conn, settings, Access::Full)?;
        return Ok(Vec::new());
    }
    conn.be_patient(LONGEST);
    conn.transaction(|conn| apply(conn, settings))
        .map_err(|why| {
            unusable(
                settings,
                &format!("its tables could not be brought up to date ({why})"),
            )
        })
}

/// Fails if the tables are not up to date.
pub fn check(settings: &Postgres, access: Access) -> Result<(), StoreError> {
    let mut conn = connect(settings)?;
    check_server(&mut conn).map_err(|why| unusable(settings, &why))?;
    let missing = missing(&mut conn, settings).map_err(|why| unusable(settings, &why))?;
    match missing.is_empty() {
        true => check_grants(&mut conn, settings, access),
        false => Err(unusable(
            settings,
            &format!(
                "its tables are not up to date; run `Postgres::migrate` or `matssocket migrate` (missing: {})",
                missing.join(", ")
            ),
        )),
    }
}

fn check_server(conn: &mut PgConn) -> Result<(), String> {
    let ask =
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding')";
    let (version, encoding): (i32, String) = sql::<(Integer, Text)>(ask, [])
        .get_result(conn)
        .map_err(|error| error.to_string())?;
    if version < OLDEST {
        return Err(format!(
            "the server is too old ({version}): PostgreSQL 13 or newer is needed"
        ));
    }
    match encoding.as_str() {
        "UTF8" => Ok(()),
        other => Err(format!(
            "its encoding is {other}: a database with ENCODING 'UTF8' is needed"
        )),
    }
}

/// Fails if the role lacks privileges that are needed, and names them.
fn check_grants(conn: &mut PgConn, settings: &Postgres, access: Access) -> Result<(), StoreError> {
    let schema = quoted(&settings.schema);
    let (wanted, sequences) = match access {
        Access::Full => ("SELECT, INSERT, UPDATE, DELETE", "USAGE"),
        Access::Read => ("SELECT", ""),
    };
    let ask = "SELECT current_user::text, ( \
        SELECT string_agg(missing, ', ' ORDER BY missing) FROM ( \
            SELECT wanted || ' on table ' || relname AS missing \
            FROM pg_class CROSS JOIN unnest(string_to_array(?, ', ')) AS wanted \
            WHERE relnamespace = to_regnamespace(?) AND relkind IN ('r', 'p') \
            AND (wanted = 'SELECT' OR relname <> '__diesel_schema_migrations') \
            AND NOT has_table_privilege(pg_class.oid, wanted) \
            UNION ALL \
            SELECT wanted || ' on sequence ' || relname \
            FROM pg_class CROSS JOIN unnest(string_to_array(?, ', ')) AS wanted \
            WHERE relnamespace = to_regnamespace(?) AND relkind = 'S' \
            AND NOT has_sequence_privilege(pg_class.oid, wanted) \
        ) AS lacks)";
    let values = [
        Value::Text(wanted),
        Value::Text(&schema),
        Value::Text(sequences),
        Value::Text(&schema),
    ];
    let (role, lacks): (String, Option<String>) = sql::<(Text, Nullable<Text>)>(ask, values)
        .get_result(conn)
        .map_err(|error| unusable(settings, &one_line(&error)))?;
    let Some(lacks) = lacks else { return Ok(()) };
    let (tables, role) = (format!("GRANT {wanted} ON ALL TABLES"), quoted(&role));
    let on_sequences = match sequences {
        "" => String::new(),
        wanted => format!("; GRANT {wanted} ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"),
    };
    Err(unusable(
        settings,
        &format!(
            "its role {role} lacks {lacks}; run, as the owner: {tables} IN SCHEMA {schema} TO {role}{on_sequences}"
        ),
    ))
}

/// All migrations of this version.
fn migrations() -> diesel::migration::Result<Vec<Box<dyn Migration<Pg>>>> {
    #[cfg_attr(not(feature = "sabotage"), allow(unused_mut))]
    let mut all = MigrationSource::<Pg>::migrations(&MIGRATIONS)?;
    #[cfg(feature = "sabotage")]
    if crate::fault_injection::is_next_version() {
        all.extend(MigrationSource::<Pg>::migrations(&NEXT)?);
    }
    Ok(all)
}

/// The migrations that have not run. (The database may know more migrations than we do, after a newer version has run.)
fn missing(conn: &mut PgConn, settings: &Postgres) -> Result<Vec<String>, String> {
    let known = known(conn, settings).map_err(|error| error.to_string())?;
    let all = migrations().map_err(|error| error.to_string())?;
    let missing = all
        .iter()
        .filter(|it| !known.contains(&it.name().version().to_string()));
    Ok(missing.map(|it| it.name().to_string()).collect())
}

fn known(conn: &mut PgConn, settings: &Postgres) -> DbResult<HashSet<String>> {
    let table = format!("{}.__diesel_schema_migrations", quoted(&settings.schema));
    let ask = "SELECT to_regclass(?)::text";
    let there: Option<String> =
        sql::<Nullable<Text>>(ask, [Value::Text(&table)]).get_result(conn)?;
    if there.is_none() {
        return Ok(HashSet::new());
    }
    let versions = diesel::dsl::sql::<Text>(&format!("SELECT version FROM {table}"));
    Ok(versions.load::<String>(conn)?.into_iter().collect())
}

fn apply(conn: &mut PgConn, settings: &Postgres) -> Result<Vec<String>, Failure> {
    let schema = quoted(&settings.schema);
    // Nodes that start meanwhile wait for as long as it takes, whatever limits the role has.
    conn.batch_execute(
        "SET TRANSACTION READ WRITE; SET LOCAL statement_timeout TO 0; SET LOCAL lock_timeout TO 0; \
        SET LOCAL idle_in_transaction_session_timeout TO 0; SET LOCAL client_min_messages TO warning; \
        SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'",
    )?;
    conn.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})"))?;
    let ask = "SELECT to_regnamespace(?)::text";
    let there: Option<String> =
        sql::<Nullable<Text>>(ask, [Value::Text(&schema)]).get_result(conn)?;
    if there.is_none() {
        conn.batch_execute(&format!("CREATE SCHEMA {schema}"))?;
    }
    conn.batch_execute(&format!("SET LOCAL search_path TO {schema}"))?;
    let missing = missing(conn, settings)?;
    conn.run_pending_migrations(MIGRATIONS)?;
    #[cfg(feature = "sabotage")]
    if crate::fault_injection::is_next_version() {
        conn.run_pending_migrations(NEXT)?;
    }
    Ok(missing)
}
