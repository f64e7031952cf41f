//! Operations that keep the stored sessions up to date, and delete what is no longer needed.

use std::time::Duration;

use super::{Holder, SessionKey};

/// Records that these sessions are alive; those fenced off are skipped.
#[derive(Clone, Debug)]
pub struct Liveliness {
    /// Sessions held by the caller.
    pub holders: Vec<Holder>,
}

/// Records that the clients of these sessions have received everything that was published to them up to a number. Once
/// true, this stays true whichever node observed it, so it is not fenced. A number lower than the recorded one changes
/// nothing.
#[derive(Clone, Debug)]
pub struct NotePositions {
    /// Sessions and numbers.
    pub positions: Vec<(SessionKey, i64)>,
}

/// Closes sessions that are not connected and have not been alive for the given time; at most `limit` of them.
#[derive(Clone, Debug)]
pub struct TimeOutSessions {
    /// How long a session may be idle.
    pub idle: Duration,
    /// Maximum number of sessions in one operation.
    pub limit: u32,
}

/// Deletes one batch of rows that are no longer needed: remains of closed sessions, old inbox rows, old publications,
/// old idempotency keys, and nodes whose leases expired long ago.
#[derive(Clone, Debug)]
pub struct Scavenge {
    /// Inbox rows older than this are deleted: their clients were answered long ago, but their ACK2 was lost.
    pub inbox_older: Duration,
    /// Publications older than this are deleted.
    pub publications_older: Duration,
    /// Idempotency keys older than this are deleted.
    pub keys_older: Duration,
    /// Where to continue.
    pub from: ScavengeFrom,
    /// Maximum number of rows examined.
    pub limit: u32,
}

impl Scavenge {
    /// Where to continue after examining this number of rows: behind them, or with the next table if there were fewer
    /// than `limit`.
    pub(crate) fn after(
        &self,
        rows: usize,
        behind: ScavengeFrom,
        next: ScavengeFrom,
    ) -> ScavengeFrom {
        match rows >= self.limit as usize {
            true => behind,
            false => next,
        }
    }
}

/// Where scavenging continues. It passes over each table once and does not look back, since a database may have to step
/// over every deleted row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScavengeFrom {
    /// Inbox rows above this session and cmid.
    Inbox(i64, String),
    /// Outbox rows above this session and number.
    Outbox(i64, i64),
    /// Subscriptions above this session and topic.
    Subscriptions(i64, String),
    /// Publications above this number.
    Publications(i64),
    /// Idempotency keys from this time on.
    Keys(i64),
    /// Nodes, all of them.
    Nodes,
}

impl Default for ScavengeFrom {
    fn default() -> Self {
        ScavengeFrom::Inbox(i64::MIN, String::new())
    }
}

/// Outcome of [`Scavenge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// Rows deleted.
    pub rows: u64,
    /// Where to continue. `None`: everything has been scavenged.
    pub next: Option<ScavengeFrom>,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}

/// Deletes messages whose time to live has ended, in part. A request among them ends without a reply.
#[derive(Clone, Copy, Debug)]
pub struct ExpireMessages {
    /// How long ago it must have ended. What was sent just before is given time to be acknowledged.
    pub grace: Duration,
    /// Where the last query ended. `None`: start over.
    pub since: Option<i64>,
    /// Maximum number of messages.
    pub limit: u32,
}

/// Outcome of [`ExpireMessages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredMessages {
    /// How many were deleted.
    pub messages: u64,
    /// Whether there may be more.
    pub more: bool,
    /// To be passed to the next query.
    pub since: i64,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}
