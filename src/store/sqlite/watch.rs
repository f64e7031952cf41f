//! Watches the files of an open database: SQLite silently continues to use files that were deleted or renamed.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::file::{self, Identity};
use crate::logging;

/// Watches a database's files. The writer checks before and after each transaction, at the cost of two file-system
/// queries each time, so that nothing is acknowledged that is not in a file.
pub struct Watch {
    path: PathBuf,
    log: PathBuf,
    /// The file that was opened.
    opened: Identity,
    log_in_use: Mutex<LogInUse>,
    /// Whether a problem exists and was logged.
    said: AtomicBool,
}

/// The write-ahead log that the connections use and whose index they share.
#[derive(Default)]
struct LogInUse {
    connections: usize,
    /// `None` until SQLite has created it.
    identity: Option<Identity>,
}

/// A connection's use of the log. Dropped after the connection.
pub struct LogUse(Arc<Watch>);

impl LogUse {
    /// The watch over the files.
    pub fn watch(&self) -> &Watch {
        &self.0
    }
}

impl Drop for LogUse {
    fn drop(&mut self) {
        self.0.log_in_use().connections -= 1;
    }
}

impl Watch {
    /// Watches the file that has this name now. Must be called while it is locked.
    ///
    /// # Errors
    /// Its metadata cannot be read.
    pub fn over(path: &Path) -> std::io::Result<Watch> {
        Ok(Watch {
            opened: file::named(path)?,
            log: file::beside(path, "-wal"),
            path: path.to_owned(),
            log_in_use: Mutex::default(),
            said: AtomicBool::new(false),
        })
    }

    /// Moves the log of a deleted or replaced file out of the way of the next one: opening the new file with this log
    /// would mix pages of both. The log is never put back automatically. Must be called after the last connection is
    /// closed.
    pub fn set_log_aside(&self) {
        if self.is_in_place() || !self.has_its_log() {
            return;
        }
        let (database, log) = (self.path.display(), self.log.display());
        let aside = self.log_aside();
        match std::fs::rename(&self.log, &aside) {
            Ok(()) => {
                let aside = aside.display();
                logging::warn!(
                    "{log} was set aside as {aside}: it is the write-ahead log of the file that was {database} until it was \
                     deleted or replaced, and contains what was stored there last. To recover that, put the old file back \
                     while no process has it open, and rename {aside} to {log}; otherwise delete {aside}"
                );
            }
            Err(why) => logging::error!(
                "{log} is the write-ahead log of the file that was {database} until it was deleted or replaced; move it \
                 away before anybody opens another file there ({why})"
            ),
        }
    }

    /// Whether the opened file still has its name.
    fn is_in_place(&self) -> bool {
        file::named(&self.path).is_ok_and(|now| now == self.opened)
    }

    /// Whether the last connection has left a log behind, although file and log are unchanged.
    pub fn has_left_its_log(&self) -> bool {
        self.is_in_place() && self.has_its_log()
    }

    /// Whether there is a non-empty log that belongs to the file.
    fn has_its_log(&self) -> bool {
        let its = &self.log_in_use().identity;
        its.is_some() && self.log_bytes() > 0 && file::named(&self.log).ok() == *its
    }

    /// A unique name for a log that is set aside.
    fn log_aside(&self) -> PathBuf {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanoseconds = now.unwrap_or_default().as_nanos();
        #[cfg(unix)]
        let suffix = format!(".of-{}-{nanoseconds}", self.opened.1);
        #[cfg(not(unix))]
        let suffix = format!(".of-{nanoseconds}");
        file::beside(&self.log, &suffix)
    }

    /// Registers a connection. While there is any, the log must not be replaced, because the new log would be read and
    /// written through the index of this one.
    pub fn use_log(self: &Arc<Watch>) -> LogUse {
        self.log_in_use().connections += 1;
        LogUse(self.clone())
    }

