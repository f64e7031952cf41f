//! Opens a database file for reading only, without leaving a trace: no migration runs, no node is deleted, no file is
//! created or changed.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::lock::{FileLock, Purpose};
use super::sql::Rooms;
use super::{SqliteReader, file, migrate, name, prepare, refusal};
use crate::store::limits::Limits;
use crate::store::statements::{Database, WorkConnection};
use crate::store::{StoreConfig, StoreError};

struct ReadOnlyDatabase {
    url: String,
    busy_timeout: Duration,
    readers: usize,
    limits: Limits,
    /// Every connection holds it as well.
    lock: Arc<FileLock>,
}

/// Opens an existing database for reading only.
pub fn open_to_read(path: &Path, config: &StoreConfig) -> Result<Arc<dyn Database>, StoreError> {
    name::check(path)?;
    let refuse = |why: &dyn Display| refusal(path, why);
    let mut lock = FileLock::take(path, Purpose::Read).map_err(|why| refuse(&why))?;
    let parameters = parameters(&mut lock).map_err(|why| refuse(&why))?;
    let database = ReadOnlyDatabase {
        url: file::uri(lock.path(), parameters).map_err(|why| refuse(&why))?,
        busy_timeout: config.busy_timeout,
        readers: config.readers.max(1),
        limits: config.into(),
        lock: Arc::new(lock),
    };
    let mut first = database.connect().map_err(|why| refuse(&why))?;
    let missing = migrate::missing(&mut first).map_err(|why| refuse(&why))?;
    let missing: Vec<String> = missing.iter().map(|it| it.name().to_string()).collect();
    match missing.is_empty() {
        true => Ok(Arc::new(database)),
        false => Err(refuse(&format!(
            "its tables are not up to date; run `matssocket migrate` (missing: {})",
            missing.join(", ")
        ))),
    }
}

/// The URI parameters with which SQLite opens the file.
///
/// Nobody else has the file open, so usually it can be treated as immutable, and SQLite touches no other file. But if
/// the last process was killed, the newest transactions are in the write-ahead log only. Then SQLite requires the index
/// of the log to exist, although it neither trusts nor writes it: an empty file suffices.
fn parameters(lock: &mut FileLock) -> std::io::Result<&'static str> {
    let path = lock.path().to_owned();
    let has = |suffix| {
        let metadata = file::beside(&path, suffix).metadata();
        metadata.is_ok_and(|metadata| metadata.len() > 0)
    };
    if has("-wal") {
        lock.create_temporary(file::beside(&path, "-shm"))?;
        return Ok("mode=ro&readonly_shm=1");
    }
    // A journal that would have to be rolled back causes an error, rather than half a transaction being read.
    Ok(match has("-journal") {
        true => "mode=ro",
        false => "mode=ro&immutable=1",
    })
}

impl ReadOnlyDatabase {
    fn connect(&self) -> Result<SqliteConnection, String> {
        let mut conn = SqliteConnection::establish(&self.url).map_err(|why| why.to_string())?;
        prepare(&mut conn, self.busy_timeout, false)
            .and_then(|()| conn.batch_execute("PRAGMA query_only = ON;"))
            .map_err(|why| why.to_string())?;
        Ok(conn)
    }
}

impl Database for ReadOnlyDatabase {
    fn writer(&self) -> Result<Box<dyn WorkConnection>, String> {
        Err(StoreError::ReadOnly.to_string())
    }

    fn reader(&self) -> Result<Box<dyn WorkConnection>, String> {
        let conn = self.connect()?;
        let (rooms, lock) = (Rooms::new(self.limits), Some(self.lock.clone()));
        let held = Arc::default();
        Ok(Box::new(SqliteReader::new(conn, rooms, held, None, lock)))
    }

    fn writers(&self) -> usize {
        1
    }

    fn handlers(&self) -> usize {
        0
    }

    fn readers(&self) -> usize {
        self.readers
    }
}
