//! Events of the connection and the topics, and the state of the client.

use super::error::SessionClosed;

/// Something happened to the connection or the session.
///
/// URLs are without user name, password and query, and texts without the authorization values that
/// the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A connection attempt starts.
    Connecting {
        /// The server's URL.
        url: String,
    },
    /// The attempt failed; another follows. (Also when HELLO was refused and a fresh authorization is
    /// asked for.)
    ConnectFailed {
        /// The server's URL.
        url: String,
        /// What went wrong.
        error: String,
    },
    /// The WebSocket is open, HELLO goes out.
    Connected {
        /// The server's URL.
        url: String,
    },
    /// WELCOME came: the session is there, new or resumed.
    SessionEstablished {
        /// The session's id.
        session_id: String,
        /// Whether this session was there before the connection.
        resumed: bool,
    },
    /// A fresh authorization is needed and there is no callback that could give it: the server asks for
    /// one, or the client cannot connect since the one it has is expired. Use
    /// [`Client::set_authorization`](super::Client::set_authorization).
    AuthorizationWanted,
    /// The connection is lost; the client reconnects.
    Lost {
        /// Why.
        reason: String,
    },
    /// The server sent this client away (4003) or it was told to disconnect. The session is kept; the
    /// client connects again for the next message or at [`Client::reconnect`](super::Client::reconnect).
    Disconnected {
        /// Why.
        reason: String,
    },
    /// The session is closed, everything outstanding has failed. With
    /// [`ClientBuilder::reopen_session`](super::ClientBuilder::reopen_session) a new one may follow:
    /// `SessionEstablished` with `resumed: false`.
    SessionClosed(SessionClosed),
}

/// The answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicEvent {
    /// In force; after a reconnect: without a gap.
    Subscribed {
        /// The topic.
        topic: String,
    },
    /// In force, but messages since the last one seen are lost.
    Lost {
        /// The topic.
        topic: String,
    },
    /// Not allowed.
    Denied {
        /// The topic.
        topic: String,
    },
}

/// The state of a client's connection and session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// Not connected and not trying to: fresh, or disconnected with its session kept.
    Idle,
    /// Connecting or reconnecting.
    Connecting,
    /// The session of this id is established.
    Established(String),
    /// The session is closed.
    Closed(SessionClosed),
}
