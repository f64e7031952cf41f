//! Outgoing messages: the outbox, the client's acknowledgements, and debug objects.

use std::borrow::Borrow;

use super::super::connection::Text;
use super::authorization::Outgoing;
use super::recent::Outline;
use super::{Acks, Action, Delivering, Failure, State};
use crate::clock::ms;
use crate::store::StoreError;
use crate::store::operation::{Fenced, FetchedOutbox, OutboxMessage};
use crate::wire::{Debug, DebugOptions, Envelope, print_pipeline};

/// Milliseconds until a write that the store did not accept is retried.
const AGAIN: i64 = 500;

impl State {
    /// Delivers messages round by round, asking the authenticator before each round, and then publications.
    pub(super) fn deliver(&mut self) {
        if self.ended || self.leaving.is_some() || self.identity().is_none() {
            return;
        }
        self.deliver_publications();
        if self.ended || self.leaving.is_some() {
            return;
        }
        if self.environment.lease_in_doubt {
            return self.try_again();
        }
        while self.window.has_ready()
            && !self.environment.backpressured
            && self.authorization.is_good()
        {
            match self.authorization.outgoing {
                Outgoing::Ask => {
                    self.authorization.outgoing = Outgoing::Asking;
                    self.actions.push(Action::ReevaluateOutgoing);
                    break;
                }
                Outgoing::Asking | Outgoing::Stale | Outgoing::Held => break,
                Outgoing::Granted => {
                    self.authorization.outgoing = Outgoing::Ask;
                    self.send_round();
                }
            }
        }
        // The permission was only for this round.
        if self.authorization.outgoing == Outgoing::Granted {
            self.authorization.outgoing = Outgoing::Ask;
        }
        if self.retry_at.is_none() && !self.environment.backpressured {
            self.actions.extend(self.window.fetch(&self.config));
        }
    }

    fn send_round(&mut self) {
        let (now, wall) = (self.environment.now, self.environment.wall);
        let round = self.window.next_round(self.config.round, now, wall);
        if self.environment.traced && !round.is_empty() {
            let delivering = round.iter().filter_map(|it| self.delivering(it));
            let delivering = delivering.collect();
            self.actions.push(Action::Delivering(delivering));
        }
        let mut envelopes = Vec::with_capacity(round.len());
        for message in round {
            if let (true, Some(cmid)) = (message.kind.is_reply(), &message.cmid) {
                self.replies.settled(cmid);
                self.inbox.settled(cmid);
            }
            envelopes.push(self.envelope(message));
        }
        if !envelopes.is_empty() {
            self.send_now(envelopes);
        }
    }

    fn delivering(&self, message: &OutboxMessage) -> Option<Delivering> {
        Some(Delivering {
            seq: message.seq,
            kind: message.kind,
            smid: self.identity()?.smid(message.seq),
            endpoint: message.eid.clone(),
            trace_id: message.tid.clone(),
        })
    }

    fn envelope(&self, message: OutboxMessage) -> Envelope {
        // The reply to a request shows what that request asked for; the rest, what the session last asked for.
        let debug = message
            .debug
            .and_then(|debug| match message.kind.is_reply() {
                true => self.debug_of_reply(debug),
                false => self.debug_to_send(debug, self.debug_of_server()),
            });
        Envelope {
            smid: self.identity().map(|identity| identity.smid(message.seq)),
            cmid: message.cmid,
            tid: Some(message.tid),
            eid: message.eid,
            msg: message.msg,
            debug,
            ..Envelope::new(message.kind)
        }
    }

    pub(super) fn fetched(&mut self, outcome: Result<FetchedOutbox, StoreError>) {
        match outcome {
            Ok(FetchedOutbox {
                too_large: Some(bytes),
                ..
            }) => self.window.first_is_too_large(bytes),
            Ok(FetchedOutbox { messages, more, .. }) => {
                let wall = self.environment.wall;
                self.window.fetched(messages, more, wall);
            }
            Err(error) => {
                self.actions
                    .push(Action::Failed(Failure::ReadOutbox(error)));
                self.window.fetch_failed();
                self.try_again();
            }
        }
    }

    pub(super) fn complete_later(&mut self, acks: Acks) {
        if acks == Acks::default() {
            return;
        }
        let all = self.to_complete.get_or_insert_default();
        all.acked.extend(acks.acked);
        all.nacked.extend(acks.nacked);
        all.smids.extend(acks.smids);
    }

