//! The errors of the library's face.

use crate::store::StoreError;
use crate::store::operation::FullOutbox;

/// A message that could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// An id (session, trace, endpoint, topic …) is empty, too long, or has control characters. Correct the id.
    #[error("{0}")]
    InvalidId(String),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Payload(#[from] serde_json::Error),
    /// The session does not exist: it was closed or has timed out. Nothing was stored.
    #[error("there is no session {0}: it was closed or has timed out")]
    NoSession(String),
    /// As many messages, or bytes of them, wait for the session or for its user as are allowed. Nothing was stored; try
    /// again when the client has come back.
    #[error(transparent)]
    OutboxFull(#[from] FullOutbox),
    /// There is no reply terminator or service with this name on this server. Nothing was stored.
    #[error("{0}")]
    Unknown(String),
    /// The reply token does not name work that waits for a reply: it has been replied to, or was given up.
    #[error("the reply token does not name work that waits for a reply")]
    AlreadyReplied,
    /// The store failed. After [`StoreError::Unknown`] the message may have been stored: repeat the call with the same
    /// idempotency key; after any other error nothing was stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Something that the builder was given is wrong; says what and what to do.
    #[error("{0}")]
    Configuration(String),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A handler's failure. Any error becomes one by `?`; its text goes to the log, while the client is told no more than
/// that the handler failed, unless the error was made by [`HandlerError::public`].
#[derive(Debug)]
pub struct HandlerError {
    text: String,
    public: bool,
    /// It is the client that has made a mistake.
    of_client: bool,
}

impl HandlerError {
    /// A failure whose text the client is told.
    pub fn public(text: impl Into<String>) -> HandlerError {
        HandlerError {
            text: text.into(),
            public: true,
            of_client: false,
        }
    }

    /// What the client sent cannot be meant.
    pub(crate) fn of_client(text: impl Into<String>) -> HandlerError {
        HandlerError {
            of_client: true,
            ..HandlerError::public(text)
        }
    }

    /// Whether the client has made a mistake, not the handler.
    pub(crate) fn is_of_client(&self) -> bool {
        self.of_client
    }

    /// A failure whose text goes to the log only.
    pub fn internal(text: impl Into<String>) -> HandlerError {
        HandlerError {
            text: text.into(),
            public: false,
            of_client: false,
        }
    }

    /// What the client is told.
    pub(crate) fn for_client(&self, reveal: bool) -> &str {
        if self.public || reveal {
            &self.text
        } else {
            "the handler failed"
        }
    }

    /// What the log is told.
    pub fn text(&self) -> &str {
        &self.text
    }
}

// `HandlerError` is no `std::error::Error` itself, so that every error can become one by `?`.
impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        HandlerError::internal(error.to_string())
    }
}
