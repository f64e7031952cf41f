//! The session's subscriptions: SUB and UNSUB, and what the client is answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Action, Asked, State, Subscribed, Waiting};
use crate::auth::AuthError;
use crate::store::StoreError;
use crate::store::operation::Publication;
use crate::wire::{Close, CloseCode, Envelope, MessageType};

/// Subscriptions by topic. They belong to the session: stored with it, in force again after a reconnect.
#[derive(Default)]
pub(super) struct Topics {
    pub(super) topics: BTreeMap<String, Subscription>,
    /// There may be some that are stored with the session, and not in force yet.
    resuming: bool,
    /// There are many sessions, and most of them have no topic.
    more: Option<Box<More>>,
}

/// What is needed only where there are topics.
#[derive(Default)]
pub(super) struct More {
    /// Publications that wait for the word whether anything may go out.
    pub(super) waiting: VecDeque<Arc<Publication>>,
    pub(super) waiting_bytes: usize,
    /// Topics of which the client has not been sent everything.
    pub(super) behind: BTreeSet<String>,
    /// What the client has missed of this topic is being read, up to this number.
    pub(super) replaying: Option<(String, i64)>,
    /// Topics whose rights are to be asked about again.
    pub(super) to_check: BTreeSet<String>,
    /// The authenticator is being asked about one of them.
    pub(super) checking: bool,
    /// When the rights to all of them are asked about again.
    pub(super) check_at: Option<i64>,
}

/// A subscription, as far as this connection knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    stage: Stage,
    /// Of what came since the subscription is in force, the client was sent everything up to this number.
    pub(super) position: i64,
    /// The newest publication that the client was not sent, and is to be read for it; not above `position` if there is
    /// none.
    pub(super) behind: i64,
    /// The oldest of them.
    pub(super) first_missed: i64,
    /// The right to it must be asked about before anything more is sent.
    pub(super) doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Stored with the session, not in force on this connection yet.
    Stored,
    /// In force, by the session: publications with a higher number than this are sent.
    Resumed(i64),
    /// In force, the client said SUB on this connection.
    Subscribed,
}

/// A subscription that is not in force yet.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) topic: String,
    /// Number and time of the publication last seen.
    pub(super) seen: Option<(i64, i64)>,
    pub(super) asked: Asked,
    /// The right was withdrawn while it was asked about: the answer does not count.
    pub(super) doubtful: bool,
    /// The store and the registry have it already.
    is_stored: bool,
    /// Publications on it that came before its answer went out.
    early: Vec<Arc<Publication>>,
}

impl Subscribing {
    pub(super) fn new(topic: String, seen: Option<(i64, i64)>, asked: Asked) -> Box<Subscribing> {
        Box::new(Subscribing {
            topic,
            seen,
            asked,
            doubtful: false,
            is_stored: false,
            early: Vec::new(),
        })
    }
}

impl Subscription {
    fn new(stage: Stage, position: i64) -> Subscription {
        Subscription {
            stage,
            position,
            behind: 0,
            first_missed: 0,
            doubtful: false,
        }
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.stage != Stage::Stored
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind > self.position
    }
}

impl Topics {
    pub(super) fn resume(&mut self, stored: Vec<String>) {
        self.topics = stored
            .into_iter()
            .map(|topic| (topic, Subscription::new(Stage::Stored, 0)))
            .collect();
        self.resuming = !self.topics.is_empty();
    }

    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let removed = self.topics.remove(topic).is_some();
        if self.topics.is_empty() {
            // An answer that is still on its way finds nothing.
            self.more = None;
        } else if let Some(more) = &mut self.more {
            more.behind.remove(topic);
        }
        removed
    }

    pub(super) fn next_to_resume(&mut self) -> Option<String> {
        if !self.resuming {
            return None;
        }
        let mut topics = self.topics.iter();
        let next = topics
            .find(|(_, subscription)| !subscription.is_in_force())
            .map(|(topic, _)| topic.clone());
        self.resuming = next.is_some();
        next
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    pub(super) fn peek_more(&self) -> Option<&More> {
        self.more.as_deref()
    }

    pub(super) fn if_more(&mut self) -> Option<&mut More> {
        self.more.as_deref_mut()
    }

    /// Bytes of publications that wait.
    pub(super) fn bytes(&self) -> usize {
        self.more.as_ref().map_or(0, |more| more.waiting_bytes)
    }

    /// When the rights are to be asked about again.
    pub(super) fn check_at(&self) -> Option<i64> {
        self.more.as_ref()?.check_at
    }

    /// The client was not sent this publication: it is read from the store when it may be.
    pub(super) fn fall_behind(&mut self, topic: &str, number: i64) {
        self.fall_behind_from(topic, number, number);
    }

    /// The client was not sent what was published between these.
    fn fall_behind_from(&mut self, topic: &str, first: i64, last: i64) {
        let Some(subscription) = self.topics.get_mut(topic) else {
            return;
        };
        subscription.first_missed = match subscription.is_behind() {
            true => subscription.first_missed.min(first),
            false => first,
        };
        subscription.behind = subscription.behind.max(last);
        if subscription.is_behind() {
            self.more().behind.insert(topic.to_owned());
        }
    }

    /// Whether just what the client has missed of this topic is being read: what comes now can wait for it.
    fn is_catching_up(&self, topic: &str, subscription: &Subscription) -> bool {
        let replaying = self.more.as_ref().and_then(|more| more.replaying.as_ref());
        replaying.is_some_and(|(of, up_to)| of == topic && *up_to == subscription.behind)
    }
}