    fn log_in_use(&self) -> MutexGuard<'_, LogInUse> {
        let log = self.log_in_use.lock();
        log.unwrap_or_else(PoisonError::into_inner)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the write-ahead log in bytes.
    pub fn log_bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Whether what is written now will be found by whoever opens the file next. Returns the size of the write-ahead
    /// log in bytes. Logs each change between good and bad.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn check(&self) -> Result<u64, String> {
        let result = self.check_database().and_then(|()| self.check_log());
        let wrong = result.is_err();
        if self.said.load(Ordering::Relaxed) != wrong
            && self.said.swap(wrong, Ordering::Relaxed) != wrong
        {
            match &result {
                Err(why) => logging::error!("nothing can be stored: {why}"),
                Ok(_) => logging::info!(
                    "the database file {} is available again",
                    self.path.display()
                ),
            }
        }
        result
    }

    fn check_database(&self) -> Result<(), String> {
        let at = self.path.display();
        let metadata = match self.path.metadata() {
            Ok(metadata) => metadata,
            Err(why) if why.kind() == ErrorKind::NotFound => {
                return Err(format!(
                    "the database file {at} was deleted or moved away; move it back, or stop this node in good order, put \
                     a backup in its place, with no {at}-wal and {at}-shm beside it, and start again"
                ));
            }
            Err(why) => {
                return Err(format!(
                    "the database file {at} cannot be accessed ({why}); make it accessible again"
                ));
            }
        };
        if file::identity_of(&metadata, &self.path).is_ok_and(|now| now != self.opened) {
            return Err(format!(
                "another file has taken the place of the database file {at}; to go on with that one, stop this node in good \
                 order, so that {at}-wal, which belongs to the old one, is taken out of its way, and start again; or move \
                 the old one back"
            ));
        }
        if metadata.permissions().readonly() {
            return Err(format!(
                "the database file {at} has been made read-only; make it writable again"
            ));
        }
        Ok(())
    }

    fn check_log(&self) -> Result<u64, String> {
        let metadata = self.log.metadata().ok();
        let bytes = metadata.as_ref().map_or(0, |metadata| metadata.len());
        let now = metadata.and_then(|metadata| file::identity_of(&metadata, &self.log).ok());
        let mut log = self.log_in_use();
        if log.connections == 0 || log.identity.is_none() {
            log.identity = now;
            return Ok(bytes);
        }
        if now == log.identity {
            return Ok(bytes);
        }
        drop(log);
        let mut why = format!("the write-ahead log {} was ", self.log.display());
        let _ = match now {
            Some(_) => write!(why, "replaced"),
            None => write!(why, "deleted or moved away"),
        };
        why += "; move it back, or stop this node (do not kill it: what is in the log is saved when it stops) and start again";
        Err(why)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_detects_changes_to_the_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("test.db"), "").expect("written");
        let watch = Arc::new(Watch::over(&at("test.db")).expect("there"));
        let first = watch.use_log();
        let says = |what: &str| match watch.check() {
            Ok(_) => assert_eq!(what, ""),
            Err(why) => assert!(!what.is_empty() && why.contains(what), "{what}: {why}"),
        };
        says("");
        fs::write(at("test.db-wal"), "log").expect("written");
        says("");
        fs::rename(at("test.db"), at("away.db")).expect("moved");
        says("deleted or moved away");
        fs::write(at("test.db"), "").expect("written");
        says("another file has taken the place");
        fs::rename(at("away.db"), at("test.db")).expect("moved");
        says("");
        for (mode, what) in [(0o400, "read-only"), (0o600, "")] {
            fs::set_permissions(at("test.db"), fs::Permissions::from_mode(mode)).expect("ours");
            says(what);
        }
        fs::rename(at("test.db-wal"), at("away-wal")).expect("moved");
        says("test.db-wal was deleted");
        fs::write(at("test.db-wal"), "").expect("written");
        says("test.db-wal was replaced");
        fs::rename(at("away-wal"), at("test.db-wal")).expect("moved");
        says("");
        assert_eq!(watch.check(), Ok(3));
        fs::remove_file(at("test.db-wal")).expect("deleted");
        let second = watch.use_log();
        drop(first);
        says("test.db-wal was deleted");
        drop(second);
        says("");
    }
}
