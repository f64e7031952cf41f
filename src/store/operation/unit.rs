//! Units: what one handler did, committed as one.

use std::any::Any;
use std::time::{Duration, Instant};

use super::{Holder, PostponeForwarded, SessionKey, StoredMessage};
use crate::wire::{Debug, MessageType, Payload};

/// Everything that one handler, service or call did, to be committed as one.
#[derive(Debug)]
pub struct Unit {
    /// What it came from, and what it settles.
    pub cause: Cause,
    /// What it brings about, in order.
    pub effects: Vec<Effect>,
}

impl Unit {
    /// Gives up the messages that were stored, to those who are told of them. It must not be run again.
    pub fn give_messages(&mut self, outcome: &UnitOutcome, told: &mut [StoredMessage]) {
        let UnitOutcome::Committed(outcomes) = outcome else {
            return;
        };
        let mut told = told.iter_mut();
        for (effect, outcome) in self.effects.iter_mut().zip(outcomes) {
            if let (Effect::Message { message, .. }, EffectOutcome::Stored(seq)) = (effect, outcome)
                && let Some(told) = told.next()
            {
                told.message = Some(std::mem::take(message).stored(*seq));
            }
        }
    }
}

/// What a [`Unit`] came from.
#[derive(Clone, Debug)]
pub enum Cause {
    /// A message from a client: its id goes to the inbox, with the answer unless that is a plain ACK.
    Incoming {
        /// On whose behalf.
        holder: Holder,
        /// The client's message id.
        cmid: String,
        /// The answer envelope, as JSON text; `None` is a plain ACK.
        answer: Option<String>,
        /// The message is a reply to our request with this sequence number: its correlation is taken.
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
        /// Is noted, so that a call with it is one that repeats this.
        idempotency_key: Option<String>,
    },
    /// A request's correlation ended without a reply: deleted.
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

/// The right to settle a forwarded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The claim under which the row was dispatched.
    Epoch(i64),
    /// The secret of its reply token.
    Token(String),
}

/// One thing that a [`Unit`] brings about.
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
    /// A message for every subscriber of a topic.
    Publish {
        /// Topic.
        topic: String,
        /// Trace id.
        tid: String,
        /// Payload.
        msg: Payload,
    },
    /// Work for a service; claimed by the caller's node if that has the service.
    Forward(Box<NewForward>),
    /// Our request to a client ends without a reply that can be used: its reply terminator is told.
    EndRequest {
        /// The session that it went to.
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
    /// REQUEST: what is needed when the reply comes.
    pub correlation: Option<Correlation>,
}

impl NewMessage {
    /// Bytes of its payload.
    pub(crate) fn bytes(&self) -> i64 {
        self.msg.as_ref().map_or(0, |msg| msg.get().len() as i64)
    }

    /// The same under its number.
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

/// What a server REQUEST leaves behind until its reply comes.
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
    /// After so many milliseconds the reply terminator is told of a time-out.
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
    /// The endpoint that forwarded, whose reply adapter is used.
    pub endpoint: String,
    /// The session it came from.
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// The client's message id if it waits for a reply (a REQUEST).
    pub cmid: Option<String>,
    /// What came from the client: SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// Trace id.
    pub tid: String,
    /// What the service gets.
    pub msg: Payload,
    /// Travels beside the payload, to the service and to the reply adapter.
    pub correlation: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
    /// How long whoever waits for the reply still waits, from when this is stored or read; `None`: nobody does, or it is
    /// not known.
    pub left: Option<Duration>,
    /// Whether the endpoint has a reply adapter; `None`: not known, a node of an earlier version having stored it.
    pub adapted: Option<bool>,
    /// The caller's node has the service, and claims the row as it stores it. If not, the row is free for a node that has
    /// it.
    pub here: bool,
}

