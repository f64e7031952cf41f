//! Nodes: their leases, their services, and what they look after.

use std::time::{Duration, SystemTime};

use super::{Holder, SessionKey};

/// Makes the caller's node known, or renews its lease. False: the lease had run out (and the node may have been given
/// up by others): it must come back as a new incarnation.
#[derive(Clone, Debug)]
pub struct RenewLease {
    /// True for the first time.
    pub join: bool,
    /// How long the lease holds.
    pub lease: Duration,
}

/// Publishes which services the caller's node has, for as long as its row is there.
#[derive(Clone, Debug)]
pub struct NoteServices {
    /// Their names.
    pub services: Vec<String>,
}

/// Whether all living nodes have said which services they have. One that has not takes all work there is: a node of an
/// earlier version, or one that is just starting.
#[derive(Clone, Copy, Debug)]
pub struct AllHaveSaid;

/// Asks whose store this is. Who asks first has it.
#[derive(Clone, Debug)]
pub struct ClaimApplication {
    /// The application that asks.
    pub name: String,
}

/// The store's application has another name from now on. Outcome: the one that it had, if any.
#[derive(Clone, Debug)]
pub struct RenameApplication {
    /// The new name.
    pub name: String,
}

/// The caller's node stops: its sessions are not connected any more, its claims are free, its row goes.
#[derive(Clone, Debug)]
pub struct LeaveNode;

/// Lists the nodes of the cluster, by name; also those that are gone and not yet scavenged.
#[derive(Clone, Debug)]
pub struct ListNodes;

/// A node as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StoredNode {
    /// Its name: another one for each incarnation.
    pub name: String,
    /// Whether its lease holds. If not, it is gone, or has been cut off from the database for too long.
    pub lives: bool,
    /// Until when its lease holds (PostgreSQL: on the database's clock). Serialised as milliseconds since the epoch.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub lease_until: SystemTime,
    /// Sessions that it holds; those of a node that does not live are not connected.
    pub sessions: u64,
    /// The services that it has; `None` (JSON null): not known, it being of an earlier version.
    pub services: Option<Vec<String>>,
}

/// Mends times that lie further ahead than they can: the clock was set back since they were written. What waits for them
/// would wait for as long as it was set back. How many were mended: at most about `limit` of each kind.
#[derive(Clone, Debug)]
pub struct MendTimes {
    /// How long at most it is until a session is closed that is to be closed later.
    pub close_after: Duration,
    /// How long at most nobody else is told of a request that has ended.
    pub again: Duration,
    /// At most so many of each kind in one go.
    pub limit: u32,
}

/// Takes the next step in keeping young rows apart from old ones, where the database does that: see
/// `store/postgres/segments`.
#[derive(Clone, Copy, Debug)]
pub struct Rotate {
    /// Bytes of a table beyond which it takes no more new rows.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub beyond: u64,
}

/// Outcome of [`Rotate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub enum Rotated {
    /// There is nothing to be done.
    Done,
    /// There may be another step.
    More,
    /// Somebody uses what the next step needs.
    Held,
}

/// All sessions that the store believes to be on the caller's node.
#[derive(Clone, Debug)]
pub struct Sweep;

/// One session in the outcome of [`Sweep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweptSession {
    /// Who holds it.
    pub holder: Holder,
    /// Newest sequence number in its outbox; 0 if there is none, or none above what its client has acknowledged.
    pub newest: i64,
}

/// Outcome of [`Sweep`].
#[derive(Clone, Debug)]
pub struct Swept {
    /// Sessions that the store believes to be on this node.
    pub sessions: Vec<SweptSession>,
    /// Newest publication's number.
    pub newest_publication: i64,
    /// There are sessions, here or elsewhere, that were to be closed by now ([`CloseDue`]).
    pub close_due: bool,
}

/// Which of these sessions exist, by key.
#[derive(Clone, Debug)]
pub struct WhichExist {
    /// Keys.
    pub sessions: Vec<SessionKey>,
}
