//! Introspection: the sessions connected to this node, with their last envelopes.

use crate::node::Node;

/// A session connected to this node.
#[derive(Clone, Debug, serde::Serialize)]
pub struct LiveSession {
    /// Session id.
    pub session_id: String,
    /// Its user.
    pub user_id: String,
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
pub struct RecentEnvelope {
    /// When, in ms since the epoch.
    pub at: i64,
    /// True: from the client.
    pub incoming: bool,
    /// Message type.
    pub message_type: crate::wire::MessageType,
    /// Endpoint or topic.
    pub endpoint: Option<String>,
    /// Message id: the client's or the server's, or how many.
    pub id: Option<String>,
}

pub(super) async fn live_sessions(node: &Node) -> Vec<LiveSession> {
    let sessions = node.registry.send(crate::registry::List).await.unwrap_or_default();
    let mut live = Vec::with_capacity(sessions.len());
    for session in sessions {
        if let Ok(session) = session.send(crate::session::Introspect).await {
            live.extend(session);
        }
    }
    live
}
