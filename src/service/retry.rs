//! Retries a store operation until it succeeds or the node stops; an operation that the store refuses is given up.

use std::time::Duration;

use crate::clock::jittered;
use crate::node::Node;
use crate::seldom::log_seldom;
use crate::store::StoreError;
use crate::wire::shown;

/// How often an operation may fail for an unknown reason while the store is available for renewing the node's lease:
/// beyond that, the operation itself is taken to be the cause.
const MOST_FAILURES: u32 = 12;

/// Why the operation did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// The store or the node has stopped: other nodes take over what this one had.
    Stopped,
    /// The store refuses it, now and always, for this reason. Nothing was changed.
    Refused(String),
}

/// What a node knows about itself when an operation has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It holds its lease: the store is available.
    Ready,
    /// The store is unavailable.
    Away,
    Stopped,
}

/// Retries an operation until it succeeds, the store refuses it, or the node stops. Without the retries, a row that
/// this node has claimed would stay claimed for as long as the node lives.
///
/// # Errors
/// See [`Unsettled`].
pub(super) async fn retry_until_stopped<T, F>(
    node: &Node,
    operation: impl Fn() -> F,
) -> Result<T, Unsettled>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let state = || match node.lets_in() {
        _ if node.stopped() => State::Stopped,
        Ok(()) => State::Ready,
        Err(_) => State::Away,
    };
    repeat(operation, state, |delay| {
        tokio::time::sleep(jittered(delay))
    })
    .await
}

async fn repeat<T, F, S>(
    operation: impl Fn() -> F,
    state: impl Fn() -> State,
    sleep: impl Fn(Duration) -> S,
) -> Result<T, Unsettled>
where
    F: Future<Output = Result<T, StoreError>>,
    S: Future<Output = ()>,
{
    let (mut delay, mut failures) = (Duration::from_millis(100), 0);
    loop {
        let error = match operation().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let state = state();
        failures += match &error {
            StoreError::Stopped => return Err(Unsettled::Stopped),
            StoreError::Refused(why) => return Err(Unsettled::Refused(why.clone())),
            StoreError::Failed(_) if state == State::Ready => 1,
            // The error is not about this operation; or its result is unknown, and repeating it finds out.
            StoreError::Failed(_)
            | StoreError::Unable(_)
            | StoreError::Busy(_)
            | StoreError::Unknown
            | StoreError::Open(_)
            | StoreError::ReadOnly => 0,
        };
        if state == State::Stopped {
            return Err(Unsettled::Stopped);
        }
        if failures >= MOST_FAILURES {
            return Err(Unsettled::Refused(error.to_string()));
        }
        log_seldom!(
            warn,
            "a forwarded message could not be settled, trying again in {delay:?}: {}",
            shown(&error.to_string())
        );
        sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// The result of an operation that meets these errors before it succeeds, and how often it was tried.
    async fn told(errors: Vec<StoreError>, state: State) -> (Result<(), Unsettled>, u32) {
        let (errors, tries) = (RefCell::new(errors.into_iter()), Cell::new(0));
        let operation = || {
            tries.set(tries.get() + 1);
            std::future::ready(errors.borrow_mut().next().map_or(Ok(()), Err))
        };
        let told = repeat(operation, || state, |_| std::future::ready(())).await;
        (told, tries.get())
    }

    fn failed() -> StoreError {
        StoreError::Failed("why".into())
    }

    fn refused() -> Result<(), Unsettled> {
        Err(Unsettled::Refused("why".into()))
    }

    /// A value that the database refuses once made a row hold its place for as long as the node lived.
    #[actix::test]
    async fn what_is_refused_is_not_said_again() {
        let errors = vec![failed(), StoreError::Refused("why".into())];
        assert_eq!(told(errors, State::Ready).await, (refused(), 2));
    }

    #[actix::test]
    async fn what_fails_while_the_store_is_there_is_given_up() {
        let errors = vec![failed(); 100];
        let (told, tries) = told(errors, State::Ready).await;
        assert!(matches!(told, Err(Unsettled::Refused(_))), "{told:?}");
        assert_eq!(tries, MOST_FAILURES);
    }

    #[actix::test]
    async fn a_store_that_is_away_or_full_is_waited_for() {
        assert_eq!(told(vec![failed(); 100], State::Away).await, (Ok(()), 101));
        for error in [
            StoreError::Unable("full".into()),
            StoreError::Busy(Duration::ZERO),
            StoreError::Unknown,
        ] {
            let errors = vec![error; 100];
            assert_eq!(told(errors, State::Ready).await, (Ok(()), 101));
        }
    }

    #[actix::test]
    async fn it_ends_with_the_store_or_the_node() {
        let stopped = || Err(Unsettled::Stopped);
        let errors = vec![failed(), StoreError::Stopped];
        assert_eq!(told(errors, State::Ready).await, (stopped(), 2));
        assert_eq!(told(vec![failed()], State::Stopped).await, (stopped(), 1));
    }
}
