//! Watches over the files of a database that is open: SQLite goes on with files that have no name any more, or belong to
//! another name, and says nothing.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::{self, Identity};

/// Watches over a database's file. Whoever writes asks it before and after each transaction, which costs two looks at
/// the file system: nothing is acknowledged that is in no file.
pub struct Watch {
    path: PathBuf,
    log: PathBuf,
    /// The file that was opened.
    opened: Identity,
    /// The log that belongs to it, once that is there.
    log_seen: Mutex<Option<Identity>>,
    /// Something is wrong, and was said.
    said: AtomicBool,
}

/// The write-ahead log that a connection uses: noted once it is there, for SQLite creates it.
#[derive(Default)]
pub struct LogSeen {
    identity: Option<Identity>,
    /// Bytes of it.
    pub bytes: u64,
}

impl Watch {
    /// Watches over the file that has this name now. Must come while it is locked.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn over(path: &Path) -> std::io::Result<Watch> {
        Ok(Watch {
            opened: file::named(path)?,
            log: file::beside(path, "-wal"),
            path: path.to_owned(),
            log_seen: Mutex::default(),
            said: AtomicBool::new(false),
        })
    }

    /// Takes the log of a file that has lost its name to another one out of that one's way: whoever opened it with this
    /// log would read pages of both. The log keeps a name by which it is found if its file comes back. Comes after the last
    /// connection was closed.
    pub fn set_log_aside(&self) {
        let is_replaced = file::named(&self.path).is_ok_and(|now| now != self.opened);
        let is_ours = {
            let seen = self.log_seen();
            seen.is_some() && file::named(&self.log).ok() == *seen
        };
        let (true, true, Some(aside)) = (is_replaced, is_ours, self.log_aside()) else {
            return;
        };
        let (log, aside) = (self.log.display(), (aside.display(), &aside));
        match std::fs::rename(&self.log, aside.1) {
            Ok(()) => log::warn!(
                "{log} belongs to the file that was replaced, and is called {} now",
                aside.0
            ),
            Err(why) => log::error!(
                "{log} belongs to the file that was replaced; delete it before anybody opens the new one ({why})"
            ),
        }
    }

    /// The file is back: so is its log. Must come before it is opened.
    ///
    /// # Errors
    /// There is another log, or this one cannot be moved.
    pub fn take_log_back(&self) -> Result<(), String> {
        let Some(aside) = self.log_aside().filter(|aside| aside.exists()) else {
            return Ok(());
        };
        let (from, to) = (aside.display(), self.log.display());
        if self.log_bytes() > 0 {
            return Err(format!(
                "its log was set aside as {from}, and there is another one, {to}, which must be that of another file; \
                 delete the one that does not belong to it"
            ));
        }
        std::fs::rename(&aside, &self.log)
            .map_err(|why| format!("its log {from} cannot be called {to} again: {why}"))
    }

    /// Where the log is put if the file loses its name. `None`: files have no number by which it would be found.
    fn log_aside(&self) -> Option<PathBuf> {
        #[cfg(unix)]
        {
            let (_, inode) = self.opened;
            Some(file::beside(&self.log, &format!(".of-{inode}")))
        }
        #[cfg(not(unix))]
        None
    }

    fn log_seen(&self) -> MutexGuard<'_, Option<Identity>> {
        self.log_seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the write-ahead log.
    pub fn log_bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Whether what is written now will be found by who opens the file. Writes a log line when that changes.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub fn check(&self, log: &mut LogSeen) -> Result<(), String> {
        let result = self.check_database().and_then(|()| self.check_log(log));
        let wrong = result.is_err();
        if self.said.load(Ordering::Relaxed) != wrong
            && self.said.swap(wrong, Ordering::Relaxed) != wrong
        {
            match &result {
                Err(why) => log::error!("nothing can be stored: {why}"),
                Ok(()) => log::info!("the database file {} is there again", self.path.display()),
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
                    "the database file {at} was deleted or moved away; move it back, or stop this node, put a backup \
                     in its place (without {at}-wal and {at}-shm) and start again"
                ));
            }
            Err(why) => {
                return Err(format!(
                    "the database file {at} cannot be looked at ({why}); make it accessible again"
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

    fn check_log(&self, seen: &mut LogSeen) -> Result<(), String> {
        let metadata = self.log.metadata().ok();
        seen.bytes = metadata.as_ref().map_or(0, |metadata| metadata.len());
        let now = metadata.and_then(|metadata| file::identity_of(&metadata, &self.log).ok());
        let Some(opened) = &seen.identity else {
            self.log_seen().clone_from(&now);
            seen.identity = now;
            return Ok(());
        };
        if now.as_ref() == Some(opened) {
            return Ok(());
        }
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
    fn it_sees_what_becomes_of_the_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("test.db"), "").expect("written");
        let watch = Watch::over(&at("test.db")).expect("there");
        let mut log = LogSeen::default();
        let mut says = |what: &str| match watch.check(&mut log) {
            Ok(()) => assert_eq!(what, ""),
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
        assert_eq!(log.bytes, 3);
    }
}
