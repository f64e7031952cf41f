//! What a [`TestClient`](super::TestClient) receives.

use serde::de::DeserializeOwned;

use super::Error;
use crate::wire::{Envelope, MessageType, Payload};

/// How a request was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<T> {
    /// RESOLVE, with its payload.
    Resolved(T),
    /// REJECT, with its payload: `null` if it has none.
    Rejected(serde_json::Value),
}

impl<T> Reply<T> {
    /// The payload of a RESOLVE.
    ///
    /// # Errors
    /// [`Error::Rejected`].
    pub fn resolved(self) -> Result<T, Error> {
        match self {
            Reply::Resolved(payload) => Ok(payload),
            Reply::Rejected(payload) => Err(Error::Rejected(payload)),
        }
    }
}

/// A SEND or REQUEST from the server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Push {
    /// SEND or REQUEST.
    pub message_type: MessageType,
    /// The client's terminator or endpoint.
    pub endpoint: String,
    /// Trace id.
    pub trace_id: String,
    /// The server's id of this message.
    pub message_id: String,
    payload: Option<Payload>,
}

impl Push {
    /// Deserialises the payload as this type.
    ///
    /// # Errors
    /// [`Error::Payload`].
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Error> {
        parse(
            &format!("the payload for {:?}", self.endpoint),
            &self.payload,
        )
    }

    pub(super) fn new(envelope: Envelope) -> Push {
        Push {
            message_type: envelope.t,
            endpoint: envelope.eid.unwrap_or_default(),
            trace_id: envelope.tid.unwrap_or_default(),
            message_id: envelope.smid.unwrap_or_default(),
            payload: envelope.msg,
        }
    }
}

/// A message of a topic.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Publication {
    /// The topic.
    pub topic: String,
    /// Trace id.
    pub trace_id: String,
    /// The server's id of this message.
    pub message_id: String,
    payload: Option<Payload>,
}

impl Publication {
    /// Deserialises the payload as this type.
    ///
    /// # Errors
    /// [`Error::Payload`].
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Error> {
        parse(
            &format!("the payload of topic {:?}", self.topic),
            &self.payload,
        )
    }

    pub(super) fn new(envelope: Envelope) -> Publication {
        Publication {
            topic: envelope.eid.unwrap_or_default(),
            trace_id: envelope.tid.unwrap_or_default(),
            message_id: envelope.smid.unwrap_or_default(),
            payload: envelope.msg,
        }
    }
}

/// Deserialises a payload; an absent one reads as `null`.
pub(super) fn parse<T: DeserializeOwned>(
    what: &str,
    payload: &Option<Payload>,
) -> Result<T, Error> {
    let text = payload.as_ref().map_or("null", |payload| payload.get());
    serde_json::from_str(text).map_err(|error| {
        Error::Payload(format!(
            "{what} is not a {}: {error}: {text}",
            std::any::type_name::<T>()
        ))
    })
}
