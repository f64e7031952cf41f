//! Topics: making and ending subscriptions, and reading missed publications.

use std::collections::HashMap;

use actix::Context;

use super::super::state::{Event, Subscribed, ToSubscribe};
use crate::node::Node;
use crate::registry::{Received, SubscribeTopics, UnsubscribeTopic};
use crate::seldom::log_seldom;
use crate::store::operation::{
    Fenced, FindMissed, FindValues, Holder, Missed, NotePositions, PublicationPage, ReadTopic,
    ReadValues, Since, Subscribe, Unsubscribe, Values, ValuesFor,
};
use crate::store::{Operation, Share, StoreError};

use super::Session;

impl Session {
    pub(super) fn subscribe(&self, topics: Vec<ToSubscribe>, ctx: &Context<Self>) {
        let Some(holder) = self.holder() else { return };
        let (node, share) = (self.node.clone(), self.share());
        self.later(ctx, async move {
            Event::TopicsSubscribed(subscribed(&node, share, holder, topics).await)
        });
    }

    /// Reads the publications that the client has missed on a topic it is subscribed to.
    pub(super) fn read_topic(&self, read: ReadTopic, ctx: &Context<Self>) {
        let of = (read.topic.clone(), read.up_to, read.max_bytes);
        self.read_page(read, of, |page| page, ctx);
    }

    /// Reads the last values of a topic that the client has just subscribed to.
    pub(super) fn read_values(&self, read: ReadValues, ctx: &Context<Self>) {
        let of = (read.topic.clone(), read.up_to, read.max_bytes);
        self.read_page(read, of, Some, ctx);
    }

    /// Reads a page of a topic, up to a number and of at most this many bytes, when there is room for it.
    fn read_page<O: Operation>(
        &self,
        read: O,
        (topic, up_to, max_bytes): (String, i64, u64),
        page: fn(O::Outcome) -> Option<PublicationPage>,
        ctx: &Context<Self>,
    ) {
        let (store, share) = (self.node.store.clone(), self.share());
        let bytes = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        self.when_there_is_room(bytes, ctx, move || {
            let read = store.run_for(share, read);
            async move {
                Event::TopicRead {
                    topic,
                    up_to,
                    outcome: read.await.map(page),
                }
            }
        });
    }

    pub(super) fn report_position(&self, position: i64, is_all: bool) {
        let Some(holder) = self.holder() else { return };
        self.node.registry().tell(Received {
            holder,
            position,
            is_all,
        });
    }

    pub(super) fn unsubscribe(&self, topic: String) {
        let Some(holder) = self.holder() else { return };
        self.node.registry().tell(UnsubscribeTopic {
            holder,
            topic: topic.clone(),
        });
        let unsubscribe = self.run(Unsubscribe { holder, topic });
        actix::spawn(async move {
            if let Err(error) = unsubscribe.await {
                log_seldom!(
                    warn,
                    "a subscription could not be removed and will reappear at the next reconnect: {error}"
                );
            }
        });
    }
}

/// Stores with a session what its client has received, for when it is resumed.
pub(super) async fn note_position(node: &Node, holder: Holder, position: i64) {
    let note = NotePositions {
        positions: vec![(holder.session, position)],
    };
    if let Err(error) = node.store.run(note).await {
        log_seldom!(
            warn,
            "a client's position could not be stored, so publications may be repeated: {error}"
        );
    }
}

/// Stores the subscriptions that are not stored yet, starts to listen, and then asks how much was missed up to that
/// point: one request of each kind for all topics.
async fn subscribed(
    node: &Node,
    share: Share,
    holder: Holder,
    topics: Vec<ToSubscribe>,
) -> Result<Subscribed, StoreError> {
    let new = topics.iter().filter(|it| !it.is_stored);
    let new: Vec<_> = new
        .map(|it| match it.since {
            Some(Since::Seen { id, .. }) if id >= 0 => (it.topic.clone(), Some(id)),
            Some(_) | None => (it.topic.clone(), None),
        })
        .collect();
    if !new.is_empty() {
        let subscribe = Subscribe {
            holder,
            topics: new,
        };
        if node.store.run_for(share, subscribe).await? == Fenced::FencedOff {
            return Ok(Subscribed::FencedOff);
        }
    }
    let listen = SubscribeTopics {
        holder,
        topics: topics.iter().map(|it| it.topic.clone()).collect(),
    };
    let Some(horizon) = node.registry().ask(listen).await.flatten() else {
        return Ok(Subscribed::FencedOff);
    };
    let heard = topics.iter();
    let heard: Vec<_> = heard
        .filter_map(|it| Some((it.topic.clone(), it.since?)))
        .collect();
    let missed = match heard.is_empty() {
        true => Vec::new(),
        false => {
            let find = FindMissed {
                session: holder.session,
                topics: heard,
                up_to: horizon,
                limit: node.config.max_topic_history,
            };
            node.store.run_for(share, find).await?
        }
    };
    let values = values(node, share, holder, topics, horizon, &missed).await?;
    Ok(Subscribed::Done {
        horizon,
        missed,
        values,
    })
}

/// The last values that the client is to get of these topics, given what it has missed of those of which it has heard.
async fn values(
    node: &Node,
    share: Share,
    holder: Holder,
    topics: Vec<ToSubscribe>,
    horizon: i64,
    missed: &[Option<Missed>],
) -> Result<HashMap<String, Values>, StoreError> {
    let mut missed = missed.iter();
    let topics = topics.into_iter().filter_map(|it| {
        let is_lost = it.since.is_some() && missed.next().is_none_or(Option::is_none);
        let wanted = match it.since {
            None => ValuesFor::New,
            Some(_) if is_lost => ValuesFor::New,
            Some(Since::Subscribed(Some(since))) => ValuesFor::Resumed { since },
            // It has had them, or more.
            Some(Since::Seen { .. } | Since::Subscribed(None)) => return None,
        };
        Some((it.topic, wanted))
    });
    let topics: Vec<_> = topics.collect();
    if topics.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<String> = topics.iter().map(|(topic, _)| topic.clone()).collect();
    let find = FindValues {
        session: holder.session,
        topics,
        up_to: horizon,
    };
    let found = node.store.run_for(share, find).await?;
    let found = names.into_iter().zip(found);
    Ok(found.filter_map(|(topic, it)| Some((topic, it?))).collect())
}
