//! Time and chance, injected: tests move the clock and fix the ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A duration in milliseconds; one too long for them is the longest there is.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// So much later; an interval beyond all measure never ends.
pub(crate) fn after(time: tokio::time::Instant, interval: Duration) -> tokio::time::Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    time + interval.min(NEVER)
}

/// Between half of this time and all of it: those who failed together are not to try again together.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// Tells the time: the system's, or one that a test moves.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Added to the system's time, in milliseconds.
    offset: Arc<AtomicI64>,
    /// A clock that stands still at this time until moved.
    fixed: Option<i64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// A clock that stands at `ms` since the epoch until it is [advanced](Clock::advance).
    pub fn fixed(ms: i64) -> Clock {
        Clock {
            fixed: Some(ms),
            ..Clock::default()
        }
    }

    /// Milliseconds since the epoch.
    pub fn now(&self) -> i64 {
        let base = self.fixed.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_millis() as i64
        });
        base + self.offset.load(Ordering::Relaxed)
    }

    /// Whether this is the system's clock, never moved.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn is_real(&self) -> bool {
        self.fixed.is_none() && self.offset.load(Ordering::Relaxed) == 0
    }

    /// Moves this clock, and all its clones, forward.
    pub fn advance(&self, by: Duration) {
        self.offset
            .fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }
}
