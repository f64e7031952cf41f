//! Ids of messages received from the server and not yet forgotten, and the acknowledgements to send.

use std::collections::{HashMap, VecDeque};

use tokio::time::{Duration, Instant};

use matssocket_wire::{Envelope, IdOf, MessageType, acknowledge};

/// The ids of the server's messages, so that none is handled twice.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Id and answer (ACK or NACK), which is repeated for a duplicate.
    seen: HashMap<String, MessageType>,
    order: VecDeque<String>,
}

impl Inbox {
    /// Most ids remembered. A server fails to send ACK2 only if the connection is lost at that moment, so this is far
    /// more than is ever needed.
    const MAX_IDS: usize = 200_000;

    /// The answer given when this message was first received, if it was.
    pub(super) fn answer(&self, smid: &str) -> Option<MessageType> {
        self.seen.get(smid).copied()
    }

    pub(super) fn insert(&mut self, smid: String, answer: MessageType) {
        if self.order.len() >= Self::MAX_IDS {
            self.forget_oldest();
        }
        self.order.push_back(smid.clone());
        self.seen.insert(smid, answer);
    }

    /// The server will not send this message again.
    pub(super) fn forget(&mut self, smid: &str) {
        self.seen.remove(smid);
        // Messages are mostly forgotten in order, so usually the front is already gone.
        while self
            .order
            .front()
            .is_some_and(|smid| !self.seen.contains_key(smid))
        {
            self.order.pop_front();
        }
    }

    fn forget_oldest(&mut self) {
        self.order.retain(|smid| self.seen.contains_key(smid));
        if self.order.len() >= Self::MAX_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }
}

/// Acknowledgements waiting to be sent, merged.
#[derive(Debug, Default)]
pub(super) struct Acks {
    ack: Vec<String>,
    nack: Vec<Envelope>,
    ack2: Vec<String>,
    /// Taken for a connection that was lost.
    again: Vec<Envelope>,
    /// Passed to the WebSocket and perhaps not written yet: they are sent again if the connection is lost now.
    in_flight: Vec<Envelope>,
    due: Option<Instant>,
    /// Number of rounds in which some were taken.
    taken: u64,
    /// Up to which of these rounds all have been written.
    out: u64,
}

impl Acks {
    /// Most ids in one envelope.
    const MAX_IDS: usize = 1_000;

    /// Acknowledges a server message; a refusal may give the reason.
    pub(super) fn answer(&mut self, t: MessageType, smid: String, desc: Option<String>) {
        if t == MessageType::Nack {
            self.nack.push(Envelope {
                smid: Some(smid),
                desc,
                ..Envelope::new(t)
            });
        } else {
            self.ack.push(smid);
        }
    }

    /// Acknowledges the server's answer to our message.
    pub(super) fn ack2(&mut self, cmid: String) {
        self.ack2.push(cmid);
    }

    pub(super) fn is_empty(&self) -> bool {
        let nothing_new = self.ack.is_empty() && self.nack.is_empty() && self.ack2.is_empty();
        nothing_new && self.again.is_empty()
    }

    /// Sets when the waiting ones must be sent at the latest, if that is not set yet.
    pub(super) fn schedule(&mut self, now: Instant, delay: Duration) {
        if !self.is_empty() && self.due.is_none() {
            self.due = Some(now + delay);
        }
    }

    /// When the waiting ones must be sent at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes everything that is waiting.
    pub(super) fn take(&mut self) -> &[Envelope] {
        self.due = None;
        let before = self.in_flight.len();
        if !self.is_empty() {
            self.taken += 1;
            self.in_flight.append(&mut self.again);
            let ack = std::mem::take(&mut self.ack);
            self.in_flight
                .extend(Self::merge(MessageType::Ack, IdOf::Server, ack));
            self.in_flight.append(&mut self.nack);
            let ack2 = std::mem::take(&mut self.ack2);
            self.in_flight
                .extend(Self::merge(MessageType::Ack2, IdOf::Client, ack2));
        }
        &self.in_flight[before..]
    }

    fn merge(t: MessageType, of: IdOf, mut ids: Vec<String>) -> Vec<Envelope> {
        let mut parts = Vec::new();
        while ids.len() > Self::MAX_IDS {
            parts.push(acknowledge(t, of, ids.split_off(ids.len() - Self::MAX_IDS)));
        }
        if !ids.is_empty() {
            parts.push(acknowledge(t, of, ids));
        }
        parts
    }

