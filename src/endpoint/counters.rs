//! What the handlers of one endpoint have done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use serde::Serialize;

use super::{Handled, RawOutcome};
use crate::latency::{Latency, LatencyMetrics};

/// Counters of one endpoint or terminator.
#[derive(Debug, Default)]
pub(crate) struct EndpointCounters {
    done: AtomicU64,
    resolved: AtomicU64,
    rejected: AtomicU64,
    denied: AtomicU64,
    forwarded: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    handling: Latency,
}

impl EndpointCounters {
    /// A handler that was called at this time has ended.
    pub(crate) fn ended(&self, begun: Instant, handled: &Handled) {
        let outcome = match handled {
            Ok(RawOutcome::Done | RawOutcome::Later(_)) => &self.done,
            Ok(RawOutcome::Resolve(_)) => &self.resolved,
            Ok(RawOutcome::Reject(_)) => &self.rejected,
            Ok(RawOutcome::Deny(_)) => &self.denied,
            Ok(RawOutcome::Forward(_)) => &self.forwarded,
            Ok(RawOutcome::Retry(_)) => &self.retried,
            Err(_) => &self.failed,
        };
        outcome.fetch_add(1, Relaxed);
        self.handling.record(begun.elapsed());
    }

    /// A handler inside a transaction has panicked. How long it ran is not known.
    pub(crate) fn panicked(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn snapshot(&self) -> EndpointMetrics {
        EndpointMetrics {
            done: self.done.load(Relaxed),
            resolved: self.resolved.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            denied: self.denied.load(Relaxed),
            forwarded: self.forwarded.load(Relaxed),
            retried: self.retried.load(Relaxed),
            failed: self.failed.load(Relaxed),
            handling: self.handling.snapshot(),
        }
    }
}

/// What the handler of one endpoint or terminator has decided so far on this node. A message that is handled again, for
/// example after a RETRY, counts again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EndpointMetrics {
    /// Calls that ended [done](crate::Outcome::done).
    pub done: u64,
    /// Calls that [resolved](crate::Outcome::resolve).
    pub resolved: u64,
    /// Calls that [rejected](crate::Outcome::reject).
    pub rejected: u64,
    /// Calls that [denied](crate::Outcome::deny).
    pub denied: u64,
    /// Calls that [forwarded](crate::Outcome::forward) to a service.
    pub forwarded: u64,
    /// Calls that asked to [retry](crate::Outcome::retry).
    pub retried: u64,
    /// Calls that returned an error or panicked.
    pub failed: u64,
    /// How long they took; those that panicked inside a transaction are not included.
    pub handling: LatencyMetrics,
}

impl EndpointMetrics {
    /// Each outcome with its number of calls.
    pub(crate) fn outcomes(&self) -> [(&'static str, u64); 7] {
        [
            ("done", self.done),
            ("resolved", self.resolved),
            ("rejected", self.rejected),
            ("denied", self.denied),
            ("forwarded", self.forwarded),
            ("retried", self.retried),
            ("failed", self.failed),
        ]
    }
}
