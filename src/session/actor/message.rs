//! Passes messages to handlers, and records deliveries in the store.

use std::sync::atomic::Ordering;

use actix::Context;

use super::super::handler::{Job, handle, turns};
use super::super::state::{Event, Handle};
use crate::seldom::log_seldom;
use crate::store::operation::{MarkRedelivery, MarkedRedelivery};

use super::Session;

impl Session {
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
            authenticated: self.state.last_valid(),
            client: self.state.client().cloned(),
            debug: message.debug,
            received: self.node.clock.now_ms(),
            settles: message.settles,
            transactions,
            _counted: Some(self.node.handlers_of.enter(self.state.account())),
            envelope: message.envelope,
        };
        let job = Box::new(job);
        // The handler may outlive the session, and its message counts until it ends.
        let on_hand = self.flow.on_hand(message.bytes);
        let running = self.running.clone();
        turns::start(job.share(), job.bytes(), async move {
            handle(job, running).await;
            drop(on_hand);
        });
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
