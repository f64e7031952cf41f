//! Services as the server keeps them: their handlers, their bounds, and what they have done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

use super::Handler;
use crate::config::Config;

/// How one service runs, where the [`Config`]'s values do not fit it.
///
/// ```
/// use std::time::Duration;
/// use matssocket::ServiceOptions;
///
/// let reports = ServiceOptions::default()
///     .max_running(4)
///     .time_limit(Duration::from_secs(3600));
/// # drop(reports);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServiceOptions {
    max_running: Option<usize>,
    time_limit: Option<Duration>,
}

impl ServiceOptions {
    /// At most so many of its messages are in work at a time, per node; at least 1. The default is
    /// [`Config::max_running_per_service`].
    #[must_use]
    pub fn max_running(mut self, many: usize) -> Self {
        self.max_running = Some(many);
        self
    }

    /// An attempt that takes longer is dropped, and counts as failed; it must not be zero, and `Duration::MAX` is no
    /// limit. The default is [`Config::service_time_limit`].
    ///
    /// The service's future is dropped where it awaits something: one that never awaits cannot be stopped. Work that
    /// takes hours is better handed to a queue of its own, see [`Outcome::later`](crate::Outcome::later).
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// What cannot be meant.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        if self.max_running == Some(0) {
            return Some("max_running is 0, so that it would never run: give at least 1");
        }
        if self.time_limit == Some(Duration::ZERO) {
            return Some(
                "time_limit is zero, so that every attempt would fail: give a longer one, or Duration::MAX for none",
            );
        }
        None
    }
}

/// A service of this node.
pub(crate) struct Service {
    pub(crate) handler: Handler,
    /// Most of its rows in work at a time; `None`: it waits for nothing.
    pub(crate) max_running: Option<usize>,
    pub(crate) time_limit: Duration,
    pub(crate) counters: Arc<ServiceCounters>,
}

impl Service {
    /// One of the application's.
    pub(crate) fn new(handler: Handler, options: &ServiceOptions, config: &Config) -> Service {
        let max_running = options
            .max_running
            .unwrap_or(config.max_running_per_service);
        Service {
            handler,
            max_running: Some(max_running.max(1)),
            time_limit: options.time_limit.unwrap_or(config.service_time_limit),
            counters: Arc::default(),
        }
    }

    /// One of ours, which is quick.
    pub(crate) fn built_in(handler: Handler) -> Service {
        Service {
            handler,
            max_running: None,
            time_limit: Duration::MAX,
            counters: Arc::default(),
        }
    }

    pub(crate) fn metrics(&self) -> ServiceMetrics {
        let counters = &self.counters;
        ServiceMetrics {
            max_running: self.max_running.map(|most| most as u64),
            running: counters.running.load(Relaxed),
            waiting: counters.waiting.load(Relaxed),
            attempts: counters.attempts.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            timed_out: counters.timed_out.load(Relaxed),
            given_back: counters.given_back.load(Relaxed),
        }
    }
}

/// What is counted of one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounters {
    pub(crate) running: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) given_back: AtomicU64,
}

/// What one service does on this node, and has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceMetrics {
    /// Most messages in work at a time; `None` (JSON null): no bound.
    pub max_running: Option<u64>,
    /// Messages in work now.
    pub running: u64,
    /// Messages waiting in this node's memory now. More may wait in the store, for any node.
    pub waiting: u64,
    /// Attempts that have ended.
    pub attempts: u64,
    /// Attempts that failed, those over their time limit included.
    pub failed: u64,
    /// Attempts that took longer than the time limit.
    pub timed_out: u64,
    /// Messages given back to the store, for want of places here.
    pub given_back: u64,
}
