//! Where in a client a message goes.

use std::time::Duration;

use crate::error::SendError;
use crate::wire::check_id;

/// Where in a client a message goes: a terminator or an endpoint, and for how long it is worth delivering. A plain id is
/// one, too: `server.send(session_id, trace_id, "Orders.shipped", &17)`.
///
/// ```no_run
/// # async fn example(server: matssocket::MatsSocketServer, session_id: &str) -> Result<(), matssocket::SendError> {
/// use std::time::Duration;
/// use matssocket::Destination;
///
/// // Of no use to anybody who comes back later than that.
/// let driver = Destination::new("Taxi.position").time_to_live(Duration::from_secs(10));
/// server.send(session_id, "taxi 17", driver, &(59.91, 10.75)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Destination {
    pub(super) id: String,
    pub(super) time_to_live: Option<Duration>,
}

impl Destination {
    /// The client terminator or endpoint with this id.
    pub fn new(id: impl Into<String>) -> Destination {
        Destination {
            id: id.into(),
            time_to_live: None,
        }
    }

    /// The message is not delivered later than this after it was stored; it must not be zero. The default is for as long as
    /// the session lives. A message that was sent before may still be acknowledged, and is not sent again.
    ///
    /// If a request expires, its reply terminator gets a REJECT with an [`end_reason`](crate::Context::end_reason): the client
    /// has not handled it, or its acknowledgement was lost. Expired messages are counted
    /// ([`Metrics::messages_expired`](crate::Metrics::messages_expired)).
    pub fn time_to_live(mut self, time: Duration) -> Destination {
        self.time_to_live = Some(time);
        self
    }

    pub(super) fn check(&self) -> Result<(), SendError> {
        check_id("client endpoint", &self.id)?;
        match self.time_to_live {
            Some(Duration::ZERO) => Err(SendError::NoTimeToLive(self.id.clone())),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<&str> for Destination {
    fn from(id: &str) -> Destination {
        Destination::new(id)
    }
}

impl From<&String> for Destination {
    fn from(id: &String) -> Destination {
        Destination::new(id)
    }
}

impl From<String> for Destination {
    fn from(id: String) -> Destination {
        Destination::new(id)
    }
}
