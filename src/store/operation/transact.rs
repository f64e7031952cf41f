//! Handlers that run inside a transaction.

use std::any::Any;
use std::time::Duration;

use super::{Holder, SessionKey, Unit, UnitOutcome};

/// A handler that runs inside the transaction, with the Diesel connection. Never batched, never run twice.
#[allow(missing_debug_implementations)] // holds a closure
pub struct Transact {
    /// What it handles.
    pub handles: Handles,
    /// A handler that takes longer than this is rolled back.
    pub limit: Duration,
    /// Receives the connection (`&mut SqliteConnection` as `Any`) and returns what to commit.
    pub run: TransactBody,
}

/// What a handler in a transaction handles. It is checked before the handler runs, and again when its unit is committed.
#[derive(Clone, Debug)]
pub enum Handles {
    /// A message from a client.
    Message {
        /// On whose behalf.
        holder: Holder,
        /// The client's message id.
        cmid: String,
    },
    /// A forwarded row.
    Work {
        /// Its id.
        id: i64,
        /// The claim under which the caller holds it.
        epoch: i64,
    },
    /// A request that ended without a reply.
    Ended {
        /// The session to which it was sent.
        session: SessionKey,
        /// Its sequence number.
        seq: i64,
    },
}

/// The body of a [`Transact`]. `Err` carries the handler's failure and rolls back.
pub type TransactBody = Box<dyn FnOnce(&mut dyn Any) -> Result<Unit, Box<dyn Any + Send>> + Send>;

/// Outcome of [`Transact`].
#[derive(Debug)]
pub enum Transacted {
    /// The handler succeeded. Holds the outcome of its unit.
    Unit(UnitOutcome),
    /// The handler failed with this; rolled back.
    RolledBack(Box<dyn Any + Send>),
    /// The handler panicked; rolled back.
    Panicked(String),
    /// The handler succeeded, but its transaction cannot be committed, for this reason; rolled back.
    Spoilt(String),
    /// The handler took this long, exceeding its limit; rolled back.
    TimedOut(Duration),
}
