//! A view of the sessions connected to a node.

use std::time::SystemTime;

use crate::wire::MessageType;

/// A session connected to this node.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct LiveSession {
    /// Session id.
    pub session_id: String,
    /// Its user.
    pub user_id: String,
    /// Client library and versions.
    pub client: String,
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
    /// When the authorization value was last found valid. Serialised as milliseconds since the epoch.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub authenticated: SystemTime,
    /// The client's address.
    pub remote: Option<String>,
    /// Topics subscribed.
    pub topics: Vec<String>,
    /// Handlers running.
    pub handlers: usize,
    /// Messages sent and not acknowledged.
    pub unacknowledged: usize,
    /// The last envelopes, oldest first.
    pub recent: Vec<RecentEnvelope>,
}

/// An envelope as kept for introspection: without payload and authorization.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct RecentEnvelope {
    /// When it was received or sent. Serialised as milliseconds since the epoch.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub at: SystemTime,
    /// Whether it came from the client; otherwise it went to the client.
    pub incoming: bool,
    /// Message type.
    #[serde(serialize_with = "name")]
    pub message_type: MessageType,
    /// Endpoint or topic.
    pub endpoint: Option<String>,
    /// Message id, the client's or the server's; if there are several, their number.
    pub id: Option<String>,
}

/// A topic to which sessions on this node subscribe.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct TopicMetrics {
    /// Its name.
    pub topic: String,
    /// Number of subscribed sessions that are connected to this node.
    pub subscribers: u64,
    /// Number of publications that this node has handed to them since the first of them subscribed. It begins anew when
    /// nobody on this node was subscribed for a while.
    pub publications: u64,
}

fn name<S: serde::Serializer>(t: &MessageType, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(t.name())
}
