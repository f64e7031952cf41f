//! Cluster-notify: telling other nodes about news.
//!
//! A notice is a hint: it may be lost, doubled or late. The database is the truth, and the sweep finds what was not
//! told.

mod local;
mod notify;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use notify::{ClusterNotify, FromCluster, Tell};

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
    /// Something was published.
    Published,
}

/// How the nodes of a cluster hear each other. Cheap to clone; clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) transport: Arc<dyn Transport>,
}

impl Cluster {
    /// Nodes in one process.
    pub fn local() -> Cluster {
        Cluster::faulty(Faults::default())
    }

    /// Nodes in one process over a transport that loses, doubles and delays notices. For tests.
    pub fn faulty(faults: Faults) -> Cluster {
        Cluster {
            transport: Arc::new(local::LocalTransport::new(faults)),
        }
    }
}

/// What a faulty transport does to notices. The default does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Probability that a notice is lost, 0.0 to 1.0.
    pub drop: f64,
    /// Probability that a notice comes twice, 0.0 to 1.0.
    pub duplicate: f64,
    /// How long each notice is kept back.
    pub delay: Duration,
}

/// Carries notices between nodes.
pub(crate) trait Transport: Send + Sync + 'static {
    /// From now on, notices for this node go to `deliver`.
    fn join(&self, node: &str, deliver: Deliver);
    /// No more notices for this node.
    fn leave(&self, node: &str);
    /// Tells one node.
    fn tell(&self, node: &str, notice: Notice);
    /// Tells every node but this one.
    fn tell_others(&self, node: &str, notice: Notice);
}

/// Where a transport puts the notices for a node.
pub(crate) type Deliver = Box<dyn Fn(Notice) + Send>;
