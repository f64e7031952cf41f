//! Services as the server keeps them: their handlers, their bounds, and what they have done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

use super::retry::{OnFailure, Retry, ServiceFailure, on_failure};
use super::{Handler, Run};
use crate::config::Config;

/// How one service runs, where the [`Config`]'s values do not suit it.
///
/// ```
/// use std::time::Duration;
/// use matssocket::ServiceOptions;
///
/// let reports = ServiceOptions::default()
///     .max_running(4)
///     .time_limit(Duration::from_secs(3600))
///     .attempts(5)
///     .backoff(Duration::from_secs(10), Duration::from_secs(300))
///     .on_failure(|failure| format!("no report today ({})", failure.trace_id));
/// # drop(reports);
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
#[must_use]
pub struct ServiceOptions {
    max_running: Option<usize>,
    time_limit: Option<Duration>,
    attempts: Option<u32>,
    backoff: Option<(Duration, Duration)>,
    retry_for: Option<Duration>,
    on_failure: Option<OnFailure>,
}

impl ServiceOptions {
    /// Most messages in progress at a time, per node; at least 1. The default is [`Config::max_running_per_service`].
    pub fn max_running(mut self, many: usize) -> Self {
        self.max_running = Some(many);
        self
    }

    /// Time limit of an attempt: one that takes longer is dropped and counts as failed. It must not be zero;
    /// `Duration::MAX` means no limit. The default is [`Config::service_time_limit`], and for a transactional service
    /// [`Config::transaction_limit`].
    ///
    /// The service's future is dropped at an `await`: one that never awaits cannot be stopped. Work that takes hours is
    /// better handed to an external queue, see [`Outcome::later`](crate::Outcome::later).
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// Attempts after which a message is given up: a REQUEST is rejected, anything else becomes a dead letter. At least 1,
    /// which means no retry. The default is [`Config::service_attempts`].
    ///
    /// A REQUEST is given up earlier if its next attempt would begin when its client no longer waits (the protocol's `to`).
    /// The first attempt is always made, however long the message had to wait for a node that has the service.
    pub fn attempts(mut self, many: u32) -> Self {
        self.attempts = Some(many);
        self
    }

    /// The wait before the second attempt, which doubles before each further one, and the longest wait. Each wait is
    /// shortened by up to half at random. The defaults are [`Config::service_backoff`] and
    /// [`Config::service_longest_backoff`].
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.backoff = Some((first, longest));
        self
    }

    /// Time after the first failure beyond which no attempt begins: the message is then given up. The default is no such
    /// limit.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = Some(time);
        self
    }

    /// Makes the payload of the REJECT that a client gets when its REQUEST is given up. It passes through the endpoint's
    /// reply adapter, if there is one. The default is a text that names the service and the number of attempts; the client
    /// also gets that if the function panics or its result cannot be written as JSON.
    ///
    /// It must not block. It is not called for a message that becomes a dead letter.
    pub fn on_failure<R: Serialize>(
        mut self,
        reject: impl Fn(&ServiceFailure) -> R + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Some(on_failure(reject));
        self
    }

    /// Why these options make no sense, if they do not.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        if self.attempts == Some(0) {
            return Some("attempts is 0, so that it would never run: give at least 1");
        }
        if let Some((first, longest)) = self.backoff {
            if first.is_zero() {
                return Some(
                    "its first back-off is zero, so that all attempts would fail at once: give a longer one, or attempts(1) \
                    for no retry",
                );
            }
            if first > longest {
                return Some("its first back-off is longer than its longest: exchange them");
            }
        }
        if self.retry_for == Some(Duration::ZERO) {
            return Some(
                "retry_for is zero, so that it would never be retried: say so by attempts(1), or give a longer time",
            );
        }
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

    fn retry(&self, config: &Config) -> Retry {
        let of_config = (config.service_backoff, config.service_longest_backoff);
        let (first, longest) = self.backoff.unwrap_or(of_config);
        Retry {
            attempts: self.attempts.unwrap_or(config.service_attempts).max(1),
            first,
            longest,
            within: self.retry_for.unwrap_or(Duration::MAX),
        }
    }
}

impl std::fmt::Debug for ServiceOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceOptions")
            .field("max_running", &self.max_running)
            .field("time_limit", &self.time_limit)
            .field("attempts", &self.attempts)
            .field("backoff", &self.backoff)
            .field("retry_for", &self.retry_for)
            .field("on_failure", &self.on_failure.is_some())
            .finish()
    }
}

/// A service of this node.
pub(crate) struct Service {
    pub(crate) run: Run,
    /// Most of its rows in progress at a time; `None`: no bound.
    pub(crate) max_running: Option<usize>,
    pub(crate) time_limit: Duration,
    pub(crate) retry: Retry,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) counters: Arc<ServiceCounters>,
}

impl Service {
    /// One of the application's services.
    pub(crate) fn new(run: Run, options: &ServiceOptions, config: &Config) -> Service {
        let time_limit = match run {
            Run::Async(_) => config.service_time_limit,
            Run::Transactional(_) => config.transaction_limit,
        };
        let max_running = options
            .max_running
            .unwrap_or(config.max_running_per_service);
        Service {
            run,
            max_running: Some(max_running.max(1)),
            time_limit: options.time_limit.unwrap_or(time_limit),
            retry: options.retry(config),
            on_failure: options.on_failure.clone(),
            counters: Arc::default(),
        }
    }

    /// A built-in service, which is quick.
    pub(crate) fn built_in(handler: Handler, config: &Config) -> Service {
        Service {
            run: Run::Async(handler),
            max_running: None,
            time_limit: Duration::MAX,
            retry: ServiceOptions::default().retry(config),
            on_failure: None,
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

/// Counters of one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounters {
    pub(crate) running: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) given_back: AtomicU64,
    /// The store has older messages for it than those arriving now.
    pub(crate) has_backlog: AtomicBool,
}

/// What one service does on this node, and has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServiceMetrics {
    /// Most messages in progress at a time; `None` (JSON null): no bound.
    pub max_running: Option<u64>,
    /// Messages in progress now.
    pub running: u64,
    /// Messages waiting in this node's memory now. More may wait in the store, for any node.
    pub waiting: u64,
    /// Attempts that have ended.
    pub attempts: u64,
    /// Attempts that failed, those over their time limit included.
    pub failed: u64,
    /// Attempts that took longer than the time limit.
    pub timed_out: u64,
    /// Messages given back to the store for lack of places here.
    pub given_back: u64,
}
