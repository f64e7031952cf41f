//! Units: everything one handler did, committed atomically.

use std::any::Any;
use std::time::{Duration, Instant};

use super::{Holder, PostponeForwarded, SessionKey, StoredMessage};
use crate::wire::{Debug, MessageType, Payload};

/// Everything that one handler, service or call did, to be committed atomically.
#[derive(Debug)]
pub struct Unit {
    /// Where it came from, and what it settles.
    pub cause: Cause,
    /// What it does, in order.
    pub effects: Vec<Effect>,
}

impl Unit {
    /// Moves the stored messages into the notifications for them. The unit must not be run again afterwards.
    pub fn give_messages(&mut self, outcome: &UnitOutcome, stored: &mut [StoredMessage]) {
        let UnitOutcome::Committed(outcomes) = outcome else {
            return;
        };
        let mut stored = stored.iter_mut();
        for (effect, outcome) in self.effects.iter_mut().zip(outcomes) {
            match (effect, outcome) {
                (Effect::Message { message, .. }, EffectOutcome::Stored(seq)) => {
                    if let Some(stored) = stored.next() {
                        stored.message = Some(std::mem::take(message).stored(*seq));
                    }
                }
                (Effect::ToUser { message, .. }, EffectOutcome::StoredForUser(of_user)) => {
                    for (seq, stored) in of_user.seqs.iter().zip(stored.by_ref()) {
                        // Nobody would take a copy for a session that is not connected.
                        stored.message =
                            (stored.home.is_some()).then(|| message.clone().stored(*seq));
                    }
                }
                _ => {}
            }
        }
    }
}

/// What caused a [`Unit`].
#[derive(Clone, Debug)]
pub enum Cause {
    /// A message from a client. Its id goes to the inbox, together with the answer unless that is a plain ACK.
    Incoming {
        /// The registration on whose behalf this is done.
        holder: Holder,
        /// The client's message id.
        cmid: String,
        /// The answer envelope, as JSON text; `None` is a plain ACK.
        answer: Option<String>,
        /// If the message is a reply to our request with this sequence number, its correlation is deleted.
        settles: Option<i64>,
    },
    /// A forwarded row is settled: deleted.
    Forwarded {
        /// Which row.
        id: i64,
        /// The right to settle it.
        proof: Proof,
    },
    /// A forwarded row is put back, to be claimed again when it is due.
    Postponed {
        /// Which row, and until when.
        back: PostponeForwarded,
        /// Stored, so that a repeated call with the same key is recognised.
        idempotency_key: Option<String>,
    },
    /// A request's correlation that ended without a reply is deleted.
    EndedCorrelation {
        /// The session it belonged to.
        session: SessionKey,
        /// The request's sequence number.
        seq: i64,
    },
    /// A call of the application.
    Call {
        /// Makes repeats of this call harmless.
        idempotency_key: Option<String>,
    },
}

/// What entitles the caller to settle a forwarded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The claim under which the row was dispatched.
    Epoch(i64),
    /// The secret of its reply token.
    Token(String),
}

/// One thing that a [`Unit`] does.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // most are messages
pub enum Effect {
    /// A message for a session.
    Message {
        /// Session id.
        sid: String,
        /// The message.
        message: NewMessage,
    },
    /// A message for every session that a user has when this is committed.
    ToUser {
        /// The user.
        user_id: String,
        /// The message.
        message: NewMessage,
    },
    /// A message for every subscriber of a topic.
    Publish {
        /// Topic.
        topic: String,
        /// Trace id.
        tid: String,
        /// Payload.
        msg: Payload,
    },
    /// Work for a service, claimed by the caller's node if it has the service.
    Forward(Box<NewForward>),
    /// The service's outstanding work with this key is deleted, unless a node has claimed it.
    Cancel {
        /// The service.
        service: String,
        /// The key.
        key: String,
    },
    /// Our request to a client ends without a usable reply; its reply terminator is notified.
    EndRequest {
        /// The session to which it was sent.
        session: SessionKey,
        /// Its sequence number.
        seq: i64,
        /// Why it ends.
        reason: String,
    },
}

/// A message for a client, not yet stored.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// SEND, REQUEST: client terminator or endpoint.
    pub eid: Option<String>,
    /// RESOLVE, REJECT: the client's message id.
    pub cmid: Option<String>,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
    /// For a REQUEST: what is needed when the reply arrives.
    pub correlation: Option<Correlation>,
}

impl NewMessage {
    /// Bytes of its payload.
    pub(crate) fn bytes(&self) -> i64 {
        self.msg.as_ref().map_or(0, |msg| msg.get().len() as i64)
    }

    /// The message under its sequence number.
    fn stored(self, seq: i64) -> OutboxMessage {
        OutboxMessage {
            seq,
            kind: self.kind,
            eid: self.eid,
            cmid: self.cmid,
            tid: self.tid,
            msg: self.msg,
            debug: self.debug,
        }
    }
}

