//! Keeps every other process, and every other [`Store`](crate::Store) in this one, away from a database file.
//!
//! The lock is tied to the file and not to its name: a symbolic link, a hard link or a removed lock file must not let a
//! second process in, because whoever opens the database assumes that all nodes recorded in it are dead.
//!
//! Closing *any* descriptor of a file drops all POSIX locks that the process holds on it, including SQLite's. So a file
//! that this process has already claimed is recognised by `stat`, without opening a descriptor, and the lock's own
//! descriptor is opened before SQLite's first connection and closed after its last.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::{self, Identity};
use super::record::{Noted, Record};

/// The files that this process has claimed. The mutex is held while a file is opened or closed, so that nobody opens a
/// file between the moment when another lock gives up its claim and the moment when it closes its descriptor.
static CLAIMED: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

fn claimed() -> MutexGuard<'static, BTreeSet<Identity>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the holder of a lock intends to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Write; missing files are created.
    Write,
    /// Read; nothing is created.
    Read,
}

impl Purpose {
    fn options(self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(self == Purpose::Write);
        options
    }
}

/// A database file that nobody else has open. The lock is released when this is dropped, or when the process ends in
/// whatever way.
pub struct FileLock {
    path: PathBuf,
    claims: Vec<Identity>,
    /// Locked on Linux only.
    database: Option<File>,
    /// The lock file.
    beside: Option<File>,
    /// Removed before the lock is released.
    temporary: Option<PathBuf>,
}

impl FileLock {
    /// Locks a database file. Must be called before SQLite opens it.
    ///
    /// # Errors
    /// Why it cannot be locked, and what to do about it.
    pub fn take(database: &Path, purpose: Purpose) -> Result<FileLock, String> {
        let mut claimed = claimed();
        let (path, exists) = file::resolve(database)?;
        let mut lock = FileLock {
            path,
            claims: Vec::new(),
            database: None,
            beside: None,
            temporary: None,
        };
        let taken = lock.take_both(exists, purpose, &mut claimed);
        // A partially taken lock is released by its drop, which needs the mutex, too.
        drop(claimed);
        taken.map(|()| lock)
    }

