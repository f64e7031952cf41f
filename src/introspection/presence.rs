//! Who is connected, and who is present: connected, or away for no longer than the grace.

use std::time::SystemTime;

/// A user with sessions that are connected now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct ConnectedUser {
    /// The user's id.
    pub user_id: String,
    /// The sessions that are connected to a living node, oldest first. Never empty.
    pub sessions: Vec<ConnectedSession>,
}

impl ConnectedUser {
    pub(crate) fn new(user_id: String) -> ConnectedUser {
        let sessions = Vec::new();
        ConnectedUser { user_id, sessions }
    }

    /// Since when one of the sessions has been connected without interruption: the earliest time of all.
    pub fn since(&self) -> Option<SystemTime> {
        self.sessions.iter().filter_map(|it| it.since).min()
    }
}

/// A session that is connected to a living node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct ConnectedSession {
    /// Session id.
    pub session_id: String,
    /// The node that holds it.
    pub node: String,
    /// When its present connection was registered. `None`: by a version that did not record this. Serialised as
    /// milliseconds since the epoch, or null.
    #[serde(with = "crate::clock::maybe_epoch_ms_of")]
    pub since: Option<SystemTime>,
    /// Client library and versions.
    pub client: String,
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
}

/// A user who is present.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct PresentUser {
    /// The user's id. Serialised as `user`.
    #[serde(rename = "user")]
    pub user_id: String,
    /// Since when the user is present, short absences included. Serialised as milliseconds since the epoch.
    #[serde(with = "crate::clock::epoch_ms_of")]
    pub since: SystemTime,
}

impl PresentUser {
    pub(crate) fn new(user_id: String, since: i64) -> PresentUser {
        PresentUser {
            user_id,
            since: crate::clock::wall_time(since),
        }
    }
}

/// Users who have joined or left since the change before: what [`on_presence`](crate::ServerBuilder::on_presence) is
/// called with, and what is published on the [presence topic](crate::ServerBuilder::presence_topic), as JSON.
///
/// ```json
/// {"number": 17, "joined": [{"user": "anna", "since": 1764590400000}], "left": ["bob"]}
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct PresenceChange {
    /// Its number: one more than that of the change before.
    pub number: u64,
    /// Users who have become present. Their first session has connected.
    pub joined: Vec<PresentUser>,
    /// Users who are not present any more. Their last session has been away for longer than the
    /// [grace](crate::Config::presence_grace), or was closed that long ago.
    pub left: Vec<String>,
}

/// A page of the users who are present, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct PresencePage {
    /// All [changes](PresenceChange) up to this number are contained in it.
    pub number: u64,
    /// The users.
    pub users: Vec<PresentUser>,
    /// If there may be more users: the last one of this page, after which the next one begins.
    pub next: Option<String>,
}