/// What a server REQUEST keeps in the store until its reply arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// Reply terminator.
    pub terminator: String,
    /// Correlation string.
    pub string: Option<String>,
    /// Correlation bytes.
    pub bytes: Option<Vec<u8>>,
    /// When the request was made.
    pub requested: i64,
    /// Milliseconds until the reply terminator is notified of a timeout.
    pub timeout_ms: i64,
}

/// A message in an outbox.
#[derive(Clone, Debug)]
pub struct OutboxMessage {
    /// Its sequence number within the session.
    pub seq: i64,
    /// SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// Client terminator or endpoint.
    pub eid: Option<String>,
    /// The client's message id that a reply settles.
    pub cmid: Option<String>,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
}

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

/// Outcome of a [`Unit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitOutcome {
    /// Everything is stored. The outcome of each effect, in order.
    Committed(Vec<EffectOutcome>),
    /// The client's message id is in the inbox already; nothing was changed. Holds the answer given then.
    Duplicate(Option<String>),
    /// There is nothing left to settle (correlation taken, row settled or claimed again); nothing was changed.
    AlreadySettled,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
    /// An outbox is full; nothing was changed.
    OutboxFull(FullOutbox),
    /// The client has too much forwarded work outstanding; nothing was changed.
    TooMuchForwarded(ForwardLimit),
    /// A call with this idempotency key has been committed before; nothing was changed.
    Repeated,
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

/// An outbox that cannot take another message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox of session {session_id} is full: {cap}")]
#[non_exhaustive]
pub struct FullOutbox {
    /// The session.
    pub session_id: String,
    /// Which cap has been reached.
    pub cap: OutboxCap,
}

/// A limit on what is stored for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxCap {
    /// Messages of the session.
    #[error("at most {0} messages may wait for it (store.max_outbox)")]
    Messages(i64),
    /// Payload bytes of the session.
    #[error("at most {0} bytes may wait for it (store.max_outbox_bytes)")]
    Bytes(i64),
    /// Payload bytes of all sessions of its user.
    #[error(
        "at most {0} bytes may wait for all sessions of its user (store.max_outbox_bytes_per_user)"
    )]
    BytesOfUser(i64),
}

/// The outcome of one [`Effect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectOutcome {
    /// Stored in the outbox under this sequence number.
    Stored(i64),
    /// Dropped, because there is no such session.
    NoSession,
    /// Stored for the sessions of a user.
    StoredForUser(StoredForUser),
    /// Published under this number.
    Published(i64),
    /// Stored as a forwarded row with this id.
    Forwarded(i64),
    /// Not stored: the service has outstanding work with this key.
    Outstanding,
    /// Whether there was work that could be cancelled.
    Cancelled(bool),
    /// The request has ended, now or before.
    Ended,
}

/// The outcome of [`Effect::ToUser`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredForUser {
    /// The message's sequence numbers, one for each session for which it was stored.
    pub seqs: Vec<i64>,
    /// Sessions for which it was not stored, because their outboxes are full.
    pub full: Vec<FullOutbox>,
}

/// A handler that runs inside the transaction, with the Diesel connection. Never batched, never run twice.
#[allow(missing_debug_implementations)] // holds a closure
pub struct Transact {
    /// What it handles.
    pub handles: Handles,
    /// A handler that takes longer than this is rolled back.
    pub limit: Duration,
    /// Receives the connection (`&mut SqliteConnection` as `Any`) and returns what to commit.
    pub run: TransactBody,
}

/// What a handler in a transaction handles. It is checked before the handler runs, and again when its unit is committed.
#[derive(Clone, Debug)]
pub enum Handles {
    /// A message from a client.
    Message {
        /// On whose behalf.
        holder: Holder,
        /// The client's message id.
        cmid: String,
    },
    /// A forwarded row.
    Work {
        /// Its id.
        id: i64,
        /// The claim under which the caller holds it.
        epoch: i64,
    },
    /// A request that ended without a reply.
    Ended {
        /// The session to which it was sent.
        session: SessionKey,
        /// Its sequence number.
        seq: i64,
    },
}

/// The body of a [`Transact`]. `Err` carries the handler's failure and rolls back.
pub type TransactBody = Box<dyn FnOnce(&mut dyn Any) -> Result<Unit, Box<dyn Any + Send>> + Send>;

/// Outcome of [`Transact`].
#[derive(Debug)]
pub enum Transacted {
    /// The handler succeeded. Holds the outcome of its unit.
    Unit(UnitOutcome),
    /// The handler failed with this; rolled back.
    RolledBack(Box<dyn Any + Send>),
    /// The handler panicked; rolled back.
    Panicked(String),
    /// The handler succeeded, but its transaction cannot be committed, for this reason; rolled back.
    Spoilt(String),
    /// The handler took this long, exceeding its limit; rolled back.
    TimedOut(Duration),
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