/// A publication's id on the wire: its number and its time, so that it means nothing in another database.
pub(super) fn publication_id(publication: &Publication) -> String {
    format!("{}.{}", publication.id, publication.created)
}

fn parse_publication_id(id: &str) -> Option<(i64, i64)> {
    let (number, created) = id.split_once('.')?;
    Some((number.parse().ok()?, created.parse().ok()?))
}

pub(super) fn envelope(publication: &Publication) -> Envelope {
    Envelope {
        smid: Some(publication_id(publication)),
        tid: Some(publication.tid.clone()),
        eid: Some(publication.topic.clone()),
        msg: Some(publication.msg.clone()),
        ..Envelope::new(MessageType::PUB)
    }
}

fn about(t: MessageType, topic: String) -> Envelope {
    Envelope {
        eid: Some(topic),
        ..Envelope::new(t)
    }
}

impl State {
    pub(super) fn subscribe(&mut self, envelope: Envelope) {
        let topic = match envelope.eid {
            Some(topic) if !topic.is_empty() => topic,
            // It cannot be named as the client does.
            Some(_) | None if envelope.fault.is_some() => return,
            Some(_) | None => return self.violation("SUB without a topic"),
        };
        if topic.chars().count() > self.config.max_topic_length {
            let most = self.config.max_topic_length;
            let why = format!("SUB: a topic has at most {most} characters");
            return self.close(Close::new(CloseCode::ViolatedPolicy, why));
        }
        // Nobody can publish to it.
        if envelope.fault.is_some() || topic.contains(char::is_control) {
            return self.send_now(vec![about(MessageType::SUB_NO_AUTH, topic)]);
        }
        let known = self.topics.topics.get(&topic);
        if known.is_some_and(|it| it.stage == Stage::Subscribed) {
            return self.send_now(vec![about(MessageType::SUB_OK, topic)]);
        }
        if known.is_none() && self.topics.topics.len() >= self.config.max_topics {
            return self.violation(format!(
                "SUB: a session may have at most {} topics",
                self.config.max_topics
            ));
        }
        // An id that is none of ours is one that is not known any more.
        let seen = envelope
            .smid
            .map(|smid| parse_publication_id(&smid).unwrap_or((-1, -1)));
        let subscribing = Subscribing::new(topic.clone(), seen, Asked::Client);
        self.waiting = Waiting::TopicAuthorization(subscribing);
        self.actions.push(Action::AuthorizeTopic(topic));
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
            && it.topic == topic
        {
            // A subscription to it is being made: whether it may be is asked again, and that is told.
            it.doubtful = true;
            if let Some(subscription) = self.topics.topics.get_mut(&topic) {
                subscription.doubtful = true;
            }
            return;
        }
        if self.drop_topic(topic.clone()) {
            self.send_now(vec![about(MessageType::SUB_NO_AUTH, topic)]);
        }
    }

