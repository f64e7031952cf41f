//! What carries notices between nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::ClusterCounters;
use crate::store::operation::{ConnectionId, SessionKey};

/// What one node tells another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Messages were stored for these sessions, which you hold.
    Stored(Vec<SessionKey>),
    /// This session has been registered anew, by that node: let go of it, and tell that node.
    TakenOver {
        session: SessionKey,
        connection: ConnectionId,
        by: String,
    },
    /// The registration before this one has let go of the session.
    Released {
        session: SessionKey,
        connection: ConnectionId,
    },
    /// This session, which you hold, was closed.
    Closed { session: SessionKey, reason: String },
    /// The client of this session, which you hold, is to come back if it is there: somebody wants to close the session.
    ComeBack { session: SessionKey },
    /// Something was published.
    Published,
    /// Work was stored for services that the teller does not have: whoever has them may claim it.
    Work,
    /// From the transport of this node itself: something may have been told that nobody heard.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    // nothing is missed within one process
    Missed,
}

/// What a faulty transport does to the notices between nodes. The default is none of it.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Faults {
    /// Probability that a notice is lost.
    pub(super) drop: f64,
    /// Probability that a notice comes twice.
    pub(super) duplicate: f64,
    /// How long each notice is kept back.
    pub(super) delay: Duration,
}

impl Faults {
    /// A notice is lost with this probability, 0.0 to 1.0.
    pub fn drop(mut self, probability: f64) -> Faults {
        self.drop = probability.clamp(0.0, 1.0);
        self
    }

    /// A notice comes twice with this probability, 0.0 to 1.0.
    pub fn duplicate(mut self, probability: f64) -> Faults {
        self.duplicate = probability.clamp(0.0, 1.0);
        self
    }

    /// Each notice is kept back for this time.
    pub fn delay(mut self, delay: Duration) -> Faults {
        self.delay = delay;
        self
    }
}

/// Carries notices between nodes.
pub(crate) trait Transport: Send + Sync + 'static {
    /// From now on, notices for this node go to `deliver`.
    fn join(&self, node: &str, deliver: Deliver, counters: Arc<ClusterCounters>);
    /// No more notices for this node. `done` is dropped when what it told before is on its way.
    fn leave(&self, node: &str, done: Done);
    /// This node, which has joined, tells another one.
    fn tell(&self, teller: &str, node: &str, notice: Notice);
    /// This node, which has joined, tells all others.
    fn tell_others(&self, teller: &str, notice: Notice);
}

/// Where a transport puts the notices for a node.
pub(crate) type Deliver = Box<dyn Fn(Notice) + Send>;

/// Dropped when a node has left.
pub(crate) type Done = oneshot::Sender<()>;
