//! The threads of an opened store, each with its lane.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::handlers::Handlers;
use super::job::{Job, Work};
use super::lane::Lane;
use super::pool::ConnectionPool;
use super::queue::Queue;
use super::statements::{Database, Mode, Rank};
use super::{StoreError, writer};

/// The queues in front of the threads.
pub struct Lanes {
    /// One for each thread that writes messages.
    pub writers: Vec<Arc<Lane>>,
    /// `None` where only one thread may write.
    pub others: Option<Others>,
    /// `None` where reads go through the writer.
    pub read: Option<Arc<Lane>>,
}

/// The lanes for writes other than messages.
pub struct Others {
    /// For the node itself: a lease must wait neither for messages nor for a lock on a session.
    control: Arc<Lane>,
    /// For whatever touches no session, such as claims of forwarded work.
    background: Arc<Lane>,
    /// For maintenance alone, which may take long, and notices late that its connection has fallen silent.
    maintenance: Arc<Lane>,
    /// Transactional handlers.
    pub handlers: Arc<Handlers>,
}

impl Lanes {
    pub fn send(&self, job: Job) {
        self.lane_of(&*job).push(job);
    }

    /// The lane for an operation. Operations that touch the same thing first always get the same lane, which keeps
    /// their order.
    fn lane_of(&self, job: &dyn Work) -> &Lane {
        if let (Mode::Read, Some(read)) = (job.mode(), &self.read) {
            return read;
        }
        let Some(others) = &self.others else {
            return &self.writers[0];
        };
        match (job.mode(), job.rank()) {
            (Mode::Handler, _) => return &others.handlers.lane,
            (_, Rank::Control) => return &others.control,
            (_, Rank::Maintenance) => return &others.maintenance,
            (_, Rank::Sessions | Rank::Messages) => {}
        }
        match job.first_touched() {
            Some(shard) => &self.writers[shard as usize % self.writers.len()],
            None => &others.background,
        }
    }

    /// Closes all lanes; the threads end when they have completed what was sent before.
    pub fn close(&self) {
        let others = self.others.iter();
        let others = others.flat_map(|it| {
            let Others {
                control,
                background,
                maintenance,
                handlers,
            } = it;
            [control, background, maintenance, &handlers.lane]
        });
        for lane in self.writers.iter().chain(others).chain(&self.read) {
            lane.close();
        }
    }
}

/// Starts the threads that write and those that read, each with its lane.
pub fn start_lanes(
    database: &Arc<dyn Database>,
    pool: &Arc<ConnectionPool>,
    patience: Duration,
    batch: usize,
    queue: &Arc<Queue>,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Lanes, StoreError> {
    let handlers = match database.handlers() {
        0 => None,
        many => Some(start_handlers(pool, queue, patience, many, threads)?),
    };
    let mut start = |name, count: usize, role| {
        let lane = Arc::<Lane>::default();
        pool.know(&lane);
        for _ in 0..count {
            let (lane, pool, queue) = (lane.clone(), pool.clone(), queue.clone());
            threads.push(spawn(name, move || {
                writer::serve(&lane, &pool, role, &queue)
            })?);
        }
        Ok::<_, StoreError>(lane)
    };
    let write = writer::Role::Write { batch };
    let writers = (0..database.writers().max(1)).map(|_| start("matssocket-writer", 1, write));
    let writers = writers.collect::<Result<_, _>>()?;
    let others = match handlers {
        None => None,
        Some(handlers) => Some(Others {
            control: start("matssocket-control", 1, write)?,
            background: start("matssocket-background", 1, write)?,
            maintenance: start("matssocket-maintenance", 1, write)?,
            handlers,
        }),
    };
    let read = match database.readers() {
        0 => None,
        threads => Some(start(
            "matssocket-reader",
            threads,
            writer::Role::Read { threads },
        )?),
    };
    Ok(Lanes {
        writers,
        others,
        read,
    })
}

fn start_handlers(
    pool: &Arc<ConnectionPool>,
    queue: &Arc<Queue>,
    patience: Duration,
    many: usize,
    threads: &mut Vec<JoinHandle<()>>,
) -> Result<Arc<Handlers>, StoreError> {
    let handlers = Arc::new(Handlers::new(pool, queue, patience));
    for _ in 0..many {
        let started = handlers.start();
        threads.push(started.map_err(|error| no_thread("matssocket-handler", &error))?);
    }
    Ok(handlers)
}

pub fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    thread::Builder::new()
        .name(name.into())
        .spawn(run)
        .map_err(|error| no_thread(name, &error))
}

fn no_thread(name: &str, error: &std::io::Error) -> StoreError {
    StoreError::Open(format!("the thread {name} cannot be started: {error}"))
}
