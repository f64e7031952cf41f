//! Work that the application starts, or cancels, outside handlers.

use super::MatsSocketServer;
use crate::endpoint::{self, Forward, Starter};
use crate::error::SendError;
use crate::message::IdempotencyKey;
use crate::store::operation::{Effect, EffectOutcome};
use crate::wire::{DebugOptions, check_id};

/// What became of work that was to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Started {
    /// It is stored, and will be done.
    Stored,
    /// Nothing was stored: the service has outstanding work with this [key](Forward::key).
    Outstanding,
    /// Nothing was stored: a call with this idempotency key was made before.
    Repeated,
}

impl Started {
    fn from(outcome: Option<EffectOutcome>) -> Started {
        match outcome {
            None => Started::Repeated,
            Some(EffectOutcome::Outstanding) => Started::Outstanding,
            Some(_) => Started::Stored,
        }
    }
}

impl MatsSocketServer {
    /// Starts work in a service, on this node or another. When this returns `Ok`, the work is stored and will be done
    /// (unless it has a [key](Forward::key), see [`Started`]); nobody waits for it. In handlers, use [`Context::start`](crate::Context::start), which starts it together with the
    /// handler's outcome.
    ///
    /// No client is involved: [`session_id`](crate::Context::session_id) and [`user_id`](crate::Context::user_id) are
    /// empty in the service, and where users take turns, all such work is one user's. What is started like this is not
    /// limited in number; the limits on forwarded messages are for what clients cause.
    ///
    /// # Errors
    /// The service's name or the trace id is not a valid id, or the payload or the correlation cannot be written as JSON.
    /// Otherwise see [`SendError`]: nothing was stored, except perhaps after
    /// [`StoreError::Unknown`](crate::StoreError::Unknown).
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
    /// use matssocket::Forward;
    ///
    /// server.start("invoice of order 17", Forward::to("Billing", &17)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn start(&self, trace_id: &str, forward: Forward) -> Result<Started, SendError> {
        let work = self.work(trace_id, forward)?;
        Ok(Started::from(self.commit(work, None).await?))
    }

    /// Like [`start`](Self::start), but a repeat with the same key does nothing. For callers that may run twice, on several
    /// nodes too, and for repeating a call after [`StoreError::Unknown`](crate::StoreError::Unknown). Keys are shared with
    /// [`send_once`](Self::send_once).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
    /// use std::time::Duration;
    /// use matssocket::{Forward, IdempotencyKey};
    ///
    /// // Every node runs this each night; one of the calls starts the work.
    /// let key = IdempotencyKey::new("report of 2026-11-30");
    /// let report = Forward::to("Reports", &"2026-11-30").after(Duration::from_secs(3600));
    /// server.start_once(key, "nightly report", report).await?;
    /// # Ok(()) }
    /// ```
    pub async fn start_once(
        &self,
        key: IdempotencyKey,
        trace_id: &str,
        forward: Forward,
    ) -> Result<Started, SendError> {
        let key = key.checked()?;
        let work = self.work(trace_id, forward)?;
        Ok(Started::from(self.commit(work, Some(key)).await?))
    }

    /// Cancels a service's outstanding work with this [key](Forward::key), if it waits for its time, for a node, for its
    /// next attempt, or for [a reply](Self::reply). Returns whether there was any: it will not begin (again). Work that a
    /// node has taken goes on, and `false` is returned, as if there were none.
    ///
    /// # Errors
    /// The service's name or the key is not a valid id. Otherwise see [`SendError`].
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
    /// use std::time::Duration;
    /// use matssocket::Forward;
    ///
    /// let reminder = Forward::to("Reminders", &17).key("order 17");
    /// server.start("reminder", reminder.after(Duration::from_secs(86_400))).await?;
    /// // The order is paid.
    /// server.cancel("Reminders", "order 17").await?;
    /// # Ok(()) }
    /// ```
    pub async fn cancel(&self, service: &str, key: &str) -> Result<bool, SendError> {
        let outcome = self.commit(endpoint::cancel(service, key)?, None).await?;
        Ok(outcome == Some(EffectOutcome::Cancelled(true)))
    }

    fn work(&self, trace_id: &str, forward: Forward) -> Result<Effect, SendError> {
        check_id("trace id", trace_id)?;
        let mut work = forward.started(Starter {
            clock: &self.node.clock,
            session_id: "",
            user_id: "",
            trace_id,
            endpoint: "",
            debug: DebugOptions::default(),
        })?;
        work.here = self.node.takes_at_once(&work.service);
        Ok(Effect::Forward(Box::new(work)))
    }
}
