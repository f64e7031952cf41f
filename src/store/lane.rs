//! The queue in front of one thread, or of several that do the same work. Order of service: the node's own work, then
//! sessions that are opened or closed, then messages, shared fairly; and maintenance when there is time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::fair::Fair;
use super::health::Health;
use super::job::Job;
use super::statements::Rank;

/// A group that writes this number of bytes takes no more operations.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Maintenance that has waited this long is served even under constant load; otherwise it might never be.
const MAINTENANCE_WAITS: Duration = Duration::from_millis(200);
/// How often a thread yields before it goes to sleep: operations that arrive meanwhile form one group, and nobody has
/// to wake the thread.
const YIELDS: usize = 2;

/// The queue in front of one or several threads.
#[derive(Default)]
pub struct Lane {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    pub health: Health,
}

/// What a thread does next.
pub enum Next {
    /// Run these in one group.
    Group(Vec<Job>),
    /// Check that the database can be reached.
    Check,
    /// Nothing, but another thread needs a connection.
    Nothing,
}

#[derive(Default)]
struct Waiting {
    control: VecDeque<Job>,
    sessions: Fair<Job>,
    messages: Fair<Job>,
    maintenance: VecDeque<(Instant, Job)>,
    /// Number of threads that are asleep.
    idle: usize,
    /// How often sleeping threads were woken to share a connection.
    woken: usize,
    /// Whether a check was asked for.
    check: bool,
    closed: bool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job. (One that arrives after the lane was closed is dropped, which answers `Stopped`.)
    pub fn push(&self, job: Job) {
        let mut waiting = self.lock();
        if waiting.closed {
            // Not under the lock, because dropping the job answers its caller.
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

    /// Removes all waiting messages.
    pub fn drain(&self) -> Vec<Job> {
        let mut all = Vec::new();
        let mut waiting = self.lock();
        // A handler ends a group, so handlers come out one by one.
        while waiting.messages.len() > 0 {
            waiting.messages.take(&mut all, usize::MAX, usize::MAX);
        }
        all
    }

    /// Closes the lane: no more jobs are accepted.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    /// Asks for a check, which is served before everything else.
    pub fn ask_for_check(&self, held: Duration) {
        self.health.ask(held);
        self.lock().check = true;
        self.filled.notify_one();
    }

    /// Wakes sleeping threads, which may hold a connection that another thread needs.
    pub fn wake_idle(&self) {
        self.lock().woken += 1;
        self.filled.notify_all();
    }

    /// Waits for the next thing to do. A group has at most `most` operations, and no more than one thread's share if
    /// there are `threads` of them. `None`: the lane is closed and empty.
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
