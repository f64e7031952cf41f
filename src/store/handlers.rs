//! The threads that run transactional handlers. The application's code and its Diesel connection may block for any
//! length of time, so a thread that does not return in time is abandoned and replaced.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;
use super::job::{Abandon, Job};
use super::lane::Lane;
use super::pool::ConnectionPool;
use super::queue::Queue;
use super::statements::Cutter;
use super::writer;
use crate::logging;
use crate::seldom::log_seldom;

/// How long a thread has to notice that its connection was ended.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// Maximum number of abandoned threads. Each counts until it returns.
const MOST_LOST: usize = 32;

/// A longer limit (such as `Duration::MAX`, for none) would overflow the clock.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The threads of transactional handlers.
pub struct Handlers {
    pub lane: Arc<Lane>,
    pool: Arc<ConnectionPool>,
    queue: Arc<Queue>,
    /// How much longer than its limit a handler may take before its thread counts as lost.
    patience: Duration,
    state: Mutex<State>,
}

/// A running handler. Dropping this ends its supervision.
pub struct Watched {
    handlers: Arc<Handlers>,
    /// `None` once it has ended.
    number: Option<u64>,
}

impl Watched {
    /// The handler goes on to use this connection.
    pub fn uses(&self, cut: Option<Cutter>) {
        if let Some(number) = self.number {
            self.handlers.uses(number, cut);
        }
    }

    /// Whether the caller has been answered that the handler did not return.
    pub fn is_given_up(&self) -> bool {
        let given_up = |number| self.handlers.is_given_up(number);
        self.number.is_some_and(given_up)
    }

    /// The handler has ended. False: its thread counted as lost and has been replaced, so it must end.
    pub fn end(mut self) -> bool {
        let ended = self.number.take();
        ended.is_none_or(|number| self.handlers.end(number))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.handlers.end(number);
        }
    }
}

#[derive(Default)]
struct State {
    /// Running handlers.
    running: HashMap<u64, Running>,
    next: u64,
    lost: usize,
    /// Lost threads that were not replaced. As many threads continue if they return.
    owed: usize,
}

struct Running {
    until: Instant,
    /// `None` once the caller was answered.
    abandon: Option<Abandon>,
    /// Ends the connection on which the handler may be waiting.
    cut: Option<Cutter>,
}

impl Handlers {
    pub fn new(pool: &Arc<ConnectionPool>, queue: &Arc<Queue>, patience: Duration) -> Handlers {
        let lane = Arc::<Lane>::default();
        pool.know(&lane);
        Handlers {
            lane,
            pool: pool.clone(),
            queue: queue.clone(),
            patience,
            state: Mutex::default(),
        }
    }

    /// Starts one more thread.
    pub fn start(self: &Arc<Self>) -> std::io::Result<thread::JoinHandle<()>> {
        let handlers = self.clone();
        thread::Builder::new()
            .name("matssocket-handler".into())
            .spawn(move || {
                let (lane, pool, queue) = (&handlers.lane, &handlers.pool, &handlers.queue);
                writer::serve(lane, pool, writer::Role::Handle(&handlers), queue);
            })
    }

    /// A thread begins to run this handler.
    pub fn begin(self: &Arc<Self>, job: &mut Job) -> Watched {
        let limit = job.limit().unwrap_or_default().min(LONGEST);
        let running = Running {
            until: Instant::now() + limit + self.patience,
            abandon: Some(job.abandon()),
            cut: None,
        };
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.running.insert(number, running);
        drop(state);
        Watched {
            handlers: self.clone(),
            number: Some(number),
        }
    }

    /// A running handler goes on to use this connection.
    fn uses(&self, number: u64, cut: Option<Cutter>) {
        if let Some(running) = self.state().running.get_mut(&number) {
            running.cut = cut;
        }
    }

    /// A handler has ended. False: its thread counted as lost and has been replaced, so it must end.
    fn end(&self, number: u64) -> bool {
        let mut state = self.state();
        if state.running.remove(&number).is_some() {
            return true;
        }
        state.lost -= 1;
        self.queue.metrics.lost_threads(state.lost);
        let goes_on = state.owed > 0;
        state.owed -= usize::from(goes_on);
        goes_on
    }

    /// Whether the caller has been answered that the handler did not return.
    fn is_given_up(&self, number: u64) -> bool {
        let state = self.state();
        let running = state.running.get(&number);
        running.is_none_or(|running| running.abandon.is_none())
    }

    /// Answers the callers of handlers that did not return in time, and ends the connections on which those may be
    /// waiting. Threads that do not return even then are abandoned. Called at regular intervals.
    pub fn look(self: &Arc<Self>) {
        let now = Instant::now();
        let mut state = self.state();
        let mut given_up = Vec::new();
        let late = state.running.extract_if(|_, running| {
            if running.until >= now {
                return false;
            }
            given_up.extend(running.abandon.take());
            let Some(cut) = running.cut.take() else {
                return true;
            };
            cut();
            running.until = now + AFTER_CUT;
            false
        });
        let late = late.count();
        state.lost += late;
        self.queue.metrics.lost_threads(state.lost);
        let (all_lost, lost) = (state.lost >= MOST_LOST, state.lost);
        drop(state);
        if !given_up.is_empty() {
            log_seldom!(
                warn,
                "{} transactional handlers did not return in time; it is unknown whether they stored anything",
                given_up.len()
            );
        }
        for abandon in given_up {
            abandon(StoreError::Unknown);
        }
        if late > 0 {
            self.replace(late, lost);
        }
        if all_lost {
            self.refuse_all();
        }
    }

    /// Starts replacements for lost threads.
    fn replace(self: &Arc<Self>, late: usize, lost: usize) {
        let all_lost = lost >= MOST_LOST;
        logging::error!(
            "{late} threads that run transactional handlers are abandoned, {lost} in all{}",
            if all_lost {
                "; no more replacements are started"
            } else {
                ""
            }
        );
        for _ in 0..late {
            let started = match all_lost {
                true => None,
                false => Some(self.start()),
            };
            if let Some(Err(error)) = &started {
                logging::error!("cannot start a thread for transactional handlers: {error}");
            }
            if !matches!(started, Some(Ok(_))) {
                self.state().owed += 1;
            }
        }
    }

    /// Whether so many threads were lost that no more handlers can run.
    pub fn are_all_lost(&self) -> bool {
        self.state().lost >= MOST_LOST
    }

    /// Fails everything that is waiting, since no thread is left to run it.
    fn refuse_all(&self) {
        for job in self.lane.drain() {
            job.fail(StoreError::Failed(
                "all threads for transactional handlers are lost".into(),
            ));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
