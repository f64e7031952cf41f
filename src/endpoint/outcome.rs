//! Handlers' decisions.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::Forward;
use crate::wire::Payload;

/// What a handler decides about its message. `R` is the type of the reply.
///
/// The outcome is stored in one transaction with whatever the handler sent through its [context](crate::Context), and
/// is used again if the client repeats the message.
#[must_use = "an outcome decides nothing until the handler returns it"]
pub struct Outcome<R> {
    raw: Result<RawOutcome, serde_json::Error>,
    reply: PhantomData<fn() -> R>,
}

/// An outcome with its payloads serialised.
#[derive(Debug)]
pub(crate) enum RawOutcome {
    Done,
    Deny(Option<String>),
    Resolve(Payload),
    Reject(Payload),
    Forward(Forward),
    Retry(Option<String>),
    Later(Duration),
}

impl<R> Outcome<R> {
    /// The message is handled and there is nothing to reply. A REQUEST must be replied to or forwarded: for one, this is a
    /// failure, and the client gets a NACK.
    pub fn done() -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Done)
    }

    /// The message is refused: the client gets a NACK.
    pub fn deny() -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Deny(None))
    }

    /// The message is refused: the client gets a NACK with this description.
    pub fn deny_with(description: impl Into<String>) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Deny(Some(description.into())))
    }

    /// A REQUEST is resolved with this reply.
    pub fn resolve(reply: R) -> Outcome<R>
    where
        R: Serialize,
    {
        Outcome {
            raw: to_raw_value(&reply).map(RawOutcome::Resolve),
            reply: PhantomData,
        }
    }

    /// A REQUEST is rejected with this reply, which may be of another type than a resolve's.
    pub fn reject(reply: impl Serialize) -> Outcome<R> {
        Outcome {
            raw: to_raw_value(&reply).map(RawOutcome::Reject),
            reply: PhantomData,
        }
    }

    /// The work goes to a service. It is stored durably, so it survives this node.
    ///
    /// ```
    /// use matssocket::{Forward, HandlerError, Incoming, Outcome};
    ///
    /// async fn place(order: Incoming<u32>) -> Result<Outcome<String>, HandlerError> {
    ///     Ok(Outcome::forward(Forward::to("Billing", &order.payload).correlation(&"retail")))
    /// }
    /// # drop(place);
    /// ```
    pub fn forward(forward: Forward) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Forward(forward))
    }

    /// Not now: nothing is kept, and the client (for a service, the server) tries again later.
    pub fn retry() -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Retry(None))
    }

    /// As [`Outcome::retry`], with a description.
    pub fn retry_with(description: impl Into<String>) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Retry(Some(description.into())))
    }

    /// In a service: the work was handed to an external queue, and its reply will come through the
    /// [reply token](super::Context::reply_token). If there is none after `timeout`, the service is called again.
    pub fn later(timeout: Duration) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Later(timeout))
    }

    fn from_raw(raw: RawOutcome) -> Outcome<R> {
        Outcome {
            raw: Ok(raw),
            reply: PhantomData,
        }
    }

    pub(crate) fn into_raw(self) -> Result<RawOutcome, serde_json::Error> {
        self.raw
    }
}

impl<R> std::fmt::Debug for Outcome<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.raw.fmt(f)
    }
}
