//! Forwarded rows: work for services.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use crate::wire::{Debug, MessageType, Payload};

/// Work for a service.
#[derive(Clone, Debug)]
pub struct NewForward {
    /// The service's name.
    pub service: String,
    /// The endpoint that forwarded the message, whose reply adapter is used.
    pub endpoint: String,
    /// The session from which it came.
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// The client's message id, if the client waits for a reply (a REQUEST).
    pub cmid: Option<String>,
    /// The type of the client's message: SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// Trace id.
    pub tid: String,
    /// The payload for the service.
    pub msg: Payload,
    /// Accompanies the payload, to the service and to the reply adapter.
    pub correlation: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
    /// How much longer the reply is awaited, counted from when this is stored or read. `None`: nobody waits, or it is
    /// not known.
    pub left: Option<Duration>,
    /// Whether the endpoint has a reply adapter. `None`: not known, because a node of an earlier version stored this.
    pub adapted: Option<bool>,
    /// Whether the caller's node has the service and claims the row as it stores it. Otherwise any node that has the
    /// service may claim it.
    pub here: bool,
    /// When it may begin. At once where it is read. Delayed work waits for any node, whatever `here` says.
    pub begins: Begins,
    /// Names it, so that it can be cancelled. It is not stored if the service has outstanding work with this key.
    pub key: Option<String>,
}

/// When work may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// This long after it is stored.
    After(Duration),
    /// At this time, in milliseconds since the epoch.
    At(i64),
}

impl Begins {
    /// As soon as it is stored.
    pub const AT_ONCE: Begins = Begins::After(Duration::ZERO);

    /// How long it is delayed, if it is stored at this time (milliseconds since the epoch).
    pub fn delay(self, now: i64) -> Duration {
        match self {
            Begins::After(delay) => delay,
            Begins::At(time) => {
                Duration::from_millis(u64::try_from(time.saturating_sub(now)).unwrap_or(0))
            }
        }
    }
}

impl NewForward {
    /// Bytes of what the service receives.
    pub fn bytes(&self) -> usize {
        let beside = self.correlation.as_ref();
        self.msg.get().len() + beside.map_or(0, |beside| beside.get().len())
    }
}

/// A forwarded row, claimed.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Its id.
    pub id: i64,
    /// Number of the claim: only the newest claim may settle the row.
    pub epoch: i64,
    /// The secret of its reply token.
    pub secret: String,
    /// Failed attempts so far.
    pub attempts: u32,
    /// How long before the row was read its first attempt failed; zero if none has.
    pub failing: Duration,
    /// When it was read.
    pub read: Instant,
    /// The work.
    pub work: Box<NewForward>,
}

impl Forwarded {
    /// How long ago its first attempt failed. `None`: none has.
    pub fn failing_for(&self) -> Option<Duration> {
        (self.attempts > 0).then(|| self.failing.saturating_add(self.read.elapsed()))
    }

    /// How much longer the reply is awaited, zero if no longer. `None`: nobody waits, or it is not known.
    pub fn left(&self) -> Option<Duration> {
        let left = self.work.left?;
        Some(left.saturating_sub(self.read.elapsed()))
    }
}

/// A limit on outstanding forwarded work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardLimit {
    /// Rows of the session.
    Session,
    /// Rows of the user.
    User,
    /// Bytes of the user.
    Bytes,
    /// The message alone causes more than may ever be outstanding, so that it is refused every time.
    OneMessage,
}

impl std::fmt::Display for ForwardLimit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            ForwardLimit::Session => "too many messages of this session wait for services",
            ForwardLimit::User => "too many messages of this user wait for services",
            ForwardLimit::Bytes => "too many bytes of this user wait for services",
            ForwardLimit::OneMessage => {
                "its handler started more work than may wait at a time: raise max_forwarded_per_session, \
                max_forwarded_per_user or max_forwarded_bytes_per_user of the store, or let a service start it, which \
                is not limited"
            }
        })
    }
}

