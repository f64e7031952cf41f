//! SUB and UNSUB, and their answers.
//!
//! Consecutive subscriptions are made together: the authenticator is asked about several at a time, and the store once
//! for all. The same applies to those stored with a session when it is resumed.

use std::collections::{BTreeMap, VecDeque};

use super::topics::{Stage, Subscription, Unsent, about, parse_publication_id};
use super::{Action, State, Subscribed, ToSubscribe, Waiting};
use crate::auth::AuthError;
use crate::store::StoreError;
use crate::store::operation::{Missed, Since, Values};
use crate::wire::{Close, CloseCode, Envelope, MessageType};

/// Most questions about topics that are asked at a time.
pub(super) const ASKED_AT_A_TIME: usize = 16;

/// Subscriptions that are not in force yet.
#[derive(Debug)]
pub(super) struct Subscribing {
    /// Who requested them.
    asked: Asked,
    topics: BTreeMap<String, Wish>,
    /// The order in which they were requested, and are answered.
    order: Vec<String>,
    /// How many of them the session does not have yet.
    new: usize,
    /// The authenticator has not been asked about these.
    to_ask: VecDeque<String>,
    /// How many it is currently being asked about.
    asking: usize,
}

/// Who requested a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Client,
    /// It was stored with the session.
    Session,
}

/// A requested subscription.
#[derive(Debug)]
struct Wish {
    /// What the client has already seen of the topic.
    since: Option<Since>,
    allowed: bool,
    /// The right was withdrawn while the authenticator was asked: its answer does not count.
    doubtful: bool,
    /// The store and the registry have it already.
    is_stored: bool,
    /// Publications on it that arrived before its answer was sent, and for which there was no room.
    unsent: Option<Unsent>,
}

/// What the store and the registry know of a topic that is being subscribed to.
struct FoundOut {
    /// What is published with a higher number arrives.
    horizon: i64,
    /// What the client has missed up to there. `None`: that is not known, or too much.
    missed: Option<Missed>,
    /// The last values that it is to get.
    values: Option<Values>,
}

impl Subscribing {
    fn new(asked: Asked) -> Subscribing {
        Subscribing {
            asked,
            topics: BTreeMap::new(),
            order: Vec::new(),
            new: 0,
            to_ask: VecDeque::new(),
            asking: 0,
        }
    }

    fn add(&mut self, topic: String, since: Option<Since>, is_stored: bool) {
        self.to_ask.push_back(topic.clone());
        self.order.push(topic.clone());
        self.new += usize::from(!is_stored);
        let wish = Wish {
            since,
            allowed: false,
            doubtful: false,
            is_stored,
            unsent: None,
        };
        self.topics.insert(topic, wish);
    }

    /// Asks again about topics whose right was withdrawn in the meantime.
    fn ask_again(&mut self) {
        for (topic, wish) in &mut self.topics {
            if std::mem::take(&mut wish.doubtful) && wish.allowed {
                self.to_ask.push_back(topic.clone());
            }
        }
    }
}

impl State {
    /// Takes the SUBs at the front of the pipeline, up to the first other envelope.
    pub(super) fn subscribe(&mut self) {
        let mut subscribing = Subscribing::new(Asked::Client);
        while !self.ended
            && let Some(sub) = self.next_sub(&subscribing)
        {
            self.wish(sub, &mut subscribing);
        }
        if !self.ended {
            self.begin_subscribing(subscribing);
        }
    }

    /// The SUB at the front of the pipeline, unless its topic was named just before, or it has room only if those
    /// before it are refused.
    fn next_sub(&mut self, before: &Subscribing) -> Option<Envelope> {
        if before.new > 0 && before.new >= self.room_for_topics() {
            return None;
        }
        self.fill();
        let envelopes = &mut self.current.as_mut()?.envelopes;
        let is_again = |topic: &String| before.topics.contains_key(topic);
        let next = envelopes.front()?;
        let is_next = next.t == MessageType::Sub && !next.eid.as_ref().is_some_and(is_again);
        is_next
            .then(|| envelopes.pop_front())
            .flatten()
            .map(|it| *it)
    }