    pub(super) fn topic_authorized(&mut self, allowed: Result<bool, AuthError>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        let Waiting::TopicAuthorization(mut subscribing) = waiting else {
            return;
        };
        let topic = subscribing.topic.clone();
        match allowed {
            Err(error) => self.authenticator_failed(&error),
            Ok(true) if std::mem::take(&mut subscribing.doubtful) => {
                self.waiting = Waiting::TopicAuthorization(subscribing);
                self.actions.push(Action::AuthorizeTopic(topic));
            }
            Ok(true) => {
                let seen = subscribing.seen;
                self.waiting = Waiting::TopicSubscription(subscribing);
                self.actions.push(Action::SubscribeTopic { topic, seen });
            }
            Ok(false) => {
                // It may be stored with the session, and not allowed any more: the client subscribes only once.
                if !self.drop_topic(topic.clone()) && subscribing.is_stored {
                    self.actions.push(Action::UnsubscribeTopic(topic.clone()));
                }
                self.send_now(vec![about(MessageType::SUB_NO_AUTH, topic)]);
            }
        }
    }

    pub(super) fn topic_subscribed(&mut self, outcome: Result<Subscribed, StoreError>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        let Waiting::TopicSubscription(mut subscribing) = waiting else {
            return;
        };
        let (horizon, missed) = match outcome {
            Ok(Subscribed::Done { horizon, missed }) => (horizon, missed),
            Ok(Subscribed::FencedOff) => return self.fenced_off(),
            Err(_) => return self.store_away(),
        };
        if std::mem::take(&mut subscribing.doubtful) {
            subscribing.is_stored = true;
            // They are read again.
            subscribing.early.clear();
            let topic = subscribing.topic.clone();
            self.waiting = Waiting::TopicAuthorization(subscribing);
            return self.actions.push(Action::AuthorizeTopic(topic));
        }
        match subscribing.asked {
            Asked::Client => self.subscribed(*subscribing, horizon, missed),
            Asked::Session => {
                let subscription = Subscription::new(Stage::Resumed(horizon), horizon);
                self.topics.topics.insert(subscribing.topic, subscription);
                for publication in subscribing.early {
                    self.published(publication);
                }
            }
        }
        self.check_topics_later();
    }

    /// Answers the client's SUB, and sends what it has missed.
    fn subscribed(
        &mut self,
        subscribing: Subscribing,
        mut horizon: i64,
        missed: Option<Vec<Publication>>,
    ) {
        let Subscribing {
            topic, seen, early, ..
        } = subscribing;
        let before = self.topics.topics.get(&topic).copied();
        if let Some(Stage::Resumed(from)) = before.map(|it| it.stage) {
            horizon = horizon.min(from);
        }
        let missed: Option<Vec<_>> =
            missed.map(|all| all.into_iter().filter(|it| it.id <= horizon).collect());
        let bring = missed.as_ref().is_some_and(|missed| !missed.is_empty());
        let shut = bring && self.is_shut();
        // What is shut out is read again later, from where the client is; which nobody knows of one that was sent
        // newer ones already.
        let lost = seen.is_some() && missed.is_none()
            || shut && matches!(before.map(|it| it.stage), Some(Stage::Resumed(_)));
        // The client may have seen more, on another node, than this node has heard of so far.
        let has = match (seen, &missed) {
            (Some((seen, _)), Some(_)) => horizon.max(seen),
            (_, _) => horizon,
        };
        let has = before.map_or(has, |before| has.max(before.position));
        let at = match seen {
            Some((seen, _)) if shut && !lost => seen,
            Some(_) | None => has,
        };
        let (behind, first_missed) = before.map_or((0, 0), |it| (it.behind, it.first_missed));
        let subscription = Subscription {
            behind,
            first_missed,
            ..Subscription::new(Stage::Subscribed, at)
        };
        self.topics.topics.insert(topic.clone(), subscription);
        let t = match lost {
            true => MessageType::SUB_LOST,
            false => MessageType::SUB_OK,
        };
        let mut envelopes = vec![about(t, topic.clone())];
        if shut {
            self.topics.fall_behind_from(&topic, at + 1, has);
        } else {
            envelopes.extend(missed.iter().flatten().map(envelope));
        }
        self.send_now(envelopes);
        for publication in early {
            self.published(publication);
        }
    }

    pub(super) fn published(&mut self, publication: Arc<Publication>) {
        if let Waiting::TopicSubscription(it) = &mut self.waiting
            && it.topic == publication.topic
        {
            return it.early.push(publication);
        }
        let topic = &publication.topic;
        match self.topics.topics.get(topic) {
            Some(it) if it.is_in_force() && publication.id > it.position => {
                let waits = !it.is_behind() || self.topics.is_catching_up(topic, it);
                match waits && !it.doubtful {
                    true => self.publish_later(publication),
                    false => self.topics.fall_behind(topic, publication.id),
                }
            }
            Some(_) | None => {}
        }
    }
}
