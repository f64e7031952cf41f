//! What can go wrong in the hands of a [`TestClient`](super::TestClient).

use std::time::Duration;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP upgrade would have been refused: by the origin check, the handshake, or a server that is not ready.
    #[error("the upgrade was refused: {0}")]
    Refused(String),
    /// The server has stopped: its thread takes no new lines.
    #[error("the server has stopped")]
    Stopped,
    /// The server closed the line.
    #[error("the server closed the line: {code} {reason:?}")]
    Closed {
        /// Close code.
        code: u16,
        /// Close reason.
        reason: String,
    },
    /// There is no line: it was lost, or closed before. [`reconnect`](super::TestClient::reconnect) makes a new one.
    #[error("there is no line to {0} over: it was lost or closed; call reconnect()")]
    NoLine(&'static str),
    /// The server answered NACK: this is its description.
    #[error("NACK: {0}")]
    Nack(String),
    /// The server answered RETRY: nothing was kept.
    #[error("RETRY: {0}")]
    Retry(String),
    /// The topic was not authorized.
    #[error("not authorized to subscribe to {0:?}")]
    NotAuthorized(String),
    /// Nothing came in time.
    #[error("{what} did not come within {after:?}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// A payload is not what it was taken for, or cannot be written as JSON.
    #[error("{0}")]
    Payload(String),
    /// A REJECT where a RESOLVE was expected.
    #[error("the request was rejected with {0}")]
    Rejected(serde_json::Value),
    /// The server sent what the protocol does not allow: an error in this library.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The store failed under the test.
    #[error("the store failed: {0}")]
    Store(String),
}
