//! Answers to the client, coalesced: one WebSocket message carries many, and plain acknowledgements of many messages
//! become one envelope.

use std::collections::HashMap;
use std::time::Duration;

use super::State;
use crate::wire::{Envelope, IdOf, MessageType, acknowledge, shown};

/// Answers waiting to be batched.
#[derive(Default)]
pub(super) struct Replies {
    /// ACKs that become superfluous if a RESOLVE or REJECT for the message comes first: cmid → due.
    lazy: HashMap<String, i64>,
    /// The earliest due time in `lazy`, or an earlier one.
    lazy_due: Option<i64>,
    waiting: Vec<Waiting>,
    /// The earliest due time in `waiting`.
    waiting_due: Option<i64>,
    /// RESOLVE and REJECT that may not be sent before a valid authorization arrives. (Boxed, since it is rarely
    /// needed.)
    #[allow(clippy::box_collection, clippy::vec_box)]
    withheld: Option<Box<Vec<Box<Envelope>>>>,
    bytes: usize,
}

struct Waiting {
    due: i64,
    what: What,
}

enum What {
    /// ACK or NACK without anything else, by cmid.
    Plain(MessageType, String),
    /// ACK2, by smid.
    Ack2(String),
    Envelope(Box<Envelope>),
}

/// Answers due within this many milliseconds are sent along with those that are due.
const ALONG: i64 = 2;

impl Replies {
    fn push(&mut self, due: i64, what: What) {
        self.bytes += what.bytes();
        self.waiting_due = earlier(self.waiting_due, due);
        self.waiting.push(Waiting { due, what });
    }

    fn push_lazy(&mut self, due: i64, cmid: String) {
        self.lazy_due = earlier(self.lazy_due, due);
        self.lazy.insert(cmid, due);
    }

    /// A RESOLVE or REJECT for this message is sent, which doubles as its ACK.
    pub(super) fn settled(&mut self, cmid: &str) {
        self.lazy.remove(cmid);
        // The ACK of a repeated message waits here.
        self.waiting.retain(|waiting| !waiting.what.is_ack_of(cmid));
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The authorization is valid again: withheld answers are due.
    pub(super) fn release(&mut self, now: i64) {
        for envelope in self.withheld.take().into_iter().flat_map(|it| *it) {
            let what = What::Envelope(envelope);
            self.bytes = self.bytes.saturating_sub(what.bytes());
            self.push(now, what);
        }
    }

    /// Withholds those of these that carry a payload.
    #[allow(clippy::vec_box)]
    fn withhold(&mut self, envelopes: Vec<Box<Envelope>>) -> Vec<Box<Envelope>> {
        let (kept, free): (Vec<_>, Vec<_>) = envelopes.into_iter().partition(|it| it.t.is_reply());
        if !kept.is_empty() {
            self.bytes += kept.iter().map(|it| bytes_of(it)).sum::<usize>();
            self.withheld.get_or_insert_default().extend(kept);
        }
        free
    }

    pub(super) fn deadline(&self) -> Option<i64> {
        let lazy = self.lazy_due.filter(|_| !self.lazy.is_empty());
        self.waiting_due.into_iter().chain(lazy).min()
    }

    /// Takes the answers that are due, in order, with acknowledgements merged.
    #[allow(clippy::vec_box)] // large, and boxed already: moving them all costs more
    fn take(&mut self, until: i64) -> Vec<Box<Envelope>> {
        let (mut acks, mut nacks, mut ack2s, mut envelopes) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        if self.lazy_due.is_some_and(|due| due <= until) {
            self.lazy_due = None;
            let mut rest = HashMap::with_capacity(self.lazy.len());
            for (cmid, due) in self.lazy.drain() {
                if due <= until {
                    acks.push(cmid);
                } else {
                    self.lazy_due = earlier(self.lazy_due, due);
                    rest.insert(cmid, due);
                }
            }
            self.lazy = rest;
        }
        let due = self.waiting.extract_if(.., |waiting| waiting.due <= until);
        for Waiting { what, .. } in due {
            self.bytes = self.bytes.saturating_sub(what.bytes());
            match what {
                What::Plain(MessageType::Nack, cmid) => nacks.push(cmid),
                What::Plain(_, cmid) => acks.push(cmid),
                What::Ack2(smid) => ack2s.push(smid),
                What::Envelope(envelope) => envelopes.push(envelope),
            }
        }
        self.waiting_due = self.waiting.iter().map(|waiting| waiting.due).min();
        let mut merged = Vec::with_capacity(envelopes.len() + 3);
        for (t, of, ids) in [
            (MessageType::Ack, IdOf::Client, acks),
            (MessageType::Nack, IdOf::Client, nacks),
            (MessageType::Ack2, IdOf::Server, ack2s),
        ] {
            if !ids.is_empty() {
                merged.push(Box::new(acknowledge(t, of, ids)));
            }
        }
        merged.append(&mut envelopes);
        merged
    }
}

fn earlier(known: Option<i64>, due: i64) -> Option<i64> {
    Some(known.map_or(due, |known| known.min(due)))
}

impl What {
    fn is_ack_of(&self, cmid: &str) -> bool {
        matches!(self, What::Envelope(envelope)
            if envelope.t == MessageType::Ack && envelope.cmid.as_deref() == Some(cmid))
    }

