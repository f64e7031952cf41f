//! Publications that the client has missed: read from the store page by page, and sent as the connection accepts them.
//!
//! One page is read at a time, for one topic after the other, and only while the connection has room for it. So a
//! replay takes little memory however long it is, and the client's other messages are answered soon. Publications on a
//! topic that is being replayed are read from the store as well, until the replay has caught up; other topics continue
//! in parallel.
//!
//! A new subscriber has missed the last values of the topic, which are read in the same way, before what was published since.

use std::ops::Bound::{Excluded, Unbounded};

use super::topics::about;
use super::{Action, Failure, State};
use crate::store::StoreError;
use crate::store::operation::PublicationPage;
use crate::wire::MessageType;

impl State {
    /// Whether there is something to read, and room for it.
    pub(super) fn may_read_topics(&self) -> bool {
        let more = self.topics.peek_more();
        more.is_some_and(|more| more.reading.is_none() && !more.behind.is_empty())
            && self.retry_at.is_none()
            && !self.environment.filling
            && !self.environment.backpressured
    }

    /// Reads a page of a topic of which the client has missed something. If it has missed too much, the topic's missed
    /// publications are lost.
    pub(super) fn read_next_topic(&mut self) {
        while self.may_read_topics()
            && let Some(topic) = self.next_behind()
        {
            let Some(subscription) = self.topics.topics.get(&topic).copied() else {
                return;
            };
            let max_bytes = self.page_bytes();
            if subscription.position < subscription.values_up_to {
                let up_to = subscription.values_up_to;
                self.topics.begin_reading(&topic, up_to);
                self.actions.push(Action::ReadValues {
                    topic,
                    after: subscription.position,
                    up_to,
                    max_bytes,
                });
                continue;
            }
            if subscription.missed > self.config.max_topic_history {
                self.lose(topic);
                continue;
            }
            let up_to = subscription.behind;
            self.topics.begin_reading(&topic, up_to);
            self.actions.push(Action::ReadTopic {
                topic,
                // Nothing was published on the topic between these two, so older publications may be gone from the
                // store.
                after: subscription.position.max(subscription.first_missed - 1),
                up_to,
                max_bytes,
            });
        }
    }

    /// Size of a page in bytes: somewhat less than there is room for on a connection that is not filling up.
    fn page_bytes(&self) -> u64 {
        let page = self.config.window_bytes.min(self.config.max_unsent / 4);
        page as u64
    }

    /// The topic to read next, in turn.
    fn next_behind(&self) -> Option<String> {
        let more = self.topics.peek_more()?;
        let topics = &self.topics.topics;
        let is_ready = |topic: &&String| {
            let subscription = topics.get(*topic);
            subscription.is_some_and(|it| it.is_behind() && !it.doubtful)
        };
        let behind_it = (Excluded(more.read_last.as_str()), Unbounded);
        let mut next = more.behind.range::<str, _>(behind_it).chain(&more.behind);
        next.find(is_ready).cloned()
    }

    /// Gives up what the client has missed of this topic: the subscription continues from now on.
    fn lose(&mut self, topic: String) {
        if let Some(subscription) = self.topics.topics.get_mut(&topic) {
            subscription.reach(subscription.behind);
            self.caught_up(&topic);
            self.send_of_topics(vec![about(MessageType::SubLost, topic)]);
        }
    }

    pub(super) fn caught_up(&mut self, topic: &str) {
        if let Some(more) = self.topics.if_more() {
            more.behind.remove(topic);
        }
    }

    /// A page of a topic's publications, up to a number. `None`: some of them are gone.
    pub(super) fn topic_read(
        &mut self,
        topic: String,
        up_to: i64,
        outcome: Result<Option<PublicationPage>, StoreError>,
    ) {
        let is_wanted = self.topics.end_reading();
        let page = match outcome {
            Ok(page) => page,
            Err(error) => {
                self.actions.push(Action::Failed(Failure::ReadTopic(error)));
                return self.try_again();
            }
        };
        // Meanwhile.
        let is_shut = self.is_shut();
        let subscription = self.topics.topics.get_mut(&topic);
        let Some(subscription) = subscription.filter(|it| is_wanted && !is_shut && !it.doubtful)
        else {
            return;
        };
        let Some(PublicationPage { publications, next }) = page else {
            return self.lose(topic);
        };
        let before = subscription.position;
        let new: Vec<_> = publications.iter().filter(|it| it.id > before).collect();
        let envelopes: Vec<_> = new.iter().map(|it| it.envelope()).collect();
        let read = u32::try_from(publications.len()).unwrap_or(u32::MAX);
        subscription.missed = subscription.missed.saturating_sub(read);
        match next {
            Some(next) => {
                subscription.first_missed = next;
                subscription.reach(publications.last().map_or(0, |it| it.id));
            }
            None => {
                subscription.first_missed = up_to.saturating_add(1);
                subscription.reach(up_to);
            }
        }
        let is_behind = subscription.is_behind();
        if !is_behind {
            self.caught_up(&topic);
        } else if next.is_some() {
            self.read_later(&topic);
        }
        self.send_of_topics(envelopes);
    }
}
