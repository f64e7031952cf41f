//! Metrics of the store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::latency::{Latency, LatencyMetrics, Tally};

/// Counters of one opened store, shared by everything in it.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    depth: AtomicU64,
    depth_max: AtomicU64,
    operations: AtomicU64,
    batches: AtomicU64,
    batched: AtomicU64,
    batch_last: AtomicU64,
    batch_max: AtomicU64,
    commit_us: AtomicU64,
    commit_us_max: AtomicU64,
    failures: AtomicU64,
    panics: AtomicU64,
    refused_busy: AtomicU64,
    lost_threads: AtomicU64,
    waited: Latency,
    commits: Latency,
}

impl StoreMetrics {
    pub(super) fn entered(&self) {
        let depth = self.depth.fetch_add(1, Relaxed) + 1;
        // The maximum seldom changes; reading first keeps the cache line shared between threads.
        if self.depth_max.load(Relaxed) < depth {
            self.depth_max.fetch_max(depth, Relaxed);
        }
    }

    pub(super) fn left(&self, operations: usize) {
        self.depth.fetch_sub(operations as u64, Relaxed);
    }

    pub(super) fn handled(&self, operations: usize) {
        self.operations.fetch_add(operations as u64, Relaxed);
    }

    /// How long operations have waited.
    pub(super) fn waited(&self, waits: Tally) {
        self.waited.add(waits);
    }

    pub(super) fn committed(&self, size: usize, took: Duration) {
        self.commits.record(took);
        let (size, us) = (size as u64, took.as_micros() as u64);
        self.batches.fetch_add(1, Relaxed);
        self.batched.fetch_add(size, Relaxed);
        self.batch_last.store(size, Relaxed);
        self.batch_max.fetch_max(size, Relaxed);
        self.commit_us.fetch_add(us, Relaxed);
        self.commit_us_max.fetch_max(us, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(super) fn busy(&self) {
        self.refused_busy.fetch_add(1, Relaxed);
    }

    pub(super) fn lost_threads(&self, lost: usize) {
        self.lost_threads.store(lost as u64, Relaxed);
    }

    /// The current values, together with the size of the log.
    pub fn snapshot(&self, log_bytes: u64) -> StoreMetricsSnapshot {
        let batches = self.batches.load(Relaxed);
        StoreMetricsSnapshot {
            depth: self.depth.load(Relaxed),
            depth_max: self.depth_max.load(Relaxed),
            operations: self.operations.load(Relaxed),
            batches,
            batch_last: self.batch_last.load(Relaxed),
            batch_mean: self.batched.load(Relaxed) as f64 / batches.max(1) as f64,
            batch_max: self.batch_max.load(Relaxed),
            commit_time: Duration::from_micros(self.commit_us.load(Relaxed)),
            commit_time_max: Duration::from_micros(self.commit_us_max.load(Relaxed)),
            failures: self.failures.load(Relaxed),
            panics: self.panics.load(Relaxed),
            refused_busy: self.refused_busy.load(Relaxed),
            lost_threads: self.lost_threads.load(Relaxed),
            log_bytes,
            connections: 0,
            waited: self.waited.snapshot(),
            commits: self.commits.snapshot(),
        }
    }
}

/// The store's metrics at one moment. All but the depths, sizes and maxima only grow.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct StoreMetricsSnapshot {
    /// Operations waiting or running.
    pub depth: u64,
    /// Maximum depth so far.
    pub depth_max: u64,
    /// Operations taken up by the store's threads.
    pub operations: u64,
    /// Write transactions committed.
    pub batches: u64,
    /// Operations in the last of them.
    pub batch_last: u64,
    /// Average number of operations in one.
    pub batch_mean: f64,
    /// Maximum number of operations in one.
    pub batch_max: u64,
    /// Time spent in write transactions, commits included. Serialised as `commit_us`, in microseconds.
    #[serde(rename = "commit_us", serialize_with = "crate::clock::as_micros")]
    pub commit_time: Duration,
    /// The longest of them. Serialised as `commit_us_max`, in microseconds.
    #[serde(rename = "commit_us_max", serialize_with = "crate::clock::as_micros")]
    pub commit_time_max: Duration,
    /// Operations that failed.
    pub failures: u64,
    /// Panics in the store's threads.
    pub panics: u64,
    /// Operations refused because the queue stayed full for too long.
    pub refused_busy: u64,
    /// Threads of transactional handlers that did not return.
    pub lost_threads: u64,
    /// Size in bytes of the write-ahead log beside the file of an SQLite database; otherwise zero. The log is emptied
    /// when it has grown large or the store is idle, unless a long-running reader still needs an old state of the
    /// database.
    pub log_bytes: u64,
    /// Connections to the database that are open.
    pub connections: u64,
    /// Shown as stages of [`Metrics`](crate::Metrics::stages).
    #[serde(skip)]
    pub(crate) waited: LatencyMetrics,
    #[serde(skip)]
    pub(crate) commits: LatencyMetrics,
}
