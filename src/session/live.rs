//! Introspection: the sessions connected to a node, with their last envelopes.

use std::collections::VecDeque;

use crate::wire::{Envelope, MAX_ID_BYTES, MessageType};

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
    #[serde(serialize_with = "name")]
    pub message_type: MessageType,
    /// Endpoint or topic.
    pub endpoint: Option<String>,
    /// Message id: the client's or the server's; for several, how many.
    pub id: Option<String>,
}

fn name<S: serde::Serializer>(t: &MessageType, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(t.name())
}

/// The beginning of an id: what a client sends is kept here before it is checked.
fn short(id: &str) -> String {
    id.chars().take(MAX_ID_BYTES).collect()
}

/// The last envelopes of a session, a bounded number.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<RecentEnvelope>);

impl Recent {
    pub(super) fn add(&mut self, most: usize, at: i64, incoming: bool, envelope: &Envelope) {
        if most == 0 {
            return;
        }
        while self.0.len() >= most {
            self.0.pop_front();
        }
        let many = || {
            envelope
                .ids
                .as_ref()
                .map(|ids| format!("{} ids", ids.len()))
        };
        self.0.push_back(RecentEnvelope {
            at,
            incoming,
            message_type: envelope.t,
            endpoint: envelope.eid.as_deref().map(short),
            id: envelope
                .cmid
                .as_deref()
                .or(envelope.smid.as_deref())
                .map(short)
                .or_else(many),
        });
    }

    pub(super) fn list(&self) -> Vec<RecentEnvelope> {
        self.0.iter().cloned().collect()
    }
}
