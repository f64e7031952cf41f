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
use super::statements::Cutter;
use super::writer;
use crate::seldom::log_seldom;

/// A thread whose connection was ended gets so long to notice.
const AFTER_CUT: Duration = Duration::from_secs(1);

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

/// What a thread runs. When it is dropped, that has ended.
pub struct Watched {
    handlers: Arc<Handlers>,
    /// `None` once it has ended.
    number: Option<u64>,
}

impl Watched {
    /// It goes on with this connection.
    pub fn uses(&self, cut: Option<Cutter>) {
        if let Some(number) = self.number {
            self.handlers.uses(number, cut);
        }
    }

    /// Whoever asked for it was told that it has not come back.
    pub fn is_given_up(&self) -> bool {
        let given_up = |number| self.handlers.is_given_up(number);
        self.number.is_some_and(given_up)
    }

    /// It has ended. False: its thread was taken for lost, and another one has its place.
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
    /// What runs.
    running: HashMap<u64, Running>,
    next: u64,
    lost: usize,
    /// Threads that were lost and have no other one in their place: so many of those that come back go on.
    owed: usize,
}

struct Running {
    until: Instant,
    /// `None` once whoever asked was told.
    abandon: Option<Abandon>,
    /// Ends the connection that it may be waiting on.
    cut: Option<Cutter>,
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
    pub fn begin(self: &Arc<Self>, job: &mut Job) -> Watched {
        let limit = job.limit().unwrap_or_default();
        let running = Running {
            until: Instant::now() + limit.saturating_add(self.patience),
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

    /// A thread goes on with this connection.
    fn uses(&self, number: u64, cut: Option<Cutter>) {
        if let Some(running) = self.state().running.get_mut(&number) {
            running.cut = cut;
        }
    }

    /// A thread has ended with that. False: it was taken for lost, and another one has its place.
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

    /// Whoever asked for it was told that it has not come back.
    fn is_given_up(&self, number: u64) -> bool {
        let state = self.state();
        let running = state.running.get(&number);
        running.is_none_or(|running| running.abandon.is_none())
    }

    /// Gives up what has not come back in time, and ends the connections that it may be waiting on; whoever does not come
    /// back then either is left behind. Comes at intervals.
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
                "{} transactional handlers have not come back in time: whether they have stored anything is not known",
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

    /// Starts threads in the place of those that were lost.
    fn replace(self: &Arc<Self>, late: usize, lost: usize) {
        let all_lost = lost >= MOST_LOST;
        log::error!(
            "{late} threads that run transactional handlers are left behind, {lost} in all{}",
            if all_lost {
                "; no more threads are started for others"
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
                log::error!("no thread for transactional handlers: {error}");
            }
            if !matches!(started, Some(Ok(_))) {
                self.state().owed += 1;
            }
        }
    }

    /// No more handlers can be run: too many threads were lost.
    pub fn are_all_lost(&self) -> bool {
        self.state().lost >= MOST_LOST
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
