//! How many of something each user has under way on this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Users are told apart by so many bits of their hash: two that share a slot are counted together.
const SLOTS: usize = 1024;

/// Counts by user. It refuses nobody: whoever is about to begin looks at the count.
#[derive(Debug)]
pub(crate) struct UserCounts(Box<[AtomicUsize]>);

/// One that is counted, until it is dropped: on every exit path, panics included.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Arc<UserCounts>,
    slot: usize,
}

impl Default for UserCounts {
    fn default() -> Self {
        UserCounts((0..SLOTS).map(|_| AtomicUsize::new(0)).collect())
    }
}

impl UserCounts {
    /// Counts one more of the user with this hash.
    pub(crate) fn enter(self: &Arc<Self>, user: u64) -> Counted {
        let slot = user as usize % SLOTS;
        self.0[slot].fetch_add(1, Ordering::Relaxed);
        Counted {
            counts: self.clone(),
            slot,
        }
    }

    /// How many there are of the user with this hash.
    pub(crate) fn of(&self, user: u64) -> usize {
        self.0[user as usize % SLOTS].load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.0[self.slot].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_count_of_his_own() {
        let counts = Arc::<UserCounts>::default();
        let held = [counts.enter(1), counts.enter(1), counts.enter(2)];
        assert_eq!((counts.of(1), counts.of(2), counts.of(3)), (2, 1, 0));
        drop(held);
        assert_eq!((counts.of(1), counts.of(2)), (0, 0));
    }
}
