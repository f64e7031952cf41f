//! SQLite: one connection that writes, others that read beside it; in memory, one for everything.

/// A query for rows that are going to be changed. There is one writer: nobody can come between.
macro_rules! locked {
    ($query:expr) => {
        $query
    };
}

/// As `locked!`, without the rows that somebody else is changing just now.
macro_rules! unclaimed {
    ($query:expr) => {
        $query
    };
}

mod dialect;
mod hot;
#[path = "../sql/mod.rs"]
mod sql;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Pool, PooledConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use self::dialect::Dialect;
use self::sql::{Known, Rooms, Transaction};
use super::statements::{Care, Database, DbError, Fault, Group, Line, Verdict};
use super::{StoreConfig, StoreError};

type Conn = SqliteConnection;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

type ReaderPool = Pool<ConnectionManager<SqliteConnection>>;

struct SqliteDatabase {
    url: String,
    busy_timeout: Duration,
    max_outbox: i64,
    /// The connection that opened it, for the first writer.
    first: Mutex<Option<SqliteConnection>>,
    readers: Option<ReaderPool>,
    /// In memory: keeps the database while its one working connection is opened anew.
    _anchor: Option<Mutex<SqliteConnection>>,
    /// Last, so that it is given back when all connections are closed.
    _lock: Option<LockFile>,
}

/// Opens a database in a file.
pub fn open_file(path: &Path, config: &StoreConfig) -> Result<Arc<dyn Database>, StoreError> {
    let refuse = |why: &dyn Display| {
        StoreError::Open(format!(
            "cannot open the SQLite database {}: {}",
            path.display(),
            one_line(why)
        ))
    };
    let lock = LockFile::take(path).map_err(|why| refuse(&why))?;
    // Relative to where we are now, should the process change its directory; a leading `file:` would be a URL.
    let absolute = std::path::absolute(path).map_err(|why| refuse(&why))?;
    let url = absolute
        .to_str()
        .ok_or_else(|| refuse(&"its path is not valid UTF-8"))?
        .to_string();
    let mut first = SqliteConnection::establish(&url).map_err(|why| refuse(&why))?;
    prepare(&mut first, config.busy_timeout, true).map_err(|why| refuse(&why))?;
    first
        .run_pending_migrations(MIGRATIONS)
        .map_err(|why| refuse(&why))?;
    first
        .immediate_transaction(forget_nodes)
        .map_err(|why| refuse(&why))?;
    let readers = match config.readers {
        0 => None,
        readers => {
            Some(reader_pool(&url, readers, config.busy_timeout).map_err(|why| refuse(&why))?)
        }
    };
    Ok(Arc::new(SqliteDatabase {
        url,
        busy_timeout: config.busy_timeout,
        max_outbox: config.max_outbox.into(),
        first: Mutex::new(Some(first)),
        readers,
        _anchor: None,
        _lock: Some(lock),
    }))
}

/// Whoever opens the file is alone on it: nodes that it still knows are gone, however long their leases would hold.
/// What they had claimed is free at once.
fn forget_nodes(first: &mut SqliteConnection) -> diesel::QueryResult<()> {
    use super::schema::{forwarded, node, session};
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
    let refuse = |why: &dyn Display| {
        StoreError::Open(format!(
            "cannot open an SQLite database in memory: {}",
            one_line(why)
        ))
    };
    let url = format!("file:/matssocket-{}?vfs=memdb", super::rows::secret());
    let anchor = SqliteConnection::establish(&url).map_err(|why| refuse(&why))?;
    let mut first = SqliteConnection::establish(&url).map_err(|why| refuse(&why))?;
    prepare(&mut first, config.busy_timeout, false).map_err(|why| refuse(&why))?;
    first
        .run_pending_migrations(MIGRATIONS)
        .map_err(|why| refuse(&why))?;
    Ok(Arc::new(SqliteDatabase {
        url,
        busy_timeout: config.busy_timeout,
        max_outbox: config.max_outbox.into(),
        first: Mutex::new(Some(first)),
        readers: None,
        _anchor: Some(Mutex::new(anchor)),
        _lock: None,
    }))
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
        // Of a new file only. A row that takes more than a quarter of a page gets pages of its own, which costs as much
        // again: with these, a message of up to 2 KiB goes as quickly as a small one. Larger ones would make each
        // commit write more.
        conn.batch_execute(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
        )?;
    }
    Ok(())
}

fn reader_pool(
    url: &str,
    readers: usize,
    busy_timeout: Duration,
) -> Result<ReaderPool, impl Display> {
    Pool::builder()
        .max_size(readers.try_into().unwrap_or(u32::MAX))
        .test_on_check_out(false)
        .connection_timeout(busy_timeout.max(Duration::from_millis(1)))
        .connection_customizer(Box::new(Reader { busy_timeout }))
        .build(ConnectionManager::new(url))
}

