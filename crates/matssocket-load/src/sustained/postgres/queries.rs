//! The queries to the database.

use diesel::connection::SimpleConnection;
use diesel::deserialize::QueryableByName;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Nullable, Text};

use super::super::args::Postgres;
use super::super::inside::Table;

/// The tables that messages go through. One that was split into several (`inbox_1`, `inbox_2`) counts as one.
pub const TABLES: [&str; 4] = ["inbox", "outbox", "session", "forwarded"];

/// This program's name in PostgreSQL, whose own backends it does not count.
pub const APPLICATION: &str = "matssocket-load";

/// A connection for observing. None of its statements may wait for long.
pub struct Queries {
    conn: PgConnection,
    schema: String,
    of_server: String,
}

/// The cumulative counters so far.
#[derive(Clone, Default)]
pub struct Figures {
    pub tables: Vec<Table>,
    /// Vacuums that have ended, by table.
    pub vacuums: Vec<u64>,
    pub disk: u64,
    pub server: OfServer,
}

#[derive(Clone, Copy, Default, QueryableByName)]
pub struct OfServer {
    #[diesel(sql_type = BigInt)]
    pub wal_bytes: i64,
    #[diesel(sql_type = BigInt)]
    pub full_pages: i64,
    #[diesel(sql_type = BigInt)]
    pub timed: i64,
    #[diesel(sql_type = BigInt)]
    pub requested: i64,
    #[diesel(sql_type = BigInt)]
    pub pages: i64,
}

#[derive(QueryableByName)]
struct TableRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    live: i64,
    #[diesel(sql_type = BigInt)]
    dead: i64,
    #[diesel(sql_type = BigInt)]
    heap: i64,
    #[diesel(sql_type = BigInt)]
    indexes: i64,
    #[diesel(sql_type = BigInt)]
    vacuums: i64,
}

/// Backends that do the same, or wait for the same.
#[derive(QueryableByName)]
pub struct Backends {
    #[diesel(sql_type = Text)]
    pub event: String,
    #[diesel(sql_type = BigInt)]
    pub count: i64,
}

/// A running vacuum.
#[derive(QueryableByName)]
pub struct AtWork {
    #[diesel(sql_type = Text)]
    pub table: String,
    #[diesel(sql_type = diesel::sql_types::Bool)]
    pub asleep: bool,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Integer)]
    version: i32,
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Nullable<BigInt>)]
    age: Option<i64>,
}

impl Queries {
    pub fn connect(settings: &Postgres) -> Result<Queries, String> {
        let mut conn = connect(&settings.url)?;
        let limits = "SET statement_timeout TO '5s'; SET lock_timeout TO '1s'";
        conn.batch_execute(limits).map_err(text)?;
        let version = "SELECT current_setting('server_version_num')::int AS version";
        let Version { version } = sql_query(version).get_result(&mut conn).map_err(text)?;
        Ok(Queries {
            conn,
            schema: settings.schema.clone(),
            of_server: of_server(version),
        })
    }

    pub fn figures(&mut self) -> Result<Figures, String> {
        let rows: Vec<TableRow> = sql_query(OF_TABLES)
            .bind::<Text, _>(&self.schema)
            .load(&mut self.conn)
            .map_err(text)?;
        let server = sql_query(&self.of_server)
            .get_result(&mut self.conn)
            .map_err(text)?;
        let disk = rows.iter().map(|row| row.heap + row.indexes).sum::<i64>();
        let vacuums = TABLES.map(|name| of_table(&rows, name).map(|row| row.vacuums).sum::<i64>());
        Ok(Figures {
            tables: TABLES.map(|name| table(&rows, name)).into(),
            vacuums: vacuums.map(unsigned).into(),
            disk: unsigned(disk),
            server,
        })
    }

    pub fn backends(&mut self) -> Result<Vec<Backends>, String> {
        let query = sql_query(BACKENDS).bind::<Text, _>(APPLICATION);
        query.load(&mut self.conn).map_err(text)
    }

    pub fn vacuums(&mut self) -> Result<Vec<AtWork>, String> {
        sql_query(VACUUMS).load(&mut self.conn).map_err(text)
    }

    /// How many transactions began since the oldest one that this program holds open.
    pub fn held(&mut self) -> Result<Option<u64>, String> {
        let query = sql_query(HELD).bind::<Text, _>(APPLICATION);
        let Held { age } = query.get_result(&mut self.conn).map_err(text)?;
        Ok(age.map(unsigned))
    }
}

/// A connection with this program's name.
pub fn connect(url: &str) -> Result<PgConnection, String> {
    let mut conn = PgConnection::establish(url).map_err(|why| format!("--postgres: {why}"))?;
    conn.batch_execute(&format!("SET application_name TO '{APPLICATION}'"))
        .map_err(text)?;
    Ok(conn)
}

fn text(why: diesel::result::Error) -> String {
    why.to_string()
}

fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}

/// The rows of a table, and of its parts.
fn of_table<'a>(rows: &'a [TableRow], name: &'a str) -> impl Iterator<Item = &'a TableRow> {
    rows.iter().filter(move |row| {
        let rest = row.name.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

fn table(rows: &[TableRow], name: &str) -> Table {
    let sum = |of: fn(&TableRow) -> i64| unsigned(of_table(rows, name).map(of).sum());
    Table {
        name: name.to_owned(),
        live: sum(|row| row.live),
        dead: sum(|row| row.dead),
        heap_bytes: sum(|row| row.heap),
        index_bytes: sum(|row| row.indexes),
    }
}

/// A table's size may be unknown for a moment, while it is dropped.
const OF_TABLES: &str = "\
    SELECT relname::text AS name, n_live_tup AS live, n_dead_tup AS dead, \
        coalesce(pg_table_size(relid), 0) AS heap, coalesce(pg_indexes_size(relid), 0) AS indexes, \
        vacuum_count + autovacuum_count AS vacuums \
    FROM pg_stat_user_tables WHERE schemaname = $1";

/// Busy backends. A backend that waits for its client in the middle of a transaction is waiting for the node.
const BACKENDS: &str = "\
    SELECT CASE WHEN state <> 'active' THEN 'in transaction' \
        ELSE coalesce(wait_event_type || ':' || wait_event, 'running') END AS event, count(*) AS count \
    FROM pg_stat_activity \
    WHERE datname = current_database() AND backend_type = 'client backend' AND state <> 'idle' \
        AND application_name <> $1 \
    GROUP BY 1";

const VACUUMS: &str = "\
    SELECT relname::text AS table, coalesce(wait_event = 'VacuumDelay', false) AS asleep \
    FROM pg_stat_progress_vacuum AS vacuum \
        JOIN pg_class ON pg_class.oid = relid JOIN pg_stat_activity AS activity ON activity.pid = vacuum.pid \
    WHERE vacuum.datname = current_database()";

const HELD: &str = "\
    SELECT max(age(backend_xmin))::bigint AS age FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()";

/// PostgreSQL versions keep these counters in different places.
fn of_server(version: i32) -> String {
    let full_pages = match version {
        ..140_000 => "0::bigint",
        _ => "(SELECT wal_fpi FROM pg_stat_wal)",
    };
    let checkpoints = match version {
        ..170_000 => {
            "checkpoints_timed AS timed, checkpoints_req AS requested, buffers_checkpoint AS pages \
            FROM pg_stat_bgwriter"
        }
        _ => {
            "num_timed AS timed, num_requested AS requested, buffers_written AS pages \
            FROM pg_stat_checkpointer"
        }
    };
    format!(
        "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS wal_bytes, {full_pages} AS full_pages, {checkpoints}"
    )
}