    fn wish(&mut self, envelope: Envelope, subscribing: &mut Subscribing) {
        let topic = match envelope.eid {
            Some(topic) if !topic.is_empty() => topic,
            // A topic that could not be read cannot be named in the answer.
            Some(_) | None if envelope.fault.is_some() => return,
            Some(_) | None => return self.violation("SUB without a topic"),
        };
        if topic.chars().count() > self.config.max_topic_length {
            let most = self.config.max_topic_length;
            let why = format!("SUB: a topic has at most {most} characters");
            return self.close(Close::new(CloseCode::ViolatedPolicy, why));
        }
        // It is impossible to publish to such a topic.
        if envelope.fault.is_some() || topic.contains(char::is_control) {
            return self.send_now(vec![about(MessageType::SubNoAuth, topic)]);
        }
        let known = self.topics.topics.get(&topic);
        if known.is_some_and(|it| it.stage == Stage::Subscribed) {
            return self.send_now(vec![about(MessageType::SubOk, topic)]);
        }
        let is_stored = known.is_some();
        if !is_stored && subscribing.new >= self.room_for_topics() {
            return self.violation(format!(
                "SUB: a session may have at most {} topics",
                self.config.max_topics
            ));
        }
        let since = match (envelope.smid, known.map(|it| it.stage)) {
            (Some(smid), _) => {
                // An id that is not ours is treated like one that is no longer known.
                let (id, created) = parse_publication_id(&smid).unwrap_or((-1, -1));
                Some(Since::Seen { id, created })
            }
            // It continues from what the session knows.
            (None, Some(Stage::Stored(since))) => Some(Since::Subscribed(since)),
            (None, Some(Stage::Resumed(_) | Stage::Subscribed) | None) => None,
        };
        subscribing.add(topic, since, is_stored);
    }

    fn room_for_topics(&self) -> usize {
        let there = self.topics.topics.len();
        self.config.max_topics.saturating_sub(there)
    }

    /// Puts the subscriptions in force that were stored with the session and not named by the client itself, after the
    /// first pipeline that is admitted.
    pub(super) fn resume_topics(&mut self) {
        let mut subscribing = Subscribing::new(Asked::Session);
        for (topic, since) in self.topics.take_stored() {
            subscribing.add(topic, Some(Since::Subscribed(since)), true);
        }
        match subscribing.topics.is_empty() {
            true => self.current = None,
            false => self.begin_subscribing(subscribing),
        }
    }

    fn begin_subscribing(&mut self, mut subscribing: Subscribing) {
        if !subscribing.topics.is_empty() {
            self.authorize_topics(&mut subscribing);
            self.waiting = Waiting::TopicAuthorization(Box::new(subscribing));
        }
    }

    fn authorize_topics(&mut self, subscribing: &mut Subscribing) {
        while subscribing.asking < ASKED_AT_A_TIME
            && let Some(topic) = subscribing.to_ask.pop_front()
        {
            subscribing.asking += 1;
            self.actions.push(Action::AuthorizeTopic(topic));
        }
    }

    pub(super) fn topic_authorized(&mut self, topic: String, allowed: Result<bool, AuthError>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        let Waiting::TopicAuthorization(mut subscribing) = waiting else {
            self.waiting = waiting;
            return;
        };
        subscribing.asking -= 1;
        let Some(wish) = subscribing.topics.get_mut(&topic) else {
            return;
        };
        match allowed {
            Err(error) => return self.authenticator_failed(&error),
            Ok(allowed) => wish.allowed = allowed,
        }
        if subscribing.asking == 0 && subscribing.to_ask.is_empty() {
            subscribing.ask_again();
        }
        self.authorize_topics(&mut subscribing);
        if subscribing.asking > 0 {
            self.waiting = Waiting::TopicAuthorization(subscribing);
            return;
        }
        self.refuse_topics(&mut subscribing);
        let topics = subscribing.order.iter().filter_map(|topic| {
            let wish = subscribing.topics.get(topic)?;
            Some(ToSubscribe {
                topic: topic.clone(),
                is_stored: wish.is_stored,
                since: wish.since,
            })
        });
        let topics: Vec<_> = topics.collect();
        if !topics.is_empty() {
            self.waiting = Waiting::TopicSubscription(subscribing);
            self.actions.push(Action::SubscribeTopics(topics));
        }
    }

