//! How a service is retried, and what the client receives when that is given up.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::logging;
use crate::wire::Payload;

/// How failed attempts of a service are retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// Attempts in all.
    pub(crate) attempts: u32,
    /// The wait before the second attempt; it doubles before each further one.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) longest: Duration,
    /// No attempt begins later than this after the first one failed.
    pub(crate) within: Duration,
}

impl Retry {
    /// How long to wait for the next attempt after this many have failed; `None`: it is given up. `failing` is the time
    /// since the first failure, `left` how long the client still waits for its reply: a later attempt would be useless.
    /// `jitter` shortens a wait, so that what failed together is not tried again together.
    pub(crate) fn next(
        &self,
        failed: u32,
        failing: Duration,
        left: Option<Duration>,
        jitter: impl FnOnce(Duration) -> Duration,
    ) -> Option<Duration> {
        if failed >= self.attempts {
            return None;
        }
        let doubled = 1 << failed.saturating_sub(1).min(30);
        let wait = jitter(self.first.saturating_mul(doubled).min(self.longest));
        let in_time = failing.saturating_add(wait) <= self.within;
        (in_time && left.is_none_or(|left| wait < left)).then_some(wait)
    }
}

/// A REQUEST that is given up because a service could not answer it. For
/// [`ServiceOptions::on_failure`](crate::ServiceOptions::on_failure), which makes the client's REJECT.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceFailure {
    /// The service.
    pub service: String,
    /// The endpoint that the client called.
    pub endpoint: String,
    /// The client's session.
    pub session_id: String,
    /// Its user.
    pub user_id: String,
    /// The trace id.
    pub trace_id: String,
    /// How many attempts have failed.
    pub attempts: u32,
    /// The error of the last one, escaped and shortened as in a log line. It may contain information that the client
    /// should not see.
    pub reason: String,
}

/// Makes the payload of a REJECT.
pub(crate) type OnFailure =
    Arc<dyn Fn(&ServiceFailure) -> serde_json::Result<Payload> + Send + Sync>;

/// Erases the result type of an application's function.
pub(crate) fn on_failure<R: Serialize>(
    reject: impl Fn(&ServiceFailure) -> R + Send + Sync + 'static,
) -> OnFailure {
    Arc::new(move |failure| to_raw_value(&reject(failure)))
}

/// The payload of the REJECT for a client: the application's, or a text with only the service and the number of
/// attempts, if the application does not provide one or fails to.
pub(crate) fn rejection(on_failure: Option<&OnFailure>, failure: &ServiceFailure) -> Payload {
    on_failure
        .and_then(|reject| made(reject, failure))
        .unwrap_or_else(|| plain_rejection(failure))
}

/// The text that a client receives unless the application provides another.
pub(crate) fn plain_rejection(failure: &ServiceFailure) -> Payload {
    let ServiceFailure {
        service, attempts, ..
    } = failure;
    let text = match attempts {
        1 => format!("the service {service:?} failed"),
        _ => format!("the service {service:?} failed {attempts} times"),
    };
    to_raw_value(&text).expect("a string is JSON")
}

fn made(reject: &OnFailure, failure: &ServiceFailure) -> Option<Payload> {
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| reject(failure)));
    let why = match made {
        Ok(Ok(payload)) => return Some(payload),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => super::panicked(panic).to_string(),
    };
    logging::error!(
        "the on_failure function of service {:?} failed: {}",
        failure.service,
        crate::wire::shown(&why)
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(retry: Retry, left: Option<Duration>) -> Vec<u64> {
        let (mut waits, mut failing) = (Vec::new(), Duration::ZERO);
        let left_after = |failing| left.map(|left| left.saturating_sub(failing));
        while let Some(wait) = retry.next(
            waits.len() as u32 + 1,
            failing,
            left_after(failing),
            |wait| wait,
        ) {
            waits.push(wait.as_secs());
            failing += wait;
        }
        waits
    }

    const RETRY: Retry = Retry {
        attempts: 9,
        first: SECOND,
        longest: Duration::from_secs(20),
        within: Duration::MAX,
    };

    #[test]
    fn waits_double_up_to_the_longest_until_the_attempts_are_used_up() {
        assert_eq!(waits(RETRY, None), [1, 2, 4, 8, 16, 20, 20, 20]);
        let once = Retry {
            attempts: 1,
            ..RETRY
        };
        assert_eq!(waits(once, None), [0; 0]);
    }

    #[test]
    fn no_attempt_begins_when_nobody_waits_any_more_or_beyond_the_time_in_all() {
        assert_eq!(waits(RETRY, Some(SECOND * 16)), [1, 2, 4, 8]);
        assert_eq!(waits(RETRY, Some(SECOND * 15)), [1, 2, 4]);
        assert_eq!(waits(RETRY, Some(Duration::ZERO)), [0; 0]);
        let within = SECOND * 15;
        assert_eq!(waits(Retry { within, ..RETRY }, None), [1, 2, 4, 8]);
    }

    #[test]
    fn many_attempts_overflow_nothing() {
        let retry = Retry {
            attempts: u32::MAX,
            longest: Duration::MAX,
            ..RETRY
        };
        let next = retry.next(u32::MAX - 1, Duration::MAX, None, |wait| wait);
        assert!(next.is_some_and(|wait| wait >= SECOND * (1 << 20)));
    }

    #[test]
    fn what_the_application_says_or_the_plain_text() {
        let failure = ServiceFailure {
            service: "bills".into(),
            endpoint: "pay".into(),
            session_id: "s".into(),
            user_id: "anna".into(),
            trace_id: "t".into(),
            attempts: 3,
            reason: "hunter2".into(),
        };
        let plain = r#""the service \"bills\" failed 3 times""#;
        assert_eq!(rejection(None, &failure).get(), plain);
        let own = on_failure(|failure| (failure.attempts, failure.trace_id.clone()));
        assert_eq!(rejection(Some(&own), &failure).get(), r#"[3,"t"]"#);
        let panics = on_failure(|_| -> u32 { panic!("no") });
        assert_eq!(rejection(Some(&panics), &failure).get(), plain);
        let odd = on_failure(|_| std::collections::HashMap::from([((1, 2), 3)]));
        assert_eq!(rejection(Some(&odd), &failure).get(), plain);
    }
}
