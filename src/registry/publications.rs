//! Topics on this node: every publication is read from the store, in the one order that all nodes see.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use super::{Registry, ToSession};
use crate::seldom::log_seldom;
use crate::store::operation::{
    FetchPublications, Holder, NODES_TOPIC, Publication, PublicationPage, SessionKey,
};

/// Bytes of publications read at a time.
const PART: u64 = 1024 * 1024;

/// A session listens to topics from now on. The result is the number of the newest publication it will *not* be told
/// of; `None` if it does not live here any more.
#[derive(Message)]
#[rtype(result = "Option<i64>")]
pub(crate) struct SubscribeTopics {
    pub(crate) holder: Holder,
    pub(crate) topics: Vec<String>,
}

/// A session does not listen to a topic any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct UnsubscribeTopic {
    pub(crate) holder: Holder,
    pub(crate) topic: String,
}

impl Registry {
    pub(super) fn unlisten(&mut self, session: SessionKey, topic: &str) {
        if let Some(listeners) = self.topics.get_mut(topic) {
            listeners.remove(&session);
            if listeners.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Reads what was published since, and hands it out. One read at a time, so that the order is kept.
    pub(super) fn fetch_publications(&mut self, ctx: &mut Context<Self>) {
        let Some(store) = &self.store else { return };
        if self.fetching {
            self.fetch_again = true;
            return;
        }
        self.fetching = true;
        self.fetch_again = false;
        let read = store.run(FetchPublications {
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
            let Some(listeners) = self.topics.get(&publication.topic) else {
                continue;
            };
            let publication = Arc::new(publication);
            for session in listeners {
                if let Some(entry) = self.sessions.get(session) {
                    entry.to.tell(ToSession::Published(publication.clone()));
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
        let theirs = entry.topics.get_or_insert_default();
        for topic in topics {
            theirs.insert(topic.clone());
            self.topics.entry(topic).or_default().insert(holder.session);
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
            if let Some(topics) = &mut entry.topics {
                topics.remove(&topic);
            }
            self.unlisten(holder.session, &topic);
        }
    }
}
