//! The lifecycle of an opened store: its threads, its nodes, and closing it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix::{Actor, Addr};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::{Stop, StoreActor, Waiting};
use super::fair::Share;
use super::handlers::Handlers;
use super::health::{Trouble, TroubleKind};
use super::job::{Reply, Seat, Task, Work};
use super::lane::Lane;
use super::lanes::{Lanes, spawn, start_lanes};
use super::metrics::StoreMetricsSnapshot;
use super::pool::ConnectionPool;
use super::queue::Queue;
use super::statements::{Database, Rank};
use super::{Operation, StoreConfig, StoreError, shard};
use crate::clock::after;
use crate::logging;
use crate::mailbox::MailboxMetrics;

/// How much longer than a database answer may take the threads are given to end when the store is closed.
const GRACE: Duration = Duration::from_secs(5);

/// An opened store. Closing or dropping it completes everything that was sent, then ends the threads and closes the
/// database.
pub struct Opened {
    queue: Arc<Queue>,
    actor: Addr<StoreActor>,
    lanes: Arc<Lanes>,
    patience: Duration,
    /// How long a check may take before it counts as trouble.
    check_patience: Duration,
    open: Mutex<Open>,
}

/// The parts of an opened store that are released when it is closed.
struct Open {
    database: Option<Arc<dyn Database>>,
    pool: Option<Arc<ConnectionPool>>,
    threads: Vec<JoinHandle<()>>,
    /// Number of attached nodes.
    nodes: usize,
    /// Whether an attached node has stopped.
    had_stops: bool,
}

impl Opened {
    /// How long operations wait for a thread.
    pub fn mailbox(&self) -> MailboxMetrics {
        self.queue.meter.snapshot()
    }

