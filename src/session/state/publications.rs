//! Publications on their way to the client, and the gate they pass.
//!
//! A client does not acknowledge publications, and does not subscribe again while its connection is open. So while
//! nothing may be sent to it, or its connection accepts no more, the session records how far the client has come in
//! each topic; the publications stay in the store. When the gate opens again, the client gets what it has missed
//! ([`replay`](super::replay)), or a SUB_LOST.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::connection::Text;
use super::authorization::Outgoing;
use super::recent::Outline;
use super::topics::Unsent;
use super::{Action, State};
use crate::registry::Published;
use crate::wire::{Envelope, MessageType};

impl State {
    /// Whether publications may be sent now.
    pub(super) fn may_publish(&self) -> bool {
        let authorization = &self.authorization;
        authorization.is_good()
            && (authorization.outgoing == Outgoing::Granted
                || (self.environment.now < authorization.open_until && !self.has_expired()))
    }

    /// Whether it is known that nothing may be sent.
    pub(super) fn is_shut(&self) -> bool {
        !self.authorization.is_good() || self.authorization.outgoing == Outgoing::Held
    }

    fn ask_outgoing(&mut self) {
        if self.authorization.outgoing == Outgoing::Ask {
            self.authorization.outgoing = Outgoing::Asking;
            self.actions.push(Action::ReevaluateOutgoing);
        }
    }

    /// A publication arrived: it waits to be delivered with others of this moment, unless it would overtake earlier
    /// ones that must be read first.
    pub(super) fn published(&mut self, published: Arc<Published>) {
        let publication = &published.publication;
        let (topic, number) = (&publication.topic, publication.id);
        if let Some(more) = self.topics.if_more() {
            more.position.heard(number);
        }
        let waits = match self.topics.topics.get(topic) {
            Some(it) if it.is_in_force() => {
                if number <= it.position {
                    return;
                }
                !it.doubtful && (!it.is_behind() || self.topics.is_catching_up(topic, it))
            }
            Some(_) | None if self.is_subscribing(topic) => true,
            Some(_) | None => return,
        };
        let most = (self.config.window, self.config.window_bytes);
        let bytes = publication.msg.get().len();
        let fits = waits && self.has_room_for(bytes);
        let more = self.topics.more();
        if !fits || more.waiting.len() >= most.0 || more.waiting_bytes >= most.1 {
            return self.leave_behind(topic, number);
        }
        more.waiting_bytes += bytes;
        more.waiting.push_back(published);
    }

    /// Delivers publications if they may be sent; if that is not known, asks the authenticator.
    pub(super) fn deliver_publications(&mut self) {
        let Some(more) = self.topics.peek_more() else {
            return;
        };
        let to_send = !more.waiting.is_empty() && !self.environment.backpressured;
        if to_send || self.may_read_topics() {
            if self.may_publish() {
                self.send_waiting();
                self.read_next_topic();
            } else if self.is_shut() {
                self.shut_publications_out();
            } else {
                self.ask_outgoing();
            }
        }
        self.settle_position();
        self.check_next_topics();
    }

    /// Drops waiting publications, to be read from the store later.
    fn shut_publications_out(&mut self) {
        for published in self.take_waiting() {
            let publication = &published.publication;
            self.leave_behind(&publication.topic, publication.id);
        }
    }

    fn take_waiting(&mut self) -> VecDeque<Arc<Published>> {
        let Some(more) = self.topics.if_more() else {
            return VecDeque::new();
        };
        more.waiting_bytes = 0;
        std::mem::take(&mut more.waiting)
    }

    fn wait_on(&mut self, waiting: VecDeque<Arc<Published>>) {
        if !waiting.is_empty() {
            let more = self.topics.more();
            more.waiting_bytes = waiting.iter().map(bytes_of).sum();
            more.waiting = waiting;
        }
    }

    fn send_waiting(&mut self) {
        if self.environment.backpressured {
            return;
        }
        let waiting = self.take_waiting();
        let mut sent = Vec::with_capacity(waiting.len());
        let mut later = VecDeque::new();
        for published in waiting {
            let (topic, number) = (&published.publication.topic, published.publication.id);
            let is_subscribing = self.is_subscribing(topic);
            match self.topics.topics.get_mut(topic) {
                Some(it) if it.is_in_force() => {
                    if number <= it.position {
                    } else if it.doubtful {
                        self.topics.fall_behind(topic, Unsent::one(number));
                    } else if it.is_behind() && number >= it.first_missed {
                        // Publications that are being read come first.
                        later.push_back(published);
                    } else {
                        it.position = number;
                        sent.push(published);
                    }
                }
                Some(_) | None if is_subscribing => later.push_back(published),
                Some(_) | None => {}
            }
        }
        self.wait_on(later);
        if let [alone] = &sent[..] {
            return self.send_alone(alone);
        }
        let sent = sent.iter().map(|it| it.publication.envelope());
        self.send_of_topics(sent.collect());
    }

    /// Sends a publication by itself, in the text shared by all sessions that send it by itself, which are usually all.
    fn send_alone(&mut self, published: &Published) {
        self.topics.more().position.sent();
        self.record(
            false,
            Outline {
                message_type: MessageType::Pub,
                endpoint: Some(&published.publication.topic),
                id: Some(published.smid.as_str().into()),
                trace_id: Some(&published.publication.tid),
            },
        );
        let text = Text::Shared(published.alone());
        self.actions.push(Action::Send(text));
    }

    /// Sends publications, or the news that some are lost.
    pub(super) fn send_of_topics(&mut self, envelopes: Vec<Envelope>) {
        if !envelopes.is_empty() {
            self.topics.more().position.sent();
            self.send_now(envelopes);
        }
    }

    /// Drops the waiting publications of this topic, to be read from the store later: earlier ones must be read first.
    pub(super) fn read_later(&mut self, topic: &str) {
        let waiting = self.take_waiting();
        let (theirs, others): (VecDeque<_>, _) =
            (waiting.into_iter()).partition(|it| it.publication.topic == topic);
        for published in theirs {
            let number = published.publication.id;
            self.topics.fall_behind(topic, Unsent::one(number));
        }
        self.wait_on(others);
    }
}

fn bytes_of(published: &Arc<Published>) -> usize {
    published.publication.msg.get().len()
}
