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
