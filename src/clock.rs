//! An injectable clock that tests can freeze and advance.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

/// Wall time that nothing moves but time: the system's when the process first asked, and what has passed since then on a
/// clock that nobody sets.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// The wall time then, in milliseconds since the epoch.
    wall: i64,
    then: Instant,
}

impl Steady {
    /// The one that all of the process share.
    fn of_process() -> Steady {
        static STEADY: OnceLock<Steady> = OnceLock::new();
        *STEADY.get_or_init(|| Steady::new(SystemTime::now(), Instant::now()))
    }

    fn new(wall: SystemTime, then: Instant) -> Steady {
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Steady {
            wall: ms(wall),
            then,
        }
    }

    fn at(self, now: Instant) -> i64 {
        self.wall
            .saturating_add(ms(now.saturating_duration_since(self.then)))
    }
}

/// Tells the time: the system's, or one that a test moves.
///
/// The system's time is read once, when the process first needs it; from then on what has passed is added. So it is
/// never set back or forward while the process runs, whatever becomes of the system's clock: no lease, delay or time-out
/// notices. Up to the next start, times that people read may differ from the system's clock by as much as that was
/// set (and, on most systems, by as long as the machine slept).
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Added to the time, in milliseconds.
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
        let base = self
            .fixed
            .unwrap_or_else(|| Steady::of_process().at(Instant::now()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_from_the_first_look_at_the_wall_on() {
        let (wall, then) = (UNIX_EPOCH + Duration::from_secs(5), Instant::now());
        let steady = Steady::new(wall, then);
        assert_eq!(steady.at(then), 5_000);
        assert_eq!(steady.at(then + Duration::from_millis(1_234)), 6_234);
        let before_the_epoch = Steady::new(UNIX_EPOCH - Duration::from_secs(1), then);
        assert_eq!(before_the_epoch.at(then), 0);
    }

    #[test]
    fn the_system_s_clock_is_one_and_starts_with_the_wall() {
        let (a, b) = (Clock::system(), Clock::system());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = ms(wall.expect("it is later"));
        let (first, second) = (a.now(), b.now());
        assert!(first <= second && second - first < 1_000);
        assert!((first - wall).abs() < 60_000, "{first} is not about {wall}");
    }
}