    /// Answers the subscriptions that are not allowed.
    fn refuse_topics(&mut self, subscribing: &mut Subscribing) {
        let mut envelopes = Vec::new();
        let Subscribing { topics, order, .. } = subscribing;
        order.retain(|topic| {
            if topics.get(topic).is_some_and(|wish| wish.allowed) {
                return true;
            }
            let is_stored = topics.remove(topic).is_some_and(|wish| wish.is_stored);
            // It may be stored with the session but no longer allowed: a client subscribes only once.
            if !self.drop_topic(topic.clone()) && is_stored {
                self.actions.push(Action::UnsubscribeTopic(topic.clone()));
            }
            envelopes.push(about(MessageType::SubNoAuth, topic.clone()));
            false
        });
        if !envelopes.is_empty() {
            self.send_now(envelopes);
        }
    }

    pub(super) fn topics_subscribed(&mut self, outcome: Result<Subscribed, StoreError>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        let Waiting::TopicSubscription(mut subscribing) = waiting else {
            self.waiting = waiting;
            return;
        };
        let (horizon, missed, mut values) = match outcome {
            Ok(Subscribed::Done {
                horizon,
                missed,
                values,
            }) => (horizon, missed, values),
            Ok(Subscribed::FencedOff) => return self.fenced_off(),
            Err(_) => return self.store_away(),
        };
        self.topics.more().position.subscribed(horizon);
        let mut missed = missed.into_iter();
        let mut again = Subscribing::new(subscribing.asked);
        let mut envelopes = Vec::new();
        for topic in std::mem::take(&mut subscribing.order) {
            let Some(wish) = subscribing.topics.remove(&topic) else {
                continue;
            };
            let missed = wish.since.and_then(|_| missed.next()).flatten();
            if wish.doubtful {
                again.add(topic, wish.since, true);
                continue;
            }
            let found = FoundOut {
                horizon,
                missed,
                values: values.remove(&topic),
            };
            let answer = self.put_in_force(&topic, subscribing.asked, wish, found);
            envelopes.extend(answer.map(|t| about(t, topic)));
        }
        self.send_of_topics(envelopes);
        self.check_topics_later();
        self.begin_subscribing(again);
    }

