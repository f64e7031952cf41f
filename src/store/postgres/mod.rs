//! PostgreSQL: several connections that write and others that read, each on a thread of its own.

/// A query for rows that are about to be changed; nobody else can change them before this transaction ends.
macro_rules! locked {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}

/// Like `locked!`, but skips rows that somebody else is changing at the moment.
macro_rules! unclaimed {
    ($query:expr) => {
        $query.for_no_key_update().skip_locked()
    };
}

/// A table under its plain name: the schema contains nothing but our tables.
macro_rules! table {
    ($_in_sqlite:literal $($table:tt)*) => {
        diesel::table! { $($table)* }
    };
}

/// The prefix of table names in SQL text.
macro_rules! prefix {
    () => {
        ""
    };
}

mod connection;
mod dialect;
mod forwards;
mod known_numbers;
mod locks;
mod migrate;
mod needs;
mod pending;
mod query;
mod reads;
mod resumed;
#[path = "../rows.rs"]
mod rows;
#[path = "../schema.rs"]
mod schema;
mod segments;
mod settings;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
pub mod tests;
mod vacuum;
mod work_connection;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use diesel::connection::{CacheSize, SimpleConnection};
use diesel::prelude::*;

use self::connection::PgConn;
use self::dialect::Dialect;
use self::known_numbers::KnownNumbers;
use self::needs::Needs;
#[cfg(any(test, feature = "__bench"))]
pub use self::query::{Value, sql};
use self::segments::Segments;
pub use self::settings::Postgres;
use self::vacuum::Vacuum;
use self::work_connection::PgWorkConnection;
use super::limits::Limits;
use super::statements::{Cutter, Database, WorkConnection};
use super::{Access, StoreConfig, StoreError, report_migrations};
use crate::conninfo::{is_ambiguous, one_line, with_keepalives};

type Conn = PgConn;

/// Whether the connection was lost.
fn is_lost(conn: &mut PgConn) -> bool {
    conn.is_lost()
}

/// The connection as a handler receives it.
fn lendable(conn: &mut PgConn) -> &mut dyn std::any::Any {
    conn.lend()
}

struct PgDatabase {
    shared: Arc<Shared>,
    writers: usize,
    handlers: usize,
    readers: usize,
    /// `None` if the database is opened for reading only.
    _vacuum: Option<Vacuum>,
}

/// State shared by all connections.
pub struct Shared {
    conninfo: String,
    pooled: bool,
    needs: Needs,
    limits: Limits,
    /// How long to keep asking for the outcome of a commit that was not answered.
    patience: Duration,
    /// How long an answer may take.
    answer_timeout: Duration,
    /// How far the database's clock is ahead of ours, in milliseconds.
    ahead: AtomicI64,
    /// Approximate number of message rows deleted.
    deleted: AtomicU64,
    /// The numbers that sessions of this process's nodes are known to have received.
    known: KnownNumbers,
    segments: Segments,
}

impl Shared {
    fn new(settings: &Postgres, config: &StoreConfig, access: Access) -> Shared {
        Shared {
            conninfo: with_keepalives(&settings.url, "matssocket"),
            pooled: settings.pooled,
            needs: Needs::new(settings, config, access),
            limits: config.into(),
            patience: config.busy_timeout,
            answer_timeout: config
                .answer_timeout
                .max(config.busy_timeout.saturating_add(Duration::from_secs(1))),
            ahead: AtomicI64::new(0),
            deleted: AtomicU64::new(0),
            segments: Segments::default(),
            known: KnownNumbers::default(),
        }
    }

    fn connect(&self) -> Result<PgConn, String> {
        self.prepared(PgConn::connect(&self.conninfo, self.answer_timeout)?)
    }

    fn connect_to_lend(&self, opening: &mut dyn FnMut(Cutter)) -> Result<PgConn, String> {
        self.prepared(PgConn::connect_to_lend(&self.conninfo, opening)?)
    }

    fn prepared(&self, mut conn: PgConn) -> Result<PgConn, String> {
        if self.pooled {
            conn.set_prepared_statement_cache_size(CacheSize::Disabled);
        } else {
            let settings = self.needs.for_good(conn.server_version());
            conn.lift_limit()
                .and_then(|()| conn.batch_execute(&settings))
                .map_err(|error| one_line(&error))?;
        }
        Ok(conn)
    }
}

/// Opens a database.
pub fn open(settings: &Postgres, config: &StoreConfig) -> Result<Arc<dyn Database>, StoreError> {
    match settings.migrate {
        true => report_migrations("PostgreSQL", &migrate::run(settings)?),
        false => migrate::check(settings, Access::Full)?,
    }
    Ok(database(settings, config, Access::Full))
}

/// Opens an existing database for reading only: the server refuses writes.
pub fn open_to_read(
    settings: &Postgres,
    config: &StoreConfig,
) -> Result<Arc<dyn Database>, StoreError> {
    migrate::check(settings, Access::Read)?;
    Ok(database(settings, config, Access::Read))
}

fn database(settings: &Postgres, config: &StoreConfig, access: Access) -> Arc<dyn Database> {
    let shared = Arc::new(Shared::new(settings, config, access));
    Arc::new(PgDatabase {
        _vacuum: match access {
            Access::Full => Vacuum::start(&shared),
            Access::Read => None,
        },
        shared,
        writers: config.writers.max(1),
        handlers: config.handlers.max(1),
        readers: config.readers.max(1),
    })
}

/// How long an answer may take while checking whether a database can be used.
const LOOK_UP: Duration = Duration::from_secs(30);

/// Opens a connection to check whether a database can be used.
fn connect(settings: &Postgres) -> Result<PgConn, StoreError> {
    if settings.urls().any(is_ambiguous) {
        let why = "its URL (which is not shown, since it may hold a password) contains an unexpected @; \
                   in a user, a password or a database, write %40 for @ and %2F for /";
        return Err(unusable(settings, why));
    }
    let mut conn = PgConn::connect(&with_keepalives(&settings.url, "matssocket"), LOOK_UP)
        .map_err(|why| unusable(settings, &why))?;
    if settings.pooled {
        conn.set_prepared_statement_cache_size(CacheSize::Disabled);
    } else {
        // These checks must not be cut short by a limit that is meant for the application.
        conn.lift_limit()
            .map_err(|why| unusable(settings, &one_line(&why)))?;
    }
    Ok(conn)
}

/// A name quoted for SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The error for a database that cannot be used. (Without its URL, which may contain a password.)
fn unusable(settings: &Postgres, why: &str) -> StoreError {
    StoreError::Open(format!(
        "cannot use the PostgreSQL database, schema {:?}: {why}",
        settings.schema
    ))
}

impl Database for PgDatabase {
    fn writer(&self) -> Result<Box<dyn WorkConnection>, String> {
        Ok(Box::new(PgWorkConnection::open(&self.shared)?))
    }

    fn handler(&self, opening: &mut dyn FnMut(Cutter)) -> Result<Box<dyn WorkConnection>, String> {
        Ok(Box::new(PgWorkConnection::open_to_lend(
            &self.shared,
            opening,
        )?))
    }

    fn reader(&self) -> Result<Box<dyn WorkConnection>, String> {
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

    fn connections_are_interchangeable(&self) -> bool {
        true
    }

    fn wants_rotation(&self) -> bool {
        self.shared.segments.take_use()
    }
}
