//! Topics.

use crate::wire::Payload;

/// A published message.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its number: the order of publications.
    pub id: i64,
    /// When it was published; with the id it makes the message id on the wire.
    pub created: i64,
    /// Topic.
    pub topic: String,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Payload,
}

/// Reads publications in order.
#[derive(Clone, Debug)]
pub struct FetchPublications {
    /// Only numbers greater than this.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// The newest publication's number, 0 for none.
#[derive(Clone, Debug)]
pub struct NewestPublication;

/// What was published on a topic after a publication that a client has seen. `None`: that one is no longer known, or
/// more than `limit` came after it.
#[derive(Clone, Debug)]
pub struct TopicHistory {
    /// Topic.
    pub topic: String,
    /// The publication last seen: number and time.
    pub seen: (i64, i64),
    /// Only up to this number.
    pub up_to: i64,
    /// At most so many.
    pub limit: u32,
}

/// What was published on a topic after a number, for a client that has been sent everything up to it. `None`: some of
/// that may be gone, or it is more than `limit`.
#[derive(Clone, Debug)]
pub struct TopicSince {
    /// Topic.
    pub topic: String,
    /// Only numbers greater than this.
    pub after: i64,
    /// Only up to this number.
    pub up_to: i64,
    /// At most so many.
    pub limit: u32,
}

/// A topic that no client can name: what is published on it is for the nodes themselves. So it comes to each of them, in
/// one order with what is published to clients, and the sweep finds what was not told.
pub const NODES_TOPIC: &str = "\u{1}nodes";

/// On [`NODES_TOPIC`]: a user's authorization, or his right to a topic, is revoked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    /// Whose.
    pub user_id: String,
    /// Only the right to this topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}
