//! Messages that were sent but are not acknowledged yet, or are still waiting to be sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::error::SendError;

/// Who is notified of a message's result.
#[derive(Debug)]
pub(super) enum Waiter {
    /// The caller of a SEND.
    Send(oneshot::Sender<Result<(), SendError>>),
    /// A REQUEST: its caller waits for the answer, which is kept elsewhere.
    Request,
    /// A reply: no one.
    Reply,
    /// The caller belonged to a process that has ended.
    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    Nobody,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The journal has not committed it yet.
    Storing,
    /// In the queue.
    Queued,
    /// Sent on the current connection.
    Sent,
    /// The server asked for it to be sent again later.
    BackingOff(Instant),
}

/// An outgoing message.
#[derive(Debug)]
pub(super) struct Entry {
    /// The envelope, as it is sent.
    text: String,
    pub(super) waiter: Waiter,
    stage: Stage,
    /// It stands in the journal, or will.
    pub(super) kept: bool,
    /// Told when the journal has committed it.
    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    stored: Option<oneshot::Sender<()>>,
    /// How often it was passed to a connection.
    sent: u32,
    /// How often the server asked for it again.
    retries: u32,
}

impl Entry {
    fn new(text: String, waiter: Waiter, stage: Stage) -> Entry {
        Entry {
            text,
            waiter,
            stage,
            kept: false,
            stored: None,
            sent: 0,
            retries: 0,
        }
    }
}

/// What to do about a RETRY.
#[derive(Debug)]
pub(super) enum Retry {
    /// It is sent again later.
    Later,
    /// It was sent often enough.
    GivenUp { entry: Entry, attempts: u32 },
    /// No such message.
    Unknown,
}

/// Our messages in the order of their ids, which is the order in which they were queued.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    queue: VecDeque<u64>,
    backing_off: BTreeSet<(Instant, u64)>,
    bytes: usize,
}

impl Outbox {
    /// How often a message is sent at most if the server keeps answering RETRY.
    pub(super) const MAX_ATTEMPTS: u32 = 10;

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The id of the oldest message that is not acknowledged.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.keys().next().copied()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues a message. Ids must grow.
    pub(super) fn push(&mut self, cmid: u64, text: String, waiter: Waiter) {
        self.insert(cmid, Entry::new(text, waiter, Stage::Queued));
        self.queue.push_back(cmid);
    }

    /// Adds a message that is sent when the journal has committed what came before it, and, if it is kept, itself.
    pub(super) fn push_storing(
        &mut self,
        cmid: u64,
        text: String,
        waiter: Waiter,
        kept: bool,
        stored: Option<oneshot::Sender<()>>,
    ) {
        let entry = Entry::new(text, waiter, Stage::Storing);
        self.insert(
            cmid,
            Entry {
                kept,
                stored,
                ..entry
            },
        );
    }

    /// Adds a message of an earlier process.
    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    pub(super) fn restore(&mut self, cmid: u64, text: String, carried: bool) {
        let entry = Entry::new(text, Waiter::Nobody, Stage::Queued);
        let sent = u32::from(carried);
        self.insert(
            cmid,
            Entry {
                kept: true,
                sent,
                ..entry
            },
        );
        self.queue.push_back(cmid);
    }

    /// The journal has committed this message.
    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    pub(super) fn committed(&mut self, cmid: u64) {
        if let Some(entry) = self.entries.get_mut(&cmid)
            && entry.stage == Stage::Storing
        {
            entry.stage = Stage::Queued;
            self.queue.push_back(cmid);
            if let Some(stored) = entry.stored.take() {
                let _ = stored.send(());
            }
        }
    }

    /// Removes what does not outlive its session: everything but what is kept and no socket has carried.
    pub(super) fn drain_session(&mut self) -> Vec<(u64, Entry)> {
        let gone =
            |entry: &Entry| !entry.kept || entry.sent > 0 || matches!(entry.waiter, Waiter::Reply);
        let gone = self.entries.iter().filter(|(_, entry)| gone(entry));
        let gone: Vec<u64> = gone.map(|(cmid, _)| *cmid).collect();
        let entries = gone.into_iter();
        entries
            .filter_map(|cmid| Some((cmid, self.remove(cmid)?)))
            .collect()
    }

    #[cfg_attr(not(feature = "durable"), allow(dead_code))]
    pub(super) fn is_reply(&self, cmid: u64) -> bool {
        let entry = self.entries.get(&cmid);
        entry.is_some_and(|entry| matches!(entry.waiter, Waiter::Reply))
    }

    pub(super) fn contains(&self, cmid: u64) -> bool {
        self.entries.contains_key(&cmid)
    }

    fn insert(&mut self, cmid: u64, entry: Entry) {
        self.bytes += entry.text.len();
        self.entries.insert(cmid, entry);
    }

    /// Removes a message: it is acknowledged, or no longer wanted.
    pub(super) fn remove(&mut self, cmid: u64) -> Option<Entry> {
        let entry = self.entries.remove(&cmid)?;
        self.bytes -= entry.text.len();
        if let Stage::BackingOff(due) = entry.stage {
            self.backing_off.remove(&(due, cmid));
        }
        Some(entry)
    }

    /// Removes a message if it was never sent; otherwise it stays until it is acknowledged.
    pub(super) fn remove_if_never_sent(&mut self, cmid: u64) {
        if self.entries.get(&cmid).is_some_and(|entry| entry.sent == 0) {
            self.remove(cmid);
        }
    }

