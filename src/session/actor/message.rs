//! Messages handed to handlers, topics, and what the store is told of deliveries.

use std::sync::atomic::Ordering;

use actix::Context;

use super::super::handle::{Job, handle};
use super::super::state::{Event, Handle, Subscribed};
use super::super::turns;
use crate::registry::{SubscribeTopic, UnsubscribeTopic};
use crate::seldom::log_seldom;
use crate::store::StoreError;
use crate::store::operation::{
    Fenced, MarkRedelivery, MarkedRedelivery, Subscribe, TopicHistory, TopicSince, Unsubscribe,
};

use super::Session;

impl Session {
    pub(super) fn subscribe(&self, topic: String, seen: Option<(i64, i64)>, ctx: &Context<Self>) {
        let Some(holder) = self.holder() else { return };
        let node = self.node.clone();
        let limit = node.config.max_topic_history;
        self.later(ctx, async move {
            let subscribed = async {
                let stored = node
                    .store
                    .run(Subscribe {
                        holder,
                        topic: topic.clone(),
                    })
                    .await?;
                if stored == Fenced::FencedOff {
                    return Ok(Subscribed::FencedOff);
                }
                let listening = node
                    .registry()
                    .ask(SubscribeTopic {
                        holder,
                        topic: topic.clone(),
                    })
                    .await;
                let Some(horizon) = listening.flatten() else {
                    return Ok(Subscribed::FencedOff);
                };
                let missed = match seen {
                    Some(seen) => {
                        node.store
                            .run(TopicHistory {
                                topic,
                                seen,
                                up_to: horizon,
                                limit,
                            })
                            .await?
                    }
                    None => None,
                };
                Ok::<_, StoreError>(Subscribed::Done { horizon, missed })
            };
            Event::TopicSubscribed(subscribed.await)
        });
    }

    /// Reads what the client has missed of a topic that it is subscribed to.
    pub(super) fn replay(&self, topic: String, after: i64, up_to: i64, ctx: &Context<Self>) {
        let store = self.node.store.clone();
        let since = TopicSince {
            topic: topic.clone(),
            after,
            up_to,
            limit: self.node.config.max_topic_history,
        };
        self.when_there_is_room(self.node.config.window_bytes, ctx, move || {
            let read = store.run(since);
            async move {
                Event::TopicReplayed {
                    topic,
                    up_to,
                    outcome: read.await,
                }
            }
        });
    }

    pub(super) fn unsubscribe(&self, topic: String) {
        let Some(holder) = self.holder() else { return };
        self.node.registry().tell(UnsubscribeTopic {
            holder,
            topic: topic.clone(),
        });
        let unsubscribe = self.node.store.run(Unsubscribe { holder, topic });
        actix::spawn(async move {
            if let Err(error) = unsubscribe.await {
                log_seldom!(
                    warn,
                    "a subscription could not be removed, it comes back at the next reconnect: {error}"
                );
            }
        });
    }

    pub(super) fn handle_message(&mut self, message: Handle, ctx: &Context<Self>) {
        let transactions = self.transactions.get_or_insert_default().clone();
        let Some(identity) = self.state.identity() else {
            return;
        };
        let job = Job {
            node: self.node.clone(),
            holder: identity.holder,
            to: self.mailbox(ctx),
            sid: identity.sid.to_string(),
            user_id: self.state.user_id().to_owned(),
            principal: self.state.principal().cloned(),
            authorization: self.state.accepted_authorization().map(str::to_owned),
            debug: message.debug,
            received: self.node.clock.now(),
            settles: message.settles,
            transactions,
            _counted: Some(self.node.handlers_of.enter(self.state.account())),
            envelope: message.envelope,
        };
        let job = Box::new(job);
        turns::start(job.share(), job.bytes(), handle(job));
    }

    pub(super) fn mark_redelivery(&self, seqs: Vec<i64>, ctx: &Context<Self>) {
        let Some(holder) = self.holder() else { return };
        let node = self.node.clone();
        node.counters
            .redeliveries_counted
            .fetch_add(seqs.len() as u64, Ordering::Relaxed);
        let mark = self.run(MarkRedelivery {
            holder,
            seqs,
            max: node.config.max_redeliveries,
        });
        self.later(ctx, async move {
            match mark.await {
                Ok(MarkedRedelivery::Done(dead)) => {
                    node.counters
                        .dead_letters
                        .fetch_add(dead.len() as u64, Ordering::Relaxed);
                    Event::DeadLetters(dead)
                }
                Ok(MarkedRedelivery::FencedOff) => Event::FencedOff,
                Err(error) => {
                    log_seldom!(warn, "redeliveries could not be counted: {error}");
                    Event::Tick
                }
            }
        });
    }
}
