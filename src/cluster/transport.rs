//! The transport of notices between nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::ClusterCounters;
use crate::store::operation::{ConnectionId, SessionKey};

/// A notice from one node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Messages were stored for these sessions, which you hold.
    Stored(Vec<SessionKey>),
    /// This session was registered again, by that node: release it, and notify that node.
    TakenOver {
        session: SessionKey,
        connection: ConnectionId,
        by: String,
    },
    /// The registration before this one has released the session.
    Released {
        session: SessionKey,
        connection: ConnectionId,
    },
    /// This session, which you hold, was closed.
    Closed { session: SessionKey, reason: String },
    /// Make the client of this session, which you hold, reconnect if it is connected: someone asked to close the
    /// session.
    ComeBack { session: SessionKey },
    /// Something was published.
    Published,
    /// Work was stored for services that the sending node does not have: nodes that have them may claim it.
    Work,
    /// From this node's own transport: notices may have been missed.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    // nothing is missed within one process
    Missed,
}

/// What a faulty transport does to notices between nodes. The default is nothing.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Faults {
    /// Probability that a notice is lost.
    pub(super) drop: f64,
    /// Probability that a notice arrives twice.
    pub(super) duplicate: f64,
    /// How long each notice is delayed.
    pub(super) delay: Duration,
}

impl Faults {
    /// A notice is lost with this probability, 0.0 to 1.0.
    pub fn drop(mut self, probability: f64) -> Faults {
        self.drop = probability.clamp(0.0, 1.0);
        self
    }

    /// A notice arrives twice with this probability, 0.0 to 1.0.
    pub fn duplicate(mut self, probability: f64) -> Faults {
        self.duplicate = probability.clamp(0.0, 1.0);
        self
    }

    /// Each notice is delayed by this time.
    pub fn delay(mut self, delay: Duration) -> Faults {
        self.delay = delay;
        self
    }
}

/// Carries notices between nodes.
pub(crate) trait Transport: Send + Sync + 'static {
    /// From now on, notices for this node go to `deliver`.
    fn join(&self, node: &str, deliver: Deliver, counters: Arc<ClusterCounters>);
    /// No more notices for this node. `done` is dropped when its own earlier notices are on their way.
    fn leave(&self, node: &str, done: Done);
    /// Sends a notice from this node, which has joined, to another one.
    fn tell(&self, teller: &str, node: &str, notice: Notice);
    /// Sends a notice from this node, which has joined, to all others.
    fn tell_others(&self, teller: &str, notice: Notice);
}

/// Receives the notices for a node.
pub(crate) type Deliver = Box<dyn Fn(Notice) + Send>;

/// Dropped when a node has left.
pub(crate) type Done = oneshot::Sender<()>;