impl NewForward {
    /// Bytes of what the service gets.
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
    /// Counts its claims: only the newest may settle.
    pub epoch: i64,
    /// The secret of its reply token.
    pub secret: String,
    /// Failed attempts so far.
    pub attempts: u32,
    /// How long ago its first attempt failed, when it was read; zero if none has.
    pub failing: Duration,
    /// When it was read.
    pub read: Instant,
    /// The work.
    pub work: Box<NewForward>,
}

impl Forwarded {
    /// How long ago its first attempt failed; `None`: none has.
    pub fn failing_for(&self) -> Option<Duration> {
        (self.attempts > 0).then(|| self.failing.saturating_add(self.read.elapsed()))
    }

    /// How long whoever waits for the reply still waits, zero if no longer; `None`: nobody does, or it is not known.
    pub fn left(&self) -> Option<Duration> {
        let left = self.work.left?;
        Some(left.saturating_sub(self.read.elapsed()))
    }
}

/// Outcome of a [`Unit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitOutcome {
    /// Everything is stored; what became of each effect, in order.
    Committed(Vec<EffectOutcome>),
    /// The client's message id is in the inbox already; nothing was changed. The answer given then.
    Duplicate(Option<String>),
    /// Nothing left to settle (correlation taken, row settled or claimed anew); nothing was changed.
    AlreadySettled,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
    /// An outbox is full; nothing was changed.
    OutboxFull(FullOutbox),
    /// A client has forwarded too much that is not done yet; nothing was changed.
    TooMuchForwarded(ForwardLimit),
    /// A call with this idempotency key has been committed before; nothing was changed.
    Repeated,
}

/// A limit of what clients may forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardLimit {
    /// Rows of the session.
    Session,
    /// Rows of the user.
    User,
    /// Bytes of the user.
    Bytes,
}

impl std::fmt::Display for ForwardLimit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            ForwardLimit::Session => "too many messages of this session wait for services",
            ForwardLimit::User => "too many messages of this user wait for services",
            ForwardLimit::Bytes => "too many bytes of this user wait for services",
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

/// A cap on what waits for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxCap {
    /// Messages of the session.
    #[error("{0} messages may wait for it (store.max_outbox)")]
    Messages(i64),
    /// Payload bytes of the session.
    #[error("{0} bytes may wait for it (store.max_outbox_bytes)")]
    Bytes(i64),
    /// Payload bytes of all sessions of its user.
    #[error("{0} bytes may wait for all sessions of its user (store.max_outbox_bytes_per_user)")]
    BytesOfUser(i64),
}

/// What became of one [`Effect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectOutcome {
    /// Stored in the outbox under this sequence number.
    Stored(i64),
    /// No such session: dropped.
    NoSession,
    /// Published under this number.
    Published(i64),
    /// Stored as a forwarded row with this id.
    Forwarded(i64),
    /// The request has ended, if it had not before.
    Ended,
}

/// A handler that runs inside the transaction, with the Diesel connection. Never batched, never run twice.
#[allow(missing_debug_implementations)] // a function
pub struct Transact {
    /// On whose behalf.
    pub holder: Holder,
    /// The client's message id.
    pub cmid: String,
    /// When the handler took longer than this, nothing is kept.
    pub limit: Duration,
    /// Gets the connection (`&mut SqliteConnection` as `Any`), returns what to commit.
    pub run: TransactBody,
}

/// The body of a [`Transact`]: `Err` carries the handler's failure and rolls back.
pub type TransactBody = Box<dyn FnOnce(&mut dyn Any) -> Result<Unit, Box<dyn Any + Send>> + Send>;

/// Outcome of [`Transact`].
#[derive(Debug)]
pub enum Transacted {
    /// The handler ended well; what became of its unit.
    Unit(UnitOutcome),
    /// The handler failed; rolled back. What it said.
    RolledBack(Box<dyn Any + Send>),
    /// The handler panicked; rolled back.
    Panicked(String),
    /// The handler ended well, but its transaction cannot be committed, and why not; rolled back.
    Spoilt(String),
    /// The handler took this long, which is longer than its limit; rolled back.
    TimedOut(Duration),
}
