//! What a handler has decided, for tests that call it as a function.

use std::time::Duration;

use serde_json::Value;

use super::{Error, WorkBegins};
use crate::endpoint::{Outcome, RawOutcome};
use crate::wire::Payload;

/// What an [`Outcome`] says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// [`Outcome::done`].
    Done,
    /// [`Outcome::deny`], with its description.
    Denied(Option<String>),
    /// [`Outcome::resolve`], with the reply.
    Resolved(Value),
    /// [`Outcome::reject`], with the reply.
    Rejected(Value),
    /// [`Outcome::forward`].
    Forwarded {
        /// The service.
        service: String,
        /// Its payload.
        payload: Value,
        /// The correlation, if there is one.
        correlation: Option<Value>,
        /// When the work begins.
        begins: WorkBegins,
    },
    /// [`Outcome::retry`], with its description.
    Retry(Option<String>),
    /// [`Outcome::later`], with the timeout.
    Later(Duration),
}

impl Decision {
    /// What an outcome says.
    ///
    /// # Errors
    /// [`Error::Payload`]: a payload cannot be written as JSON.
    pub fn of<R>(outcome: Outcome<R>) -> Result<Decision, Error> {
        Ok(match outcome.into_raw().map_err(unwritten)? {
            RawOutcome::Done => Decision::Done,
            RawOutcome::Deny(why) => Decision::Denied(why),
            RawOutcome::Resolve(reply) => Decision::Resolved(value(&reply)?),
            RawOutcome::Reject(reply) => Decision::Rejected(value(&reply)?),
            RawOutcome::Retry(why) => Decision::Retry(why),
            RawOutcome::Later(timeout) => Decision::Later(timeout),
            RawOutcome::Forward(forward) => Decision::Forwarded {
                payload: value(&forward.payload.map_err(unwritten)?)?,
                correlation: match forward.correlation {
                    Some(correlation) => Some(value(&correlation.map_err(unwritten)?)?),
                    None => None,
                },
                service: forward.service,
                begins: WorkBegins::from(forward.begins),
            },
        })
    }
}

fn unwritten(error: serde_json::Error) -> Error {
    Error::Payload(format!("a payload cannot be written as JSON: {error}"))
}

pub(super) fn value(payload: &Payload) -> Result<Value, Error> {
    serde_json::from_str(payload.get()).map_err(|error| Error::Payload(error.to_string()))
}
