//! SQLite: one connection that writes and others that read; in memory, one for everything.
//!
//! [`name`] refuses what is not a file name, [`lock`] keeps others away from the file, and [`read`] opens it for
//! reading only.

/// A query for rows that are about to be changed. There is one writer, so nobody can interfere.
macro_rules! locked {
    ($query:expr) => {
        $query
    };
}

/// Like `locked!`, but skips rows that somebody else is changing at the moment.
macro_rules! unclaimed {
    ($query:expr) => {
        $query
    };
}

/// A table under its prefixed name: the file may be shared with the application's own tables.
macro_rules! table {
    ($name:literal $($table:tt)*) => {
        diesel::table! {
            #[sql_name = $name]
            $($table)*
        }
    };
}

/// The prefix of table names in SQL text.
macro_rules! prefix {
    () => {
        "matssocket_"
    };
}

mod closing;
mod codes;
mod dialect;
mod file;
mod held;
mod hot;
mod lock;
mod work_connection;

mod migrate;
mod name;
mod publications;
mod raw;
mod read;
mod record;
#[path = "../rows.rs"]
mod rows;
#[path = "../schema.rs"]
mod schema;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
mod tests;
mod wal;
mod watch;

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use self::dialect::Dialect;
use self::held::Held;
use self::lock::{FileLock, Purpose};
pub use self::read::open_to_read;
use self::sql::Rooms;
use self::watch::{LogUse, Watch};
use self::work_connection::{SqliteReader, SqliteWriter, UnusableFile};
use super::limits::Limits;
use super::statements::{Database, WorkConnection};
use super::{StoreConfig, StoreError, report_migrations};

type Conn = SqliteConnection;

/// Whether the connection was lost, which cannot happen with a file.
fn is_lost(_: &mut SqliteConnection) -> bool {
    false
}

/// The connection as a handler receives it.
fn lendable(conn: &mut SqliteConnection) -> &mut dyn std::any::Any {
    conn
}

/// An opened database. Every connection to a file also holds the lock, so that it is released after the last one is
/// closed, in whatever order threads end.
struct SqliteDatabase {
    url: String,
    busy_timeout: Duration,
    limits: Limits,
    readers: usize,
    held: Arc<Held>,
    /// Whether times too far in the future have been repaired, through any connection.
    mended: Arc<AtomicBool>,
    /// The connection that opened it, for the first writer.
    first: Mutex<Option<First>>,
    /// In memory: keeps the database alive while its one working connection is reopened.
    _anchor: Option<Mutex<SqliteConnection>>,
    /// `None` in memory.
    file: Option<(Arc<FileLock>, Arc<Watch>)>,
}

/// The connection that opened a database and, for a file, its use of the log.
type First = (SqliteConnection, Option<LogUse>);

/// Opens a database in a file, which is created if it does not exist.
pub fn open_file(path: &Path, config: &StoreConfig) -> Result<Arc<dyn Database>, StoreError> {
    name::check(path)?;
    let refuse = |why: &dyn Display| refusal(path, why);
    let lock = FileLock::take(path, Purpose::Write).map_err(|why| refuse(&why))?;
    let url = file::uri(lock.path(), "mode=rw").map_err(|why| refuse(&why))?;
    let watch = Arc::new(Watch::over(lock.path()).map_err(|why| refuse(&why))?);
    let mut first = SqliteConnection::establish(&url).map_err(|why| refuse(&why))?;
    // The file may have been replaced since it was locked, or be read-only.
    watch.check().map_err(|why| refuse(&why))?;
    prepare(&mut first, config.busy_timeout, true).map_err(|why| refuse(&why))?;
    let ran = migrate::run(&mut first).map_err(|why| refuse(&why))?;
    report_migrations("SQLite", &ran);
    first
        .immediate_transaction(forget_nodes)
        .map_err(|why| refuse(&why))?;
    // The log exists by now.
    watch.check().map_err(|why| refuse(&why))?;
    let log = watch.use_log();
    Ok(Arc::new(SqliteDatabase {
        url,
        busy_timeout: config.busy_timeout,
        limits: config.into(),
        readers: config.readers,
        held: Arc::default(),
        mended: Arc::default(),
        first: Mutex::new(Some((first, Some(log)))),
        _anchor: None,
        file: Some((Arc::new(lock), watch)),
    }))
}

fn refusal(path: &Path, why: &dyn Display) -> StoreError {
    StoreError::Open(format!(
        "cannot open the SQLite database {}: {}",
        path.display(),
        one_line(why)
    ))
}

/// Whoever opens the file is its only user: the nodes recorded in it are gone, however long their leases are valid.
/// Their claims are released at once.
fn forget_nodes(first: &mut SqliteConnection) -> diesel::QueryResult<()> {
    use self::schema::{forwarded, node, session};
    diesel::delete(node::table).execute(first)?;
    diesel::update(session::table.filter(session::node.is_not_null()))
        .set(session::node.eq(None::<String>))
        .execute(first)?;
    diesel::update(forwarded::table.filter(forwarded::node.is_not_null()))
        .set((forwarded::node.eq(None::<String>), forwarded::due.eq(0)))
        .execute(first)?;
    Ok(())
}

/// Opens a new database in memory.
pub fn open_in_memory(config: &StoreConfig) -> Result<Arc<dyn Database>, StoreError> {
    Ok(Arc::new(in_memory(config)?))
}

