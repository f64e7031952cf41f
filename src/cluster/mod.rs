//! Cluster-notify: telling other nodes about news.
//!
//! A notice is a hint: it may be lost, doubled or late. The database is the truth, and the sweep finds what was not
//! told.

mod counters;
mod local;
mod notify;
#[cfg(feature = "postgres")]
mod postgres;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub(crate) use counters::ClusterCounters;
pub use counters::ClusterMetrics;
pub(crate) use notify::{ClusterNotify, FromCluster, Tell};

use crate::store::Store;
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

    /// Nodes in any processes that reach one PostgreSQL database, by its LISTEN and NOTIFY. Those with the same schema
    /// are one cluster; none of its tables is used.
    ///
    /// Each node keeps one connection, its LISTEN line. If it is lost the node opens it again, and looks in the store
    /// for what it has not heard. Until then the sweep of each node finds its news
    /// ([`Config::sweep_interval`](crate::Config::sweep_interval)), as it does if the line can never be opened.
    ///
    /// The URL, or list of `key=value`, is libpq's. It must not lead through a pooler in transaction mode, such as
    /// PgBouncer: give one that leads past it. Time-outs and keep-alives are added, unless it has them.
    ///
    /// ```
    /// # use matssocket::Cluster;
    /// let cluster = Cluster::postgres("postgres://app@db.example/app", "matssocket");
    /// ```
    #[cfg(feature = "postgres")]
    pub fn postgres(url: impl AsRef<str>, schema: impl AsRef<str>) -> Cluster {
        Cluster {
            transport: Arc::new(postgres::PostgresTransport::new(
                url.as_ref(),
                schema.as_ref(),
            )),
        }
    }

    /// How nodes on this store hear each other, unless they are told otherwise.
    pub(crate) fn for_store(store: &Store) -> Cluster {
        match store.listen() {
            #[cfg(feature = "postgres")]
            Some(at) => Cluster::postgres(&at.url, &at.schema),
            #[cfg(not(feature = "postgres"))]
            Some(_) => Cluster::local(),
            None => Cluster::local(),
        }
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
