//! What a database must offer: connections, each of which runs groups of operations in transactions.

use std::time::Duration;

use super::statements::{DbError, DbResult, Meaning, Statements, Touched, Verdict};

/// An opened database.
pub trait Database: Send + Sync + 'static {
    /// Opens a connection that writes. At most [`writers`](Self::writers) are used at a time.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn writer(&self) -> Result<Box<dyn WorkConnection>, String>;

    /// Opens a connection that writes and can be lent to a transactional handler. `opening` receives a cutter by which
    /// another thread can end the connection while it is still being opened.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn handler(&self, _opening: &mut dyn FnMut(Cutter)) -> Result<Box<dyn WorkConnection>, String> {
        self.writer()
    }

    /// Opens a connection that reads.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn reader(&self) -> Result<Box<dyn WorkConnection>, String>;

    /// How many threads may write messages at a time.
    fn writers(&self) -> usize;

    /// How many transactional handlers may run at the same time, besides the writers. 0: a single writing thread does
    /// everything, including the node's own work and maintenance. Otherwise those have threads of their own as well.
    fn handlers(&self) -> usize;

    /// Total time for which handlers have occupied the only connection that writes. Nobody else could write meanwhile,
    /// so no lease had to be renewed. Zero where several connections can write at a time.
    fn held(&self) -> Duration {
        Duration::ZERO
    }

    /// How many threads may read besides the writers. 0: reads go through the writers.
    fn readers(&self) -> usize;

    /// Whether connections that write can also read and vice versa, so that threads can share the connections
    /// available.
    fn connections_are_interchangeable(&self) -> bool {
        false
    }

    /// Whether the data survives closing the last connection.
    fn outlives_closing(&self) -> bool {
        true
    }

    /// Whether there has been anything for [`Rotate`](super::operation::Rotate) to look at since the last call.
    fn wants_rotation(&self) -> bool {
        false
    }

    /// Size of the write-ahead log beside the database file, in bytes. Zero where there is none.
    fn log_bytes(&self) -> u64 {
        0
    }
}

/// Ends a connection from another thread.
pub type Cutter = Box<dyn FnOnce() + Send>;

/// A connection.
pub trait WorkConnection: Send {
    /// A way for another thread to end the connection while something waits on it. `None`: there is none.
    fn cutter(&self) -> Option<Cutter> {
        None
    }

    /// Runs a group in one transaction, and ends it as the verdict says.
    ///
    /// # Errors
    /// Nothing was changed, unless the fault says otherwise.
    fn transaction(&mut self, group: &mut dyn Group, care: Care) -> Result<Verdict, Fault>;

    /// Whether the connection must not be used any more.
    fn is_broken(&mut self) -> bool;
}

/// Operations that share a transaction.
pub trait Group {
    /// Calls `see` for everything they touch.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))] // SQLite locks nothing
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>));

    /// Runs them. After an error the transaction must be rolled back.
    ///
    /// # Errors
    /// Those of the database.
    fn run(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict>;
}

/// Why a transaction failed.
#[derive(Debug)]
pub enum Fault {
    /// It could not begin: the database is unreachable or locked.
    Begin(DbError, Meaning),
    /// A statement in it, or its commit, failed; it was rolled back.
    Inside(DbError, Meaning),
    /// The connection was lost, and the transaction with it; another connection may work.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Lost(DbError),
    /// The connection was lost during the commit, and the outcome could not be determined.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Unknown(DbError),
}

/// How thoroughly a group is checked before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Optimistic: an unlikely conflict may be detected late, and then fails the whole group.
    Quick,
    /// Everything is looked up first, so that only operations that cannot be done fail.
    Careful,
}
