//! The threads that run transactional handlers. The application's code, and Diesel's connection, wait for as long as they
//! like: a thread that does not come back in time is left behind, and another one takes its place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::StoreError;
use super::job::{Abandon, Job};
use super::lane::Lane;
use super::lines::Lines;
use super::queue::Queue;
use super::writer;

/// Most threads that are left behind at a time. They may come back.
const MOST_LOST: usize = 32;

/// The threads of transactional handlers.
pub struct Handlers {
    pub lane: Arc<Lane>,
    lines: Arc<Lines>,
    queue: Arc<Queue>,
    /// How much longer than its limit a handler may take before its thread is taken for lost.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What runs.
    running: HashMap<u64, Running>,
    next: u64,
    lost: usize,
}

struct Running {
    until: Instant,
    abandon: Abandon,
}

impl Handlers {
    pub fn new(lines: &Arc<Lines>, queue: &Arc<Queue>, patience: Duration) -> Handlers {
        let lane = Arc::<Lane>::default();
        lines.know(&lane);
        Handlers {
            lane,
            lines: lines.clone(),
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
                let (lane, lines, queue) = (&handlers.lane, &handlers.lines, &handlers.queue);
                writer::serve(lane, lines, writer::Role::Handle(&handlers), queue);
            })
    }

    /// A thread begins with this.
    pub fn begin(&self, job: &mut Job) -> u64 {
        let limit = job.limit().unwrap_or_default();
        let running = Running {
            until: Instant::now() + limit.saturating_add(self.patience),
            abandon: job.abandon(),
        };
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.running.insert(number, running);
        number
    }

    /// A thread has ended with that. False: it was taken for lost, and another one has its place.
    pub fn end(&self, number: u64) -> bool {
        let mut state = self.state();
        let is_known = state.running.remove(&number).is_some();
        if !is_known {
            state.lost -= 1;
        }
        is_known
    }

    /// Leaves those behind that have not come back in time. Comes at intervals.
    pub fn look(self: &Arc<Self>) {
        let now = Instant::now();
        let mut state = self.state();
        let late: Vec<_> = state
            .running
            .extract_if(|_, running| running.until < now)
            .collect();
        state.lost += late.len();
        let (all_lost, lost) = (state.lost > MOST_LOST, state.lost);
        drop(state);
        if late.is_empty() {
            return;
        }
        log::error!(
            "{} transactional handlers have not come back in time, {lost} in all: whether they have stored anything is \
            not known{}",
            late.len(),
            if all_lost {
                "; no more threads are started for others"
            } else {
                ""
            }
        );
        self.queue.metrics.lost_threads(lost);
        for (_, running) in late {
            (running.abandon)(StoreError::Unknown);
            if all_lost {
                self.refuse_all();
            } else if let Err(error) = self.start() {
                log::error!("no thread for transactional handlers: {error}");
            }
        }
    }

    /// No more handlers can be run: too many threads were lost.
    pub fn are_all_lost(&self) -> bool {
        self.state().lost > MOST_LOST
    }

    /// Nobody is left to do what waits.
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
