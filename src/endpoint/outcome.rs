//! Handlers' decisions.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::is_stand_in;
use crate::error::HandlerError;
use crate::wire::{Payload, check_id, quoted};

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

/// Work for a service, with its payload. For [`Outcome::forward`].
#[derive(Debug)]
#[must_use = "work goes nowhere until the handler returns `Outcome::forward`"]
pub struct Forward {
    pub(crate) service: String,
    pub(crate) payload: Result<Payload, serde_json::Error>,
    pub(crate) correlation: Option<Result<Payload, serde_json::Error>>,
}

impl Forward {
    /// Work for this service, with this payload. If the payload cannot be written as JSON, the handler fails.
    pub fn to(service: impl Into<String>, payload: &impl Serialize) -> Forward {
        Forward {
            service: service.into(),
            payload: to_raw_value(payload),
            correlation: None,
        }
    }

    /// # Errors
    /// There can be no service of this name.
    pub(crate) fn checked(self) -> Result<Forward, HandlerError> {
        check_id("service", &self.service).map_err(|wrong| {
            HandlerError::internal(format!(
                "work was forwarded to no possible service: {wrong}"
            ))
        })?;
        if is_stand_in(&self.service) {
            let name = quoted(&self.service);
            let why = format!("work was forwarded to {name}, which is not for applications");
            return Err(HandlerError::internal(why));
        }
        Ok(self)
    }

    /// Data that travels with the payload, to the service and to the endpoint's reply adapter, where
    /// [`Context::correlation`](super::Context::correlation) reads it.
    pub fn correlation(mut self, correlation: &impl Serialize) -> Forward {
        self.correlation = Some(to_raw_value(correlation));
        self
    }
}
