//! The store actor, and the life of an opened store: its threads, its queue, its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message};
use crossbeam_channel::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::job::{Job, Reply, Seat, Task, Ticket, Work};
use super::metrics::StoreMetrics;
use super::statements::{Database, Lane};
use super::{Operation, StoreConfig, StoreError, shard, writer};
use crate::metrics::{MailboxMetrics, Meter, Metered};

/// Passes operations on to the threads that talk to the database. Lives on a thread of its own.
struct StoreActor {
    /// `None` once stopped. Dropping the senders ends the threads when they have done what was sent before.
    lanes: Option<Lanes>,
    metrics: Arc<StoreMetrics>,
    stopped: Option<oneshot::Sender<()>>,
}

struct Lanes {
    /// One for each writer.
    write: Vec<Sender<Job>>,
    /// `None` where nothing reads beside the writer.
    read: Option<Sender<Job>>,
}

impl Lanes {
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

impl Actor for StoreActor {
    type Context = Context<StoreActor>;
}

/// An operation for the store.
#[derive(Message)]
#[rtype(result = "()")]
struct Run<O: Operation>(Box<Task<O>>);

impl<O: Operation> Handler<Run<O>> for StoreActor {
    type Result = ();

    fn handle(&mut self, Run(task): Run<O>, _: &mut Context<StoreActor>) {
        self.metrics.handled();
        // After the stop, or if a thread could not go on, the task is dropped, which answers `Stopped`.
        if let Some(lanes) = &self.lanes {
            let lane = match (O::LANE, &lanes.read) {
                (Lane::Read, Some(read)) => read,
                _ => lanes.writer(&*task),
            };
            let _ = lane.send(task);
        }
    }
}

impl<O: Operation> Handler<Metered<Run<O>>> for StoreActor {
    type Result = ();

