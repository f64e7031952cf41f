//! The errors of a [`TestClient`](super::TestClient).

use std::time::Duration;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP upgrade would have been refused: by the origin check, the handshake, or a server that is not ready.
    #[error("the upgrade was refused: {0}")]
    Refused(String),
    /// The server has stopped: its thread accepts no new connections.
    #[error("the server has stopped")]
    Stopped,
    /// The server closed the connection.
    #[error("the server closed the connection: {code} {reason:?}")]
    Closed {
        /// Close code.
        code: u16,
        /// Close reason.
        reason: String,
    },
    /// There is no connection: it was lost, or closed before. [`reconnect`](super::TestClient::reconnect) opens a new one.
    #[error("there is no connection to {0} over: it was lost or closed; call reconnect()")]
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
    /// What was awaited did not arrive in time.
    #[error("{what} did not come within {after:?}")]
    Timeout {
        /// What was awaited.
        what: String,
        /// How long it was awaited.
        after: Duration,
    },
    /// A payload is not of the expected type, or cannot be written as JSON.
    #[error("{0}")]
    Payload(String),
    /// A REJECT where a RESOLVE was expected.
    #[error("the request was rejected with {0}")]
    Rejected(serde_json::Value),
    /// The server violated the protocol: a bug in this library.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The store failed during the test.
    #[error("the store failed: {0}")]
    Store(String),
}
