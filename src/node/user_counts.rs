//! How many of something each user has in progress on this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Number of slots. Users are assigned to one by their hash: two users that share a slot are counted together.
const SLOTS: usize = 1024;

/// Counts by user. It never refuses: callers look at the count before they begin.
#[derive(Debug)]
pub(crate) struct UserCounts {
    slots: Box<[Slot]>,
    /// The limit per user.
    limit: usize,
}

#[derive(Debug, Default)]
struct Slot {
    count: AtomicUsize,
    /// Whether new work should be held back: set when the count is high, cleared when it is low. The gap lets those who
    /// wait go ahead of those who would simply carry on.
    filled: AtomicBool,
    /// Callers waiting for the count to drop.
    waiting: Notify,
}

/// One unit of the count, until it is dropped: on every exit path, panics included.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<UserCounts>,
    slot: usize,
}

impl UserCounts {
    /// Counts with this limit per user.
    pub(crate) fn new(limit: usize) -> Arc<UserCounts> {
        Arc::new(UserCounts {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            limit,
        })
    }

    /// Counts one more of the user with this hash.
    pub(crate) fn enter(self: &Arc<Self>, user: u64) -> Counted {
        let slot = user as usize % SLOTS;
        let before = self.slots[slot].count.fetch_add(1, Ordering::SeqCst);
        if before + 1 == self.many() {
            self.slots[slot].filled.store(true, Ordering::SeqCst);
        }
        Counted {
            counts: self.clone(),
            slot,
        }
    }

    fn slot(&self, user: u64) -> &Slot {
        &self.slots[user as usize % SLOTS]
    }

    /// Whether the user with this hash has reached the limit.
    pub(crate) fn is_full(&self, user: u64) -> bool {
        self.slot(user).count.load(Ordering::Relaxed) >= self.limit
    }

    /// Whether the user with this hash has enough that new work should be held back. What is already on its way still
    /// has room.
    pub(crate) fn is_filled(&self, user: u64) -> bool {
        let slot = self.slot(user);
        // The count is checked too: the flag may be set after the last one has left.
        slot.filled.load(Ordering::SeqCst) && slot.count.load(Ordering::SeqCst) > self.few()
    }

    fn many(&self) -> usize {
        self.limit.div_ceil(2)
    }

    fn few(&self) -> usize {
        self.many() / 2
    }

    /// Waits until the user with this hash has room again.
    pub(crate) async fn room(self: Arc<Self>, user: u64) {
        // Created before the check, so that no notification in between is missed.
        let notified = self.slot(user).waiting.notified();
        if self.is_filled(user) {
            notified.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let slot = &self.counts.slots[self.slot];
        if slot.count.fetch_sub(1, Ordering::SeqCst) == self.counts.few() + 1 {
            slot.filled.store(false, Ordering::SeqCst);
            slot.waiting.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn each_user_has_a_count_of_his_own() {
        let counts = UserCounts::new(2);
        let held = [counts.enter(1), counts.enter(1), counts.enter(2)];
        let full = [1, 2, 3].map(|user| counts.is_full(user));
        assert_eq!(full, [true, false, false]);
        drop(held);
        assert!(!counts.is_full(1));
    }

    #[test]
    fn who_waits_is_woken_when_a_good_part_has_gone() {
        let counts = UserCounts::new(80);
        let mut held: Vec<_> = (0..39).map(|_| counts.enter(1)).collect();
        assert!(!counts.is_filled(1));
        held.push(counts.enter(1));
        assert!(counts.is_filled(1) && !counts.is_full(1));
        let mut room = pin!(counts.clone().room(1));
        let mut poll = || room.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(poll(), Poll::Pending);
        held.truncate(21);
        assert_eq!(poll(), Poll::Pending);
        assert!(counts.is_filled(1), "who comes now waits, too");
        held.truncate(20);
        assert_eq!(poll(), Poll::Ready(()));
        assert!(!counts.is_filled(1));
    }

    #[test]
    fn whatever_the_limit_there_is_room_again_when_all_have_gone() {
        for limit in 1..20 {
            let counts = UserCounts::new(limit);
            let held: Vec<_> = (0..limit).map(|_| counts.enter(1)).collect();
            assert!(counts.is_filled(1), "limit {limit}");
            let mut room = pin!(counts.clone().room(1));
            let mut poll = || room.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(poll(), Poll::Pending, "limit {limit}");
            drop(held);
            assert_eq!(poll(), Poll::Ready(()), "limit {limit}");
        }
    }
}