/// Claims forwarded rows of the services that the caller's node offers. Claimable are rows that are due and unclaimed,
/// rows whose claiming node's lease has expired, and rows that the caller's node has claimed without knowing it,
/// because the outcome of that commit was lost. The oldest rows of each service come first, except that users take
/// turns, as far as is visible from a few times as many rows as there is room for.
#[derive(Clone, Debug)]
pub struct ClaimForwarded {
    /// How much room the caller's node has for each of its services. Rows of other services are left to nodes that
    /// offer them.
    pub rooms: HashMap<String, Room>,
    /// Rows that the caller knows it has claimed.
    pub holding: HashSet<i64>,
    /// After this time, a claim missing from `holding` counts as lost.
    pub claim_grace: Duration,
    /// When `holding` was complete; the operation may have to wait for its turn.
    pub asked: Instant,
    /// What the caller's last query found out. `None`: start over.
    pub looked: Option<Looked>,
}

/// What a query for rows found out, so that the next one starts where there are rows. (Deleted rows may stay in the
/// indexes for hours, and a query from the start of an index steps over all of them.)
///
/// Rows that appear before the starting point, because a transaction took long or a clock was set back, are found only
/// by starting over, which is therefore necessary now and then.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// No unclaimed row of these services is due before this time.
    pub(crate) free: HashMap<String, i64>,
    /// Nodes that are gone and hold no claim on work that the caller's node could do.
    pub(crate) emptied: HashSet<String>,
    /// All rows that the caller's node claimed before this time were known to it,
    pub(crate) own_before: i64,
    /// except that these count only while the node holds them: one that it no longer holds is checked again.
    pub(crate) held: HashSet<i64>,
}

/// How much work a node can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Number of rows.
    pub rows: usize,
    /// Number of bytes. While any are left, a row of any size may be claimed.
    pub bytes: u64,
}

/// Outcome of [`ClaimForwarded`].
#[derive(Clone, Debug, Default)]
pub struct ClaimedForwarded {
    /// The claimed rows, each of a service that had room for it.
    pub rows: Vec<Forwarded>,
    /// Services with more rows than were claimed.
    pub more: HashSet<String>,
    /// To be passed to the next query.
    pub looked: Looked,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}

/// Releases rows that the caller's node has claimed but not begun, so that any node may claim them at once. Rows that
/// were claimed again or settled meanwhile are left alone.
#[derive(Clone, Debug)]
pub struct GiveBackForwarded {
    /// Their ids and claims (epochs).
    pub rows: Vec<(i64, i64)>,
}

/// Puts a claimed row back, to be claimed again by any node when it is due. False: it was claimed again or settled
/// meanwhile.
#[derive(Clone, Debug)]
pub struct PostponeForwarded {
    /// Which row.
    pub id: i64,
    /// The claim under which the caller holds it.
    pub epoch: i64,
    /// Number of failed attempts so far.
    pub attempts: u32,
    /// How long until it is due again.
    pub delay: Duration,
}

/// Makes a claimed row a dead letter. False: it was claimed again or settled meanwhile.
#[derive(Clone, Debug)]
pub struct BuryForwarded {
    /// Which row.
    pub id: i64,
    /// The claim under which the caller holds it.
    pub epoch: i64,
    /// Why it is given up.
    pub reason: String,
}

/// Reads a forwarded row by its reply token, without claiming it. `None`: it is settled, or the secret is wrong.
#[derive(Clone, Debug)]
pub struct ReadForwarded {
    /// Which row.
    pub id: i64,
    /// The token's secret.
    pub secret: String,
}

/// Finds work that waits because no living node offers its service, by service.
#[derive(Clone, Copy, Debug)]
pub struct FindUnserved {
    /// Maximum number of services.
    pub limit: usize,
}

/// Forwarded messages that wait because no living node offers their service. They are processed as soon as one does.
///
/// Replies can also wait for nodes with a certain endpoint. A service's reply that needs an endpoint's reply adapter
/// waits for a service named `MatsSocket.adapter/` followed by the endpoint; a client's reply that needs a reply
/// terminator waits for one named `MatsSocket.terminator/` followed by the terminator.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct UnservedWork {
    /// The service.
    pub service: String,
    /// Number of messages waiting for it; of those released by any one node, at most 10,000 are counted.
    pub messages: u64,
    /// When the message that has waited longest was stored. Serialised as milliseconds since the epoch.
    #[serde(with = "crate::clock::epoch_ms_of")]
    pub oldest: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_past_is_no_delay() {
        let delays = [9_000, 10_000, 12_500].map(|at| Begins::At(at).delay(10_000).as_millis());
        assert_eq!(delays, [0, 0, 2_500]);
        assert_eq!(Begins::After(Duration::MAX).delay(10_000), Duration::MAX);
    }
}
