//! What can go wrong in the store.

use std::time::Duration;

/// An unexpected failure of the store. What can be expected, such as a session that does not exist, is not one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be opened: says which and why, and what to do.
    #[error("{0}")]
    Open(String),
    /// The database could not be reached or failed; nothing was changed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The database does not take this, now or ever: a value is bad, or a constraint does not hold. Nothing was changed.
    #[error("the store refused it: {0}")]
    Refused(String),
    /// The database is full, read-only, or forbids it: nothing can be stored until somebody has seen to that. Nothing was
    /// changed.
    #[error("the store is unable to: {0}")]
    Unable(String),
    /// The connection was lost at commit: whether it took place is not known.
    #[error("the connection to the database was lost during a commit; its outcome is unknown")]
    Unknown,
    /// Too much is waiting for the store.
    #[error("the store is overloaded: no room in its queue for {0:?}")]
    Busy(Duration),
    /// The store was stopped.
    #[error("the store is stopped")]
    Stopped,
    /// It was opened by [`Admin::open_to_read`](crate::Admin::open_to_read), and cannot be changed.
    #[error("the store was opened to read only; to change it, open it by `Admin::open`")]
    ReadOnly,
}
