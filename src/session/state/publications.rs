//! Publications on their way to the client, and the gate that they pass.
//!
//! A client does not acknowledge publications, and does not subscribe again while its line is open. So while nothing may
//! go out to it, the session keeps how far the client has come in each topic; the store has the publications. When the
//! gate opens again, it is sent what it has missed, or told that something is lost.

use std::collections::VecDeque;
use std::sync::Arc;

use super::authorize::Outgoing;
use super::topics::envelope;
use super::{Action, State, Waiting};
use crate::seldom::log_seldom;
use crate::store::StoreError;
use crate::store::operation::Publication;
use crate::wire::{Close, CloseCode, Envelope, MessageType};

impl State {
    /// Whether publications may go out now.
    pub(super) fn may_publish(&self) -> bool {
        let authorization = &self.authorization;
        authorization.is_good()
            && (authorization.outgoing == Outgoing::Granted
                || self.around.now < authorization.open_until)
    }

    /// Whether it is known that nothing may go out.
    pub(super) fn is_shut(&self) -> bool {
        !self.authorization.is_good() || self.authorization.outgoing == Outgoing::Held
    }

    /// A SUB that may bring publications: whether they may go out is asked before its answer is made, so that both go
    /// together. True: that is being asked.
    pub(super) fn asks_outgoing_first(&mut self) -> bool {
        let next = self.current.as_ref().and_then(|it| it.envelopes.front());
        let brings = next.is_some_and(|it| it.t == MessageType::SUB && it.smid.is_some());
        if !brings || self.may_publish() || self.is_shut() {
            return false;
        }
        self.ask_outgoing();
        self.waiting = Waiting::Outgoing;
        true
    }

    fn ask_outgoing(&mut self) {
        if self.authorization.outgoing == Outgoing::Ask {
            self.authorization.outgoing = Outgoing::Asking;
            self.actions.push(Action::ReevaluateOutgoing);
        }
    }

    /// Takes a publication in, to be delivered with the others of this moment.
    pub(super) fn publish_later(&mut self, publication: Arc<Publication>) {
        let most = (self.config.window, self.config.window_bytes);
        let fits = self.has_room_for(publication.msg.get().len());
        let more = self.topics.more();
        if !fits || more.waiting.len() >= most.0 || more.waiting_bytes >= most.1 {
            return self.topics.fall_behind(&publication.topic, publication.id);
        }
        more.waiting_bytes += publication.msg.get().len();
        more.waiting.push_back(publication);
    }

    /// Delivers publications, if they may go out; asks whether they may, if that is not known.
    pub(super) fn deliver_publications(&mut self) {
        let Some(more) = self.topics.if_more() else {
            return;
        };
        let to_read = !more.behind.is_empty() && more.replaying.is_none();
        if !more.waiting.is_empty() || to_read && self.retry_at.is_none() {
            if self.may_publish() {
                self.send_publications();
                self.replay_next();
            } else if self.is_shut() {
                self.shut_publications_out();
            } else {
                self.ask_outgoing();
            }
        }
        self.check_next_topic();
    }

    /// What waits is left to be read from the store.
    fn shut_publications_out(&mut self) {
        let Some(more) = self.topics.if_more() else {
            return;
        };
        more.waiting_bytes = 0;
        for publication in std::mem::take(&mut more.waiting) {
            self.topics.fall_behind(&publication.topic, publication.id);
        }
    }

    fn send_publications(&mut self) {
        let Some(more) = self.topics.if_more() else {
            return;
        };
        more.waiting_bytes = 0;
        let waiting = std::mem::take(&mut more.waiting);
        let mut envelopes = Vec::with_capacity(waiting.len());
        let mut later = VecDeque::new();
        for publication in waiting {
            let (topic, number) = (&publication.topic, publication.id);
            match self.topics.topics.get_mut(topic) {
                Some(it) if it.doubtful => self.topics.fall_behind(topic, number),
                // What is being read comes first.
                Some(it) if it.is_behind() && number >= it.first_missed => {
                    later.push_back(publication);
                }
                Some(it) if number > it.position => {
                    it.position = number;
                    envelopes.push(envelope(&publication));
                }
                Some(_) | None => {}
            }
        }
        if !later.is_empty() {
            let more = self.topics.more();
            more.waiting_bytes = later.iter().map(|it| it.msg.get().len()).sum();
            more.waiting = later;
        }
        self.send_published(envelopes);
    }

    fn send_published(&mut self, envelopes: Vec<Envelope>) {
        if envelopes.is_empty() {
            return;
        }
        if self.around.overfull {
            // A PUB is not acknowledged, so it cannot wait in the store: the client comes back and asks for what it has
            // missed.
            let why = "published messages cannot be delivered fast enough";
            return self.leave(Close::new(CloseCode::Reconnect, why));
        }
        self.send_now(envelopes);
    }

    /// Reads what the client has missed of a topic, one topic at a time.
    fn replay_next(&mut self) {
        if self.retry_at.is_some() || self.around.clogged || self.ended {
            return;
        }
        let topics = &self.topics.topics;
        let ready = |topic: &&String| topics.get(*topic).is_some_and(|it| !it.doubtful);
        let next = match self.topics.peek_more() {
            Some(more) if more.replaying.is_none() => more.behind.iter().find(ready).cloned(),
            Some(_) | None => None,
        };
        let Some(topic) = next else { return };
        let Some(subscription) = self.topics.topics.get(&topic).copied() else {
            return;
        };
        let up_to = subscription.behind;
        self.topics.more().replaying = Some((topic.clone(), up_to));
        self.actions.push(Action::ReplayTopic {
            topic,
            // Nothing was published on it before: so what is older may be gone from the store.
            after: subscription.position.max(subscription.first_missed - 1),
            up_to,
        });
    }

    /// What was published on a topic up to a number, since the client fell behind. `None`: that is not known any more.
    pub(super) fn topic_replayed(
        &mut self,
        topic: String,
        up_to: i64,
        outcome: Result<Option<Vec<Publication>>, StoreError>,
    ) {
        if let Some(more) = self.topics.if_more() {
            more.replaying = None;
        }
        let missed = match outcome {
            Ok(missed) => missed,
            Err(error) => {
                log_seldom!(
                    warn,
                    "what was published could not be read, trying again: {error}"
                );
                return self.try_again();
            }
        };
        // Meanwhile.
        let is_shut = self.is_shut();
        let Some(subscription) = self.topics.topics.get_mut(&topic) else {
            return;
        };
        if is_shut || subscription.doubtful {
            return;
        }
        let after = subscription.position;
        subscription.position = up_to.max(after);
        let is_behind = subscription.is_behind();
        if !is_behind && let Some(more) = self.topics.if_more() {
            more.behind.remove(&topic);
        }
        let envelopes = match missed {
            Some(missed) => {
                let new = missed.iter().filter(|it| it.id > after);
                new.map(envelope).collect()
            }
            None => vec![Envelope {
                eid: Some(topic),
                ..Envelope::new(MessageType::SUB_LOST)
            }],
        };
        self.send_published(envelopes);
    }
}
