//! What a handler decides.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::wire::Payload;

/// What a handler decides about the message it was given. `R` is the type of the reply.
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
    /// Taken, with nothing to reply. A REQUEST must be replied to or forwarded: for it, this is a refusal.
    pub fn done() -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Done)
    }

    /// Refused: the client gets a NACK.
    pub fn deny() -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Deny(None))
    }

    /// Refused: the client gets a NACK with this description.
    pub fn deny_with(description: impl Into<String>) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Deny(Some(description.into())))
    }

    /// A REQUEST is resolved.
    pub fn resolve(reply: R) -> Outcome<R>
    where
        R: Serialize,
    {
        Outcome {
            raw: to_raw_value(&reply).map(RawOutcome::Resolve),
            reply: PhantomData,
        }
    }

    /// A REQUEST is rejected; the payload may be of another type than a resolve's.
    pub fn reject(reply: impl Serialize) -> Outcome<R> {
        Outcome {
            raw: to_raw_value(&reply).map(RawOutcome::Reject),
            reply: PhantomData,
        }
    }

    /// Goes to a service, stored first: it is worked on although this node may die.
    pub fn forward(forward: Forward) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Forward(forward))
    }

    /// Not now: nothing is kept, and the client (or, in a service, this server) tries again later.
    pub fn retry() -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Retry(None))
    }

    /// As [`Outcome::retry`], with a description.
    pub fn retry_with(description: impl Into<String>) -> Outcome<R> {
        Outcome::from_raw(RawOutcome::Retry(Some(description.into())))
    }

    /// In a service: the work was handed to an external queue, and its reply comes by
    /// [reply token](super::Context::reply_token). If none has come after `timeout`, the service is called again.
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

/// Work for a service: which one, and what it gets.
#[derive(Debug)]
#[must_use = "work goes nowhere until the handler returns `Outcome::forward`"]
pub struct Forward {
    pub(crate) service: String,
    pub(crate) payload: Result<Payload, serde_json::Error>,
    pub(crate) correlation: Option<Result<Payload, serde_json::Error>>,
}

impl Forward {
    /// This payload goes to this service.
    pub fn to(service: impl Into<String>, payload: &impl Serialize) -> Forward {
        Forward {
            service: service.into(),
            payload: to_raw_value(payload),
            correlation: None,
        }
    }

    /// What travels beside the payload, to the service and to the endpoint's reply adapter.
    pub fn correlation(mut self, correlation: &impl Serialize) -> Forward {
        self.correlation = Some(to_raw_value(correlation));
        self
    }
}
