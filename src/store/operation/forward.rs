//! Forwarded rows: work for services.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use super::Forwarded;

/// Claims forwarded rows of the services that the caller's node has: those that are due and free, or whose claiming
/// node's lease has run out, or that the caller's node has claimed without knowing it, the outcome of that commit having
/// been lost. Of each service the oldest ones, except that users take turns as far as can be told from a few times as many rows as there is room for.
#[derive(Clone, Debug)]
pub struct ClaimForwarded {
    /// How much of each service that the caller's node has. Rows of others are left to nodes that have them.
    pub rooms: HashMap<String, Room>,
    /// Rows that the caller knows it has claimed.
    pub holding: HashSet<i64>,
    /// After this time, a claim that the caller does not hold counts as lost.
    pub claim_grace: Duration,
    /// When the caller knew of no others: it may wait for its turn.
    pub asked: Instant,
    /// What the caller's last look has found out; `None`: this one begins anew.
    pub looked: Option<Looked>,
}

/// What a look for rows has found out, so that the next one begins where there are some. (Rows that are gone may stay in
/// the indexes for hours, and a look from the start of an index steps over all of them.)
///
/// Rows that come to light in places that were passed already, because a transaction took long or a clock was set back,
/// are found when a look begins anew. So one must, now and then.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// No free row of these services is due before this.
    pub(crate) free: HashMap<String, i64>,
    /// Nodes that are gone, and hold nothing that the caller's node could do.
    pub(crate) emptied: HashSet<String>,
    /// Of the rows that the caller's node has claimed before this, it knew all
    pub(crate) own_before: i64,
    /// but these, which it was holding: should it hold one of them no longer, that is looked at again.
    pub(crate) held: HashSet<i64>,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Rows.
    pub rows: usize,
    /// Bytes; as long as there are any, a row of whatever size may come.
    pub bytes: u64,
}

/// Outcome of [`ClaimForwarded`].
#[derive(Clone, Debug, Default)]
pub struct ClaimedForwarded {
    /// The rows, each of a service that had room for it.
    pub rows: Vec<Forwarded>,
    /// Services of which there are more rows than were claimed.
    pub more: HashSet<String>,
    /// For the next look.
    pub looked: Looked,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}

/// Gives rows back that the caller's node has claimed and not begun: free at once, for any node. Those claimed anew or
/// settled meanwhile are left alone.
#[derive(Clone, Debug)]
pub struct GiveBackForwarded {
    /// Their ids and claims.
    pub rows: Vec<(i64, i64)>,
}

/// Puts a claimed row back, to be claimed again by anyone when it is due. False: claimed anew or settled meanwhile.
#[derive(Clone, Debug)]
pub struct PostponeForwarded {
    /// Which row.
    pub id: i64,
    /// The claim.
    pub epoch: i64,
    /// Failed attempts now.
    pub attempts: u32,
    /// Due again after this.
    pub delay: Duration,
}

/// Makes a claimed row a dead letter. False: claimed anew or settled meanwhile.
#[derive(Clone, Debug)]
pub struct BuryForwarded {
    /// Which row.
    pub id: i64,
    /// The claim.
    pub epoch: i64,
    /// Why.
    pub reason: String,
}

/// Reads a forwarded row by its reply token, without claiming it. `None`: settled, or wrong secret.
#[derive(Clone, Debug)]
pub struct ReadForwarded {
    /// Which row.
    pub id: i64,
    /// The token's secret.
    pub secret: String,
}

/// Work that waits because no living node has its service: the names of services, and of those at most so many.
#[derive(Clone, Copy, Debug)]
pub struct FindUnserved {
    /// At most so many services.
    pub limit: usize,
}

/// Forwarded messages that wait because no living node has their service. They are worked on when one comes.
///
/// Replies may wait for nodes with a certain endpoint: those of services, for its reply adapter, wait for a service named
/// `MatsSocket.adapter/` and the endpoint; those of clients, for their reply terminator, for one named
/// `MatsSocket.terminator/` and the terminator.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct UnservedWork {
    /// The service.
    pub service: String,
    /// Messages that wait for it; no more than 10,000 of what one node has left are counted.
    pub messages: u64,
    /// When the one that has waited longest was stored. Serialised as milliseconds since the epoch.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub oldest: SystemTime,
}
