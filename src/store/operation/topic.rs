//! Topics.

use super::SessionKey;
use crate::wire::{Envelope, MessageType, Payload};

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

impl Publication {
    /// Its message id on the wire: its number and its time, so that it means nothing in another database.
    pub fn smid(&self) -> String {
        format!("{}.{}", self.id, self.created)
    }

    /// As it is sent to clients.
    pub fn envelope(&self) -> Envelope {
        Envelope {
            smid: Some(self.smid()),
            tid: Some(self.tid.clone()),
            eid: Some(self.topic.clone()),
            msg: Some(self.msg.clone()),
            ..Envelope::new(MessageType::Pub)
        }
    }
}

/// Reads publications in order.
#[derive(Clone, Debug)]
pub struct FetchPublications {
    /// Only numbers greater than this.
    pub after: i64,
    /// At most so many bytes, counted as in [`ENVELOPE_BYTES`]; one publication always fits.
    pub max_bytes: u64,
}

/// Publications, as many as fit.
#[derive(Clone, Debug)]
pub struct PublicationPage {
    /// In the order of their numbers.
    pub publications: Vec<Publication>,
    /// The number of the first one that did not fit; `None`: that was all.
    pub next: Option<i64>,
}

/// What a publication takes on the wire beside its payload, topic and trace id, about: pages count it, so that many small
/// ones are not many more bytes than were asked for.
pub const ENVELOPE_BYTES: u64 = 100;

/// The newest publication's number, 0 for none.
#[derive(Clone, Debug)]
pub struct NewestPublication;

/// How much was published on topics since a client has last heard of each: all in one question, in which no payload is
/// read.
#[derive(Clone, Debug)]
pub struct FindMissed {
    /// Whose topics they are.
    pub session: SessionKey,
    /// Topics, each with what the client has heard of it.
    pub topics: Vec<(String, Since)>,
    /// Only up to this number.
    pub up_to: i64,
    /// Most publications of a topic that may be missed.
    pub limit: u32,
}

/// Up to where a client has heard of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It has seen this publication, and none after it. One that is newer than all there are is not known.
    Seen {
        /// Its number.
        id: i64,
        /// Its time.
        created: i64,
    },
    /// It has received everything up to the session's position, and nothing up to this number is for it: then the
    /// subscription was made. `None`: not known, by a node of an earlier version.
    Subscribed(Option<i64>),
}

/// What a client has missed of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The number of the first publication; 0 if there is none.
    pub first: i64,
    /// How many there are.
    pub count: u32,
}

/// Reads what was published on a topic, a page at a time. `None`: some of it may be gone from the history.
#[derive(Clone, Debug)]
pub struct ReadTopic {
    /// Topic.
    pub topic: String,
    /// Only numbers greater than this.
    pub after: i64,
    /// Only up to this number.
    pub up_to: i64,
    /// At most so many bytes, counted as in [`ENVELOPE_BYTES`]; one publication always fits.
    pub max_bytes: u64,
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
