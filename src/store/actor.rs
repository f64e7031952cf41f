//! The store actor, and the life of an opened store: its threads, its queue, its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use crossbeam_channel::Sender;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::job::{Job, Reply, Seat, Task, Work};
use super::metrics::StoreMetrics;
use super::statements::{Database, Lane};
use super::{Operation, StoreConfig, StoreError, shard, writer};
use crate::clock::after;
use crate::metrics::{MailboxMetrics, Meter};

/// What waits for the threads that talk to the database, and how much may.
pub struct Queue {
    pub credits: Semaphore,
    /// How long operations wait for a thread.
    pub meter: Arc<Meter>,
    pub metrics: StoreMetrics,
    /// Operations for which there was no room, and which nobody may overtake.
    in_lobby: AtomicUsize,
}

impl Queue {
    /// So many places are free again.
    pub fn give_back(&self, places: usize) {
        self.metrics.left(places);
        self.credits.add_permits(places);
    }
}

/// The channels to the threads. Dropping the last sender ends the threads when they have done what was sent before.
#[derive(Clone)]
struct Lanes {
    /// One for each writer.
    write: Vec<Sender<Job>>,
    /// `None` where nothing reads beside the writer.
    read: Option<Sender<Job>>,
}

impl Lanes {
    fn send(&self, job: Job) {
        let lane = match (job.lane(), &self.read) {
            (Lane::Read, Some(read)) => read,
            _ => self.writer(&*job),
        };
        // If a thread could not go on, the job is dropped, which answers `Stopped`.
        let _ = lane.send(job);
    }

    /// The writer for an operation: always the same for those that touch the same first, so that their order is kept.
    /// What touches nothing has the last one to itself: a lease must not wait for somebody's lock on a session.
    fn writer(&self, job: &dyn Work) -> &Sender<Job> {
        let Some(others @ 1..) = self.write.len().checked_sub(1) else {
            return &self.write[0];
        };
        let mut first = None;
        job.touches(&mut |touched| {
            first.get_or_insert_with(|| shard::of(touched));
        });
        &self.write[first.map_or(others, |shard| shard as usize % others)]
    }
}

/// Lets in, in order, as places come free, the operations for which there was no room: its mailbox is the lobby. What
/// finds room goes straight to its writer, for each hop to another thread costs more than many an operation. Lives on a
/// thread of its own.
struct StoreActor {
    queue: Arc<Queue>,
    /// `None` once stopped.
    lanes: Option<Lanes>,
    stopped: Option<oneshot::Sender<()>>,
}

impl Actor for StoreActor {
    type Context = Context<StoreActor>;
}

/// An operation for which there was no room.
#[derive(Message)]
#[rtype(result = "()")]
struct Waiting {
    until: Instant,
    /// Tells it that there is room, or that there was none for too long; then it is gone.
    admit: Box<dyn FnOnce(Result<(), StoreError>) -> Option<Job> + Send>,
    /// How long it may wait.
    patience: Duration,
}

impl Handler<Waiting> for StoreActor {
    type Result = ();

    fn handle(&mut self, waiting: Waiting, ctx: &mut Context<StoreActor>) {
        let queue = self.queue.clone();
        let admitted = async move {
            match tokio::time::timeout_at(waiting.until, queue.credits.acquire()).await {
                Ok(Ok(permit)) => {
                    permit.forget();
                    Ok(())
                }
                Ok(Err(_)) => Err(StoreError::Stopped),
                Err(_) => {
                    queue.metrics.busy();
                    Err(StoreError::Busy(waiting.patience))
                }
            }
        };
        // Nobody behind it comes first.
        ctx.wait(admitted.into_actor(self).map(move |admitted, actor, _| {
            if let (Some(job), Some(lanes)) = ((waiting.admit)(admitted), &actor.lanes) {
                lanes.send(job);
            }
            // Only now: who comes next must not overtake the one just sent.
            actor.queue.in_lobby.fetch_sub(1, Ordering::AcqRel);
        }));
    }
}

/// Nothing more will come.
#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

impl Handler<Stop> for StoreActor {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Context<StoreActor>) {
        self.lanes = None;
        self.stopped.take();
    }
}

