//! Counters of a node's connection to the other nodes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Counters of a node's connection to the others.
#[derive(Debug, Default)]
pub(crate) struct ClusterCounters {
    pub(crate) sent: AtomicU64,
    pub(crate) statements: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    /// Since when the connection has been down, if it is.
    down_since: Mutex<Option<Instant>>,
}

impl ClusterCounters {
    /// The connection is down from now on, unless it already was.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))] // it never is within one process
    pub(crate) fn mark_down(&self) {
        self.down().get_or_insert_with(Instant::now);
    }

    /// The connection is up.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn mark_up(&self) {
        *self.down() = None;
    }

    /// For how long the connection has been down; zero if it is up.
    pub(crate) fn down_for(&self) -> Duration {
        self.down().map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn down(&self) -> MutexGuard<'_, Option<Instant>> {
        self.down_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> ClusterMetrics {
        ClusterMetrics {
            sent: self.sent.load(Relaxed),
            statements: self.statements.load(Relaxed),
            received: self.received.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
        }
    }
}

/// What the node's connection to the other nodes has done so far. All 0 for nodes in one process, which have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterMetrics {
    /// Notices sent, coalesced.
    pub sent: u64,
    /// NOTIFY statements that sent them.
    pub statements: u64,
    /// Notices received.
    pub received: u64,
    /// How often the connection was lost and re-established.
    pub reconnects: u64,
}
