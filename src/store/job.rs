//! An operation on its way through the store: the caller, the node on whose behalf it runs, and where the answer goes.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fair::{Share, Shared};
use super::news::{News, Subscribers};
use super::queue::Queue;
use super::statements::{DbResult, Mode, Rank, Statements, Touched, Verdict};
use super::{Operation, StoreError, shard};
use crate::clock::Clock;

/// A node attached to the store.
pub struct Seat {
    name: RwLock<Arc<str>>,
    clock: Clock,
    /// `None`: nobody is notified.
    subscribers: Option<Subscribers>,
}

impl Seat {
    pub fn new(name: &str, clock: Clock, subscribers: Option<Subscribers>) -> Seat {
        Seat {
            name: RwLock::new(name.into()),
            clock,
            subscribers,
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

    /// Notifies the node of what was committed on its behalf.
    pub fn tell(&self, news: News) {
        if let Some(subscribers) = &self.subscribers {
            subscribers.tell(news);
        }
    }
}

/// Where the answer goes. The whole task is returned, to be dropped on the thread that made it: freeing memory that
/// another thread allocated makes both of them contend.
pub type Reply<O> = oneshot::Sender<Result<Box<Task<O>>, StoreError>>;

/// Where the answer goes, shared if the caller may be answered while the task is still running.
enum Asker<O: Operation> {
    /// `None`: already answered.
    One(Option<Reply<O>>),
    Shared(Arc<Mutex<Option<Reply<O>>>>),
}

impl<O: Operation> Asker<O> {
    fn take(&mut self) -> Option<Reply<O>> {
        match self {
            Asker::One(reply) => reply.take(),
            Asker::Shared(reply) => reply.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

/// Answers the caller in place of a thread that did not return.
pub type Abandon = Box<dyn FnOnce(StoreError) + Send>;

/// An operation of any kind.
pub type Job = Box<dyn Work>;

/// What writers and readers see of a [`Task`].
pub trait Work: Send {
    /// The task leaves its queue. Returns how long it waited.
    fn taken(&mut self, now: Instant) -> Duration;
    /// Takes the task's place in the queue, which the caller must give back.
    fn give_back(&mut self) -> Option<Share>;
    /// How it runs.
    fn mode(&self) -> Mode;
    /// How long it may take; only where the application's code runs in it.
    fn limit(&self) -> Option<Duration>;
    /// Returns a way to answer the caller while the task is elsewhere. The task itself may still answer as well; the
    /// first answer counts.
    fn abandon(&mut self) -> Abandon;
    /// Its priority.
    fn rank(&self) -> Rank;
    /// The account on which it waits.
    fn share(&self) -> Share;
    /// The shard of what it touches first.
    fn first_touched(&self) -> Option<i64> {
        let mut first = None;
        self.touches(&mut |touched| {
            first.get_or_insert_with(|| shard::of(touched));
        });
        first
    }
    /// Calls `see` for everything it touches.
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>));
    /// Approximate number of bytes that it writes.
    fn bytes(&self) -> usize;
    /// Runs it. A later run replaces the outcome of an earlier one, whose transaction was rolled back.
    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict>;
    /// The news for subscribers, and the node on whose behalf it ran. Called after the commit.
    fn news(&mut self) -> Option<(&Arc<Seat>, News)>;
    /// Answers the caller with the outcome.
    fn answer(self: Box<Self>);
    /// Answers the caller with an error.
    fn fail(self: Box<Self>, error: StoreError);
}

impl Shared for Job {
    fn share(&self) -> Share {
        Work::share(&**self)
    }

    fn bytes(&self) -> usize {
        Work::bytes(&**self)
    }

    /// A handler may take long, so the queue is consulted again before the next operation.
    fn ends_group(&self) -> bool {
        self.mode() == Mode::Handler
    }
}

/// An operation with everything needed to run and answer it.
pub struct Task<O: Operation> {
    operation: Option<O>,
    outcome: Option<O::Outcome>,
    news: News,
    reply: Asker<O>,
    seat: Arc<Seat>,
    /// The node's name when the operation was given.
    by: Arc<str>,
    queue: Arc<Queue>,
    share: Share,
    /// Whether it has a place in the queue. The place is given back before the answer, so that an answered caller finds
    /// room.
    placed: bool,
    /// When it began to wait; `None` once it was taken from its queue.
    waiting: Option<Instant>,
}

impl<O: Operation> Task<O> {
    pub fn new(
        operation: O,
        reply: Reply<O>,
        seat: Arc<Seat>,
        share: Share,
        queue: &Arc<Queue>,
    ) -> Task<O> {
        queue.meter.count_in();
        Task {
            operation: Some(operation),
            outcome: None,
            news: News::default(),
            reply: Asker::One(Some(reply)),
            by: seat.name(),
            seat,
            queue: queue.clone(),
            share,
            placed: false,
            waiting: Some(Instant::now()),
        }
    }

    /// Marks the task as having a place in the queue, for which a permit was taken.
    pub fn admitted(mut self: Box<Self>) -> Job {
        self.queue.metrics.entered();
        self.placed = true;
        self
    }

    /// The operation and its outcome, if it has one.
    pub fn into_parts(mut self) -> Option<(O, O::Outcome)> {
        Some((self.operation.take()?, self.outcome.take()?))
    }

    fn refuse(&mut self, error: StoreError) {
        let place = self.give_back();
        self.queue.give_back(place.into_iter());
        if let Some(reply) = self.reply.take() {
            if matches!(
                error,
                StoreError::Failed(_) | StoreError::Refused(_) | StoreError::Unable(_)
            ) {
                self.queue.metrics.failed();
            }
            // The caller may be gone.
            let _ = reply.send(Err(error));
        }
    }
}

impl<O: Operation> Work for Task<O> {
    fn taken(&mut self, now: Instant) -> Duration {
        self.waiting
            .take()
            .map_or(Duration::ZERO, |since| now - since)
    }

    fn give_back(&mut self) -> Option<Share> {
        std::mem::take(&mut self.placed).then_some(self.share)
    }

    fn mode(&self) -> Mode {
        O::MODE
    }

    fn rank(&self) -> Rank {
        O::RANK
    }

    fn limit(&self) -> Option<Duration> {
        self.operation.as_ref().and_then(O::limit)
    }

    fn abandon(&mut self) -> Abandon {
        let reply = Arc::new(Mutex::new(self.reply.take()));
        self.reply = Asker::Shared(reply.clone());
        Box::new(move |error| {
            let reply = reply.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(reply) = reply {
                // The caller may be gone.
                let _ = reply.send(Err(error));
            }
        })
    }

    fn share(&self) -> Share {
        self.share
    }

    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        if let Some(operation) = &self.operation {
            operation.touches(see);
        }
    }

    fn bytes(&self) -> usize {
        self.operation.as_ref().map_or(0, O::bytes)
    }

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict> {
        let Some(operation) = &mut self.operation else {
            return Ok(Verdict::Commit);
        };
        statements.on_behalf_of(&self.by, &self.seat.clock);
        let outcome = operation.apply(statements)?;
        let verdict = O::verdict(&outcome);
        self.outcome = Some(outcome);
        let news = statements.take_news();
        self.news = match verdict {
            Verdict::Commit => news,
            Verdict::RollBack | Verdict::Discard => News::default(),
        };
        Ok(verdict)
    }

    fn news(&mut self) -> Option<(&Arc<Seat>, News)> {
        let mut news = std::mem::take(&mut self.news);
        if news.is_empty() {
            return None;
        }
        if let (Some(operation), Some(outcome)) = (&mut self.operation, &self.outcome) {
            operation.give_messages(outcome, &mut news.stored);
        }
        Some((&self.seat, news))
    }

    fn answer(mut self: Box<Self>) {
        if let Some(reply) = self.reply.take() {
            // The caller may be gone; the operation stands.
            let _ = reply.send(Ok(self));
        }
    }

    fn fail(mut self: Box<Self>, error: StoreError) {
        self.refuse(error);
    }
}

/// A panic in a store thread drops the tasks of its batch; their callers must still be answered.
impl<O: Operation> Drop for Task<O> {
    fn drop(&mut self) {
        let error = match std::thread::panicking() {
            true => StoreError::Failed("a thread of the store panicked".into()),
            false => StoreError::Stopped,
        };
        self.refuse(error);
        if self.waiting.is_some() {
            self.queue.meter.count_lost();
        }
    }
}
