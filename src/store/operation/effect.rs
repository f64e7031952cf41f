//! What units do, and what becomes of it.

use std::time::Duration;

use super::{FullOutbox, NewForward, SessionKey};
use crate::wire::{Debug, MessageType, Payload};

/// One thing that a [`Unit`](super::Unit) does.
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
        /// Whether it is kept if the user has no session then. Only what is sent can be, not a request.
        keep: Option<KeepFor>,
    },
    /// A message for every subscriber of a topic.
    Publish {
        /// Topic.
        topic: String,
        /// Trace id.
        tid: String,
        /// Payload.
        msg: Payload,
        /// What it is the last value of, for who subscribes later; empty: of the topic as a whole.
        value_of: Option<String>,
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

/// How a message is kept for a user who has no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepFor {
    /// How long, from when it is stored.
    pub time: Duration,
    /// Whether every session that is opened meanwhile gets it, and not only the first to acknowledge it.
    pub for_every_session: bool,
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
    /// How long it may be delivered, from when it is stored. `None`: for as long as the session lives.
    pub time_to_live: Option<Duration>,
}

impl NewMessage {
    /// Bytes of its payload.
    pub(crate) fn bytes(&self) -> i64 {
        self.msg.as_ref().map_or(0, |msg| msg.get().len() as i64)
    }

    /// The message under its sequence number.
    pub(super) fn stored(self, seq: i64) -> OutboxMessage {
        OutboxMessage {
            seq,
            kind: self.kind,
            eid: self.eid,
            cmid: self.cmid,
            tid: self.tid,
            msg: self.msg,
            debug: self.debug,
            left: self.time_to_live,
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
    /// How much longer it may be delivered, counted from when it was stored or read: a time would be one of the store's
    /// clock, which the reader's may differ from. `None`: for as long as the session lives.
    pub left: Option<Duration>,
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
    /// What [`KeepFor`] has come to, if the user has no session and there is one.
    pub kept: Option<bool>,
}
