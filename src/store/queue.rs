//! Limits how much may wait for the store, in total and per user.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::fair::Share;
use super::metrics::StoreMetrics;
use crate::mailbox::Meter;

/// Users are distinguished by their hash modulo this number; two users in the same slot share its places.
const SLOTS: usize = 1024;

/// Places for operations that wait for the database threads, and the metrics about them.
pub struct Queue {
    /// Places of all users together.
    places: Semaphore,
    of_users: Box<[Slot]>,
    /// How long operations wait for a thread.
    pub meter: Arc<Meter>,
    pub metrics: StoreMetrics,
}

/// The places of one user.
pub struct Slot {
    places: Semaphore,
    /// Operations that found no room; later ones must not overtake them.
    in_lobby: AtomicUsize,
}

impl Queue {
    pub fn new(places: usize, places_per_user: usize) -> Queue {
        let bounded = |places: usize| Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS));
        let slot = |_| Slot {
            places: bounded(places_per_user.min(places)),
            in_lobby: AtomicUsize::new(0),
        };
        Queue {
            places: bounded(places),
            of_users: (0..SLOTS).map(slot).collect(),
            meter: Arc::default(),
            metrics: StoreMetrics::default(),
        }
    }

    /// The number of a user's slot.
    pub fn slot_of(share: Share) -> usize {
        share.user as usize % SLOTS
    }

    fn slot(&self, share: Share) -> &Slot {
        &self.of_users[Queue::slot_of(share)]
    }

    /// Takes a place, unless there is none or an operation of the same user already waits for one.
    pub fn try_enter(&self, share: Share) -> bool {
        let slot = self.slot(share);
        if slot.in_lobby.load(Ordering::Acquire) > 0 {
            return false;
        }
        let (Ok(own), Ok(place)) = (slot.places.try_acquire(), self.places.try_acquire()) else {
            return false;
        };
        own.forget();
        place.forget();
        true
    }

    /// Takes a place as soon as there is one.
    pub async fn enter(&self, share: Share) {
        // The semaphores are never closed.
        if let Ok(own) = self.slot(share).places.acquire().await
            && let Ok(place) = self.places.acquire().await
        {
            own.forget();
            place.forget();
        }
    }

    /// An operation of this user waits for a place.
    pub fn enter_lobby(&self, share: Share) {
        self.slot(share).in_lobby.fetch_add(1, Ordering::AcqRel);
    }

    /// An operation of this user no longer waits for a place.
    pub fn leave_lobby(&self, share: Share) {
        self.slot(share).in_lobby.fetch_sub(1, Ordering::AcqRel);
    }

    /// Frees these places.
    pub fn give_back(&self, shares: impl Iterator<Item = Share>) {
        let mut count = 0;
        for share in shares {
            self.slot(share).places.add_permits(1);
            count += 1;
        }
        if count > 0 {
            self.metrics.left(count);
            self.places.add_permits(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(user: u64) -> Share {
        Share { user, session: 0 }
    }

    #[test]
    fn one_user_cannot_take_all_places() {
        let queue = Queue::new(10, 4);
        assert_eq!((0..10).filter(|_| queue.try_enter(user(1))).count(), 4);
        assert!(queue.try_enter(user(2)));
        queue.give_back([user(1)].into_iter());
        assert!(queue.try_enter(user(1)) && !queue.try_enter(user(1)));
        assert_eq!((0..10).filter(|_| queue.try_enter(user(3))).count(), 4);
        assert_eq!((0..10).filter(|_| queue.try_enter(user(4))).count(), 1);
        // An attempt that could not get both kinds of place has kept neither.
        queue.give_back([user(1)].into_iter());
        assert!(queue.try_enter(user(4)));
    }

    #[test]
    fn nobody_overtakes_an_operation_of_the_same_user_in_the_lobby() {
        let queue = Queue::new(10, 4);
        queue.enter_lobby(user(1));
        assert!(!queue.try_enter(user(1)));
        assert!(queue.try_enter(user(2)));
        queue.leave_lobby(user(1));
        assert!(queue.try_enter(user(1)));
    }
}
