//! What a client says: requests, each kind one after the other, and all that was not acknowledged again.

use std::time::Duration;

use matssocket::wire::{Envelope, MessageType};
use tokio::time::Instant;

use super::{Client, LANES, Outgoing};
use crate::data::{Ask, Mail, endpoint};
use crate::history::{Kind, Sent, count};

impl Client {
    pub(super) fn next_due(&self) -> Option<Instant> {
        let retries = self.outbox.values().filter_map(|out| out.again_at);
        let lanes = self.lanes.iter().flatten().copied();
        let lanes = lanes.filter(|_| self.crowd.load.get());
        lanes.chain(retries).min()
    }

    /// On a new line: nobody knows what became of what was said on the one before.
    pub(super) fn say_everything_again(&mut self) {
        self.say.clear();
        let open: Vec<u64> = self.outbox.keys().copied().collect();
        open.into_iter().for_each(|cmid| self.send(cmid));
    }

    /// Asks for what it is time for.
    pub(super) fn think(&mut self, now: Instant) {
        for (lane, kind) in LANES.into_iter().enumerate() {
            if !self.crowd.load.get() || self.lanes[lane].is_none_or(|at| at > now) {
                continue;
            }
            self.lanes[lane] = None;
            let number = self.next_cmid + 1;
            let to = (kind == Kind::Relay).then(|| self.somebody()).flatten();
            let receiver = to.as_ref().map(|(client, _)| *client);
            let (t, eid) = match kind {
                Kind::Note => (MessageType::Send, endpoint::NOTE),
                Kind::Effect | Kind::Answer => (MessageType::Request, endpoint::EFFECT),
                Kind::Relay => (MessageType::Request, endpoint::RELAY),
                Kind::Work => (MessageType::Request, endpoint::WORK),
            };
            let envelope = Ask::new(self.number, number, to).envelope(t, eid);
            self.post(kind, receiver, None, envelope);
        }
    }

    /// Another client, and its session.
    fn somebody(&self) -> Option<(usize, String)> {
        let views = &self.crowd.history.views;
        let other = rand::random_range(0..views.len());
        let session = match other == self.number {
            true => self.view().session.clone(),
            false => views[other].borrow().session.clone(),
        };
        session.map(|session| (other, session))
    }

    /// Puts a message into the outbox, and sends it.
    pub(super) fn post(
        &mut self,
        kind: Kind,
        to: Option<usize>,
        answers: Option<Mail>,
        envelope: Envelope,
    ) {
        self.next_cmid += 1;
        let cmid = self.next_cmid;
        self.view().sent.insert(
            cmid,
            Sent {
                kind,
                number: cmid,
                to,
                answers,
                times: 0,
                acks: 0,
                nacks: 0,
                resolves: 0,
                rejects: 0,
                ack2_on: None,
            },
        );
        let outgoing = Outgoing {
            envelope: Envelope {
                cmid: Some(cmid.to_string()),
                ..envelope
            },
            again_at: None,
            retries: 0,
        };
        self.outbox.insert(cmid, outgoing);
        self.send(cmid);
    }

    fn send(&mut self, cmid: u64) {
        let Some(outgoing) = self.outbox.get_mut(&cmid) else {
            return;
        };
        outgoing.again_at = None;
        self.say.push(outgoing.envelope.clone());
        let mut view = self.view();
        let Some(sent) = view.sent.get_mut(&cmid) else {
            return;
        };
        sent.times += 1;
        if sent.times > 1 {
            count(&self.crowd.history.resent);
        }
    }

    pub(super) fn send_again(&mut self, now: Instant) {
        let due = |out: &Outgoing| out.again_at.is_some_and(|at| at <= now);
        let due = self.outbox.iter().filter(|(_, out)| due(out));
        let due: Vec<u64> = due.map(|(cmid, _)| *cmid).collect();
        due.into_iter().for_each(|cmid| self.send(cmid));
    }

    pub(super) fn retry(&mut self, envelope: &Envelope) {
        count(&self.crowd.history.retries);
        let cmid = envelope.cmid.as_deref().and_then(|cmid| cmid.parse().ok());
        let Some(outgoing) = cmid.and_then(|cmid: u64| self.outbox.get_mut(&cmid)) else {
            return;
        };
        outgoing.retries += 1;
        let wait = Duration::from_millis(100) * (1 << outgoing.retries.min(4));
        outgoing.again_at = Some(Instant::now() + wait.mul_f64(1.0 + rand::random::<f64>()));
    }
}
