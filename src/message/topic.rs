//! Messages for all subscribers of a topic.

use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::error::SendError;
use crate::store::operation::Effect;
use crate::wire::{InvalidId, check_id, shown};

/// The topic of a publication, and whether those who subscribe later get it, too. A plain name is one: then it is kept only as
/// part of the topic's history, for clients that come back.
///
/// ```no_run
/// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
/// use matssocket::Topic;
///
/// // Whoever subscribes gets the last price of each share at once, and then every change.
/// server.publish(Topic::new("prices").last_value_of("ACME"), "tick 17", &102.5).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Topic {
    pub(crate) name: String,
    /// What the publication is the last value of; empty: of the topic as a whole.
    pub(crate) value_of: Option<String>,
}

impl Topic {
    /// The topic of this name.
    pub fn new(name: impl Into<String>) -> Topic {
        Topic {
            name: name.into(),
            value_of: None,
        }
    }

    /// The publication is the last value of the topic, until the next such publication: whoever subscribes gets it at once.
    ///
    /// A client that comes back and names what it saw last gets what it has missed, as without last values. If that is too
    /// long ago, it is told that publications were lost, and then gets the last values.
    pub fn last_value(mut self) -> Topic {
        self.value_of = Some(String::new());
        self
    }

    /// Like [`last_value`](Self::last_value), for one of several keys: whoever subscribes gets the last value of each, in the
    /// order in which they were published. A key has 1 to 255 bytes, and no control characters;
    /// an empty one is the same as [`last_value`](Self::last_value). A topic has last values for
    /// [`StoreConfig::max_values_per_topic`](crate::StoreConfig::max_values_per_topic) keys; publications of further keys reach
    /// the subscribers that there are, and no others, which is logged.
    ///
    /// Last values are kept until [`drop_last_value`](crate::MatsSocketServer::drop_last_value).
    pub fn last_value_of(mut self, key: impl Into<String>) -> Topic {
        self.value_of = Some(key.into());
        self
    }

    /// Checks it, where a topic may have this many characters. An empty key is only right for the topic as a whole.
    pub(crate) fn check(&self, max_length: usize) -> Result<(), SendError> {
        let Topic { name, value_of } = self;
        let length = name.chars().count();
        if length > max_length {
            return Err(InvalidId::new(format!(
                "the topic \"{}\" has {length} characters, and nobody can subscribe to one of more than {max_length} \
                (max_topic_length)",
                shown(name)
            ))
            .into());
        }
        if name.is_empty() || name.contains(char::is_control) {
            return Err(InvalidId::new(format!(
                "the topic \"{}\" is empty, or has a control character",
                shown(name)
            ))
            .into());
        }
        match value_of.as_deref() {
            None | Some("") => Ok(()),
            Some(key) => Ok(check_id("key of a last value", key)?),
        }
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Topic {
        Topic::new(name)
    }
}

impl From<&String> for Topic {
    fn from(name: &String) -> Topic {
        Topic::new(name)
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Topic {
        Topic::new(name)
    }
}

/// A message for every subscriber of a topic, which may have this many characters.
pub(crate) fn publish<T: Serialize + ?Sized>(
    topic: Topic,
    trace_id: &str,
    payload: &T,
    max_topic_length: usize,
) -> Result<Effect, SendError> {
    check_id("trace id", trace_id)?;
    topic.check(max_topic_length)?;
    Ok(Effect::Publish {
        topic: topic.name,
        tid: trace_id.to_owned(),
        msg: to_raw_value(payload)?,
        value_of: topic.value_of,
    })
}
