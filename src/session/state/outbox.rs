//! The window of the outbox: what is at hand, sent, and not acknowledged. The backlog stays in the store.

use std::collections::{BTreeMap, VecDeque};

use super::Action;
use crate::config::Config;
use crate::store::operation::OutboxMessage;

/// The window. Sequence numbers only grow; a message is taken in once, in order.
#[derive(Default)]
pub(super) struct Window {
    /// The newest sequence number taken in.
    head: i64,
    /// The newest sequence number known to be stored.
    newest: i64,
    /// There may be more in the store than `newest` says.
    poked: bool,
    /// A read from the store is under way; it was asked when `newest` was this.
    fetching: Option<i64>,
    /// Bytes of the next message, if it is known to be larger than what is read at a time.
    max_first: u64,
    ready: VecDeque<OutboxMessage>,
    sent: BTreeMap<i64, Sent>,
    bytes: usize,
    /// When something was acknowledged last, or bytes still waited for the client to take them.
    moved: i64,
}

struct Sent {
    at: i64,
    bytes: usize,
    /// Its delivery without acknowledgement has been counted on this connection.
    counted: bool,
}

pub(super) fn size(message: &OutboxMessage) -> usize {
    message.msg.as_ref().map_or(0, |msg| msg.get().len())
}

impl Window {
    /// A session that has just been registered: everything in its outbox goes again.
    pub(super) fn resume(&mut self, last_seq: i64, has_outbox: bool) {
        self.newest = last_seq;
        self.head = if has_outbox { 0 } else { last_seq };
    }

    /// A message was stored, and is at hand; none was stored between `after` and it. Taken in only if it is the next one:
    /// else the store is asked.
    pub(super) fn stored(&mut self, after: i64, message: OutboxMessage, config: &Config) {
        self.newest = self.newest.max(message.seq);
        let is_next = after <= self.head && message.seq > self.head;
        if is_next && self.fetching.is_none() && self.room(config) {
            self.take_in(message);
        }
    }

    /// Something was stored.
    pub(super) fn poke(&mut self) {
        self.poked = true;
    }

    /// This is the newest sequence number stored.
    pub(super) fn newest(&mut self, seq: i64) {
        self.newest = self.newest.max(seq);
    }

    fn take_in(&mut self, message: OutboxMessage) {
        self.head = message.seq;
        self.bytes += size(&message);
        self.ready.push_back(message);
    }

    fn count(&self) -> usize {
        self.ready.len() + self.sent.len()
    }

    fn room(&self, config: &Config) -> bool {
        self.count() == 0 || (self.count() < config.window && self.bytes < config.window_bytes)
    }

    /// What to read from the store now.
    pub(super) fn fetch(&mut self, config: &Config) -> Option<Action> {
        let behind = self.poked || self.head < self.newest;
        if !behind || self.fetching.is_some() || !self.room(config) {
            return None;
        }
        self.poked = false;
        self.fetching = Some(self.newest);
        let limit = config.window.saturating_sub(self.count()).max(1);
        let max_bytes = config.window_bytes.saturating_sub(self.bytes) as u64;
        Some(Action::Fetch {
            after: self.head,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            max_bytes,
            max_first: self.max_first.max(max_bytes),
        })
    }

    /// The store was read.
    pub(super) fn fetched(&mut self, messages: Vec<OutboxMessage>, more: bool) {
        let asked_at = self.fetching.take();
        self.max_first = 0;
        for message in messages {
            if message.seq > self.head {
                self.take_in(message);
            }
        }
        self.newest = self.newest.max(self.head);
        if more {
            self.poked = true;
        } else if let Some(newest) = asked_at {
            // What was not given up to there does not exist any more.
            self.head = self.head.max(newest);
        }
    }

    /// The next message has so many bytes, for which no room was made: it is to be read with room for them.
    pub(super) fn first_is_too_large(&mut self, bytes: u64) {
        self.fetch_failed();
        self.max_first = bytes;
    }

    /// The read failed: it is to be tried again.
    pub(super) fn fetch_failed(&mut self) {
        self.fetching = None;
        self.poked = true;
    }

    /// Whether a message with this sequence number can ever have been sent.
    pub(super) fn knows(&self, seq: i64) -> bool {
        seq <= self.newest_known()
    }

    /// The newest sequence number that was stored, as far as is known: none that is higher was sent.
    pub(super) fn newest_known(&self) -> i64 {
        self.newest.max(self.head)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next messages to send.
    pub(super) fn next_round(&mut self, most: usize, now: i64) -> Vec<OutboxMessage> {
        let count = most.max(1).min(self.ready.len());
        let round: Vec<_> = self.ready.drain(..count).collect();
        for message in &round {
            self.sent.insert(
                message.seq,
                Sent {
                    at: now,
                    bytes: size(message),
                    counted: false,
                },
            );
        }
        round
    }

    /// The client has acknowledged these, one way or the other.
    pub(super) fn acknowledged<'a>(&mut self, seqs: impl Iterator<Item = &'a i64>, now: i64) {
        if self.complete(seqs) {
            self.moved = now;
        }
    }

    /// These are not in flight any more. Whether any of them was.
    pub(super) fn complete<'a>(&mut self, seqs: impl Iterator<Item = &'a i64>) -> bool {
        let before = self.sent.len();
        for seq in seqs {
            if let Some(sent) = self.sent.remove(seq) {
                self.bytes -= sent.bytes;
            }
        }
        self.sent.len() < before
    }

    /// Bytes still wait for the client to take them: it cannot have acknowledged them.
    pub(super) fn going_out(&mut self, now: i64) {
        self.moved = now;
    }

    /// Since when something has been in flight without an acknowledgement of anything, the client having taken all.
    pub(super) fn unacknowledged_since(&self) -> Option<i64> {
        let (_, oldest) = self.sent.first_key_value()?;
        Some(oldest.at.max(self.moved))
    }

    /// Sent at this time or earlier, not acknowledged, and not counted yet: they are counted now. What was sent first
    /// comes first, so the look ends soon.
    pub(super) fn count_unacknowledged(&mut self, at: i64) -> Vec<i64> {
        let old = self
            .sent
            .iter_mut()
            .take_while(|(_, sent)| sent.at <= at)
            .filter(|(_, sent)| !sent.counted);
        let count = |(seq, sent): (&i64, &mut Sent)| {
            sent.counted = true;
            *seq
        };
        old.map(count).collect()
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.sent.len()
    }

    /// Payload bytes at hand: sent messages are not kept.
    pub(super) fn bytes(&self) -> usize {
        self.ready.iter().map(size).sum()
    }
}
