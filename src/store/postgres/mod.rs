//! PostgreSQL: several connections that write, others that read beside them, each on a thread of its own.

/// A query for rows that are going to be changed: nobody else changes them before this transaction ends.
macro_rules! locked {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}

/// As `locked!`, without the rows that somebody else is changing just now.
macro_rules! unclaimed {
    ($query:expr) => {
        $query.for_no_key_update().skip_locked()
    };
}

/// A table under its bare name: the schema is ours alone.
macro_rules! table {
    ($_in_sqlite:literal $($table:tt)*) => {
        diesel::table! { $($table)* }
    };
}

/// What stands in front of the names of tables in SQL text.
macro_rules! prefix {
    () => {
        ""
    };
}

mod dialect;
mod line;
mod migrate;
mod pending;
mod query;
#[path = "../rows.rs"]
mod rows;
#[path = "../schema.rs"]
mod schema;
mod settings;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;

use self::dialect::Dialect;
use self::line::PgLine;
pub use self::query::{Value, sql};
pub use self::settings::Postgres;
use super::limits::Limits;
use super::statements::{Database, Line};
use super::{StoreConfig, StoreError};
use crate::conninfo::{careful, is_ambiguous, one_line, refusal};

type Conn = PgConnection;

/// A process that is stopped in the midst of a transaction must not hold its locks for as long. (Ours are never idle.)
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

struct PgDatabase {
    shared: Arc<Shared>,
    writers: usize,
    handlers: usize,
    readers: usize,
}

/// What all connections share.
pub struct Shared {
    conninfo: String,
    pooled: bool,
    /// What a transaction of ours needs.
    settings: String,
    begin: String,
    limits: Limits,
    /// How long it is asked for a commit that was not answered.
    patience: Duration,
    /// How far the database's clock is ahead of ours, in milliseconds.
    ahead: AtomicI64,
}

impl Shared {
    fn connect(&self) -> Result<PgConnection, String> {
        let mut conn = PgConnection::establish(&self.conninfo).map_err(|error| refusal(&error))?;
        if self.pooled {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        } else {
            conn.batch_execute(&for_good(&self.settings))
                .map_err(|error| one_line(&error))?;
        }
        Ok(conn)
    }
}

/// Opens a database.
pub fn open(settings: &Postgres, config: &StoreConfig) -> Result<Arc<dyn Database>, StoreError> {
    match settings.migrate {
        true => drop(migrate::run(settings)?),
        false => migrate::check(settings)?,
    }
    Ok(database(settings, config, "BEGIN"))
}

/// Opens a database that is there, to read only: the server refuses to write.
pub fn open_to_read(
    settings: &Postgres,
    config: &StoreConfig,
) -> Result<Arc<dyn Database>, StoreError> {
    migrate::check(settings)?;
    Ok(database(settings, config, "BEGIN READ ONLY"))
}

/// What a transaction of ours needs.
fn needs(settings: &Postgres, config: &StoreConfig) -> String {
    let lock_timeout = config.busy_timeout.as_millis().max(1);
    let idle_timeout = IDLE_TIMEOUT.as_millis();
    // Every statement has its index, and tables that fill and empty all the time mislead the planner. Planned once for
    // all values, a statement takes half the time.
    format!(
        "SET LOCAL search_path TO {}; SET LOCAL enable_seqscan TO off; SET LOCAL jit TO off; \
        SET LOCAL plan_cache_mode TO force_generic_plan; SET LOCAL lock_timeout TO {lock_timeout}; \
        SET LOCAL idle_in_transaction_session_timeout TO {idle_timeout}",
        quoted(&settings.schema)
    )
}

/// The same for all transactions of a connection.
fn for_good(needs: &str) -> String {
    needs.replace("SET LOCAL", "SET")
}

fn database(settings: &Postgres, config: &StoreConfig, begin: &str) -> Arc<dyn Database> {
    let needs = needs(settings, config);
    Arc::new(PgDatabase {
        shared: Arc::new(Shared {
            conninfo: careful(&settings.url, "matssocket"),
            pooled: settings.pooled,
            begin: match settings.pooled {
                true => format!("{begin}; {needs}"),
                false => begin.into(),
            },
            settings: needs,
            limits: config.into(),
            patience: config.busy_timeout,
            ahead: AtomicI64::new(0),
        }),
        writers: config.writers.max(1),
        handlers: config.handlers.max(1),
        readers: config.readers.max(1),
    })
}

fn connect(settings: &Postgres) -> Result<PgConnection, StoreError> {
    if settings.urls().any(is_ambiguous) {
        let why = "its URL (which is not shown, since it may hold a password) has an @ where there should be none; \
                   in a user, a password or a database, write %40 for @ and %2F for /";
        return Err(unusable(settings, why));
    }
    let mut conn = PgConnection::establish(&careful(&settings.url, "matssocket"))
        .map_err(|why| unusable(settings, &refusal(&why)))?;
    if settings.pooled {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    }
    Ok(conn)
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Why the database cannot be used. (Not its URL, which may hold a password.)
fn unusable(settings: &Postgres, why: &str) -> StoreError {
    StoreError::Open(format!(
        "cannot use the PostgreSQL database, schema {:?}: {why}",
        settings.schema
    ))
}

impl Database for PgDatabase {
    fn writer(&self) -> Result<Box<dyn Line>, String> {
        Ok(Box::new(PgLine::open(&self.shared)?))
    }

    fn reader(&self) -> Result<Box<dyn Line>, String> {
        self.writer()
    }

    fn writers(&self) -> usize {
        self.writers
    }

    fn handlers(&self) -> usize {
        self.handlers
    }

    fn readers(&self) -> usize {
        self.readers
    }
}
