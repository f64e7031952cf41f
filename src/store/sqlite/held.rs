//! How long transactional handlers have held the one connection that writes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time for which nobody else could write. Leases do not run meanwhile, because nobody could have renewed one or
/// taken over a session.
#[derive(Default)]
pub struct Held(Mutex<Sum>);

#[derive(Default)]
struct Sum {
    /// Total time of the handlers that have ended.
    ended: Duration,
    /// When the running handler began.
    since: Option<Instant>,
}

impl Held {
    /// A handler begins.
    pub fn begin(&self) {
        self.lock().since = Some(Instant::now());
    }

    /// The handler has ended.
    pub fn end(&self) {
        let mut sum = self.lock();
        let took = sum.since.take().map(|since| since.elapsed());
        sum.ended += took.unwrap_or_default();
    }

    /// Acts as if a handler had run for this time.
    #[cfg(test)]
    pub fn add(&self, time: Duration) {
        self.lock().ended += time;
    }

    /// The total time, including that of the running handler.
    pub fn so_far(&self) -> Duration {
        let sum = self.lock();
        sum.ended + sum.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Sum> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_a_handler_runs_and_only_then() {
        let held = Held::default();
        assert_eq!(held.so_far(), Duration::ZERO);
        held.begin();
        while held.so_far() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        held.end();
        let first = held.so_far();
        assert!(first >= Duration::from_millis(1));
        assert_eq!(held.so_far(), first);
        held.end();
        assert_eq!(held.so_far(), first, "it has ended once");
    }
}
