//! Counters.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is distinguished from longer ones, in microseconds.
const LONGEST: u64 = 3_600_000_000;

/// What went wrong with a message, or a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not arrive.
    Lost,
    /// It arrived twice.
    Doubled,
    /// It arrived before one that was sent earlier.
    Reordered,
    /// NACK or REJECT.
    Refused,
    /// The connection broke, or something was not understood.
    Broken,
}

/// How often each fault occurred.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub refused: u64,
    pub broken: u64,
}

impl Faults {
    pub fn sum(&self) -> u64 {
        self.lost + self.doubled + self.reordered + self.refused + self.broken
    }

    fn of(&mut self, fault: Fault) -> &mut u64 {
        match fault {
            Fault::Lost => &mut self.lost,
            Fault::Doubled => &mut self.doubled,
            Fault::Reordered => &mut self.reordered,
            Fault::Refused => &mut self.refused,
            Fault::Broken => &mut self.broken,
        }
    }
}

/// The counters of one thread, or of all of them.
pub struct Tally {
    pub done: u64,
    /// RETRYs: the message was sent again.
    pub retried: u64,
    pub faults: Faults,
    /// The first of the faults.
    pub example: Option<String>,
    /// When the last was done.
    pub last: Option<Instant>,
    times: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            done: 0,
            retried: 0,
            faults: Faults::default(),
            example: None,
            last: None,
            times: Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are right"),
        }
    }
}

impl Tally {
    pub fn done(&mut self, since: Instant, now: Instant) {
        self.done += 1;
        self.last = Some(now);
        let micros = now.saturating_duration_since(since).as_micros();
        self.times
            .saturating_record(u64::try_from(micros).unwrap_or(LONGEST));
    }

    pub fn fault(&mut self, fault: Fault, times: u64, what: impl FnOnce() -> String) {
        *self.faults.of(fault) += times;
        if times > 0 {
            self.example.get_or_insert_with(what);
        }
    }

    pub fn add(&mut self, other: &Tally) {
        self.done += other.done;
        self.retried += other.retried;
        for fault in [
            Fault::Lost,
            Fault::Doubled,
            Fault::Reordered,
            Fault::Refused,
            Fault::Broken,
        ] {
            let mut theirs = other.faults;
            *self.faults.of(fault) += *theirs.of(fault);
        }
        if self.example.is_none() {
            self.example.clone_from(&other.example);
        }
        self.last = self.last.max(other.last);
        self.times
            .add(&other.times)
            .expect("they have the same bounds");
    }

    /// The time within which this part (0 to 1) was done.
    pub fn percentile(&self, part: f64) -> Duration {
        Duration::from_micros(self.times.value_at_quantile(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_of_threads_add_up() {
        let begun = Instant::now();
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for millis in 1..=50 {
            one.done(begun, begun + Duration::from_millis(millis));
            other.done(begun, begun + Duration::from_millis(50 + millis));
        }
        other.fault(Fault::Lost, 2, || "two are lost".to_owned());
        one.add(&other);
        assert_eq!((one.done, one.faults.sum()), (100, 2));
        assert_eq!(one.example.as_deref(), Some("two are lost"));
        assert_eq!(one.last, Some(begun + Duration::from_millis(100)));
        let median = one.percentile(0.5).as_millis();
        assert!((49..=51).contains(&median), "median {median} ms");
    }
}
