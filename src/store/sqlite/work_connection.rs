//! Connections: the one that writes, and those that read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;

use super::closing::ClosedAlone;
use super::codes::{self, Sorted};
use super::dialect::Dialect;
use super::held::Held;
use super::lock::FileLock;
use super::sql::{Known, Rooms, Transaction};
use super::wal::{self, Upkeep};
use super::watch::LogUse;
use crate::store::statements::{
    Care, DbError, Fault, Group, Meaning, Verdict, WorkConnection, in_words,
};

/// The connection that writes.
pub struct SqliteWriter {
    conn: ClosedAlone,
    rooms: Rooms,
    /// Stays true between transactions, because this is the only connection that writes.
    known: Known,
    held: Arc<Held>,
    upkeep: Upkeep,
    busy_timeout: Duration,
    /// Whether the connection must be discarded.
    spoilt: bool,
    /// `None` in memory. Dropped after the connection.
    log: Option<LogUse>,
    _lock: Option<Arc<FileLock>>,
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

impl SqliteWriter {
    pub fn new(
        conn: SqliteConnection,
        rooms: Rooms,
        held: Arc<Held>,
        busy_timeout: Duration,
        log: Option<LogUse>,
        lock: Option<Arc<FileLock>>,
    ) -> SqliteWriter {
        SqliteWriter {
            conn: ClosedAlone::new(conn),
            rooms,
            known: Known::default(),
            held,
            upkeep: Upkeep::new(Instant::now()),
            busy_timeout,
            spoilt: false,
            log,
            _lock: lock,
        }
    }

    /// Checks the files, and returns the size of the log in bytes.
    fn check_files(&self) -> Result<u64, DbError> {
        match &self.log {
            Some(log) => log.watch().check().map_err(in_words),
            None => Ok(0),
        }
    }

    fn run(&mut self, group: &mut dyn Group) -> Result<Verdict, Fault> {
        let (rooms, known, held) = (&mut self.rooms, &mut self.known, &self.held);
        known.bound();
        let mut ended = Ended::default();
        // IMMEDIATE, because upgrading from reading to writing would fail at once, whatever the busy timeout.
        let result = self.conn.immediate_transaction(|conn| {
            ended.within(|| {
                let mut transaction = Transaction::new(conn, rooms, known, Dialect::new(held));
                match group.run(&mut transaction)? {
                    Verdict::Commit => {
                        transaction.write_back()?;
                        Ok(Verdict::Commit)
                    }
                    verdict => Err(Undo::Said(verdict)),
                }
            })
        });
        match &result {
            Ok(_) => self.rooms.reserved.committed(),
            Err(Undo::Said(_)) => self.rooms.rolled_back(),
            Err(Undo::Failed(_)) => self.rooms.forget(),
        }
        if result.is_err() {
            self.known.forget();
        }
        ended.outcome(result, &mut self.spoilt)
    }
}

impl WorkConnection for SqliteWriter {
    fn transaction(&mut self, group: &mut dyn Group, _: Care) -> Result<Verdict, Fault> {
        if let Err(why) = self.check_files() {
            return Err(Fault::Inside(why, Meaning::Unable));
        }
        let verdict = self.run(group)?;
        if verdict != Verdict::Commit {
            return Ok(verdict);
        }
        // A file that disappeared meanwhile may have taken the transaction with it. The connection is kept: it holds
        // what the file has lost, and saves it if the file returns, or when the connection ends.
        let bytes = self.check_files().map_err(Fault::Unknown)?;
        if let Some(log) = &self.log {
            let seen = (log.watch(), bytes);
            wal::tend(&mut self.upkeep, &mut self.conn, seen, self.busy_timeout);
        }
        Ok(verdict)
    }

    fn is_broken(&mut self) -> bool {
        self.spoilt || AnsiTransactionManager::is_broken_transaction_manager(&mut *self.conn)
    }
}

/// A connection that reads.
pub struct SqliteReader {
    conn: ClosedAlone,
    rooms: Rooms,
    held: Arc<Held>,
    /// Whether the connection must be discarded.
    spoilt: bool,
    /// Dropped after the connection.
    _log: Option<LogUse>,
    _lock: Option<Arc<FileLock>>,
}

impl SqliteReader {
    pub fn new(
        conn: SqliteConnection,
        rooms: Rooms,
        held: Arc<Held>,
        log: Option<LogUse>,
        lock: Option<Arc<FileLock>>,
    ) -> SqliteReader {
        SqliteReader {
            conn: ClosedAlone::new(conn),
            rooms,
            held,
            spoilt: false,
            _log: log,
            _lock: lock,
        }
    }
}

impl WorkConnection for SqliteReader {
    fn transaction(&mut self, group: &mut dyn Group, _: Care) -> Result<Verdict, Fault> {
        let (rooms, held) = (&mut self.rooms, &self.held);
        let mut ended = Ended::default();
        let result = self.conn.transaction(|conn| {
            ended.within(|| {
                let mut known = Known::default();
                let mut transaction = Transaction::new(conn, rooms, &mut known, Dialect::new(held));
                Ok(group.run(&mut transaction)?)
            })
        });
        ended.outcome(result, &mut self.spoilt)
    }

