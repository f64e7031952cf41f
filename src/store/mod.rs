//! The cluster store-and-forward: what every node of a cluster shares.
//!
//! [`Store`] says which database; opening it starts the store actor, whose messages are the operations of
//! [`operation`]. Nodes in one process share one `Store`.

pub mod operation;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use operation::News;

/// Which database to use. Cheap to clone; clones share the opened database, so that several nodes of one process can
/// run on one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<()>,
}

impl Store {
    /// SQLite in a file, created if missing. A second process on the same file is refused.
    pub fn sqlite(path: impl Into<PathBuf>) -> Store {
        let _ = path.into();
        todo!()
    }

    /// SQLite in memory: gone with the last clone of this `Store`. For tests.
    pub fn sqlite_in_memory() -> Store {
        todo!()
    }

    /// Opens the database (once for all clones), runs its migrations, and attaches a node: `news` is told what was
    /// committed on the node's behalf.
    pub(crate) fn attach(
        &self,
        node: &str,
        config: &StoreConfig,
        clock: &crate::clock::Clock,
        news: actix::Recipient<NewsOf>,
    ) -> Result<StoreHandle, StoreError> {
        let _ = (node, config, clock, news, &self.inner);
        todo!()
    }
}

/// Limits of the store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Most operations in one transaction. Default 500.
    pub batch: usize,
    /// Most operations waiting for the store; beyond that, callers wait. Default 10,000.
    pub queue: usize,
    /// Longest that a caller waits for room in the queue. Default 5 s.
    pub queue_wait: Duration,
    /// Threads that read beside the writer (SQLite in a file). Default 2.
    pub readers: usize,
    /// How long SQLite waits for a lock. Default 5 s.
    pub busy_timeout: Duration,
    /// Most messages stored in one session's outbox. Default 10,000.
    pub max_outbox: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            batch: 500,
            queue: 10_000,
            queue_wait: Duration::from_secs(5),
            readers: 2,
            busy_timeout: Duration::from_secs(5),
            max_outbox: 10_000,
        }
    }
}

/// News for a node, sent after the commit.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct NewsOf(pub News);

/// What must not happen, did. Refusals are outcomes of the operations instead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened: says which and why, and what to do.
    #[error("{0}")]
    Open(String),
    /// The database could not be reached or failed; nothing was changed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The connection was lost at commit: whether it took place is not known.
    #[error("the connection to the database was lost during a commit; its outcome is unknown")]
    Unknown,
    /// Too much is waiting for the store.
    #[error("the store is overloaded: no room in its queue for {0:?}")]
    Busy(Duration),
    /// The store was stopped.
    #[error("the store is stopped")]
    Stopped,
}

/// One kind of operation.
pub trait Operation: Send + 'static {
    /// What the caller is told after the commit.
    type Outcome: Send + 'static;
}

/// A node's access to the store.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    inner: Arc<()>,
}

impl StoreHandle {
    /// Runs one operation; the outcome comes after the commit. Operations given one after the other from one task
    /// are applied in that order (reads, on other connections, see everything that was answered before).
    /// The operation runs even if the future is dropped.
    pub(crate) fn run<O: Operation>(
        &self,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + Send + 'static + use<O> {
        let _ = (operation, &self.inner);
        std::future::ready(todo!())
    }

    /// The node comes back as a new incarnation with this name.
    pub(crate) fn rename(&self, node: &str) {
        let _ = node;
        todo!()
    }
}
