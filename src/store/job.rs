//! An operation on its way through the store: who asked, on whose behalf, and whom to answer.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::metrics::StoreMetrics;
use super::operation::News;
use super::statements::{DbResult, Lane, Statements, Touched, Verdict};
use super::{NewsOf, Operation, StoreError};
use crate::clock::Clock;
use crate::metrics::Mailbox;

/// A node attached to the store.
pub struct Seat {
    name: RwLock<Arc<str>>,
    clock: Clock,
    /// `None`: nobody wants to know.
    news: Option<Mailbox<NewsOf>>,
}

impl Seat {
    pub fn new(name: &str, clock: Clock, news: Option<Mailbox<NewsOf>>) -> Seat {
        Seat {
            name: RwLock::new(name.into()),
            clock,
            news,
        }
    }

    pub fn name(&self) -> Arc<str> {
        self.name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub fn rename(&self, name: &str) {
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = name.into();
    }

    /// Tells the node what was committed on its behalf.
    pub fn tell(&self, news: News) {
        if let Some(mailbox) = &self.news {
            mailbox.tell(NewsOf(news));
        }
    }
}

/// A place in the store's queue: given back when dropped.
pub struct Ticket {
    metrics: Arc<StoreMetrics>,
    _permit: OwnedSemaphorePermit,
}

impl Ticket {
    pub fn new(permit: OwnedSemaphorePermit, metrics: Arc<StoreMetrics>) -> Ticket {
        metrics.entered();
        Ticket {
            metrics,
            _permit: permit,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.metrics.left();
    }
}

/// The receiving end of an answer.
pub type Reply<O> = oneshot::Sender<Result<<O as Operation>::Outcome, StoreError>>;

/// An operation of any kind.
pub type Job = Box<dyn Work>;

/// What the writer and the readers see of a [`Task`].
pub trait Work: Send {
    /// Where it runs.
    fn lane(&self) -> Lane;
    /// On whose behalf it runs.
    fn seat(&self) -> &Arc<Seat>;
    /// Shows what it touches.
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>));
    /// Bytes that it writes, about.
    fn bytes(&self) -> usize;
    /// Runs it; a later run replaces the outcome of an earlier one (whose transaction was rolled back).
    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict>;
    /// Gives the outcome to whoever asked.
    fn answer(self: Box<Self>);
    /// Gives an error to whoever asked.
    fn fail(self: Box<Self>, error: StoreError);
}

/// An operation with everything it needs.
pub struct Task<O: Operation> {
    operation: O,
    outcome: Option<O::Outcome>,
    reply: Option<Reply<O>>,
    seat: Arc<Seat>,
    /// The node's name when the operation was given.
    by: Arc<str>,
    /// Given back before the answer, so that whoever is answered finds the room.
    ticket: Option<Ticket>,
}

impl<O: Operation> Task<O> {
    pub fn new(
        operation: O,
        reply: Reply<O>,
        seat: Arc<Seat>,
        by: Arc<str>,
        ticket: Ticket,
    ) -> Task<O> {
        Task {
            operation,
            outcome: None,
            reply: Some(reply),
            seat,
            by,
            ticket: Some(ticket),
        }
    }

    fn reply(&mut self, result: Result<O::Outcome, StoreError>) {
        if let Some(reply) = self.reply.take() {
            if let (Err(StoreError::Failed(_)), Some(ticket)) = (&result, &self.ticket) {
                ticket.metrics.failed();
            }
            self.ticket = None;
            // Whoever asked may have gone away; the operation stands.
            let _ = reply.send(result);
        }
    }
}

impl<O: Operation> Work for Task<O> {
    fn lane(&self) -> Lane {
        O::LANE
    }

    fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        self.operation.touches(see);
    }

    fn bytes(&self) -> usize {
        self.operation.bytes()
    }

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict> {
        statements.on_behalf_of(&self.by, &self.seat.clock);
        let outcome = self.operation.apply(statements)?;
        let verdict = O::verdict(&outcome);
        self.outcome = Some(outcome);
        Ok(verdict)
    }

    fn answer(mut self: Box<Self>) {
        if let Some(outcome) = self.outcome.take() {
            self.reply(Ok(outcome));
        }
    }

    fn fail(mut self: Box<Self>, error: StoreError) {
        self.reply(Err(error));
    }
}

/// A panic in a store's thread drops the tasks of its batch: their callers must not hang.
impl<O: Operation> Drop for Task<O> {
    fn drop(&mut self) {
        let error = match std::thread::panicking() {
            true => StoreError::Failed("a thread of the store panicked".into()),
            false => StoreError::Stopped,
        };
        self.reply(Err(error));
    }
}
