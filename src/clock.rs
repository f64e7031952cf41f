//! An injectable clock that tests can freeze and advance.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serializer;

/// A duration in milliseconds, saturating at `i64::MAX`.
pub(crate) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Converts milliseconds since the epoch, as used by the store and the protocol, to a wall time.
pub(crate) fn wall_time(ms: i64) -> SystemTime {
    let distance = Duration::from_millis(ms.unsigned_abs());
    let time = match ms {
        0.. => UNIX_EPOCH.checked_add(distance),
        _ => UNIX_EPOCH.checked_sub(distance),
    };
    time.unwrap_or(UNIX_EPOCH)
}

/// Milliseconds since the epoch.
pub(crate) fn epoch_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    }
}

/// Serialises a wall time as milliseconds since the epoch.
pub(crate) fn as_epoch_ms<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(epoch_ms(*time))
}

/// Serialises a wall time as milliseconds since the epoch, and reads it back.
pub(crate) mod epoch_ms_of {
    use serde::{Deserialize, Deserializer};

    pub(crate) use super::as_epoch_ms as serialize;
    use super::{SystemTime, wall_time};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        Ok(wall_time(i64::deserialize(from)?))
    }
}

/// Serialises a duration as whole microseconds.
pub(crate) fn as_micros<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// The instant this interval later; an interval too long to represent never ends.
pub(crate) fn after(time: tokio::time::Instant, interval: Duration) -> tokio::time::Instant {
    const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
    time + interval.min(NEVER)
}

/// Between half of this time and all of it, at random, so that callers who failed together do not retry together.
pub(crate) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// Wall time that is never set: the system's wall time when the process first asked, plus the monotonic time since
/// then.
#[derive(Clone, Copy, Debug)]
struct Steady {
    /// The wall time then, in milliseconds since the epoch.
    wall: i64,
    then: Instant,
}

impl Steady {
    /// The one shared by the whole process.
    fn of_process() -> Steady {
        static STEADY: OnceLock<Steady> = OnceLock::new();
        *STEADY.get_or_init(|| Steady::new(SystemTime::now(), Instant::now()))
    }

    fn new(wall: SystemTime, then: Instant) -> Steady {
        Steady {
            wall: epoch_ms(wall).max(0),
            then,
        }
    }

    fn at(self, now: Instant) -> i64 {
        self.wall
            .saturating_add(ms(now.saturating_duration_since(self.then)))
    }
}

/// A clock: the system's, or one that a test controls.
///
/// The system's wall time is read once, when the process first needs it; from then on the elapsed monotonic time is
/// added. Setting the system's clock while the process runs therefore affects no lease, delay or time-out. Until the
/// next start, displayed times may differ from the system's clock by as much as that was set (and, on most systems, by
/// as long as the machine slept).
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Added to the time, in milliseconds.
    offset: Arc<AtomicI64>,
    /// The time at which a fixed clock stands, before `offset` is added.
    fixed: Option<i64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock::default()
    }

    /// A clock frozen at this time, to the millisecond, until it is [advanced](Clock::advance).
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use matssocket::Clock;
    ///
    /// let clock = Clock::fixed(SystemTime::UNIX_EPOCH);
    /// clock.advance(Duration::from_secs(3600));
    /// assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(3600));
    /// ```
    pub fn fixed(time: SystemTime) -> Clock {
        Clock::fixed_ms(epoch_ms(time))
    }

    /// The time, to the millisecond.
    pub fn now(&self) -> SystemTime {
        wall_time(self.now_ms())
    }

    /// As [`fixed`](Self::fixed), in milliseconds since the epoch.
    pub(crate) fn fixed_ms(ms: i64) -> Clock {
        Clock {
            fixed: Some(ms),
            ..Clock::default()
        }
    }

    /// The time in milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        let base = self
            .fixed
            .unwrap_or_else(|| Steady::of_process().at(Instant::now()));
        base + self.offset.load(Ordering::Relaxed)
    }

    /// Whether this is the system's clock and was never advanced.
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
    fn wall_times_are_milliseconds_since_the_epoch_and_back() {
        for ms in [0, 1, -1, 1_700_000_000_123, -5_000] {
            assert_eq!(epoch_ms(wall_time(ms)), ms);
        }
        assert_eq!(wall_time(1_500), UNIX_EPOCH + Duration::from_millis(1_500));
        let _ = (wall_time(i64::MAX), wall_time(i64::MIN));
    }

    #[test]
    fn the_system_s_clock_is_one_and_starts_with_the_wall() {
        let (a, b) = (Clock::system(), Clock::system());
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall = ms(wall.expect("it is later"));
        let (first, second) = (a.now_ms(), b.now_ms());
        assert!(first <= second && second - first < 1_000);
        assert!((first - wall).abs() < 60_000, "{first} is not about {wall}");
    }
}
