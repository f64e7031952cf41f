//! Nodes: their leases, their services, and their maintenance.

use std::time::{Duration, SystemTime};

use super::{Holder, SessionKey};

/// Registers the caller's node, or renews its lease. False: the lease had expired, and other nodes may have taken over,
/// so the node must come back as a new incarnation.
#[derive(Clone, Debug)]
pub struct RenewLease {
    /// True when registering.
    pub join: bool,
    /// How long the lease is valid.
    pub lease: Duration,
}

/// Publishes which services the caller's node offers, for as long as the node's row exists.
#[derive(Clone, Debug)]
pub struct NoteServices {
    /// Their names.
    pub services: Vec<String>,
}

/// Whether all living nodes have published their services. One that has not is expected to accept all work: it is of an
/// earlier version, or just starting.
#[derive(Clone, Copy, Debug)]
pub struct AllHaveSaid;

/// Asks which application owns the store. The first application to ask becomes the owner.
#[derive(Clone, Debug)]
pub struct ClaimApplication {
    /// The application that asks.
    pub name: String,
}

/// Changes the name of the store's application. Outcome: the previous name, if any.
#[derive(Clone, Debug)]
pub struct RenameApplication {
    /// The new name.
    pub name: String,
}

/// The caller's node stops: its sessions become disconnected, its claims are released, and its row is deleted.
#[derive(Clone, Debug)]
pub struct LeaveNode;

/// Lists the nodes of the cluster by name, including those that are gone but not yet scavenged.
#[derive(Clone, Debug)]
pub struct ListNodes;

/// A node as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct StoredNode {
    /// Its name, which is different for each incarnation.
    pub name: String,
    /// Whether its lease is valid. If not, the node is gone or has been cut off from the database for too long.
    pub lives: bool,
    /// When its lease expires (PostgreSQL: on the database's clock). Serialised as milliseconds since the epoch.
    #[serde(with = "crate::clock::epoch_ms_of")]
    pub lease_until: SystemTime,
    /// Number of sessions that it holds; those of a node that is not alive are disconnected.
    pub sessions: u64,
    /// The services that it offers. `None` (JSON null): not known, because it is of an earlier version.
    pub services: Option<Vec<String>>,
}

/// Repairs times that lie further in the future than they should, because the clock has been set back since they were
/// written. Whatever waits for them would otherwise wait that much longer. Outcome: how many were repaired, at most
/// about `limit` of each kind.
#[derive(Clone, Debug)]
pub struct MendTimes {
    /// Maximum time for which a session scheduled for closing stays open.
    pub close_after: Duration,
    /// Maximum time for which an ended request stays claimed by one node.
    pub again: Duration,
    /// Maximum number of each kind in one operation.
    pub limit: u32,
}

/// Takes the next step in separating young rows from old ones, where the database does that; see
/// `store/postgres/segments`.
#[derive(Clone, Copy, Debug)]
pub struct Rotate {
    /// Size in bytes beyond which a table takes no more new rows.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub beyond: u64,
}

/// Outcome of [`Rotate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub enum Rotated {
    /// There is nothing to do.
    Done,
    /// There may be another step to take.
    More,
    /// The next step needs something that is in use.
    Held,
}

/// Lists all sessions that, according to the store, are held by the caller's node.
#[derive(Clone, Debug)]
pub struct Sweep;

/// One session in the outcome of [`Sweep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweptSession {
    /// Its registration.
    pub holder: Holder,
    /// Newest sequence number in its outbox; 0 if there is none, or none beyond what its client has acknowledged.
    pub newest: i64,
}

/// Outcome of [`Sweep`].
#[derive(Clone, Debug)]
pub struct Swept {
    /// Sessions that, according to the store, are held by this node.
    pub sessions: Vec<SweptSession>,
    /// The newest publication's number.
    pub newest_publication: i64,
    /// Whether any sessions, here or elsewhere, were due to be closed by now ([`CloseDue`]).
    pub close_due: bool,
}

/// Which of these sessions exist.
#[derive(Clone, Debug)]
pub struct WhichExist {
    /// Their keys.
    pub sessions: Vec<SessionKey>,
}