    fn is_broken(&mut self) -> bool {
        self.spoilt || AnsiTransactionManager::is_broken_transaction_manager(&mut *self.conn)
    }
}

/// Takes the place of a connection while the file must not be opened. Holds the reason.
pub struct UnusableFile(pub String);

impl WorkConnection for UnusableFile {
    fn transaction(&mut self, _: &mut dyn Group, _: Care) -> Result<Verdict, Fault> {
        Err(Fault::Begin(in_words(self.0.as_str()), Meaning::Unable))
    }

    fn is_broken(&mut self) -> bool {
        true
    }
}

/// How a transaction ended. Diesel forgets why it rolls back if the rollback fails, as it does when SQLite has already
/// rolled back by itself, for example because the disk is full.
#[derive(Default)]
struct Ended {
    began: bool,
    why: Option<DbError>,
    /// Set if the transaction was to be rolled back although nothing had failed.
    said: bool,
}

impl Ended {
    /// Runs the body of the transaction.
    fn within(&mut self, run: impl FnOnce() -> Result<Verdict, Undo>) -> Result<Verdict, Undo> {
        self.began = true;
        run().map_err(|undo| match undo {
            Undo::Said(verdict) => {
                self.said = true;
                Undo::Said(verdict)
            }
            Undo::Failed(why) => {
                self.why = Some(why);
                Undo::Failed(DbError::RollbackTransaction)
            }
        })
    }

    fn outcome(self, result: Result<Verdict, Undo>, spoilt: &mut bool) -> Result<Verdict, Fault> {
        let in_commit = self.began && self.why.is_none();
        let error = match result {
            Ok(verdict) | Err(Undo::Said(verdict)) => return Ok(verdict),
            // Only the rollback failed: there was nothing left to roll back.
            Err(Undo::Failed(_)) if self.said => {
                *spoilt = true;
                return Ok(Verdict::Discard);
            }
            Err(Undo::Failed(error)) => self.why.unwrap_or(error),
        };
        let Sorted { meaning, discard } = codes::sort(&error);
        *spoilt |= discard;
        Err(match (self.began, meaning) {
            (false, _) => Fault::Begin(error, meaning),
            // The disk failed: the whole transaction may be in the log, and would be recovered after a crash.
            (true, Meaning::Unable) if in_commit && discard => Fault::Unknown(error),
            (true, _) => Fault::Inside(error, meaning),
        })
    }
}

#[cfg(test)]
mod tests {
    use diesel::result::DatabaseErrorKind;
    use libsqlite3_sys::{SQLITE_FULL, SQLITE_IOERR};

    use super::super::raw::text_of;
    use super::*;

    fn error(code: i32) -> DbError {
        let text = Box::new(text_of(code).to_owned());
        DbError::DatabaseError(DatabaseErrorKind::Unknown, text)
    }

    #[test]
    fn a_commit_during_which_the_disk_failed_may_have_taken_place() {
        let outcome = |began, why, code| {
            let ended = Ended {
                began,
                why,
                said: false,
            };
            let mut spoilt = false;
            ended.outcome(Err(Undo::Failed(error(code))), &mut spoilt)
        };
        let unknown = outcome(true, None, SQLITE_IOERR);
        assert!(matches!(unknown, Err(Fault::Unknown(_))), "{unknown:?}");
        let full = outcome(true, None, SQLITE_FULL);
        let unable = matches!(full, Err(Fault::Inside(_, Meaning::Unable)));
        assert!(unable, "{full:?}");
        let before = outcome(true, Some(error(SQLITE_IOERR)), SQLITE_FULL);
        let unable = matches!(before, Err(Fault::Inside(_, Meaning::Unable)));
        assert!(unable, "{before:?}");
        let begin = outcome(false, None, SQLITE_IOERR);
        assert!(
            matches!(begin, Err(Fault::Begin(_, Meaning::Unable))),
            "{begin:?}"
        );
    }
}