#[derive(Debug)]
struct Reader {
    busy_timeout: Duration,
}

impl CustomizeConnection<SqliteConnection, diesel::r2d2::Error> for Reader {
    fn on_acquire(&self, conn: &mut SqliteConnection) -> Result<(), diesel::r2d2::Error> {
        prepare(conn, self.busy_timeout, false)
            .and_then(|()| conn.batch_execute("PRAGMA query_only = ON;"))
            .map_err(diesel::r2d2::Error::QueryError)
    }
}

impl Database for SqliteDatabase {
    fn writer(&self) -> Result<Box<dyn Line>, String> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let conn = match first {
            Some(conn) => conn,
            None => {
                let mut conn =
                    SqliteConnection::establish(&self.url).map_err(|error| error.to_string())?;
                let file = self._lock.is_some();
                prepare(&mut conn, self.busy_timeout, file).map_err(|error| error.to_string())?;
                conn
            }
        };
        Ok(Box::new(WriterLine {
            conn,
            rooms: Rooms::new(self.max_outbox),
            known: Known::default(),
        }))
    }

    fn reader(&self) -> Result<Box<dyn Line>, String> {
        let pool = self
            .readers
            .as_ref()
            .ok_or("this database has no readers")?;
        let conn = pool.get().map_err(|error| error.to_string())?;
        Ok(Box::new(ReaderLine {
            conn,
            rooms: Rooms::new(self.max_outbox),
        }))
    }

    fn writers(&self) -> usize {
        1
    }

    fn readers(&self) -> usize {
        self.readers
            .as_ref()
            .map_or(0, |pool| pool.max_size() as usize)
    }
}

struct WriterLine {
    conn: SqliteConnection,
    rooms: Rooms,
    /// This is the one connection that writes, so what it knows stays true.
    known: Known,
}

/// Why a transaction is rolled back.
enum Undo {
    Failed(DbError),
    Said(Verdict),
}

impl From<DbError> for Undo {
    fn from(error: DbError) -> Undo {
        Undo::Failed(error)
    }
}

impl Line for WriterLine {
    fn transaction(&mut self, group: &mut dyn Group, _: Care) -> Result<Verdict, Fault> {
        let mut began = false;
        let (rooms, known) = (&mut self.rooms, &mut self.known);
        known.bound();
        // IMMEDIATE: going from reading to writing would fail at once, whatever the busy timeout.
        let result = self.conn.immediate_transaction(|conn| {
            began = true;
            let mut transaction = Transaction::new(conn, rooms, known, Dialect::default());
            match group.run(&mut transaction)? {
                Verdict::Commit => Ok(transaction.write_back()?),
                verdict => Err(Undo::Said(verdict)),
            }
        });
        if result.is_err() {
            self.rooms.forget();
            self.known.forget();
        }
        outcome(result.map(|()| Verdict::Commit), began)
    }

    fn is_broken(&mut self) -> bool {
        AnsiTransactionManager::is_broken_transaction_manager(&mut self.conn)
    }
}

struct ReaderLine {
    conn: PooledConnection<ConnectionManager<SqliteConnection>>,
    rooms: Rooms,
}

impl Line for ReaderLine {
    fn transaction(&mut self, group: &mut dyn Group, _: Care) -> Result<Verdict, Fault> {
        let mut began = false;
        let rooms = &mut self.rooms;
        let result = self.conn.transaction(|conn| {
            began = true;
            let mut known = Known::default();
            let mut transaction = Transaction::new(conn, rooms, &mut known, Dialect::default());
            Ok(group.run(&mut transaction)?)
        });
        outcome(result, began)
    }

    fn is_broken(&mut self) -> bool {
        AnsiTransactionManager::is_broken_transaction_manager(&mut *self.conn)
    }
}

fn outcome(result: Result<Verdict, Undo>, began: bool) -> Result<Verdict, Fault> {
    match result {
        Ok(verdict) | Err(Undo::Said(verdict)) => Ok(verdict),
        Err(Undo::Failed(error)) if began => Err(Fault::Inside(error)),
        Err(Undo::Failed(error)) => Err(Fault::Begin(error)),
    }
}

/// Keeps every other process, and every other [`Store`](super::Store) of this one, away from a database file.
struct LockFile {
    /// Closing it gives the lock back; so does the end of the process, however it comes. The file itself stays:
    /// deleting it would let two processes hold locks on two files of that name.
    _file: File,
}

impl LockFile {
    fn take(database: &Path) -> Result<LockFile, String> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|why| format!("its lock file {} cannot be opened ({why}); is the directory there, and writable?", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(LockFile { _file: file }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "it is in use, for {} is locked; stop the other process, share one `Store` between the nodes of one \
                 process, or use PostgreSQL for several processes",
                path.display()
            )),
            Err(TryLockError::Error(why)) => {
                Err(format!("{} cannot be locked: {why}", path.display()))
            }
        }
    }
}
