//! The topics that sessions of this node subscribe to, for introspection.

use std::cmp::Reverse;
use std::collections::HashSet;

use actix::{Handler, Message, MessageResult};

use super::Registry;
use crate::introspection::TopicMetrics;
use crate::store::operation::SessionKey;

/// A topic with subscribers on this node.
#[derive(Default)]
pub(super) struct Topic {
    pub(super) subscribers: HashSet<SessionKey>,
    /// What was published on it since it has subscribers here.
    pub(super) publications: u64,
}

/// The topics with the most subscribers.
#[derive(Message)]
#[rtype(result = "Vec<TopicMetrics>")]
pub(crate) struct Topics {
    pub(crate) limit: usize,
}

impl Handler<Topics> for Registry {
    type Result = MessageResult<Topics>;

    fn handle(&mut self, Topics { limit }: Topics, _: &mut Self::Context) -> Self::Result {
        let mut topics: Vec<_> = self.topics.iter().collect();
        let rank = |(name, topic): &(&String, &Topic)| {
            (Reverse(topic.subscribers.len()), name.to_string())
        };
        if limit < topics.len() {
            // Only those that are shown need be in order.
            topics.select_nth_unstable_by_key(limit, rank);
            topics.truncate(limit);
        }
        topics.sort_by_cached_key(rank);
        let topics = topics.into_iter().map(|(name, topic)| TopicMetrics {
            topic: name.clone(),
            subscribers: topic.subscribers.len() as u64,
            publications: topic.publications,
        });
        MessageResult(topics.collect())
    }
}
