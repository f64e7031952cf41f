//! How long things take: counted in fixed buckets, without a lock, so that it costs a message next to nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::clock::nanos;

const fn us(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The upper bounds of the buckets, which include them. What took longer is in one more.
const BOUNDS: [Duration; 16] = [
    us(25),
    us(100),
    us(250),
    ms(1),
    us(2_500),
    ms(5),
    ms(10),
    ms(25),
    ms(50),
    ms(100),
    ms(250),
    ms(500),
    ms(1_000),
    ms(2_500),
    ms(5_000),
    ms(10_000),
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts durations.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

fn bucket(took: Duration) -> usize {
    BOUNDS.partition_point(|bound| *bound < took)
}

impl Latency {
    pub(crate) fn record(&self, took: Duration) {
        self.counts[bucket(took)].fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(nanos(took), Relaxed);
    }

    /// Records many at once.
    pub(crate) fn add(&self, tally: Tally) {
        for (count, more) in self.counts.iter().zip(tally.counts) {
            if more > 0 {
                count.fetch_add(more, Relaxed);
            }
        }
        self.sum_ns.fetch_add(tally.sum_ns, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> LatencyMetrics {
        LatencyMetrics {
            counts: std::array::from_fn(|index| self.counts[index].load(Relaxed)),
            sum: Duration::from_nanos(self.sum_ns.load(Relaxed)),
        }
    }
}

/// Durations of one thread, to be recorded together: other threads want the counters of a [`Latency`], too.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: [u64; BUCKETS],
    sum_ns: u64,
}

impl Tally {
    pub(crate) fn record(&mut self, took: Duration) {
        self.counts[bucket(took)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos(took));
    }
}

/// How long something has taken so far, each time: a histogram with fixed buckets, from 25 µs to 10 s.
///
/// Serialises to the number of times (`count`), their sum in microseconds (`sum_us`), and the
/// [buckets](Self::buckets) (`buckets_us`), a list of bounds in microseconds and counts; the last bound is `null`.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # fn example(server: &matssocket::MatsSocketServer) {
/// let commits = server.metrics().stages["commit"].clone();
/// let quick = commits.buckets().filter(|(bound, _)| bound.is_some_and(|bound| bound.as_millis() <= 10)).last();
/// if let Some((_, quick)) = quick {
///     println!("{quick} of {} commits took 10 ms or less", commits.count());
/// }
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencyMetrics {
    counts: [u64; BUCKETS],
    sum: Duration,
}

impl LatencyMetrics {
    /// How many times it was measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all times.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// For each bucket, its upper bound, and how many times it took that long or less: the counts grow from bucket to
    /// bucket. The last one has no bound, and counts all.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        let mut up_to = 0;
        bounds.zip(self.counts).map(move |(bound, count)| {
            up_to += count;
            (bound, up_to)
        })
    }

    /// Adds what others have measured.
    pub(crate) fn add(&mut self, other: &LatencyMetrics) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }
}

impl Serialize for LatencyMetrics {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let micros = |it: Duration| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
        let buckets = self.buckets();
        let buckets: Vec<_> = buckets
            .map(|(bound, count)| (bound.map(micros), count))
            .collect();
        let mut shown = to.serialize_struct("LatencyMetrics", 3)?;
        shown.serialize_field("count", &self.count())?;
        shown.serialize_field("sum_us", &micros(self.sum))?;
        shown.serialize_field("buckets_us", &buckets)?;
        shown.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_as_long_as_the_bound_is_in_the_bucket() {
        let latency = Latency::default();
        for took in [us(0), us(25), us(26), ms(10_000), ms(10_001), ms(3_600_000)] {
            latency.record(took);
        }
        let seen = latency.snapshot();
        let buckets: Vec<_> = seen.buckets().collect();
        assert_eq!(buckets[0], (Some(us(25)), 2));
        assert_eq!(buckets[1], (Some(us(100)), 3));
        assert_eq!(buckets[14], (Some(ms(5_000)), 3));
        assert_eq!(buckets[15], (Some(ms(10_000)), 4));
        assert_eq!(buckets[16], (None, 6));
        assert_eq!(buckets.len(), BUCKETS);
        assert_eq!(seen.count(), 6);
        assert_eq!(seen.sum(), us(51) + ms(3_620_001));
    }

    #[test]
    fn many_at_once_are_the_same_as_one_by_one() {
        let (single, together) = (Latency::default(), Latency::default());
        let all = [us(3), ms(3), ms(3), ms(30_000)];
        all.iter().for_each(|took| single.record(*took));
        let mut tally = Tally::default();
        all.into_iter().for_each(|took| tally.record(took));
        together.add(tally);
        assert_eq!(single.snapshot(), together.snapshot());
        let mut sum = single.snapshot();
        sum.add(&together.snapshot());
        assert_eq!(sum.count(), 8);
        assert_eq!(sum.buckets().nth(5), Some((Some(ms(5)), 6)));
    }

    #[test]
    fn json_has_the_count_the_sum_and_the_buckets() {
        let latency = Latency::default();
        latency.record(ms(2));
        let json = serde_json::to_value(latency.snapshot()).expect("JSON");
        assert_eq!((&json["count"], &json["sum_us"]), (&1.into(), &2000.into()));
        assert_eq!(json["buckets_us"][3], serde_json::json!([1000, 0]));
        assert_eq!(json["buckets_us"][4], serde_json::json!([2500, 1]));
        assert_eq!(json["buckets_us"][16], serde_json::json!([null, 1]));
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.is_sorted());
    }
}