    /// The database file, by a path without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates an empty file that exists only while the lock is held. An existing file is left alone.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create_temporary(&mut self, path: PathBuf) -> io::Result<()> {
        match file::create(&path) {
            Ok(_) => self.temporary = Some(path),
            Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why),
        }
        Ok(())
    }

    fn take_both(
        &mut self,
        exists: bool,
        purpose: Purpose,
        claimed: &mut BTreeSet<Identity>,
    ) -> Result<(), String> {
        let path = self.path.clone();
        // The database is locked first, so that a refusal leaves no lock file beside another name of it.
        if exists {
            let database = self.open(&path, purpose, claimed)?;
            self.lock_database(database, purpose, claimed)?;
        }
        if !exists && purpose == Purpose::Read {
            return Err("there is no such file".into());
        }
        self.lock_beside(purpose, claimed)?;
        let noted = self.beside.as_ref().map_or(Noted::Other, Noted::read);
        self.check_log(&noted)?;
        if !exists {
            let created = file::create(&path).map_err(|why| why.to_string())?;
            self.lock_database(created, purpose, claimed)?;
        }
        match (purpose, &self.beside) {
            (Purpose::Write, Some(beside)) => self.note(beside, &noted),
            _ => Ok(()),
        }
    }

    /// Refuses a write-ahead log left behind by another file: SQLite would take it for this file's log and mix the two
    /// up.
    fn check_log(&self, noted: &Noted) -> Result<(), String> {
        let Noted::For(before) = noted else {
            return Ok(());
        };
        let log = file::beside(&self.path, "-wal");
        let is_empty = log.metadata().map_or(true, |metadata| metadata.len() == 0);
        let is_the_same = || Record::of(&self.path).is_ok_and(|now| now.is_same(before));
        if is_empty || is_the_same() {
            return Ok(());
        }
        let (path, log, lock) = (
            self.path.display(),
            log.display(),
            self.lock_file().display().to_string(),
        );
        Err(format!(
            "the write-ahead log {log} belongs to another file that was here before, and using it would mix the two up: \
             if this is a restored copy, delete {log} and {path}-shm, or move them away, and start again (if they were \
             copied together with it, delete {lock} instead)"
        ))
    }

    /// Records in the lock file to which database it belongs, unless that is recorded already or the file was not made
    /// by us.
    fn note(&self, beside: &File, noted: &Noted) -> Result<(), String> {
        let now = Record::of(&self.path).map_err(|why| why.to_string())?;
        match noted {
            Noted::Other => Ok(()),
            Noted::For(before) if *before == now => Ok(()),
            Noted::For(_) | Noted::Nothing => now.write(beside).map_err(|why| {
                format!(
                    "its lock file {} cannot be written ({why})",
                    self.lock_file().display()
                )
            }),
        }
    }

    /// Opens an existing file, unless this process has claimed it.
    fn open(
        &self,
        path: &Path,
        purpose: Purpose,
        claimed: &BTreeSet<Identity>,
    ) -> Result<File, String> {
        let named = file::named(path).map_err(|why| why.to_string())?;
        if claimed.contains(&named) {
            return Err(self.in_use());
        }
        let file = purpose
            .options()
            .open(path)
            .map_err(|why| why.to_string())?;
        let opened = file::identity(&file, path).map_err(|why| why.to_string())?;
        if opened != named {
            // Another file took the name meanwhile. If this process has that one open, closing the descriptor would
            // drop the locks of the connections to it.
            std::mem::forget(file);
            return Err("it was replaced while it was opened; try again".into());
        }
        Ok(file)
    }

    /// Locks the database file itself on Linux, where locks of this kind and those of SQLite do not affect each other.
    /// On other systems they may, and the lock file has to suffice.
    fn lock_database(
        &mut self,
        database: File,
        purpose: Purpose,
        claimed: &mut BTreeSet<Identity>,
    ) -> Result<(), String> {
        let identity = file::identity(&database, &self.path).map_err(|why| why.to_string())?;
        if cfg!(target_os = "linux") {
            self.database = Some(self.lock(database, purpose)?);
        }
        self.claim(identity, claimed);
        Ok(())
    }

    /// Locks the lock file. It is never removed, because two processes could then hold locks on two files of that name.
    fn lock_beside(
        &mut self,
        purpose: Purpose,
        claimed: &mut BTreeSet<Identity>,
    ) -> Result<(), String> {
        let path = self.lock_file();
        let unusable = |why: &dyn std::fmt::Display| {
            format!(
                "its lock file {} cannot be opened ({why}); does the directory exist, and is it writable?",
                path.display()
            )
        };
        let file = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => self.open(&path, purpose, claimed)?,
            Ok(_) => return Err(unusable(&"it is a symbolic link, or not a file")),
            Err(why) if why.kind() == ErrorKind::NotFound && purpose == Purpose::Read => {
                return Ok(());
            }
            Err(why) if why.kind() == ErrorKind::NotFound => {
                file::create(&path).map_err(|why| unusable(&why))?
            }
            Err(why) => return Err(unusable(&why)),
        };
        let identity = file::identity(&file, &path).map_err(|why| unusable(&why))?;
        self.beside = Some(self.lock(file, purpose)?);
        self.claim(identity, claimed);
        Ok(())
    }

    /// Readers share the lock.
    fn lock(&self, file: File, purpose: Purpose) -> Result<File, String> {
        let locked = match purpose {
            Purpose::Write => file.try_lock(),
            Purpose::Read => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(self.in_use()),
            Err(TryLockError::Error(why)) => Err(format!("it cannot be locked: {why}")),
        }
    }

    fn claim(&mut self, identity: Identity, claimed: &mut BTreeSet<Identity>) {
        self.claims.push(identity);
        claimed.extend(self.claims.last().cloned());
    }

    fn lock_file(&self) -> PathBuf {
        file::beside(&self.path, ".lock")
    }

    fn in_use(&self) -> String {
        format!(
            "it is in use: it or {} is locked; stop the other process, share one `Store` between the nodes of \
             one process, or use PostgreSQL for several processes",
            self.lock_file().display()
        )
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _: io::Result<()> = std::fs::remove_file(temporary);
        }
        let mut claimed = claimed();
        for file in [self.database.take(), self.beside.take()]
            .into_iter()
            .flatten()
        {
            // Closing is not enough: a child process that is just being started may hold a copy of the descriptor.
            let _: io::Result<()> = file.unlock();
        }
        for claim in &self.claims {
            claimed.remove(claim);
        }
    }
}
