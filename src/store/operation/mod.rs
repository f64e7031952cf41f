//! The operations that the store offers, with their outcomes.
//!
//! An operation is one atomic step. Several may share a transaction in a group commit, but each is applied entirely or
//! not at all, and its caller receives the outcome only after the commit. A refusal (no such session, fenced off,
//! duplicate …) is an outcome; only unexpected failures (database unreachable or broken) are a
//! [`StoreError`](super::StoreError).
//!
//! Times are milliseconds since the epoch on the store's clock.

mod effect;
mod forward;
mod listing;
mod mailbox;
mod maintenance;
mod node;
mod presence;
mod session;
mod subscription;
mod topic;
mod transact;
mod unit;
mod user;

pub use effect::*;
pub use forward::*;
pub use listing::*;
pub use mailbox::*;
pub use maintenance::*;
pub use node::*;
pub use presence::*;
pub use session::*;
pub use subscription::*;
pub use topic::*;
pub use transact::*;
pub use unit::*;
pub use user::*;

pub use super::news::{News, StoredMessage};

/// The store's own key of a session; never reused after the session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub i64);

/// Numbers the registrations of one session; the highest one holds it.
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
