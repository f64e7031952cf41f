//! What the messages carry: enough to tell each one from all others.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use matssocket::wire::{Envelope, MessageType};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

/// One process of a node: killed and started again, it is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// Which node, from 1 on.
    pub node: usize,
    /// Which of its processes, from 1 on.
    pub run: u32,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.run)
    }
}

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Process, String> {
        let parsed = text.split_once('.').and_then(|(node, run)| {
            Some(Process {
                node: node.parse().ok()?,
                run: run.parse().ok()?,
            })
        });
        parsed.ok_or_else(|| format!("{text:?} is not NODE.RUN"))
    }
}

/// What a client asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ask {
    /// Who asks.
    pub client: usize,
    /// Which of its messages this is.
    pub number: u64,
    /// Whom to send a message to: client and session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<(usize, String)>,
}

impl Ask {
    pub fn new(client: usize, number: u64, to: Option<(usize, String)>) -> Ask {
        Ask { client, number, to }
    }

    /// As a message for an endpoint, without its cmid.
    pub fn envelope(&self, t: MessageType, endpoint: &str) -> Envelope {
        Envelope {
            eid: Some(endpoint.to_owned()),
            tid: Some(format!("{}-{}", self.client, self.number)),
            msg: to_raw_value(self).ok(),
            ..Envelope::new(t)
        }
    }
}

/// What reaches a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mail {
    /// The client it is for.
    pub to: usize,
    /// The client, or the process, that it comes from.
    pub from: String,
    /// Which of the sender's messages to this receiver it is.
    pub number: u64,
    /// The process in which it was made.
    pub by: String,
    /// When it was made, in milliseconds since the epoch.
    pub at: u64,
}

/// Milliseconds since the epoch.
pub fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_millis() as u64
}

/// The answer to a server's request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Who answers.
    pub client: usize,
    /// The process that asked.
    pub asked_by: String,
    /// Which of its messages it was.
    pub number: u64,
}

/// The user id, which is also the authorization value, of a client.
pub fn user(client: usize) -> String {
    format!("client-{client}")
}

/// The client of a user id.
pub fn client_of(user: &str) -> Option<usize> {
    user.strip_prefix("client-")?.parse().ok()
}

/// The endpoints and terminators of a node.
pub mod endpoint {
    /// Transactional: a row in the application's table, work started in [`WORK_SERVICE`], work with a key started twice in
    /// [`BOOKS_SERVICE`], and a reply.
    pub const EFFECT: &str = "Chaos.effect";
    /// Transactional, for a SEND: a row, and no reply.
    pub const NOTE: &str = "Chaos.note";
    /// Sends a message to another client's session through its context, and replies.
    pub const RELAY: &str = "Chaos.relay";
    /// Forwards to [`WORK_SERVICE`].
    pub const WORK: &str = "Chaos.work";
    /// Sends news to the client through its context, and replies.
    pub const WORK_SERVICE: &str = "Chaos.worker";
    /// Transactional: a row in the application's table.
    pub const BOOKS_SERVICE: &str = "Chaos.books";
    /// Transactional: where the answers to [`ASK`](super::terminator::ASK) go.
    pub const ANSWER: &str = "Chaos.answer";
}

/// The terminators and the endpoint of a client.
pub mod terminator {
    /// What nodes send by themselves.
    pub const PUSH: &str = "push";
    /// What nodes request by themselves.
    pub const ASK: &str = "ask";
    /// What another client's request brought about.
    pub const RELAYED: &str = "relayed";
    /// What a service sends beside its reply.
    pub const NEWS: &str = "news";
}
