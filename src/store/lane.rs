//! What waits for one thread, or for several that do the same: the node's own work first, then sessions that come and
//! go, then messages, shared out fairly; and maintenance when there is time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::fair::Fair;
use super::health::Health;
use super::job::Job;
use super::statements::Rank;

/// A group that writes so many bytes takes no more operations in.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Maintenance that has waited so long comes even if there always is something else: else it would never come.
const MAINTENANCE_WAITS: Duration = Duration::from_millis(200);
/// So often a thread lets others go first before it goes to sleep: what they have to say comes as one group, and nobody
/// has to wake it.
const YIELDS: usize = 2;

/// The queue in front of one or several threads.
#[derive(Default)]
pub struct Lane {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    pub health: Health,
}

/// What a thread is to do next.
pub enum Next {
    /// These, in one group.
    Group(Vec<Job>),
    /// To try whether it could do anything.
    Check,
    /// Nothing, but somebody wants a connection.
    Nothing,
}

#[derive(Default)]
struct Waiting {
    control: VecDeque<Job>,
    sessions: Fair<Job>,
    messages: Fair<Job>,
    maintenance: VecDeque<(Instant, Job)>,
    /// Threads that have nothing to do.
    idle: usize,
    /// How often those that have nothing to do were woken for nothing.
    woken: usize,
    /// A check is to be made.
    check: bool,
    closed: bool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in. (One that comes after the end is dropped, which answers `Stopped`.)
    pub fn push(&self, job: Job) {
        let mut waiting = self.lock();
        if waiting.closed {
            // Not under the lock: its answer may do anything.
            drop(waiting);
            return drop(job);
        }
        match job.rank() {
            Rank::Control => waiting.control.push_back(job),
            Rank::Sessions => waiting.sessions.push(job),
            Rank::Messages => waiting.messages.push(job),
            Rank::Maintenance => waiting.maintenance.push_back((Instant::now(), job)),
        }
        let wake = waiting.idle > 0;
        drop(waiting);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Takes out all messages that wait.
    pub fn drain(&self) -> Vec<Job> {
        let mut all = Vec::new();
        let mut waiting = self.lock();
        // A handler ends a group: they come one by one.
        while waiting.messages.len() > 0 {
            waiting.messages.take(&mut all, usize::MAX, usize::MAX);
        }
        all
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Asks for a check, which comes before all else.
    pub fn ask_for_check(&self, held: Duration) {
        self.health.ask(held);
        self.lock().check = true;
        self.filled.notify_one();
    }

    /// Wakes threads that have nothing to do: they may have a connection that somebody wants.
    pub fn wake_idle(&self) {
        self.lock().woken += 1;
        self.filled.notify_all();
    }

    /// What is to be done next, at most so many in one group, and no more than the share of one of so many threads; waits
    /// for it. `None`: there is nothing, and nothing more will come.
    pub fn take(&self, most: usize, threads: usize) -> Option<Next> {
        let mut waiting = self.lock();
        let mut yields = 0;
        let woken = waiting.woken;
        loop {
            if std::mem::take(&mut waiting.check) {
                return Some(Next::Check);
            }
            let share = waiting.len().div_ceil(threads);
            let group = waiting.next(most.min(share));
            if !group.is_empty() {
                return Some(Next::Group(group));
            }
            if waiting.closed {
                return None;
            }
            if waiting.woken != woken {
                return Some(Next::Nothing);
            }
            if yields < YIELDS {
                yields += 1;
                drop(waiting);
                thread::yield_now();
                waiting = self.lock();
                continue;
            }
            yields = 0;
            waiting.idle += 1;
            waiting = self
                .filled
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
        }
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.control.len() + self.sessions.len() + self.messages.len() + self.maintenance.len()
    }

    fn next(&mut self, most: usize) -> Vec<Job> {
        let mut group = Vec::new();
        if !self.control.is_empty() {
            group.extend(self.control.drain(..));
            return group;
        }
        let due = |(since, _): &(Instant, Job)| since.elapsed() >= MAINTENANCE_WAITS;
        if !self.maintenance.front().is_some_and(due) {
            let for_messages = self.messages.len().min(most / 2);
            self.sessions
                .take(&mut group, most - for_messages, MOST_BYTES);
            self.messages.take(&mut group, most, MOST_BYTES);
        }
        if group.is_empty() {
            group.extend(self.maintenance.pop_front().map(|(_, job)| job));
        }
        group
    }
}
