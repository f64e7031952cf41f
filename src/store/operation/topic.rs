//! Topics.

use super::SessionKey;
use crate::wire::{Envelope, MessageType, Payload};

/// A published message.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its number: the order of publications.
    pub id: i64,
    /// When it was published; together with the id, it makes up the message id on the wire.
    pub created: i64,
    /// Topic.
    pub topic: String,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Payload,
}

impl Publication {
    /// Its message id on the wire: its number and its time, so that the id is not valid in another database.
    pub fn smid(&self) -> String {
        format!("{}.{}", self.id, self.created)
    }

    /// The envelope that is sent to clients.
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
    /// Maximum number of bytes, counted as described at [`ENVELOPE_BYTES`]; one publication always fits.
    pub max_bytes: u64,
}

/// One page of publications.
#[derive(Clone, Debug)]
pub struct PublicationPage {
    /// In the order of their numbers.
    pub publications: Vec<Publication>,
    /// The number of the first publication that did not fit. `None`: there are no more.
    pub next: Option<i64>,
}

/// Approximate size of a publication on the wire, without its payload, topic and trace id. Pages count it, so that many
/// small publications do not add up to far more bytes than requested.
pub const ENVELOPE_BYTES: u64 = 100;

/// Reads the newest publication's number; 0 if there is none.
#[derive(Clone, Debug)]
pub struct NewestPublication;

/// Counts what was published on topics since a client last received each of them: one query for all topics, which reads
/// no payloads.
#[derive(Clone, Debug)]
pub struct FindMissed {
    /// The session that subscribes to the topics.
    pub session: SessionKey,
    /// Topics, each with the point up to which the client has received it.
    pub topics: Vec<(String, Since)>,
    /// Only publications up to this number.
    pub up_to: i64,
    /// Maximum number of publications counted for each topic.
    pub limit: u32,
}

/// Up to which point a client has received a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// The client has seen this publication and none after it. A number higher than any in the store is unknown.
    Seen {
        /// Its number.
        id: i64,
        /// Its time.
        created: i64,
    },
    /// The client has received everything up to the session's position, and publications up to this number are not for
    /// it, because it subscribed then. `None`: not known, because a node of an earlier version stored the subscription.
    Subscribed(Option<i64>),
}

/// The publications of a topic that a client has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The number of the first publication; 0 if there is none.
    pub first: i64,
    /// How many there are.
    pub count: u32,
}

/// Reads what was published on a topic, one page at a time. `None`: the history is to be complete, and may no longer be.
#[derive(Clone, Debug)]
pub struct ReadTopic {
    /// Topic.
    pub topic: String,
    /// Only numbers greater than this.
    pub after: i64,
    /// Only up to this number.
    pub up_to: i64,
    /// Maximum number of bytes, counted as described at [`ENVELOPE_BYTES`]; one publication always fits.
    pub max_bytes: u64,
    /// Whether nothing may be missing. Otherwise, what is left of the history will do.
    pub complete: bool,
}

/// Looks for last values that a client is to get when it subscribes: one query for all topics.
#[derive(Clone, Debug)]
pub struct FindValues {
    /// The session that subscribes.
    pub session: SessionKey,
    /// Topics, each with the reason why last values may be due.
    pub topics: Vec<(String, ValuesFor)>,
    /// Only those published up to this number.
    pub up_to: i64,
}

/// Why a client may be due the last values of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuesFor {
    /// It subscribes for the first time, or has missed too much.
    New,
    /// Its session has subscribed, when this was the newest number. They are due if it is not known to have received anything
    /// newer: what it received of that number it may have received before.
    Resumed {
        /// The number.
        since: i64,
    },
}

/// The last values of a topic that a client is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// The number of the first.
    pub first: i64,
    /// Those published later come as publications.
    pub up_to: i64,
}

/// Reads the last values of a topic, one page at a time, in the order of their numbers.
#[derive(Clone, Debug)]
pub struct ReadValues {
    /// Topic.
    pub topic: String,
    /// Only numbers greater than this.
    pub after: i64,
    /// Only up to this number.
    pub up_to: i64,
    /// Maximum number of bytes, counted as described at [`ENVELOPE_BYTES`]; one always fits.
    pub max_bytes: u64,
}

/// Deletes the last value of a topic's key; an empty one is that of the topic as a whole. The outcome says whether there was
/// one.
#[derive(Clone, Debug)]
pub struct DropValue {
    /// Topic.
    pub topic: String,
    /// The key.
    pub key: String,
}

/// A topic that no client can name: publications on it are for the nodes themselves. They reach every node in one order
/// with those for clients, and the sweep recovers any whose notice was lost.
pub const NODES_TOPIC: &str = "\u{1}nodes";

/// A topic that no client can name, for changes of presence if they are for listeners only.
pub const PRESENCE_TOPIC: &str = "\u{1}presence";

/// On [`NODES_TOPIC`]: a user's authorization, or the user's right to a topic, is revoked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revocation {
    /// The user.
    pub user_id: String,
    /// If present, only the right to this topic is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}
