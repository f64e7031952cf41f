//! Topics on this node: every publication is read from the store, in the one order that all nodes see.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};

use super::{Published, Registry, ToSession};
use crate::seldom::log_seldom;
use crate::store::operation::{
    FetchPublications, Holder, NODES_TOPIC, Publication, PublicationPage, SessionKey,
};

/// Bytes of publications read at a time.
const PART: u64 = 1024 * 1024;

/// A session listens to topics from now on. The result is the number of the newest publication that it will *not* get;
/// `None` if it no longer lives here.
#[derive(Message)]
#[rtype(result = "Option<i64>")]
pub(crate) struct SubscribeTopics {
    pub(crate) holder: Holder,
    pub(crate) topics: Vec<String>,
}

/// A session no longer listens to a topic.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct UnsubscribeTopic {
    pub(crate) holder: Holder,
    pub(crate) topic: String,
}

/// The client of a session has received all that was published to it up to a number.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Received {
    pub(crate) holder: Holder,
    pub(crate) position: i64,
    /// Nothing else is on its way to it or must be read for it: until something more is published to it, it has
    /// received everything.
    pub(crate) is_all: bool,
}

/// Returns what the clients of all sessions have received, to be stored. Sessions for which that is not known yet are
/// left out.
#[derive(Message)]
#[rtype(result = "Vec<(SessionKey, i64)>")]
pub(crate) struct Positions;

/// A session that listens to topics.
#[derive(Default)]
pub(super) struct Listening {
    pub(super) topics: HashSet<String>,
    /// What its client has received, as far as reported.
    position: Option<i64>,
    /// Its client has received everything.
    is_all: bool,
    /// The number of the newest publication that the session was given.
    given: i64,
    /// The position that was last returned for storing.
    noted: i64,
}

impl Registry {
    pub(super) fn unlisten(&mut self, session: SessionKey, topic: &str) {
        if let Some(heard) = self.topics.get_mut(topic) {
            heard.subscribers.remove(&session);
            if heard.subscribers.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Reads new publications, and hands them out. One read at a time, to keep the order.
    pub(super) fn fetch_publications(&mut self, ctx: &mut Context<Self>) {
        if self.fetching {
            self.fetch_again = true;
            return;
        }
        self.fetching = true;
        self.fetch_again = false;
        let read = self.store.run(FetchPublications {
            after: self.horizon,
            max_bytes: PART,
        });
        let read = read.into_actor(self).map(|read, registry, ctx| {
            registry.fetching = false;
            match read {
                Ok(PublicationPage { publications, next }) => {
                    registry.hand_out(publications);
                    if next.is_some() || registry.fetch_again {
                        registry.fetch_publications(ctx);
                    }
                }
                Err(error) => log_seldom!(
                    warn,
                    "publications could not be read, the next sweep tries again: {error}"
                ),
            }
        });
        ctx.spawn(read);
    }

    fn hand_out(&mut self, publications: Vec<Publication>) {
        for publication in publications {
            self.horizon = self.horizon.max(publication.id);
            if publication.topic == NODES_TOPIC {
                self.heed(&publication);
                continue;
            }
            if let Some(presence) = &self.presence {
                presence.heed(&publication);
            }
            let Some(topic) = self.topics.get_mut(&publication.topic) else {
                continue;
            };
            topic.publications += 1;
            self.fan_out.publications.fetch_add(1, Ordering::Relaxed);
            let reached = topic.subscribers.len() as u64;
            self.fan_out
                .deliveries
                .fetch_add(reached, Ordering::Relaxed);
            let published = Arc::new(Published::new(publication));
            for session in &topic.subscribers {
                if let Some(entry) = self.sessions.get_mut(session) {
                    if let Some(listening) = &mut entry.listening {
                        listening.given = published.publication.id;
                        listening.is_all = false;
                    }
                    entry.to.tell(ToSession::Published(published.clone()));
                }
            }
        }
    }
}

impl Handler<SubscribeTopics> for Registry {
    type Result = Option<i64>;

    fn handle(&mut self, subscribe: SubscribeTopics, _: &mut Self::Context) -> Option<i64> {
        let SubscribeTopics { holder, topics } = subscribe;
        let entry = self
            .sessions
            .get_mut(&holder.session)
            .filter(|entry| entry.holder == holder)?;
        let listening = entry.listening.get_or_insert_default();
        // It may get what was published before, which its session does not report at once.
        listening.is_all = false;
        for topic in topics {
            listening.topics.insert(topic.clone());
            let topic = self.topics.entry(topic).or_default();
            topic.subscribers.insert(holder.session);
        }
        Some(self.horizon)
    }
}

impl Handler<UnsubscribeTopic> for Registry {
    type Result = ();

    fn handle(&mut self, unsubscribe: UnsubscribeTopic, _: &mut Self::Context) {
        let UnsubscribeTopic { holder, topic } = unsubscribe;
        if let Some(entry) = self
            .sessions
            .get_mut(&holder.session)
            .filter(|entry| entry.holder == holder)
        {
            if let Some(listening) = &mut entry.listening {
                listening.topics.remove(&topic);
            }
            self.unlisten(holder.session, &topic);
        }
    }
}

impl Handler<Received> for Registry {
    type Result = ();

    fn handle(&mut self, received: Received, _: &mut Self::Context) {
        let entry = self.sessions.get_mut(&received.holder.session);
        let entry = entry.filter(|entry| entry.holder == received.holder);
        if let Some(listening) = entry.and_then(|entry| entry.listening.as_mut()) {
            listening.position = Some(received.position);
            // It may have been given more in the meantime.
            listening.is_all = received.is_all && received.position >= listening.given;
        }
    }
}

impl Handler<Positions> for Registry {
    type Result = MessageResult<Positions>;

    fn handle(&mut self, _: Positions, _: &mut Self::Context) -> Self::Result {
        let horizon = self.horizon;
        let positions = self.sessions.iter_mut().filter_map(|(session, entry)| {
            let listening = entry.listening.as_mut()?;
            let position = listening.position?;
            // If its client has received everything, publications to others advance its position too, which its session
            // does not see.
            let position = position.max(if listening.is_all { horizon } else { 0 });
            let is_new = position > std::mem::replace(&mut listening.noted, position);
            is_new.then_some((*session, position))
        });
        MessageResult(positions.collect())
    }
}