    /// From here on the client gets the publications on this topic, after those it has missed. Returns the answer for
    /// the client.
    fn put_in_force(
        &mut self,
        topic: &str,
        asked: Asked,
        wish: Wish,
        found: FoundOut,
    ) -> Option<MessageType> {
        let FoundOut {
            horizon,
            missed,
            values,
        } = found;
        let before = self.topics.topics.get(topic).copied();
        let before = before.filter(Subscription::is_in_force);
        let mut lost = wish.since.is_some() && missed.is_none();
        let seen = match wish.since {
            Some(Since::Seen { id, .. }) if !lost => Some(id),
            Some(_) | None => None,
        };
        // A subscription that the session has put in force continues, unless the client has seen less and was sent
        // nothing yet.
        let goes_on = before.filter(|before| match before.stage {
            Stage::Resumed(from) => before.position > from || seen.is_none_or(|seen| seen >= from),
            Stage::Stored(_) | Stage::Subscribed => true,
        });
        let missed = missed.filter(|missed| missed.count > 0);
        if let (Some(Stage::Resumed(from)), Some(missed)) = (goes_on.map(|it| it.stage), missed) {
            // It would follow publications that were already sent.
            lost |= missed.first <= from;
        }
        let from = match wish.since {
            Some(Since::Seen { id, .. }) => id,
            Some(Since::Subscribed(since)) => since.unwrap_or(0),
            None => 0,
        };
        // Last values come first, however old they are.
        let values = values.filter(|_| goes_on.is_none());
        let start = match (values, missed) {
            (Some(_), _) => 0,
            (None, Some(_)) => from,
            (None, None) => horizon,
        };
        let mut subscription = goes_on.unwrap_or(Subscription::new(Stage::Subscribed, start));
        if let Some(values) = values {
            subscription.values_up_to = values.up_to;
        } else if !lost {
            // On another node, the client may have seen more than this node knows of so far.
            subscription.reach(from);
        }
        subscription.doubtful = false;
        (subscription.behind, subscription.missed) = (0, 0);
        subscription.stage = match asked {
            Asked::Client => Stage::Subscribed,
            Asked::Session => Stage::Resumed(subscription.position),
        };
        self.topics.topics.insert(topic.to_owned(), subscription);
        self.caught_up(topic);
        let missed = missed.filter(|_| goes_on.is_none()).map(|missed| Unsent {
            first: missed.first,
            last: horizon,
            count: missed.count,
        });
        let values = values.map(|values| Unsent {
            first: values.first,
            last: values.up_to,
            // They do not count as history, of which there may be too much.
            count: 0,
        });
        let unsent = before.and_then(|it| it.unsent());
        for unsent in [values, missed, unsent, wish.unsent].into_iter().flatten() {
            self.topics.fall_behind(topic, unsent);
        }
        match (lost, asked) {
            (true, _) => Some(MessageType::SubLost),
            (false, Asked::Client) => Some(MessageType::SubOk),
            (false, Asked::Session) => None,
        }
    }

    /// Whether a subscription to this topic is being made and is not yet in force.
    pub(super) fn is_subscribing(&self, topic: &str) -> bool {
        match &self.waiting {
            Waiting::TopicAuthorization(it) | Waiting::TopicSubscription(it) => {
                it.topics.contains_key(topic)
            }
            Waiting::Nothing | Waiting::Authentication | Waiting::Registration => false,
        }
    }

    /// This publication is not sent now, but read from the store later.
    pub(super) fn leave_behind(&mut self, topic: &str, number: i64) {
        let unsent = Unsent::one(number);
        let in_force = self.topics.topics.get(topic);
        if in_force.is_some_and(Subscription::is_in_force) {
            return self.topics.fall_behind(topic, unsent);
        }
        if let Waiting::TopicAuthorization(it) | Waiting::TopicSubscription(it) = &mut self.waiting
            && let Some(wish) = it.topics.get_mut(topic)
        {
            wish.unsent = Some(wish.unsent.map_or(unsent, |before| before.and(unsent)));
        }
    }

    pub(super) fn unsubscribe(&mut self, envelope: Envelope) {
        let topic = match envelope.eid {
            Some(topic) if !topic.is_empty() => topic,
            Some(_) | None if envelope.fault.is_some() => return,
            Some(_) | None => return self.violation("UNSUB without a topic"),
        };
        self.drop_topic(topic);
    }

    /// The subscription ends, here and in the store. False: there is none.
    fn drop_topic(&mut self, topic: String) -> bool {
        let there = self.topics.remove(&topic);
        if there {
            self.actions.push(Action::UnsubscribeTopic(topic));
        }
        there
    }

    /// The right to a topic was withdrawn.
    pub(super) fn withdraw_topic(&mut self, topic: String) {
        if let Waiting::TopicAuthorization(it) | Waiting::TopicSubscription(it) = &mut self.waiting
            && let Some(wish) = it.topics.get_mut(&topic)
        {
            // A subscription to it is being made: the right is checked again, and the client gets the result.
            wish.doubtful = true;
            if let Some(subscription) = self.topics.topics.get_mut(&topic) {
                subscription.doubtful = true;
            }
            return;
        }
        if self.drop_topic(topic.clone()) {
            self.send_now(vec![about(MessageType::SubNoAuth, topic)]);
        }
    }
}
