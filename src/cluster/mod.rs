//! Cluster-notify: notifies other nodes of news.
//!
//! A notice is a hint: it may be lost, doubled or late. The database is authoritative, and the sweep finds whatever no
//! notice announced.

mod counters;
mod local;
mod notify;
#[cfg(feature = "postgres")]
mod postgres;
mod transport;

use std::fmt;
use std::sync::Arc;

pub(crate) use counters::ClusterCounters;
pub use counters::ClusterMetrics;
pub(crate) use notify::{ClusterNotify, FromCluster, Tell};
pub use transport::Faults;
pub(crate) use transport::{Deliver, Done, Notice, Transport};

use crate::store::Store;

/// How the nodes of a cluster notify each other. Cheap to clone; clones are the same cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) transport: Arc<dyn Transport>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Nodes in one process.
    pub fn local() -> Cluster {
        Cluster::faulty(Faults::default())
    }

    /// Nodes in any processes, by LISTEN and NOTIFY of a PostgreSQL database that all of them reach. Nodes with the
    /// same schema form one cluster; tables are not used.
    ///
    /// Each node keeps one LISTEN connection. If it is lost, the node opens it again, and looks in the store for what
    /// it has missed. Until then, or if the connection can never be opened, the sweep of each node finds its news
    /// ([`Config::sweep_interval`](crate::Config::sweep_interval)).
    ///
    /// The URL, or list of `key=value`, is passed to libpq. It must not go through a pooler in transaction mode, such
    /// as PgBouncer: connect to the database directly. Time-outs and keep-alives are added unless given.
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

    /// The default way for nodes on this store to notify each other.
    pub(crate) fn for_store(store: &Store) -> Cluster {
        match store.listen() {
            #[cfg(feature = "postgres")]
            Some(at) => Cluster::postgres(&at.url, &at.schema),
            #[cfg(not(feature = "postgres"))]
            Some(_) => Cluster::local(),
            None => Cluster::local(),
        }
    }

    /// Nodes in one process over a transport that loses, doubles and delays notices.
    pub(crate) fn faulty(faults: Faults) -> Cluster {
        Cluster {
            transport: Arc::new(local::LocalTransport::new(faults)),
        }
    }
}
