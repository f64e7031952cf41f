//! The session's subscriptions.

use std::collections::BTreeMap;

use super::{Action, Asked, State, Subscribed, Waiting};
use crate::store::StoreError;
use crate::store::operation::Publication;
use crate::wire::{Close, CloseCode, Envelope, MessageType};

/// Subscriptions by topic. They belong to the session: stored with it, in force again after a reconnect.
#[derive(Default)]
pub(super) struct Topics {
    topics: BTreeMap<String, Stage>,
}

/// A subscription that is not in force yet.
#[derive(Debug)]
pub(super) struct Subscribing {
    pub(super) topic: String,
    /// Number and time of the publication last seen.
    pub(super) seen: Option<(i64, i64)>,
    pub(super) asked: Asked,
    /// Publications on it that came before its answer went out, by number.
    early: Vec<(i64, Envelope)>,
}

impl Subscribing {
    pub(super) fn new(topic: String, seen: Option<(i64, i64)>, asked: Asked) -> Box<Subscribing> {
        Box::new(Subscribing {
            topic,
            seen,
            asked,
            early: Vec::new(),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Stored with the session, not in force on this connection yet.
    Stored,
    /// In force, by the session: publications with a higher number than this have been sent.
    Resumed(i64),
    /// In force, the client said SUB on this connection; it has all publications up to this number.
    Subscribed(i64),
}

impl Topics {
    pub(super) fn resume(&mut self, stored: Vec<String>) {
        self.topics = stored
            .into_iter()
            .map(|topic| (topic, Stage::Stored))
            .collect();
    }

    pub(super) fn remove(&mut self, topic: &str) -> bool {
        self.topics.remove(topic).is_some()
    }

    pub(super) fn next_to_resume(&self) -> Option<String> {
        self.topics
            .iter()
            .find(|(_, stage)| **stage == Stage::Stored)
            .map(|(topic, _)| topic.clone())
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.topics.keys().cloned().collect()
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

fn envelope(publication: &Publication) -> Envelope {
    Envelope {
        smid: Some(publication_id(publication)),
        tid: Some(publication.tid.clone()),
        eid: Some(publication.topic.clone()),
        msg: Some(publication.msg.clone()),
        ..Envelope::new(MessageType::PUB)
    }
}

impl State {
    pub(super) fn subscribe(&mut self, envelope: Envelope) {
        let topic = match envelope.eid {
            Some(topic) if !topic.is_empty() => topic,
            Some(_) | None => return self.violation("SUB without a topic"),
        };
        if topic.chars().count() > self.config.max_topic_length || topic.contains('\0') {
            let most = self.config.max_topic_length;
            let why = format!("SUB: a topic has at most {most} characters, and no NUL");
            return self.close(Close::new(CloseCode::ViolatedPolicy, why));
        }
        let stage = self.topics.topics.get(&topic).copied();
        if let Some(Stage::Subscribed(_)) = stage {
            return self.send_now(vec![Envelope {
                eid: Some(topic),
                ..Envelope::new(MessageType::SUB_OK)
            }]);
        }
        if stage.is_none() && self.topics.topics.len() >= self.config.max_topics {
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
        let Some(topic) = envelope.eid.filter(|topic| !topic.is_empty()) else {
            return self.violation("UNSUB without a topic");
        };
        if self.topics.remove(&topic) {
            self.actions.push(Action::UnsubscribeTopic(topic));
        }
    }

    pub(super) fn topic_subscribed(&mut self, outcome: Result<Subscribed, StoreError>) {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        let Waiting::TopicSubscription(subscribing) = waiting else {
            return;
        };
        let Subscribing {
            topic,
            seen,
            asked,
            mut early,
        } = *subscribing;
        let (mut horizon, missed) = match outcome {
            Ok(Subscribed::Done { horizon, missed }) => (horizon, missed),
            Ok(Subscribed::FencedOff) => return self.fenced_off(),
            Err(_) => return self.store_away(),
        };
        let mut envelopes = Vec::new();
        if asked == Asked::Client {
            let lost = seen.is_some() && missed.is_none();
            let t = if lost {
                MessageType::SUB_LOST
            } else {
                MessageType::SUB_OK
            };
            envelopes.push(Envelope {
                eid: Some(topic.clone()),
                ..Envelope::new(t)
            });
            if let Some(Stage::Resumed(from)) = self.topics.topics.get(&topic) {
                horizon = horizon.min(*from);
            }
            // The client may have seen more, on another node, than this node has heard of so far.
            let has = match (seen, &missed) {
                (Some((seen, _)), Some(_)) => horizon.max(seen),
                (_, _) => horizon,
            };
            self.topics.topics.insert(topic, Stage::Subscribed(has));
            early.retain(|(number, _)| *number > has);
        } else {
            self.topics.topics.insert(topic, Stage::Resumed(horizon));
        }
        envelopes.extend(
            missed
                .unwrap_or_default()
                .iter()
                .filter(|missed| missed.id <= horizon)
                .map(envelope),
        );
        envelopes.extend(early.into_iter().map(|(_, envelope)| envelope));
        if !envelopes.is_empty() {
            self.send_now(envelopes);
        }
    }

    pub(super) fn published(&mut self, publication: &Publication) {
        let envelope = envelope(publication);
        match &mut self.waiting {
            Waiting::TopicSubscription(it) if it.topic == publication.topic => {
                it.early.push((publication.id, envelope));
            }
            _ => match self.topics.topics.get(&publication.topic) {
                Some(Stage::Resumed(has) | Stage::Subscribed(has)) if publication.id <= *has => {}
                Some(Stage::Resumed(_) | Stage::Subscribed(_)) if self.around.overfull => {
                    // A PUB is not acknowledged, so it cannot wait in the store: the client comes back and asks for
                    // what it has missed.
                    let why = "published messages cannot be delivered fast enough";
                    self.leave(Close::new(CloseCode::Reconnect, why));
                }
                Some(Stage::Resumed(_) | Stage::Subscribed(_)) => self.send_now(vec![envelope]),
                Some(Stage::Stored) | None => {}
            },
        }
    }
}
