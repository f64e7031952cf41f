//! Passes messages to handlers, and records deliveries in the store.

use std::sync::atomic::Ordering;

use actix::Context;

use super::super::handler::{Job, handle, turns};
use super::super::state::{Delivering, Event, Handle, Identity};
use crate::logging;
use crate::seldom::log_seldom;
use crate::store::operation::{Buried, MarkRedelivery, MarkedRedelivery};
use crate::trace::{About, Trace};
use crate::wire::shown;

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
        let (share, bytes) = (job.share(), job.bytes());
        let trace = Trace::message(About {
            kind: job.envelope.t,
            endpoint: job.envelope.eid.as_deref(),
            session_id: &job.sid,
            user_id: &job.user_id,
            trace_id: job.envelope.tid.as_deref().unwrap_or_default(),
            message_id: job.envelope.cmid.as_deref(),
        });
        let handled = trace.run(async move {
            handle(job, running).await;
            drop(on_hand);
        });
        turns::start(share, bytes, handled);
    }

    /// These go out on the connection.
    pub(super) fn delivering(&mut self, messages: &[Delivering]) {
        let Some(identity) = self.state.identity() else {
            return;
        };
        for message in messages {
            let about = About {
                kind: message.kind,
                endpoint: message.endpoint.as_deref(),
                session_id: &identity.sid,
                user_id: self.state.user_id(),
                trace_id: &message.trace_id,
                message_id: Some(&message.smid),
            };
            self.deliveries.begin(message.seq, about);
        }
    }

    pub(super) fn mark_redelivery(&self, seqs: Vec<i64>, ctx: &Context<Self>) {
        let Some(holder) = self.holder() else { return };
        let node = self.node.clone();
        let Some(identity) = self.state.identity().cloned() else {
            return;
        };
        let user_id = self.state.user_id().to_owned();
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
                    for letter in &dead {
                        report_dead(&identity, &user_id, letter);
                    }
                    Event::DeadLetters(dead.iter().map(|it| it.seq).collect())
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

fn report_dead(identity: &Identity, user_id: &str, letter: &Buried) {
    let (sid, smid) = (&identity.sid, identity.smid(letter.seq));
    let (user, trace_id) = (shown(user_id), shown(&letter.trace_id));
    let endpoint = shown(letter.endpoint.as_deref().unwrap_or("reply"));
    logging::error!(
        session_id = sid, user_id = user, trace_id = trace_id, endpoint = endpoint, message_id = smid;
        "message {smid} to {endpoint} of session {sid} (user {user}, trace id {trace_id}) became a dead letter: its client \
         received it too often without acknowledging it; `matssocket dead-letters` shows it and puts it back"
    );
}