    fn handle(&mut self, metered: Metered<Run<O>>, ctx: &mut Context<StoreActor>) {
        metered.handle(|run| Handler::<Run<O>>::handle(self, run, ctx));
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

/// An operation for which there was no room: told when there is, or that there was none for too long.
struct Waiting {
    until: Instant,
    /// How long that is after it came.
    patience: Duration,
    admit: Box<dyn FnOnce(Result<OwnedSemaphorePermit, StoreError>) + Send>,
}

/// An opened store. Dropping it lets everything that was sent be done, then ends the threads and closes the database.
pub struct Opened {
    addr: Addr<StoreActor>,
    meter: Arc<Meter>,
    credits: Arc<Semaphore>,
    /// `None` only while it is being dropped: when those in it have been let in, the actor is stopped.
    lobby: Option<mpsc::UnboundedSender<Waiting>>,
    /// How many are in the lobby: nobody may overtake them.
    in_lobby: Arc<AtomicUsize>,
    config: StoreConfig,
    metrics: Arc<StoreMetrics>,
    threads: Vec<JoinHandle<()>>,
}

impl Opened {
    /// The store actor's mailbox.
    pub fn mailbox(&self) -> MailboxMetrics {
        self.meter.snapshot()
    }

    /// Starts the actor and the threads.
    pub fn start(database: Arc<dyn Database>, config: &StoreConfig) -> Result<Opened, StoreError> {
        let metrics = Arc::new(StoreMetrics::default());
        let credits = Arc::new(Semaphore::new(
            config.queue.clamp(1, Semaphore::MAX_PERMITS),
        ));
        let in_lobby = Arc::new(AtomicUsize::new(0));
        let mut threads = Vec::new();

        let lanes = start_lanes(&database, config.batch, &metrics, &mut threads)?;
        let (stopped, until_stopped) = oneshot::channel();
        let actor = StoreActor {
            lanes: Some(lanes),
            metrics: metrics.clone(),
            stopped: Some(stopped),
        };
        let (lobby, waiting) = mpsc::unbounded_channel();
        let (started, addr) = crossbeam_channel::bounded(1);
        let (places, guests) = (credits.clone(), in_lobby.clone());
        threads.push(spawn("matssocket-store", move || {
            actix::System::new().block_on(async move {
                let addr = actor.start();
                actix::spawn(admit(waiting, places, guests, addr.clone()));
                let _ = started.send(addr);
                let _ = until_stopped.await;
            });
        })?);
        let addr = addr
            .recv()
            .map_err(|_| StoreError::Open("the store's actor could not be started".into()))?;
        Ok(Opened {
            addr,
            meter: Arc::default(),
            credits,
            lobby: Some(lobby),
            in_lobby,
            config: config.clone(),
            metrics,
            threads,
        })
    }

    /// Sends an operation to the store actor, at once if there is room.
    pub fn send<O: Operation>(&self, operation: O, reply: Reply<O>, seat: Arc<Seat>) {
        let by = seat.name();
        let (addr, metrics) = (self.addr.clone(), self.metrics.clone());
        let meter = self.meter.clone();
        let admit = move |permit: Result<OwnedSemaphorePermit, StoreError>| match permit {
            Ok(permit) => {
                let ticket = Ticket::new(permit, metrics);
                addr.do_send(Metered::new(
                    Run(Box::new(Task::new(operation, reply, seat, by, ticket))),
                    &meter,
                ));
            }
            Err(error) => {
                metrics.busy();
                let _ = reply.send(Err(error));
            }
        };
        if self.in_lobby.load(Ordering::Acquire) == 0
            && let Ok(permit) = self.credits.clone().try_acquire_owned()
        {
            return admit(Ok(permit));
        }
        self.in_lobby.fetch_add(1, Ordering::AcqRel);
        let patience = self.config.queue_wait;
        let until = Instant::now() + patience;
        let waiting = Waiting {
            until,
            patience,
            admit: Box::new(admit),
        };
        if let Some(lobby) = &self.lobby {
            // Only fails when stopped, which drops the reply.
            let _ = lobby.send(waiting);
        }
    }

    /// The store's numbers.
    pub fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }
}

/// Starts the writers and the readers.
fn start_lanes(
    database: &Arc<dyn Database>,
    batch: usize,
    metrics: &Arc<StoreMetrics>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Lanes, StoreError> {
    let mut write = Vec::new();
    for _ in 0..database.writers().max(1) {
        let (sender, jobs) = crossbeam_channel::unbounded();
        let (base, meters) = (database.clone(), metrics.clone());
        threads.push(spawn("matssocket-writer", move || {
            writer::write(&jobs, &*base, batch, &meters)
        })?);
        write.push(sender);
    }
    if database.readers() == 0 {
        return Ok(Lanes { write, read: None });
    }
    let (read, jobs) = crossbeam_channel::unbounded();
    for _ in 0..database.readers() {
        let (jobs, base, meters) = (jobs.clone(), database.clone(), metrics.clone());
        threads.push(spawn("matssocket-reader", move || {
            writer::read(&jobs, &*base, &meters)
        })?);
    }
    Ok(Lanes {
        write,
        read: Some(read),
    })
}

/// Lets those who wait in, in order, as places in the queue come free. Stops the actor when nobody can come any more.
async fn admit(
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    credits: Arc<Semaphore>,
    in_lobby: Arc<AtomicUsize>,
    addr: Addr<StoreActor>,
) {
    while let Some(next) = waiting.recv().await {
        let permit = tokio::time::timeout_at(next.until, credits.clone().acquire_owned()).await;
        (next.admit)(match permit {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(StoreError::Stopped),
            Err(_) => Err(StoreError::Busy(next.patience)),
        });
        // Only now: who comes next must not overtake the one just sent.
        in_lobby.fetch_sub(1, Ordering::AcqRel);
    }
    addr.do_send(Stop);
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| StoreError::Open(format!("the thread {name} cannot be started: {error}")))
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.lobby = None;
        // The last handle may be dropped by an operation, on one of these threads: then they end by themselves.
        let here = thread::current().id();
        if self.threads.iter().all(|it| it.thread().id() != here) {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
