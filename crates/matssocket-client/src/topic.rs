//! Subscriptions, and the last message seen of each.

use std::collections::BTreeMap;

use super::core::Core;
use super::error::SendError;
use super::handler::Handler;
use matssocket_wire::{Envelope, MessageType, check_id};

struct Topic {
    callback: Handler<()>,
    /// Server id of the last message seen; outlives sessions.
    last_seen: Option<String>,
}

/// The subscribed topics.
#[derive(Default)]
pub(super) struct Topics {
    topics: BTreeMap<String, Topic>,
}

impl Topics {
    pub(super) fn sub(topic: &str, last_seen: Option<String>) -> Envelope {
        Envelope {
            eid: Some(topic.to_owned()),
            smid: last_seen,
            ..Envelope::new(MessageType::Sub)
        }
    }

    pub(super) fn unsub(topic: &str) -> Envelope {
        Envelope {
            eid: Some(topic.to_owned()),
            ..Envelope::new(MessageType::Unsub)
        }
    }

    /// Adds a topic. Returns the callback that was replaced, if any.
    pub(super) fn subscribe(&mut self, topic: &str, callback: Handler<()>) -> Option<Handler<()>> {
        if let Some(known) = self.topics.get_mut(topic) {
            return Some(std::mem::replace(&mut known.callback, callback));
        }
        self.topics.insert(
            topic.to_owned(),
            Topic {
                callback,
                last_seen: None,
            },
        );
        None
    }

    /// Removes a topic. Returns its callback.
    pub(super) fn remove(&mut self, topic: &str) -> Option<Handler<()>> {
        self.topics.remove(topic).map(|topic| topic.callback)
    }

    /// Every SUB, for a new connection.
    pub(super) fn subs(&self) -> impl Iterator<Item = Envelope> {
        self.topics
            .iter()
            .map(|(eid, topic)| Topics::sub(eid, topic.last_seen.clone()))
    }

    /// A message of a topic has arrived: returns the callback, unless there is none or the message is a repeat.
    pub(super) fn seen(&mut self, topic: &str, smid: Option<&str>) -> Option<Handler<()>> {
        let topic = self.topics.get_mut(topic)?;
        if smid.is_some() && smid == topic.last_seen.as_deref() {
            return None;
        }
        topic.last_seen = smid.map(str::to_owned).or(topic.last_seen.take());
        Some(topic.callback.clone())
    }
}

/// Most UNSUBs that are sent again after a reconnect.
const MAX_UNSUBSCRIBED: usize = 1_000;

impl Core {
    /// Returns the callback that was replaced.
    pub(super) fn subscribe(
        &mut self,
        topic: &str,
        callback: Handler<()>,
    ) -> Result<Option<Handler<()>>, SendError> {
        check_id("the topic", topic)?;
        self.unsubscribed.retain(|gone| gone != topic);
        let replaced = self.topics.subscribe(topic, callback);
        if replaced.is_none() {
            self.control.push(Topics::sub(topic, None));
        }
        self.wanted |= self.closed.is_none();
        Ok(replaced)
    }

    /// Returns the callback of the topic.
    pub(super) fn unsubscribe(&mut self, topic: &str) -> Option<Handler<()>> {
        let callback = self.topics.remove(topic)?;
        self.control.push(Topics::unsub(topic));
        if self.unsubscribed.len() >= MAX_UNSUBSCRIBED {
            self.unsubscribed.pop_front();
        }
        self.unsubscribed.push_back(topic.to_owned());
        Some(callback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::terminator;
    use crate::message::Message;
    use matssocket_wire::print_pipeline;

    fn callback() -> Handler<()> {
        terminator(|_: Message<()>| async {})
    }

    #[test]
    fn a_reconnect_names_what_was_last_seen() {
        let mut topics = Topics::default();
        assert!(topics.subscribe("a", callback()).is_none());
        assert!(topics.subscribe("a", callback()).is_some());
        topics.subscribe("b", callback());
        assert!(topics.seen("a", Some("s1")).is_some());
        assert!(topics.seen("a", Some("s1")).is_none(), "a repeat");
        assert!(topics.seen("unknown", Some("s1")).is_none());
        let subs: Vec<Envelope> = topics.subs().collect();
        assert_eq!(
            print_pipeline(&subs),
            r#"[{"t":"SUB","smid":"s1","eid":"a"},{"t":"SUB","eid":"b"}]"#
        );
    }

    #[test]
    fn a_removed_topic_is_gone() {
        let mut topics = Topics::default();
        topics.subscribe("a", callback());
        assert!(topics.remove("a").is_some());
        assert!(topics.remove("a").is_none());
        assert!(topics.seen("a", Some("s1")).is_none());
        assert_eq!(topics.subs().count(), 0);
    }
}
