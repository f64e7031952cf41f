//! Introspection of the sessions connected to this node.

use tokio::sync::oneshot;

use crate::introspection::LiveSession;
use crate::node::Node;
use crate::registry::{List, ToSession};

pub(super) async fn live_sessions(node: &Node) -> Vec<LiveSession> {
    let sessions = node.registry().ask(List).await.unwrap_or_default();
    let mut live = Vec::with_capacity(sessions.len());
    for session in sessions {
        let (tell, told) = oneshot::channel();
        session.tell(ToSession::Introspect(tell));
        // A session that has ended in the meantime does not answer.
        live.extend(told.await.ok());
    }
    live
}
