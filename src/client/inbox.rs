//! What came from the server and is not forgotten yet, and the acknowledgements to send.

use std::collections::{HashMap, VecDeque};

use tokio::time::{Duration, Instant};

use crate::wire::{Envelope, IdOf, MessageType, acknowledge};

/// The ids of the server's messages, so that none is handled twice.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Id and answer (ACK or NACK), to be given again to a duplicate.
    seen: HashMap<String, MessageType>,
    order: VecDeque<String>,
}

impl Inbox {
    /// Most ids remembered. A server forgets to say "forget" (ACK2) only by losing a line right
    /// then, so this is far beyond what is ever needed.
    const MAX_IDS: usize = 200_000;

    /// What was answered when this message came before.
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
        // Mostly in order, so the front is mostly gone already.
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

/// Acknowledgements that wait to be sent, merged.
#[derive(Debug, Default)]
pub(super) struct Acks {
    ack: Vec<String>,
    nack: Vec<Envelope>,
    ack2: Vec<String>,
    due: Option<Instant>,
}

impl Acks {
    /// Most ids in one envelope.
    const MAX_IDS: usize = 1_000;

    /// Acknowledges a message of the server; a refusal may say why.
    pub(super) fn answer(&mut self, t: MessageType, smid: String, desc: Option<String>) {
        if t == MessageType::NACK {
            self.nack.push(Envelope {
                smid: Some(smid),
                desc,
                ..Envelope::new(t)
            });
        } else {
            self.ack.push(smid);
        }
    }

    /// Tells the server that its answer to our message came.
    pub(super) fn ack2(&mut self, cmid: String) {
        self.ack2.push(cmid);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ack.is_empty() && self.nack.is_empty() && self.ack2.is_empty()
    }

    /// Sets when what waits is to go at the latest, if that is not set.
    pub(super) fn schedule(&mut self, now: Instant, delay: Duration) {
        if !self.is_empty() && self.due.is_none() {
            self.due = Some(now + delay);
        }
    }

    /// When what waits is to go at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes everything that waits.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Envelope> + use<> {
        let taken = std::mem::take(self);
        let merge = |t, of, mut ids: Vec<String>| {
            let mut parts = Vec::new();
            while ids.len() > Self::MAX_IDS {
                parts.push(acknowledge(t, of, ids.split_off(ids.len() - Self::MAX_IDS)));
            }
            if !ids.is_empty() {
                parts.push(acknowledge(t, of, ids));
            }
            parts
        };
        let ack = merge(MessageType::ACK, IdOf::Server, taken.ack);
        let ack2 = merge(MessageType::ACK2, IdOf::Client, taken.ack2);
        ack.into_iter().chain(taken.nack).chain(ack2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::print_pipeline;

    #[test]
    fn duplicates_are_known_until_forgotten() {
        let mut inbox = Inbox::default();
        inbox.insert("a".into(), MessageType::ACK);
        inbox.insert("b".into(), MessageType::NACK);
        assert_eq!(
            (inbox.answer("a"), inbox.answer("b")),
            (Some(MessageType::ACK), Some(MessageType::NACK))
        );
        inbox.forget("b");
        inbox.forget("unknown");
        assert_eq!(
            (inbox.answer("a"), inbox.answer("b"), inbox.order.len()),
            (Some(MessageType::ACK), None, 2)
        );
        inbox.forget("a");
        assert!(inbox.order.is_empty() && inbox.seen.is_empty());
    }

    #[test]
    fn the_inbox_is_bounded() {
        let mut inbox = Inbox::default();
        for id in 0..Inbox::MAX_IDS + 10 {
            inbox.insert(id.to_string(), MessageType::ACK);
        }
        assert_eq!(
            (inbox.seen.len(), inbox.answer("9"), inbox.answer("10")),
            (Inbox::MAX_IDS, None, Some(MessageType::ACK))
        );
    }

    #[test]
    fn acknowledgements_are_merged() {
        let mut acks = Acks::default();
        for id in ["1", "2"] {
            acks.ack2(id.into());
        }
        acks.answer(MessageType::ACK, "s1".into(), None);
        acks.answer(MessageType::NACK, "s2".into(), Some("no".into()));
        let envelopes: Vec<Envelope> = acks.take().collect();
        let expected = r#"[{"t":"ACK","smid":"s1"},{"t":"NACK","smid":"s2","desc":"no"},{"t":"ACK2","ids":["1","2"]}]"#;
        assert_eq!(print_pipeline(&envelopes), expected);
        assert!(acks.is_empty());
    }
}
