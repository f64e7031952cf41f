//! Work for services, as the application describes it.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::is_stand_in;
use crate::clock::{Clock, epoch_ms};
use crate::error::{HandlerError, SendError};
use crate::store::operation::NewForward;
use crate::wire::{Debug, DebugOptions, InvalidId, MessageType, Payload, check_id, quoted};

/// Work for a service, with its payload. For [`Outcome::forward`](super::Outcome::forward), where the service replies to
/// the client; and for [`Context::start`](super::Context::start) and
/// [`MatsSocketServer::start`](crate::MatsSocketServer::start), where nobody waits for a reply.
#[derive(Debug)]
#[must_use = "work goes nowhere until it is forwarded or started"]
pub struct Forward {
    pub(crate) service: String,
    pub(crate) payload: Result<Payload, serde_json::Error>,
    pub(crate) correlation: Option<Result<Payload, serde_json::Error>>,
    begins: Begins,
}

/// When work may begin.
#[derive(Debug)]
enum Begins {
    After(Duration),
    At(SystemTime),
}

impl Forward {
    /// Work for this service, with this payload. If the payload cannot be written as JSON, the handler fails.
    pub fn to(service: impl Into<String>, payload: &impl Serialize) -> Forward {
        Forward {
            service: service.into(),
            payload: to_raw_value(payload),
            correlation: None,
            begins: Begins::After(Duration::ZERO),
        }
    }

    /// Data that travels with the payload, to the service and to the endpoint's reply adapter, where
    /// [`Context::correlation`](super::Context::correlation) reads it.
    pub fn correlation(mut self, correlation: &impl Serialize) -> Forward {
        self.correlation = Some(to_raw_value(correlation));
        self
    }

    /// Delays the work: it begins this long after it was stored. It waits in the store, so it survives any node, and
    /// counts towards the limits on forwarded messages until it is done.
    ///
    /// If a node with the service has a free place, it begins within
    /// [`Config::takeover_interval`](crate::Config::takeover_interval) of that time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use matssocket::{Forward, HandlerError, Incoming, Outcome};
    ///
    /// async fn reserve(seat: Incoming<u32>) -> Result<Outcome<u32>, HandlerError> {
    ///     let release = Forward::to("Seats.release", &seat.payload);
    ///     seat.context.start(release.after(Duration::from_secs(600)))?;
    ///     Ok(Outcome::resolve(seat.payload))
    /// }
    /// # drop(reserve);
    /// ```
    pub fn after(mut self, delay: Duration) -> Forward {
        self.begins = Begins::After(delay);
        self
    }

    /// Delays the work until this time, by this node's clock. As [`after`](Self::after); a time in the past means at once.
    pub fn at(mut self, time: SystemTime) -> Forward {
        self.begins = Begins::At(time);
        self
    }

    /// # Errors
    /// There can be no service of this name.
    pub(crate) fn checked(self) -> Result<Forward, HandlerError> {
        match self.check_service() {
            Ok(()) => Ok(self),
            Err(wrong) => Err(HandlerError::internal(format!(
                "work was forwarded to no possible service: {wrong}"
            ))),
        }
    }

    fn check_service(&self) -> Result<(), InvalidId> {
        check_id("service", &self.service)?;
        match is_stand_in(&self.service) {
            false => Ok(()),
            true => Err(InvalidId::new(format!(
                "{} is not for applications",
                quoted(&self.service)
            ))),
        }
    }

    /// How long it is delayed, if it is stored now.
    pub(crate) fn delay(&self, clock: &Clock) -> Duration {
        match self.begins {
            Begins::After(delay) => delay,
            Begins::At(time) => {
                let left = epoch_ms(time).saturating_sub(clock.now_ms());
                Duration::from_millis(u64::try_from(left).unwrap_or(0))
            }
        }
    }

    /// The same as work that was started: nobody waits for its reply.
    pub(crate) fn started(self, starter: Starter<'_>) -> Result<NewForward, SendError> {
        self.check_service()?;
        let (clock, debug) = (starter.clock, starter.debug);
        Ok(NewForward {
            delay: self.delay(clock),
            service: self.service,
            endpoint: starter.endpoint.to_owned(),
            sid: starter.session_id.to_owned(),
            user_id: starter.user_id.to_owned(),
            cmid: None,
            kind: MessageType::Send,
            tid: starter.trace_id.to_owned(),
            msg: self.payload?,
            correlation: self.correlation.transpose()?,
            debug: (!debug.is_empty()).then(|| Debug {
                resd: debug.bits(),
                mmsts: Some(clock.now_ms()),
                ..Debug::default()
            }),
            left: None,
            adapted: Some(false),
            here: false,
        })
    }
}

/// Who starts work.
pub(crate) struct Starter<'a> {
    pub(crate) clock: &'a Clock,
    /// The handler's session and user; empty outside handlers.
    pub(crate) session_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) trace_id: &'a str,
    /// The endpoint or service that starts it; empty outside handlers.
    pub(crate) endpoint: &'a str,
    pub(crate) debug: DebugOptions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_past_is_no_delay() {
        let clock = Clock::fixed_ms(10_000);
        let at = |ms| Forward::to("s", &1).at(crate::clock::wall_time(ms));
        let delays = [9_000, 10_000, 12_500].map(|ms| at(ms).delay(&clock).as_millis());
        assert_eq!(delays, [0, 0, 2_500]);
        let long = Forward::to("s", &1).after(Duration::MAX);
        assert_eq!(long.delay(&clock), Duration::MAX);
    }
}