fn in_memory(config: &StoreConfig) -> Result<SqliteDatabase, StoreError> {
    let refuse = |why: &dyn Display| {
        StoreError::Open(format!(
            "cannot open an SQLite database in memory: {}",
            one_line(why)
        ))
    };
    let url = format!("file:/matssocket-{}?vfs=memdb", rows::secret());
    let anchor = SqliteConnection::establish(&url).map_err(|why| refuse(&why))?;
    let mut first = SqliteConnection::establish(&url).map_err(|why| refuse(&why))?;
    prepare(&mut first, config.busy_timeout, false).map_err(|why| refuse(&why))?;
    migrate::run(&mut first).map_err(|why| refuse(&why))?;
    Ok(SqliteDatabase {
        url,
        busy_timeout: config.busy_timeout,
        limits: config.into(),
        readers: 0,
        held: Arc::default(),
        mended: Arc::default(),
        first: Mutex::new(Some((first, None))),
        _anchor: Some(Mutex::new(anchor)),
        file: None,
    })
}

fn one_line(text: &dyn Display) -> String {
    text.to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn prepare(conn: &mut SqliteConnection, busy_timeout: Duration, file: bool) -> QueryResult<()> {
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {}; PRAGMA foreign_keys = OFF;",
        busy_timeout.as_millis()
    ))?;
    if file {
        // The page size applies to new files only. A row larger than a quarter of a page gets overflow pages, which
        // doubles its cost; with 8 KiB pages, a message of up to 2 KiB is as fast as a small one. Larger pages would
        // make each commit write more.
        conn.batch_execute(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
        )?;
        conn.batch_execute(&format!("PRAGMA journal_size_limit = {};", wal::KEPT))?;
    }
    Ok(())
}

/// Runs after all connections but the first are closed.
impl Drop for SqliteDatabase {
    fn drop(&mut self) {
        let first = self.first.get_mut();
        drop(first.unwrap_or_else(PoisonError::into_inner).take());
        if let Some((_, watch)) = &self.file {
            watch.set_log_aside();
            wal::empty_at_the_end(watch, &self.url);
        }
    }
}

impl SqliteDatabase {
    fn connect(&self, file: bool) -> Result<SqliteConnection, String> {
        let connect = || {
            let mut conn = SqliteConnection::establish(&self.url)?;
            prepare(&mut conn, self.busy_timeout, file)
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(conn)
        };
        connect().map_err(|error: ConnectionError| error.to_string())
    }

    /// Opens a connection, if the files are unchanged before and after opening: their names may have been taken by others.
    fn connection(
        &self,
        open: impl FnOnce() -> Result<Box<dyn WorkConnection>, String>,
    ) -> Result<Box<dyn WorkConnection>, String> {
        let unable = |why| Ok::<Box<dyn WorkConnection>, String>(Box::new(UnusableFile(why)));
        if let Err(why) = self.check_file() {
            return unable(why);
        }
        let connection = open()?;
        match self.check_file() {
            Ok(()) => Ok(connection),
            Err(why) => unable(why),
        }
    }

    /// The lock, for a connection to hold: it is released after the last one is closed.
    fn lock(&self) -> Option<Arc<FileLock>> {
        self.file.as_ref().map(|(lock, _)| lock.clone())
    }

    /// Must be called before the connection is opened.
    fn use_log(&self) -> Option<LogUse> {
        let (_, watch) = self.file.as_ref()?;
        Some(watch.use_log())
    }

    fn check_file(&self) -> Result<(), String> {
        match &self.file {
            Some((_, watch)) => watch.check().map(drop),
            None => Ok(()),
        }
    }
}

impl Database for SqliteDatabase {
    fn writer(&self) -> Result<Box<dyn WorkConnection>, String> {
        self.connection(|| {
            let mut rooms = Rooms::new(self.limits);
            rooms.begun = self.mended.clone();
            let first = self.first.lock();
            let first = first.unwrap_or_else(PoisonError::into_inner).take();
            let (conn, log) = match first {
                Some(first) => first,
                None => {
                    let log = self.use_log();
                    (self.connect(self.file.is_some())?, log)
                }
            };
            Ok(Box::new(SqliteWriter::new(
                conn,
                rooms,
                self.held.clone(),
                self.busy_timeout,
                log,
                self.lock(),
            )))
        })
    }

    fn reader(&self) -> Result<Box<dyn WorkConnection>, String> {
        self.connection(|| {
            let log = self.use_log();
            let mut conn = self.connect(false)?;
            // SQLite opens the log when the file is first read; do that now, while it is being watched.
            conn.batch_execute("PRAGMA query_only = ON; SELECT count(*) FROM sqlite_master;")
                .map_err(|error| error.to_string())?;
            Ok(Box::new(SqliteReader::new(
                conn,
                Rooms::new(self.limits),
                self.held.clone(),
                log,
                self.lock(),
            )))
        })
    }

    fn writers(&self) -> usize {
        1
    }

    fn handlers(&self) -> usize {
        0
    }

    fn held(&self) -> Duration {
        self.held.so_far()
    }

    fn readers(&self) -> usize {
        self.readers
    }

    fn outlives_closing(&self) -> bool {
        self.file.is_some()
    }

    fn log_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, watch)| watch.log_bytes())
    }
}
