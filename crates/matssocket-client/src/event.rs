//! Events of the connection and the topics, and the state of the client.

use super::error::SessionClosed;

/// Something happened to the connection or the session.
///
/// URLs are shown without user name, password and query values, and texts without the authorization values known to the
/// client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A connection attempt starts.
    Connecting {
        /// The server's URL.
        url: String,
    },
    /// The attempt failed; another follows. (Also if HELLO was refused and a new authorization is requested.)
    ConnectFailed {
        /// The server's URL.
        url: String,
        /// What went wrong.
        error: String,
    },
    /// The WebSocket is open, and HELLO is being sent.
    Connected {
        /// The server's URL.
        url: String,
    },
    /// WELCOME has arrived: the session is established, new or resumed.
    SessionEstablished {
        /// The session's id.
        session_id: String,
        /// Whether this session existed before the connection.
        resumed: bool,
    },
    /// A new authorization is needed and there is no callback to provide it: the server requests one, or the client
    /// cannot connect because the one it has is expired. Use
    /// [`Client::set_authorization`](super::Client::set_authorization).
    AuthorizationWanted,
    /// The connection is lost; the client reconnects.
    Lost {
        /// Why.
        reason: String,
    },
    /// The server disconnected this client (4003), or [`Client::disconnect`](super::Client::disconnect) was called. The
    /// session is kept; the client connects again for the next message or at
    /// [`Client::reconnect`](super::Client::reconnect).
    Disconnected {
        /// Why.
        reason: String,
    },
    /// The session is closed, and everything outstanding has failed. With
    /// [`ClientBuilder::reopen_session`](super::ClientBuilder::reopen_session) a new one may follow:
    /// `SessionEstablished` with `resumed: false`.
    SessionClosed(SessionClosed),
}

/// The answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicEvent {
    /// In force. After a reconnect: nothing was missed.
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
    /// Not connected and not trying to: new, or disconnected with its session kept.
    Idle,
    /// Connecting or reconnecting.
    Connecting,
    /// The session of this id is established.
    Established(String),
    /// The session is closed.
    Closed(SessionClosed),
}
