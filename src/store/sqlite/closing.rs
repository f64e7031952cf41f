//! Connections that close one after the other.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use diesel::SqliteConnection;

/// Held while a connection is closed.
static CLOSING: Mutex<()> = Mutex::new(());

/// A connection that is not closed at the same moment as another one. The last connection to be closed copies the log to
/// the database; but of two that close together, each finds the other one open, and neither does it. That matters when the
/// log's file was deleted: only open connections still have what is in it.
pub struct ClosedAlone(Option<SqliteConnection>);

impl ClosedAlone {
    pub fn new(conn: SqliteConnection) -> ClosedAlone {
        ClosedAlone(Some(conn))
    }
}

impl Deref for ClosedAlone {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0.as_ref().expect("it is open until it is dropped")
    }
}

impl DerefMut for ClosedAlone {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0.as_mut().expect("it is open until it is dropped")
    }
}

impl Drop for ClosedAlone {
    fn drop(&mut self) {
        let _one_at_a_time = CLOSING.lock().unwrap_or_else(PoisonError::into_inner);
        self.0 = None;
    }
}