    fn bytes(&self) -> usize {
        match self {
            What::Plain(_, id) | What::Ack2(id) => id.len(),
            What::Envelope(envelope) => bytes_of(envelope),
        }
    }
}

fn bytes_of(envelope: &Envelope) -> usize {
    envelope.msg.as_ref().map_or(0, |msg| msg.get().len())
}

impl State {
    /// An answer without payload.
    pub(super) fn answer(
        &mut self,
        t: MessageType,
        cmid: String,
        desc: Option<String>,
        delay: Duration,
    ) {
        let envelope = Envelope {
            cmid: Some(cmid),
            desc: desc.map(|desc| shown(&desc).into_owned()),
            ..Envelope::new(t)
        };
        self.reply(Box::new(envelope), delay);
    }

    /// Queues an answer to a client's message.
    pub(super) fn reply(&mut self, mut envelope: Box<Envelope>, delay: Duration) {
        let due = self.environment.now + i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 2);
        let plain =
            matches!(envelope.t, MessageType::Ack | MessageType::Nack) && envelope.desc.is_none();
        match envelope.cmid.take() {
            Some(cmid)
                if plain
                    && envelope.t == MessageType::Ack
                    && delay == self.config.lazy_ack_delay =>
            {
                self.replies.push_lazy(due, cmid);
            }
            Some(cmid) if plain => self.replies.push(due, What::Plain(envelope.t, cmid)),
            cmid => {
                if let (true, Some(cmid)) = (envelope.t.is_reply(), &cmid) {
                    self.replies.settled(cmid);
                }
                envelope.cmid = cmid;
                self.replies.push(due, What::Envelope(envelope));
            }
        }
        if due <= self.environment.now {
            self.flush_due();
        }
    }

    pub(super) fn queue_ack2(&mut self, smids: Vec<String>) {
        let due = self.environment.now
            + i64::try_from(self.config.ack2_delay.as_millis()).unwrap_or(i64::MAX / 2);
        for smid in smids {
            self.replies.push(due, What::Ack2(smid));
        }
    }

    pub(super) fn flush_due(&mut self) {
        let now = self.environment.now;
        if self.replies.deadline().is_some_and(|due| due <= now) {
            self.flush(now + ALONG);
        }
    }

    pub(super) fn flush_all(&mut self) {
        self.flush(i64::MAX);
    }

    fn flush(&mut self, until: i64) {
        let mut envelopes = self.replies.take(until);
        if envelopes.iter().any(|it| it.t.is_reply()) && !self.may_reply() {
            envelopes = self.replies.withhold(envelopes);
        }
        if !envelopes.is_empty() {
            self.send_now(envelopes);
        }
    }
}
