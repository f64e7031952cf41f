//! Introspection of the sessions connected to this node.

use tokio::sync::oneshot;

use crate::introspection::LiveSession;
use crate::mailbox::Mailbox;
use crate::node::Node;
use crate::registry::{Find, List, ToSession};
use crate::store::operation::SessionKey;

pub(super) async fn live_sessions(node: &Node) -> Vec<LiveSession> {
    let sessions = node.registry().ask(List).await.unwrap_or_default();
    let mut live = Vec::with_capacity(sessions.len());
    for session in sessions {
        live.extend(introspect(&session).await);
    }
    live
}

pub(super) async fn live_session(node: &Node, session: SessionKey) -> Option<LiveSession> {
    let found = node.registry().ask(Find { session }).await.flatten()?;
    introspect(&found).await
}

/// A session that has ended in the meantime does not answer.
async fn introspect(session: &Mailbox<ToSession>) -> Option<LiveSession> {
    let (tell, told) = oneshot::channel();
    session.tell(ToSession::Introspect(tell));
    told.await.ok()
}
