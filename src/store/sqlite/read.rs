//! Opens a database file to read only, and leaves no trace: no migration runs, no node is forgotten, no file is
//! created or changed.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::lock::{FileLock, Purpose};
use super::sql::Rooms;
use super::{ReaderLine, file, migrate, name, prepare, refusal};
use crate::store::limits::Limits;
use crate::store::statements::{Database, Line};
use crate::store::{StoreConfig, StoreError};

struct ReadOnlyDatabase {
    url: String,
    busy_timeout: Duration,
    readers: usize,
    limits: Limits,
    /// Every connection holds it, too.
    lock: Arc<FileLock>,
}

/// Opens a database that is there, to read only.
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

/// How SQLite is to open it.
///
/// Nobody else has the file open, so usually it can be taken for immutable, and SQLite touches no other file. But if
/// the last process was killed, the newest transactions are in the write-ahead log only. Then SQLite wants to see the
/// index of the log, which it neither trusts nor writes: an empty one will do.
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
    // A journal that is to be rolled back is an error, rather than half of a transaction that is read.
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
    fn writer(&self) -> Result<Box<dyn Line>, String> {
        Err(StoreError::ReadOnly.to_string())
    }

    fn reader(&self) -> Result<Box<dyn Line>, String> {
        let conn = self.connect()?;
        let (rooms, lock) = (Rooms::new(self.limits), Some(self.lock.clone()));
        let held = Arc::default();
        Ok(Box::new(ReaderLine::new(conn, rooms, held, None, lock)))
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
