//! The clock by which leases are measured.

use std::time::{Duration, Instant};

use crate::store::StoreHandle;

/// A moment on the clock by which leases are measured. It stands still while a transactional handler has the only
/// connection that writes (SQLite): meanwhile no node can renew a lease, and none can take anything over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseClock {
    at: Instant,
    /// For how long handlers had held the store in total at that moment.
    held: Duration,
}

impl LeaseClock {
    pub(crate) fn now(store: &StoreHandle) -> LeaseClock {
        LeaseClock {
            at: Instant::now(),
            held: store.held(),
        }
    }

    /// How much of the clock's time has passed since then.
    pub(crate) fn elapsed(&self, store: &StoreHandle) -> Duration {
        let held = store.held().saturating_sub(self.held);
        self.at.elapsed().saturating_sub(held)
    }

    /// Waits until this much of the clock's time has passed since then.
    pub(crate) async fn sleep(&self, store: &StoreHandle, time: Duration) {
        loop {
            let rest = time.saturating_sub(self.elapsed(store));
            if rest.is_zero() {
                return;
            }
            tokio::time::sleep(rest).await;
        }
    }
}
