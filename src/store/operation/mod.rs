//! What can be asked of the store: every operation, and its outcome.
//!
//! An operation is one atomic step. Several of them share a transaction in a group commit, but each is applied
//! whole or not at all, and its caller hears of it only after the commit. A refusal (no such session, fenced off,
//! duplicate …) is an outcome; only what should not happen (database away, broken) is a [`StoreError`](super::StoreError).
//!
//! Times are milliseconds since the epoch on the store's clock.

mod forward;
mod mailbox;
mod node;
mod session;
mod topic;
mod unit;

pub use forward::*;
pub use mailbox::*;
pub use node::*;
pub use session::*;
pub use topic::*;
pub use unit::*;

pub use super::news::{News, StoredMessage};

/// The store's own key of a session; never used again after the session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub i64);

/// Numbers the registrations of one session: the higher one is the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub i64);

/// A session as held by one registration: the fencing token of every write on behalf of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Which session.
    pub session: SessionKey,
    /// Which registration of it.
    pub connection: ConnectionId,
}