    /// Starts the actor and the threads.
    pub fn start(database: Arc<dyn Database>, config: &StoreConfig) -> Result<Opened, StoreError> {
        let queue = Arc::new(Queue::new(config.queue, config.queue_per_user));
        let mut threads = Vec::new();
        let patience = config.answer_timeout.max(config.busy_timeout);
        let pool = Arc::new(ConnectionPool::new(database.clone(), patience));
        let lanes = start_lanes(
            &database,
            &pool,
            patience,
            config.batch,
            &queue,
            &mut threads,
        )?;
        let lanes = Arc::new(lanes);
        let (stopped, until_stopped) = oneshot::channel();
        let actor = StoreActor::new(queue.clone(), lanes.clone(), stopped);
        let (started, addr) = crossbeam_channel::bounded(1);
        threads.push(spawn("matssocket-store", move || {
            actix::System::new().block_on(async move {
                // Keep an address until the stop: an actor without one ends, even with messages in its mailbox.
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
            lanes,
            patience: config.queue_wait,
            check_patience: patience + Duration::from_secs(2),
            open: Mutex::new(Open {
                database: Some(database),
                pool: Some(pool),
                threads,
                nodes: 0,
                had_stops: false,
            }),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a node as attached.
    pub fn attach_node(&self) {
        self.open().nodes += 1;
    }

    /// Detaches a node whose start failed. False: it stays attached, because it is the last one after others have
    /// stopped, and must therefore close the store.
    pub fn detach_unstarted(&self) -> bool {
        let mut open = self.open();
        if open.nodes == 1 && open.had_stops {
            return false;
        }
        open.nodes -= 1;
        true
    }

    /// Detaches a node that has stopped. True: it was the last one.
    pub fn detach_node(&self) -> bool {
        let mut open = self.open();
        open.had_stops = true;
        open.nodes -= 1;
        open.nodes == 0
    }

    /// Whether the data survives closing the database.
    pub fn outlives_closing(&self) -> bool {
        let open = self.open();
        open.database
            .as_ref()
            .is_none_or(|database| database.outlives_closing())
    }

    /// Sends an operation to its thread: at once if there is room, and regardless of room if it keeps the node alive.
    pub fn send<O: Operation>(
        &self,
        operation: O,
        reply: Reply<O>,
        seat: &Arc<Seat>,
        share: Option<Share>,
    ) {
        let share = share.unwrap_or_else(|| shard::share_of(&operation));
        let task = Box::new(Task::new(
            operation,
            reply,
            seat.clone(),
            share,
            &self.queue,
        ));
        // After the store is closed, a task is dropped, which answers `Stopped`.
        let lanes = &self.lanes;
        if O::RANK != Rank::Messages {
            return lanes.send(task);
        }
        if self.queue.try_enter(share) {
            return lanes.send(task.admitted());
        }
        let until = after(Instant::now(), self.patience);
        self.queue.enter_lobby(share);
        let admit = move |admitted| match admitted {
            Ok(()) => Some(task.admitted()),
            Err(error) => {
                task.fail(error);
                None
            }
        };
        self.actor.do_send(Waiting {
            share,
            until,
            admit: Box::new(admit),
            patience: self.patience,
        });
    }

    /// The store's metrics.
    pub fn metrics(&self) -> StoreMetricsSnapshot {
        let open = self.open();
        let bytes = open.database.as_ref().map(|it| it.log_bytes());
        let connections = open.pool.as_ref().map(|it| it.open_connections());
        StoreMetricsSnapshot {
            connections: connections.unwrap_or_default(),
            ..self.queue.metrics.snapshot(bytes.unwrap_or_default())
        }
    }

    /// Asks the threads on which users depend to check that they can reach the database. [`trouble`](Self::trouble)
    /// reports the result.
    pub fn ask_for_checks(&self) {
        let held = self.held();
        for (_, lane) in self.watched() {
            lane.ask_for_check(held);
        }
    }

    /// What keeps the store from serving, as far as is known.
    pub fn trouble(&self) -> Option<Trouble> {
        let (patience, held) = (self.check_patience, self.held());
        let mut troubles = self
            .watched()
            .filter_map(|(kind, lane)| lane.health.trouble(kind, patience, held));
        troubles.next().or_else(|| self.trouble_of_handlers())
    }

    fn trouble_of_handlers(&self) -> Option<Trouble> {
        let others = self.lanes.others.as_ref()?;
        others.handlers.are_all_lost().then(|| Trouble {
            kind: TroubleKind::Write,
            why: "too many transactional handlers did not return; restart the process".into(),
        })
    }

    /// If there are fewer connections than needed, closes one, so that another client of the database can have it.
    pub fn spare_a_connection(&self) {
        let pool = self.open().pool.clone();
        if let Some(pool) = pool.filter(|pool| pool.are_too_few()) {
            pool.spare_one();
        }
    }

    /// The lanes on which users depend.
    fn watched(&self) -> impl Iterator<Item = (TroubleKind, &Arc<Lane>)> {
        let writers = self.lanes.writers.iter();
        let writers = writers.map(|lane| (TroubleKind::Write, lane));
        let readers = self.lanes.read.iter();
        writers.chain(readers.map(|lane| (TroubleKind::Read, lane)))
    }

    /// See [`Database::wants_rotation`].
    pub fn wants_rotation(&self) -> bool {
        let open = self.open();
        open.database.as_ref().is_some_and(|it| it.wants_rotation())
    }

    /// See [`Database::held`].
    pub fn held(&self) -> Duration {
        let open = self.open();
        let held = open.database.as_ref().map(|it| it.held());
        held.unwrap_or_default()
    }

    /// Closes the store: everything sent before is completed, and later callers are answered `Stopped`. Blocks until
    /// the operations in progress are done. Closing it again does nothing.
    pub fn close(&self) {
        // Operations in the lobby are admitted first.
        self.actor.do_send(Stop);
        if !self.actor.connected() {
            self.lanes.close();
        }
        let (database, pool, threads) = {
            let mut open = self.open();
            (
                open.database.take(),
                open.pool.take(),
                std::mem::take(&mut open.threads),
            )
        };
        // The last handle may be dropped by an operation, on one of these threads; then they end by themselves.
        let here = thread::current().id();
        if threads.iter().all(|it| it.thread().id() != here) {
            let handlers = self.lanes.others.as_ref().map(|others| &others.handlers);
            join(threads, self.check_patience + GRACE, handlers);
        }
        // The database closes with the last of its connections.
        drop((pool, database));
    }
}

/// Waits for threads to end. A thread that is stuck, in the application's code or in a driver, is abandoned.
fn join(threads: Vec<JoinHandle<()>>, longest: Duration, handlers: Option<&Arc<Handlers>>) {
    let until = std::time::Instant::now() + longest;
    while threads.iter().any(|it| !it.is_finished()) && std::time::Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
        if let Some(handlers) = handlers {
            handlers.look();
        }
    }
    let (ended, stuck): (Vec<_>, Vec<_>) = threads.into_iter().partition(|it| it.is_finished());
    for thread in ended {
        let _ = thread.join();
    }
    if !stuck.is_empty() {
        logging::error!(
            "{} threads of the store did not end within {longest:?} and are abandoned",
            stuck.len()
        );
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.close();
    }
}