/// An opened store. Dropping it lets everything that was sent be done, then ends the threads and closes the database.
pub struct Opened {
    queue: Arc<Queue>,
    actor: Addr<StoreActor>,
    /// `None` only while it is being dropped.
    lanes: Option<Lanes>,
    patience: Duration,
    threads: Vec<JoinHandle<()>>,
}

impl Opened {
    /// How long operations wait for a thread.
    pub fn mailbox(&self) -> MailboxMetrics {
        self.queue.meter.snapshot()
    }

    /// Starts the actor and the threads.
    pub fn start(database: Arc<dyn Database>, config: &StoreConfig) -> Result<Opened, StoreError> {
        let queue = Arc::new(Queue {
            credits: Semaphore::new(config.queue.clamp(1, Semaphore::MAX_PERMITS)),
            meter: Arc::default(),
            metrics: StoreMetrics::default(),
            in_lobby: AtomicUsize::new(0),
        });
        let mut threads = Vec::new();
        let lanes = start_lanes(&database, config.batch, &queue, &mut threads)?;
        let (stopped, until_stopped) = oneshot::channel();
        let actor = StoreActor {
            queue: queue.clone(),
            lanes: Some(lanes.clone()),
            stopped: Some(stopped),
        };
        let (started, addr) = crossbeam_channel::bounded(1);
        threads.push(spawn("matssocket-store", move || {
            actix::System::new().block_on(async move {
                // Held until then: an actor that nobody knows any more ends, whatever is in its mailbox.
                let actor = actor.start();
                let _ = started.send(actor.clone());
                let _ = until_stopped.await;
            });
        })?);
        let actor = addr
            .recv()
            .map_err(|_| StoreError::Open("the store's actor could not be started".into()))?;
        Ok(Opened {
            queue,
            actor,
            lanes: Some(lanes),
            patience: config.queue_wait,
            threads,
        })
    }

    /// Sends an operation to its writer or reader, at once if there is room.
    pub fn send<O: Operation>(&self, operation: O, reply: Reply<O>, seat: &Arc<Seat>) {
        let task = Box::new(Task::new(operation, reply, seat.clone(), &self.queue));
        // While it is being dropped, the task is dropped, which answers `Stopped`.
        let Some(lanes) = &self.lanes else { return };
        if self.queue.in_lobby.load(Ordering::Acquire) == 0
            && let Ok(permit) = self.queue.credits.try_acquire()
        {
            permit.forget();
            return lanes.send(task.admitted());
        }
        let until = after(Instant::now(), self.patience);
        self.queue.in_lobby.fetch_add(1, Ordering::AcqRel);
        let admit = move |admitted| match admitted {
            Ok(()) => Some(task.admitted()),
            Err(error) => {
                task.fail(error);
                None
            }
        };
        self.actor.do_send(Waiting {
            until,
            admit: Box::new(admit),
            patience: self.patience,
        });
    }

    /// The store's numbers.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.queue.metrics
    }
}

/// Starts the writers and the readers.
fn start_lanes(
    database: &Arc<dyn Database>,
    batch: usize,
    queue: &Arc<Queue>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Lanes, StoreError> {
    let mut write = Vec::new();
    for _ in 0..database.writers().max(1) {
        let (sender, jobs) = crossbeam_channel::unbounded();
        let (base, queue) = (database.clone(), queue.clone());
        threads.push(spawn("matssocket-writer", move || {
            writer::write(&jobs, &*base, batch, &queue)
        })?);
        write.push(sender);
    }
    if database.readers() == 0 {
        return Ok(Lanes { write, read: None });
    }
    let (read, jobs) = crossbeam_channel::unbounded();
    for _ in 0..database.readers() {
        let (jobs, base, queue) = (jobs.clone(), database.clone(), queue.clone());
        threads.push(spawn("matssocket-reader", move || {
            writer::read(&jobs, &*base, &queue)
        })?);
    }
    Ok(Lanes {
        write,
        read: Some(read),
    })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| StoreError::Open(format!("the thread {name} cannot be started: {error}")))
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.lanes = None;
        // Those in the lobby are let in before.
        self.actor.do_send(Stop);
        // The last handle may be dropped by an operation, on one of these threads: then they end by themselves.
        let here = thread::current().id();
        if self.threads.iter().all(|it| it.thread().id() != here) {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
