//! Log lines that a client can cause at will, at a bounded rate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// Decides when an event that may come often is worth a log line: the first at once, then at most one line per
/// interval, with the number of events since the last line.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    /// Events without a line since then.
    unlogged: u64,
}

impl Seldom {
    /// Counts an event. `Some`: write the line now; it stands for so many events, this one included.
    pub(crate) fn count(&self) -> Option<u64> {
        self.count_at(Instant::now())
    }

    fn count_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.unlogged += 1;
        if state
            .logged
            .is_some_and(|logged| now.duration_since(logged) < INTERVAL)
        {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_at_once_then_one_line_per_interval_with_the_count() {
        let (seldom, start) = (Seldom::default(), Instant::now());
        let at = |seconds| seldom.count_at(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(1));
        assert_eq!((at(1), at(5), at(9)), (None, None, None));
        assert_eq!(at(10), Some(4));
        assert_eq!(at(11), None);
        assert_eq!(at(100), Some(2));
    }
}