    /// What was taken has been written, except what was taken for a lost connection and must be sent again.
    pub(super) fn written(&mut self) {
        if self.again.is_empty() {
            self.out = self.taken;
        }
        self.in_flight.clear();
    }

    /// There is a new connection. What the last one may not have written is sent again; a repeat is harmless.
    pub(super) fn requeue(&mut self, now: Instant) {
        self.again.append(&mut self.in_flight);
        if !self.is_empty() {
            self.due = Some(now);
        }
    }

    /// The round in which the last of those waiting or being written is sent.
    pub(super) fn last_round(&self) -> u64 {
        self.taken + u64::from(!self.is_empty())
    }

    /// Up to which round all have been written.
    pub(super) fn rounds_out(&self) -> u64 {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use matssocket_wire::print_pipeline;

    /// Acknowledgements to be repeated do not count as written because something else was written on the new
    /// connection.
    #[test]
    fn what_must_go_again_is_not_out() {
        let mut acks = Acks::default();
        acks.answer(MessageType::Ack, "1".into(), None);
        let round = acks.last_round();
        acks.take();
        acks.requeue(Instant::now());
        acks.written();
        assert!(acks.rounds_out() < round, "only HELLO was written");
        acks.take();
        acks.written();
        assert!(acks.rounds_out() >= round);
    }

    #[test]
    fn duplicates_are_known_until_forgotten() {
        let mut inbox = Inbox::default();
        inbox.insert("a".into(), MessageType::Ack);
        inbox.insert("b".into(), MessageType::Nack);
        assert_eq!(
            (inbox.answer("a"), inbox.answer("b")),
            (Some(MessageType::Ack), Some(MessageType::Nack))
        );
        inbox.forget("b");
        inbox.forget("unknown");
        assert_eq!(
            (inbox.answer("a"), inbox.answer("b"), inbox.order.len()),
            (Some(MessageType::Ack), None, 2)
        );
        inbox.forget("a");
        assert!(inbox.order.is_empty() && inbox.seen.is_empty());
    }

    #[test]
    fn the_inbox_is_bounded() {
        let mut inbox = Inbox::default();
        for id in 0..Inbox::MAX_IDS + 10 {
            inbox.insert(id.to_string(), MessageType::Ack);
        }
        assert_eq!(
            (inbox.seen.len(), inbox.answer("9"), inbox.answer("10")),
            (Inbox::MAX_IDS, None, Some(MessageType::Ack))
        );
    }

    #[test]
    fn acknowledgements_are_merged() {
        let mut acks = Acks::default();
        for id in ["1", "2"] {
            acks.ack2(id.into());
        }
        acks.answer(MessageType::Ack, "s1".into(), None);
        acks.answer(MessageType::Nack, "s2".into(), Some("no".into()));
        let envelopes: Vec<Envelope> = acks.take().to_vec();
        let expected = r#"[{"t":"ACK","smid":"s1"},{"t":"NACK","smid":"s2","desc":"no"},{"t":"ACK2","ids":["1","2"]}]"#;
        assert_eq!(print_pipeline(&envelopes), expected);
        assert!(acks.is_empty());
    }

    #[test]
    fn what_a_lost_line_may_not_have_written_goes_again() {
        let now = Instant::now();
        let mut acks = Acks::default();
        assert_eq!((acks.last_round(), acks.rounds_out()), (0, 0));
        acks.ack2("1".into());
        assert_eq!((acks.last_round(), acks.rounds_out()), (1, 0));
        assert_eq!(acks.take().len(), 1);
        assert!(acks.take().is_empty());
        assert_eq!((acks.last_round(), acks.rounds_out()), (1, 0));
        acks.requeue(now);
        assert_eq!((acks.due(), acks.last_round()), (Some(now), 2));
        acks.ack2("2".into());
        let expected = r#"[{"t":"ACK2","cmid":"1"},{"t":"ACK2","cmid":"2"}]"#;
        assert_eq!(print_pipeline(acks.take()), expected);
        acks.written();
        acks.requeue(now);
        assert!(acks.is_empty());
        assert_eq!((acks.last_round(), acks.rounds_out()), (2, 2));
    }
}