    /// Passes acknowledgements to the store, all those of one event together.
    pub(super) fn store_acks(&mut self) {
        if self.ended || self.leaving.is_some() || self.retry_at.is_some() {
            return;
        }
        if let Some(acks) = self.to_complete.take() {
            if acks.acked.is_empty() && acks.nacked.is_empty() {
                self.queue_ack2(acks.smids);
            } else {
                self.deleting += acks.smids.len();
                self.actions.push(Action::Complete(acks));
            }
        }
        if !self.to_drop.is_empty() {
            self.deleting += self.to_drop.len();
            self.actions
                .push(Action::DropInbox(std::mem::take(&mut self.to_drop)));
        }
    }

    /// Acknowledgements that are not stored yet.
    pub(in crate::session) fn unstored_acks(&self) -> usize {
        let to_complete = self.to_complete.as_ref().map_or(0, |acks| acks.smids.len());
        self.deleting + to_complete + self.to_drop.len()
    }

    pub(super) fn completed(&mut self, acks: Acks, outcome: Result<Fenced, StoreError>) {
        self.deleting -= acks.smids.len();
        match outcome {
            Ok(Fenced::Done) => self.queue_ack2(acks.smids),
            Ok(Fenced::FencedOff) => self.fenced_off(),
            Err(error) => {
                let failure = Failure::DeleteAcknowledged(error);
                self.actions.push(Action::Failed(failure));
                self.complete_later(acks);
                self.try_again();
            }
        }
    }

    /// The client has sent something: evidently it has received what was sent long before but is not acknowledged.
    pub(super) fn count_redeliveries(&mut self) {
        let evidence = ms(self.config.redelivery_evidence);
        let seqs = self
            .window
            .count_unacknowledged(self.environment.now.saturating_sub(evidence));
        if !seqs.is_empty() {
            self.actions.push(Action::MarkRedelivery(seqs));
        }
    }

    /// The store did not accept a write: it is retried after a while.
    pub(super) fn try_again(&mut self) {
        self.retry_at.get_or_insert(self.environment.now + AGAIN);
    }

    /// Sends envelopes at once, as one pipeline.
    pub(super) fn send_now(&mut self, envelopes: Vec<impl Borrow<Envelope>>) {
        for envelope in &envelopes {
            self.record(false, Outline::of(envelope.borrow()));
        }
        let text = print_pipeline(envelopes.iter().map(Borrow::borrow));
        self.actions.push(Action::Send(Text::Own(text)));
    }

    /// Debug options in effect for a client's request: those that the request asks for.
    pub(super) fn debug_of(&self, envelope: &Envelope) -> DebugOptions {
        self.allowed(DebugOptions::from_bits(envelope.rd.unwrap_or_default()))
    }

    /// Debug options in effect for messages that the server creates.
    pub(super) fn debug_of_server(&self) -> DebugOptions {
        self.allowed(self.requested_debug)
    }

    fn allowed(&self, requested: DebugOptions) -> DebugOptions {
        self.principal()
            .map_or(DebugOptions::default(), |principal| {
                requested & principal.debug_options
            })
    }

    /// The debug object of a reply, with what its request asked for.
    pub(super) fn debug_of_reply(&self, debug: Debug) -> Option<Debug> {
        let effective = DebugOptions::from_bits(debug.resd);
        self.debug_to_send(debug, effective)
    }

    /// What the client may see of a debug object, completed for sending.
    pub(super) fn debug_to_send(&self, debug: Debug, effective: DebugOptions) -> Option<Debug> {
        if effective.is_empty() {
            return None;
        }
        let mut debug = Debug {
            resd: effective.bits(),
            ..debug
        };
        if effective.contains(DebugOptions::TIMESTAMPS) {
            debug.mscts = Some(self.environment.wall);
        } else {
            (debug.cmrts, debug.mmsts, debug.mmrrts, debug.smcts) = (None, None, None, None);
        }
        if effective.contains(DebugOptions::NODES) {
            debug.mscnn = Some(self.node.to_string());
        } else {
            (debug.cmrnn, debug.mmrrnn, debug.smcnn) = (None, None, None);
        }
        Some(debug)
    }
}
