//! The client's errors.

use std::time::Duration;

use matssocket_wire::InvalidId;
use thiserror::Error;

/// Why a session ended. Everything outstanding fails with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the session is closed ({}): {reason}", code.map_or("no close code".to_owned(), |code| code.to_string()))]
#[non_exhaustive]
pub struct SessionClosed {
    /// The WebSocket close code; `None` if the client ended the session without the server.
    pub code: Option<u16>,
    /// Text for humans.
    pub reason: String,
}

/// Why a message did not get through.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The server refused the message (NACK).
    #[error("refused by the server: {desc}")]
    Refused {
        /// The server's description; may be empty.
        desc: String,
    },
    /// The server could not handle the message now, however often it was sent again.
    #[error("given up after {attempts} attempts, the server says: {desc}")]
    RetriesExhausted {
        /// How often it was sent.
        attempts: u32,
        /// The server's description; may be empty.
        desc: String,
    },
    /// The session ended first. A message that had been sent may or may not have been handled.
    #[error(transparent)]
    SessionClosed(#[from] SessionClosed),
    /// Too many messages, or too many bytes, wait to be sent or acknowledged. Nothing was queued; the limits are set on
    /// the builder.
    #[error("the outbox is full: {messages} messages, {bytes} bytes")]
    OutboxFull {
        /// Messages in the outbox.
        messages: usize,
        /// Bytes in the outbox.
        bytes: usize,
    },
    /// The message is larger than the builder's limit. Nothing was queued.
    #[error("the message has {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Size of the message.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The trace id, endpoint or topic is not a valid id. Nothing was queued.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// The journal could not keep the message, perhaps because the disk is full. It was not sent, and will not be.
    #[error("the message could not be kept: {0}")]
    Storage(String),
    /// The payload cannot be written as JSON. Nothing was queued.
    #[error("the payload does not serialise: {0}")]
    Payload(String),
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request did not get through.
    #[error(transparent)]
    Send(#[from] SendError),
    /// No answer in time. The request may or may not have been handled; a late answer is ignored.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer's payload is not of the expected type.
    #[error("the answer's payload does not deserialise: {0}")]
    Payload(String),
}

impl From<SessionClosed> for RequestError {
    fn from(closed: SessionClosed) -> RequestError {
        RequestError::Send(closed.into())
    }
}
