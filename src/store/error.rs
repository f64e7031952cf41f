//! Errors of the store.

use std::time::Duration;

/// An unexpected failure of the store. Outcomes that a caller should expect, such as a missing session, are not errors.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database could not be opened. The text says which one, why, and what to do.
    #[error("{0}")]
    Open(String),
    /// The database could not be reached, or it failed; nothing was changed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The database rejects this operation and always will: a value is invalid or a constraint is violated. Nothing was
    /// changed.
    #[error("the store refused the operation: {0}")]
    Refused(String),
    /// The database is full, read-only or denies permission: nothing can be stored until an operator intervenes.
    /// Nothing was changed.
    #[error("the database is full, read-only or denies permission: {0}")]
    Unable(String),
    /// The connection was lost during the commit; it is unknown whether the commit took place.
    #[error("the connection to the database was lost during a commit; its outcome is unknown")]
    Unknown,
    /// The queue stayed full for as long as the caller may wait (given here).
    #[error("the store is overloaded: no room in its queue for {0:?}")]
    Busy(Duration),
    /// The store was stopped.
    #[error("the store is stopped")]
    Stopped,
    /// The store was opened by [`Admin::open_to_read`](crate::Admin::open_to_read) and cannot be changed through it.
    #[error("the store was opened for reading only; to change it, use `Admin::open`")]
    ReadOnly,
}
