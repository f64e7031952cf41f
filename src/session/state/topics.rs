//! The session's subscriptions, and how far the client has come in each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::position::Position;
use crate::registry::Published;
use crate::wire::{Envelope, MessageType};

/// Subscriptions by topic. They belong to the session: stored with it, in force again after a reconnect.
#[derive(Default)]
pub(super) struct Topics {
    pub(super) topics: BTreeMap<String, Subscription>,
    /// There may be subscriptions that are stored with the session but not in force yet.
    resuming: bool,
    /// Boxed, since there are many sessions and most have no topics.
    more: Option<Box<More>>,
}

/// What is needed only where there are topics.
#[derive(Default)]
pub(super) struct More {
    /// Waiting publications: for permission to send, for the connection to accept more, for their topic to be in force,
    /// or for earlier ones that are being read.
    pub(super) waiting: VecDeque<Arc<Published>>,
    pub(super) waiting_bytes: usize,
    /// Topics whose publications were not all sent to the client.
    pub(super) behind: BTreeSet<String>,
    /// How many of all publications the client has received.
    pub(super) position: Position,
    /// The page that is being read.
    pub(super) reading: Option<Reading>,
    /// The topic that was read last: the others have their turn before it is read again.
    pub(super) read_last: String,
    /// Topics whose rights are to be checked again.
    pub(super) to_check: BTreeSet<String>,
    /// Topics that the authenticator is being asked about.
    pub(super) checking: BTreeSet<String>,
    /// When the rights to all topics are checked again.
    pub(super) check_at: Option<i64>,
}

/// A page of what the client has missed, on its way from the store.
pub(super) struct Reading {
    pub(super) topic: String,
    pub(super) up_to: i64,
    /// The subscription has ended in the meantime, even if there is a new one to the same topic.
    ended: bool,
}

/// A subscription, as far as this connection knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subscription {
    pub(super) stage: Stage,
    /// Of what arrived since the subscription is in force, everything up to this number was sent to the client.
    pub(super) position: i64,
    /// The newest publication that was not sent and is to be read from the store; not above `position` if there is
    /// none.
    pub(super) behind: i64,
    /// No unsent publication is older than this.
    pub(super) first_missed: i64,
    /// About this many were not sent.
    pub(super) missed: u32,
    /// Instead of what was published up to this number, last values are read. Not above `position` if there are none.
    pub(super) values_up_to: i64,
    /// The right to it must be checked before anything more is sent.
    pub(super) doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Stored with the session, but not in force on this connection yet; `Some`: nothing up to this number is for it.
    Stored(Option<i64>),
    /// In force, by the session: publications with a higher number than this are sent.
    Resumed(i64),
    /// In force, the client said SUB on this connection.
    Subscribed,
}

/// Publications that were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsent {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: u32,
}

impl Unsent {
    pub(super) fn one(number: i64) -> Unsent {
        Unsent {
            first: number,
            last: number,
            count: 1,
        }
    }

    pub(super) fn and(self, other: Unsent) -> Unsent {
        Unsent {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            count: self.count.saturating_add(other.count),
        }
    }
}

impl Subscription {
    pub(super) fn new(stage: Stage, position: i64) -> Subscription {
        Subscription {
            stage,
            position,
            behind: 0,
            first_missed: 0,
            missed: 0,
            values_up_to: 0,
            doubtful: false,
        }
    }

    pub(super) fn is_in_force(&self) -> bool {
        !matches!(self.stage, Stage::Stored(_))
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind > self.position
    }

    /// The publications that were not sent, if any.
    pub(super) fn unsent(&self) -> Option<Unsent> {
        self.is_behind().then_some(Unsent {
            first: self.first_missed,
            last: self.behind,
            count: self.missed,
        })
    }

    /// The client has everything up to this number, or is not to get it.
    pub(super) fn reach(&mut self, number: i64) {
        self.position = self.position.max(number);
        if !self.is_behind() {
            self.missed = 0;
        }
    }
}

