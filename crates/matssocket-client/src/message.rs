//! Messages and replies, as the application sees them.

use matssocket_wire::{Debug, Payload};

/// A message from the server, or of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<T> {
    /// The payload.
    pub payload: T,
    /// The terminator, endpoint or topic that received it.
    pub endpoint: String,
    /// Trace id; empty if it had none.
    pub trace_id: String,
    /// The server's id of this message.
    pub message_id: String,
    /// Debug information, if it was requested and allowed.
    pub debug: Option<Debug>,
    /// An earlier process took this message and ended before its handler did: the handler may have run, wholly or in part.
    /// Only with a journal (feature `durable`).
    pub redelivered: bool,
}

/// The answer to a request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reply<R> {
    /// Resolved or rejected.
    pub outcome: Outcome<R>,
    /// Trace id; empty if it had none.
    pub trace_id: String,
    /// Debug information, if it was requested and allowed.
    pub debug: Option<Debug>,
}

/// The reply to a request that outlives its process, with what was given along.
#[cfg(feature = "durable")]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Correlated<R, C> {
    /// The reply.
    pub reply: Reply<R>,
    /// What was given to [`Client::request_with`](crate::Client::request_with).
    pub correlation: C,
    /// The id of the request.
    pub request_id: String,
    /// An earlier process took this reply and ended before its handler did: the handler may have run, wholly or in part.
    pub redelivered: bool,
}

/// How a request was settled.
#[derive(Clone, Debug)]
pub enum Outcome<R> {
    /// RESOLVE, with its payload.
    Resolved(R),
    /// REJECT.
    Rejected(Rejection),
}

/// A REJECT by the endpoint.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the request was rejected{}{desc}", if desc.is_empty() { "" } else { ": " })]
#[non_exhaustive]
pub struct Rejection {
    /// Text for humans; may be empty.
    pub desc: String,
    /// The payload, as raw JSON.
    pub payload: Option<Payload>,
}

impl Rejection {
    /// Deserialises the payload as this type.
    ///
    /// # Errors
    /// The payload is not of this type.
    pub fn payload<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        parse(&self.payload)
    }
}

impl<R> Reply<R> {
    /// The payload of a RESOLVE.
    ///
    /// # Errors
    /// It was a REJECT.
    pub fn resolved(self) -> Result<R, Rejection> {
        match self.outcome {
            Outcome::Resolved(value) => Ok(value),
            Outcome::Rejected(rejection) => Err(rejection),
        }
    }

    /// Whether it is a RESOLVE.
    pub fn is_resolved(&self) -> bool {
        matches!(self.outcome, Outcome::Resolved(_))
    }
}

/// An absent payload reads as `null`, so that `()` and `Option` accept it.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    payload: &Option<Payload>,
) -> Result<T, serde_json::Error> {
    serde_json::from_str(payload.as_ref().map_or("null", |payload| payload.get()))
}
