//! Work for services, as the application describes it.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::is_stand_in;
use crate::clock::{Clock, epoch_ms};
use crate::error::{HandlerError, SendError};
use crate::store::operation::{Begins, Effect, NewForward};
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
    pub(crate) begins: Begins,
    key: Option<String>,
}

impl Forward {
    /// Work for this service, with this payload. If the payload cannot be written as JSON, the handler fails.
    pub fn to(service: impl Into<String>, payload: &impl Serialize) -> Forward {
        Forward {
            service: service.into(),
            payload: to_raw_value(payload),
            correlation: None,
            begins: Begins::AT_ONCE,
            key: None,
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
    /// If the node that stored it has the service and a free place, it begins at that time. If that node is gone by then, or
    /// more than a thousand works are due earlier, it begins on any node within
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

    /// Delays the work until this time. As [`after`](Self::after); a time in the past means at once.
    pub fn at(mut self, time: SystemTime) -> Forward {
        self.begins = Begins::At(epoch_ms(time));
        self
    }

    /// Names the work, for [`Context::start`](super::Context::start) and
    /// [`MatsSocketServer::start`](crate::MatsSocketServer::start): while the service has outstanding work with this key, on
    /// whatever node, no other with the same key is started; and it can be
    /// [cancelled](crate::MatsSocketServer::cancel) as long as it waits. Work is outstanding from the moment it is stored
    /// until it is done or given up, so the key is free again when the service's outcome is stored: in that very transaction,
    /// the service may start the next work of this name.
    ///
    /// A key has 1 to 255 bytes, without control characters.
    ///
    /// ```
    /// use std::time::Duration;
    /// use matssocket::{Forward, HandlerError, Incoming, Outcome};
    ///
    /// /// Cleans up a room, and again every hour, once however many nodes and callers start it.
    /// async fn clean_up(room: Incoming<u32>) -> Result<Outcome<()>, HandlerError> {
    ///     let next = Forward::to("Rooms.cleanUp", &room.payload)
    ///         .key(room.payload.to_string())
    ///         .after(Duration::from_secs(3600));
    ///     room.context.start(next)?;
    ///     Ok(Outcome::done())
    /// }
    /// # drop(clean_up);
    /// ```
    pub fn key(mut self, key: impl Into<String>) -> Forward {
        self.key = Some(key.into());
        self
    }

    /// # Errors
    /// There can be no service of this name; or the work has a key: if it were not stored, the client would wait for a reply
    /// that never comes.
    pub(crate) fn checked(self) -> Result<Forward, HandlerError> {
        if let Err(wrong) = check_service(&self.service) {
            return Err(HandlerError::internal(format!(
                "work was forwarded to no possible service: {wrong}"
            )));
        }
        if let Some(key) = &self.key {
            return Err(HandlerError::internal(format!(
                "work with a key ({}) was forwarded: only work that is started may have one",
                quoted(key)
            )));
        }
        Ok(self)
    }

    /// The same as work that was started: nobody waits for its reply.
    pub(crate) fn started(self, starter: Starter<'_>) -> Result<NewForward, SendError> {
        check_service(&self.service)?;
        if let Some(key) = &self.key {
            check_id("key", key)?;
        }
        let (clock, debug) = (starter.clock, starter.debug);
        Ok(NewForward {
            begins: self.begins,
            key: self.key,
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

/// # Errors
/// There can be no service of this name.
pub(crate) fn check_service(name: &str) -> Result<(), InvalidId> {
    check_id("service", name)?;
    match is_stand_in(name) {
        false => Ok(()),
        true => Err(InvalidId::new(format!(
            "{} is not for applications",
            quoted(name)
        ))),
    }
}

/// Cancels what has this key.
///
/// # Errors
/// There can be no service of this name, or no such key.
pub(crate) fn cancel(service: &str, key: &str) -> Result<Effect, InvalidId> {
    check_service(service)?;
    check_id("key", key)?;
    let (service, key) = (service.to_owned(), key.to_owned());
    Ok(Effect::Cancel { service, key })
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