impl Topics {
    pub(super) fn resume(&mut self, stored: Vec<(String, Option<i64>)>) {
        self.topics = stored
            .into_iter()
            .map(|(topic, since)| (topic, Subscription::new(Stage::Stored(since), 0)))
            .collect();
        self.resuming = !self.topics.is_empty();
    }

    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let removed = self.topics.remove(topic).is_some();
        if let Some(more) = &mut self.more {
            more.behind.remove(topic);
            if let Some(reading) = more.reading.as_mut().filter(|it| it.topic == topic) {
                reading.ended = true;
            }
            // While a read is in progress, its result must be recognised as no longer wanted.
            if self.topics.is_empty()
                && more.reading.is_none()
                && more.checking.is_empty()
                && more.position.is_unused()
            {
                self.more = None;
            }
        }
        removed
    }

    /// The subscriptions that are stored with the session but not in force yet; returned only once.
    pub(super) fn take_stored(&mut self) -> Vec<(String, Option<i64>)> {
        if !std::mem::take(&mut self.resuming) {
            return Vec::new();
        }
        let stored = self.topics.iter().filter_map(|(topic, it)| match it.stage {
            Stage::Stored(since) => Some((topic.clone(), since)),
            Stage::Resumed(_) | Stage::Subscribed => None,
        });
        stored.collect()
    }

    /// Whether there may be subscriptions that are stored with the session but not in force yet.
    pub(super) fn is_resuming(&self) -> bool {
        self.resuming
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

    /// Bytes of waiting publications.
    pub(super) fn bytes(&self) -> usize {
        self.more.as_ref().map_or(0, |more| more.waiting_bytes)
    }

    /// When the rights are to be checked again, or the next step for the position is due.
    pub(super) fn deadline(&self) -> Option<i64> {
        let more = self.more.as_ref()?;
        let deadlines = [more.check_at, more.position.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// When the rights are to be checked again.
    pub(super) fn check_at(&self) -> Option<i64> {
        self.more.as_ref()?.check_at
    }

    /// These were not sent: they are read from the store once that is possible.
    pub(super) fn fall_behind(&mut self, topic: &str, unsent: Unsent) {
        let Some(subscription) = self.topics.get_mut(topic) else {
            return;
        };
        let before = subscription.unsent();
        let unsent = before.map_or(unsent, |before| before.and(unsent));
        subscription.first_missed = unsent.first;
        subscription.missed = unsent.count;
        subscription.behind = unsent.last;
        if subscription.is_behind() {
            self.more().behind.insert(topic.to_owned());
        }
    }

    /// Whether a page of this topic is being read that catches up with the present, so that new publications can wait
    /// for it.
    pub(super) fn is_catching_up(&self, topic: &str, subscription: &Subscription) -> bool {
        let reading = self.more.as_ref().and_then(|more| more.reading.as_ref());
        reading.is_some_and(|it| it.topic == topic && it.up_to == subscription.behind && !it.ended)
    }

    /// A page of this topic is going to be read.
    pub(super) fn begin_reading(&mut self, topic: &str, up_to: i64) {
        let more = self.more();
        topic.clone_into(&mut more.read_last);
        more.reading = Some(Reading {
            topic: topic.to_owned(),
            up_to,
            ended: false,
        });
    }

    /// The page has come. True: it is still wanted.
    pub(super) fn end_reading(&mut self) -> bool {
        let reading = self.if_more().and_then(|more| more.reading.take());
        reading.is_some_and(|it| !it.ended)
    }
}

/// Number and time from a publication's id on the wire.
pub(super) fn parse_publication_id(id: &str) -> Option<(i64, i64)> {
    let (number, created) = id.split_once('.')?;
    Some((number.parse().ok()?, created.parse().ok()?))
}

/// An answer about a topic.
pub(super) fn about(t: MessageType, topic: String) -> Envelope {
    Envelope {
        eid: Some(topic),
        ..Envelope::new(t)
    }
}
