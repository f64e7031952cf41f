//! What a handler has sent through its context.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::decision::value;
use crate::clock::wall_time;
use crate::store::operation::{Begins, Effect, KeepFor, NewForward, NewMessage};
use crate::wire::{MessageType, Payload};

/// What a handler has sent through its context.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sent {
    /// A message to a client.
    #[non_exhaustive]
    Message {
        /// To whom it goes.
        to: SentTo,
        /// SEND or REQUEST.
        message_type: MessageType,
        /// Trace id.
        trace_id: String,
        /// The client's terminator or endpoint.
        endpoint: String,
        /// The payload.
        payload: Value,
        /// The terminator to which the reply to a REQUEST goes.
        reply_to: Option<String>,
        /// What was given to [`Destination::time_to_live`](crate::Destination::time_to_live).
        time_to_live: Option<Duration>,
        /// What was given to [`UserRecipient::keep_for`](crate::UserRecipient::keep_for), or to
        /// [`keep_for_every_session`](crate::UserRecipient::keep_for_every_session).
        kept_for: Option<Duration>,
    },
    /// A message to the subscribers of a topic.
    #[non_exhaustive]
    Publication {
        /// The topic.
        topic: String,
        /// What was given to [`Topic::last_value_of`](crate::Topic::last_value_of); empty for
        /// [`last_value`](crate::Topic::last_value).
        last_value_of: Option<String>,
        /// Trace id.
        trace_id: String,
        /// The payload.
        payload: Value,
    },
    /// Work that was started.
    #[non_exhaustive]
    Work {
        /// The service.
        service: String,
        /// The payload.
        payload: Value,
        /// What was given to [`Forward::correlation`](crate::Forward::correlation).
        correlation: Option<Value>,
        /// What was given to [`Forward::key`](crate::Forward::key).
        key: Option<String>,
        /// When it begins.
        begins: WorkBegins,
    },
    /// Work that was cancelled.
    #[non_exhaustive]
    Cancellation {
        /// The service.
        service: String,
        /// The key.
        key: String,
    },
    /// Anything else: what it is, for a failed test to show.
    Other(String),
}

/// To whom a message was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SentTo {
    /// The session with this id.
    Session(String),
    /// All sessions of the user with this id.
    User(String),
}

/// When work begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkBegins {
    /// As soon as it is stored.
    AtOnce,
    /// This long after it is stored.
    After(Duration),
    /// At this time (in whole milliseconds).
    At(SystemTime),
}

impl Sent {
    pub(super) fn new(effect: Effect) -> Sent {
        match effect {
            Effect::Message { sid, message } => Sent::message(SentTo::Session(sid), message, None),
            Effect::ToUser {
                user_id,
                message,
                keep,
            } => Sent::message(SentTo::User(user_id), message, keep),
            Effect::Publish {
                topic,
                tid,
                msg,
                value_of,
            } => Sent::Publication {
                last_value_of: value_of,
                topic,
                trace_id: tid,
                payload: json(&msg),
            },
            Effect::Forward(work) => Sent::work(*work),
            Effect::Cancel { service, key } => Sent::Cancellation { service, key },
            other @ Effect::EndRequest { .. } => Sent::Other(format!("{other:?}")),
        }
    }

    fn message(to: SentTo, message: NewMessage, keep: Option<KeepFor>) -> Sent {
        Sent::Message {
            to,
            message_type: message.kind,
            trace_id: message.tid,
            endpoint: message.eid.unwrap_or_default(),
            payload: message.msg.as_ref().map(json).unwrap_or_default(),
            reply_to: message.correlation.map(|it| it.terminator),
            time_to_live: message.time_to_live,
            kept_for: keep.map(|it| it.time),
        }
    }

    fn work(work: NewForward) -> Sent {
        Sent::Work {
            service: work.service,
            payload: json(&work.msg),
            correlation: work.correlation.as_ref().map(json),
            key: work.key,
            begins: WorkBegins::from(work.begins),
        }
    }
}

impl From<Begins> for WorkBegins {
    fn from(begins: Begins) -> WorkBegins {
        match begins {
            Begins::AT_ONCE => WorkBegins::AtOnce,
            Begins::After(delay) => WorkBegins::After(delay),
            Begins::At(time) => WorkBegins::At(wall_time(time)),
        }
    }
}

fn json(payload: &Payload) -> Value {
    value(payload).unwrap_or_default()
}
