//! Counts what events show before the state gets them, and ends the spans of messages that are not on their way any more.

use std::sync::atomic::Ordering;

use actix::{Context, Handler, MessageResult};

use super::super::connection::FromConnection;
use super::super::state::Event;
use super::Session;
use crate::auth::Verdict;
use crate::mailbox::Metered;
use crate::registry::ToSession;

impl Session {
    pub(super) fn note(&mut self, event: &Event) {
        let counters = &self.node.counters;
        let refusals = &counters.refusals;
        let counter = match event {
            Event::DeadLetters(seqs) => return self.deliveries.end(seqs, "dead letter"),
            // A notice about it was lost, unless it is on its way at this very moment.
            Event::Registry(ToSession::Swept(newest)) if *newest > self.state.newest_known() => {
                &counters.sweep_finds
            }
            Event::Authenticated(Ok(Verdict::Invalid(_))) if self.state.principal().is_none() => {
                &refusals.login
            }
            Event::Authenticated(Ok(Verdict::Invalid(_)))
            | Event::RepliesAuthenticated(Ok(Verdict::Invalid(_))) => &refusals.message,
            Event::OutgoingAuthenticated(Ok(Verdict::Invalid(_))) => &refusals.delivery,
            Event::TopicAuthorized {
                allowed: Ok(false), ..
            }
            | Event::TopicChecked {
                allowed: Ok(false), ..
            } => &refusals.topic,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long a text takes is counted by itself.
impl Handler<Metered<FromConnection>> for Session {
    type Result = MessageResult<Metered<FromConnection>>;

    fn handle(&mut self, event: Metered<FromConnection>, ctx: &mut Context<Self>) -> Self::Result {
        let is_text = matches!(event.message(), FromConnection::Text(_));
        let (result, took) =
            event.handle(|event| Handler::<FromConnection>::handle(self, event, ctx));
        if is_text {
            self.node.counters.parse.record(took);
        }
        MessageResult(result)
    }
}