    /// The next message to send, if there is one that keeps `out` within `limit` bytes or `out` has
    /// nothing in it yet; it is marked as sent.
    pub(super) fn next(&mut self, room: usize, first: bool) -> Option<&str> {
        let cmid = loop {
            let cmid = *self.queue.front()?;
            match self.entries.get(&cmid) {
                Some(entry) if entry.stage == Stage::Queued => break cmid,
                _ => self.queue.pop_front(),
            };
        };
        let entry = self.entries.get_mut(&cmid).expect("found above");
        if entry.text.len() > room && !first {
            return None;
        }
        self.queue.pop_front();
        entry.stage = Stage::Sent;
        entry.sent += 1;
        Some(&entry.text)
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// After a reconnect: everything not acknowledged is sent again, oldest first.
    pub(super) fn requeue_all(&mut self) {
        self.queue.clear();
        for (cmid, entry) in &mut self.entries {
            if !matches!(entry.stage, Stage::BackingOff(_) | Stage::Storing) {
                entry.stage = Stage::Queued;
                self.queue.push_back(*cmid);
            }
        }
    }

    /// The server could not handle the message now.
    pub(super) fn retry(&mut self, cmid: u64, now: Instant, backoff: &Backoff) -> Retry {
        let Some(entry) = self.entries.get_mut(&cmid) else {
            return Retry::Unknown;
        };
        if matches!(entry.stage, Stage::BackingOff(_)) {
            return Retry::Later;
        }
        entry.retries += 1;
        let attempts = entry.retries;
        if attempts >= Self::MAX_ATTEMPTS {
            let entry = self.remove(cmid).expect("found above");
            return Retry::GivenUp { entry, attempts };
        }
        let due = now + backoff.jittered(attempts - 1);
        entry.stage = Stage::BackingOff(due);
        self.backing_off.insert((due, cmid));
        Retry::Later
    }

    /// When the next message that backs off is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.backing_off.first().map(|(due, _)| *due)
    }

    /// Queues messages that have backed off long enough.
    pub(super) fn queue_due(&mut self, now: Instant) {
        while let Some((due, cmid)) = self.backing_off.first().copied()
            && due <= now
        {
            self.backing_off.pop_first();
            if let Some(entry) = self.entries.get_mut(&cmid) {
                entry.stage = Stage::Queued;
                self.queue.push_back(cmid);
            }
        }
    }

    /// Empties the outbox, as its session is gone.
    pub(super) fn drain(&mut self) -> Vec<(u64, Entry)> {
        std::mem::take(self).entries.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(60),
    };

    fn outbox(texts: &[&str]) -> Outbox {
        let mut outbox = Outbox::default();
        for (cmid, text) in texts.iter().enumerate() {
            outbox.push(cmid as u64, text.to_string(), Waiter::Request);
        }
        outbox
    }

    fn take_all(outbox: &mut Outbox) -> Vec<String> {
        std::iter::from_fn(|| outbox.next(usize::MAX, true).map(str::to_owned)).collect()
    }

    #[test]
    fn unacknowledged_messages_go_again_in_order() {
        let mut outbox = outbox(&["a", "b", "c", "d"]);
        assert_eq!(take_all(&mut outbox), ["a", "b", "c", "d"]);
        outbox.remove(1);
        outbox.push(4, "e".into(), Waiter::Reply);
        outbox.requeue_all();
        assert_eq!(take_all(&mut outbox), ["a", "c", "d", "e"]);
        assert_eq!((outbox.len(), outbox.bytes()), (4, 4));
    }

    #[test]
    fn room_bounds_what_follows_but_not_the_first() {
        let mut outbox = outbox(&["long text", "b"]);
        assert_eq!(outbox.next(3, false), None);
        assert_eq!(outbox.next(3, true), Some("long text"));
        assert_eq!(outbox.next(3, false), Some("b"));
        assert!(!outbox.has_queued());
    }

    #[test]
    fn only_what_never_left_is_withdrawn() {
        let mut outbox = outbox(&["a", "b"]);
        outbox.next(10, true);
        outbox.remove_if_never_sent(0);
        outbox.remove_if_never_sent(1);
        outbox.requeue_all();
        assert_eq!(take_all(&mut outbox), ["a"]);
    }

    #[test]
    fn retries_back_off_and_end() {
        let mut outbox = outbox(&["a"]);
        let mut now = Instant::now();
        for attempt in 1..Outbox::MAX_ATTEMPTS {
            assert_eq!(take_all(&mut outbox), ["a"]);
            assert!(matches!(outbox.retry(0, now, &BACKOFF), Retry::Later));
            // A reconnect does not shorten the wait.
            outbox.requeue_all();
            assert_eq!(take_all(&mut outbox).len(), 0);
            let due = outbox.next_due().unwrap();
            assert!(due - now >= BACKOFF.plain(attempt - 1));
            now = due;
            outbox.queue_due(now);
        }
        assert_eq!(take_all(&mut outbox), ["a"]);
        assert!(matches!(
            outbox.retry(0, now, &BACKOFF),
            Retry::GivenUp { attempts: 10, .. }
        ));
        assert!(matches!(outbox.retry(0, now, &BACKOFF), Retry::Unknown));
    }
}
