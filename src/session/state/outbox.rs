//! The window of the outbox: messages in memory, sent, and not acknowledged. The backlog stays in the store.

use std::collections::{BTreeMap, VecDeque};

use super::Action;
use crate::clock::ms;
use crate::config::Config;
use crate::store::operation::OutboxMessage;

/// The window. Sequence numbers only grow; each message enters once, in order.
#[derive(Default)]
pub(super) struct Window {
    /// The newest sequence number that has entered.
    head: i64,
    /// The newest sequence number known to be stored.
    newest: i64,
    /// There may be more in the store than `newest` says.
    poked: bool,
    /// A read from the store is in progress, requested when `newest` was this.
    fetching: Option<i64>,
    /// Size of the next message, if it is known to be larger than a normal read.
    max_first: u64,
    ready: VecDeque<Ready>,
    sent: BTreeMap<i64, Sent>,
    bytes: usize,
    /// When something was last acknowledged, or bytes were last still waiting to be sent.
    moved: i64,
}

/// A message to be sent.
struct Ready {
    message: OutboxMessage,
    /// From when on it is not sent any more, in milliseconds since the epoch on the node's own clock.
    expires: Option<i64>,
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
    /// A newly registered session: everything in its outbox is sent again.
    pub(super) fn resume(&mut self, last_seq: i64, has_outbox: bool) {
        self.newest = last_seq;
        self.head = if has_outbox { 0 } else { last_seq };
    }

    /// A message was stored, and none between `after` and it. It enters only if it is the next one; otherwise the store
    /// is read.
    pub(super) fn stored(
        &mut self,
        after: i64,
        message: OutboxMessage,
        wall: i64,
        config: &Config,
    ) {
        self.newest = self.newest.max(message.seq);
        let is_next = after <= self.head && message.seq > self.head;
        if is_next && self.fetching.is_none() && self.room(config) {
            self.take_in(message, wall);
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

    fn take_in(&mut self, message: OutboxMessage, wall: i64) {
        self.head = message.seq;
        self.bytes += size(&message);
        let expires = message.left.map(|left| wall.saturating_add(ms(left)));
        self.ready.push_back(Ready { message, expires });
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

    /// The result of a read from the store.
    pub(super) fn fetched(&mut self, messages: Vec<OutboxMessage>, more: bool, wall: i64) {
        let asked_at = self.fetching.take();
        self.max_first = 0;
        for message in messages {
            if message.seq > self.head {
                self.take_in(message, wall);
            }
        }
        self.newest = self.newest.max(self.head);
        if more {
            self.poked = true;
        } else if let Some(newest) = asked_at {
            // Messages up to there that were not returned no longer exist.
            self.head = self.head.max(newest);
        }
    }

    /// The next message has this many bytes, more than there was room for: it must be read again with enough room.
    pub(super) fn first_is_too_large(&mut self, bytes: u64) {
        self.fetch_failed();
        self.max_first = bytes;
    }

    /// The read failed and must be retried.
    pub(super) fn fetch_failed(&mut self) {
        self.fetching = None;
        self.poked = true;
    }

    /// Whether a message with this sequence number can have been sent.
    pub(super) fn knows(&self, seq: i64) -> bool {
        seq <= self.newest_known()
    }

    /// The newest sequence number known to be stored: no higher one was sent.
    pub(super) fn newest_known(&self) -> i64 {
        self.newest.max(self.head)
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next messages to send. Those that have expired by now are left out; maintenance deletes them from the
    /// store.
    pub(super) fn next_round(&mut self, most: usize, now: i64, wall: i64) -> Vec<OutboxMessage> {
        let mut round = Vec::with_capacity(most.max(1).min(self.ready.len()));
        while round.len() < most.max(1)
            && let Some(Ready { message, expires }) = self.ready.pop_front()
        {
            let bytes = size(&message);
            if expires.is_some_and(|expires| expires <= wall) {
                self.bytes -= bytes;
                continue;
            }
            self.sent.insert(
                message.seq,
                Sent {
                    at: now,
                    bytes,
                    counted: false,
                },
            );
            round.push(message);
        }
        round
    }

    /// The client has acknowledged these, with ACK or NACK.
    pub(super) fn acknowledged<'a>(&mut self, seqs: impl Iterator<Item = &'a i64>, now: i64) {
        if self.complete(seqs) {
            self.moved = now;
        }
    }

    /// Marks these as no longer in flight. Returns whether any of them was.
    pub(super) fn complete<'a>(&mut self, seqs: impl Iterator<Item = &'a i64>) -> bool {
        let before = self.sent.len();
        for seq in seqs {
            if let Some(sent) = self.sent.remove(seq) {
                self.bytes -= sent.bytes;
            }
        }
        self.sent.len() < before
    }

    /// Bytes are still waiting to be sent, so the client cannot have acknowledged them.
    pub(super) fn going_out(&mut self, now: i64) {
        self.moved = now;
    }

    /// Since when messages have been in flight without any acknowledgement, although the client has read everything.
    pub(super) fn unacknowledged_since(&self) -> Option<i64> {
        let (_, oldest) = self.sent.first_key_value()?;
        Some(oldest.at.max(self.moved))
    }

    /// Counts messages that were sent at this time or earlier, are not acknowledged, and were not counted yet. They are
    /// ordered by the time they were sent, so the search ends early.
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

    /// Payload bytes in memory: sent messages are not kept.
    pub(super) fn bytes(&self) -> usize {
        self.ready.iter().map(|it| size(&it.message)).sum()
    }
}
