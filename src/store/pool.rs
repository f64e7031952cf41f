//! The connections of a store's threads. Each thread has its own, as long as the database grants enough; otherwise the
//! threads share what there is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::lane::Lane;
use super::statements::{Cutter, Database, WorkConnection};
use crate::seldom::log_seldom;

/// When there are too few connections, how often to try to open another one.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Write,
    Handle,
    Read,
}

/// The connections of an opened store.
pub struct ConnectionPool {
    database: Arc<dyn Database>,
    /// How long a thread waits for a connection of another thread.
    patience: Duration,
    state: Mutex<State>,
    /// Signalled when a connection is given back or closed.
    returned: Condvar,
    /// Number of threads that wait for a connection.
    wanted: AtomicUsize,
    /// The lanes of all threads, used to wake those that are idle and hold a connection.
    lanes: Mutex<Vec<Weak<Lane>>>,
}

#[derive(Default)]
struct State {
    /// Given back for other threads.
    spare: Vec<Box<dyn WorkConnection>>,
    /// Number of open connections, including those in use.
    open: usize,
    /// The next connection given back is closed, to make room for one of another kind.
    close_next: bool,
    /// Set when there were too few: no other connection is opened before this time.
    again: Option<Instant>,
    /// Numbers of the threads that wait for a spare connection: first come, first served.
    queue: VecDeque<u64>,
    next: u64,
}

/// A connection in use.
pub struct Pooled {
    /// `None` once it was given back.
    connection: Option<Box<dyn WorkConnection>>,
    pool: Arc<ConnectionPool>,
}

impl ConnectionPool {
    pub fn new(database: Arc<dyn Database>, patience: Duration) -> ConnectionPool {
        ConnectionPool {
            database,
            patience,
            state: Mutex::default(),
            returned: Condvar::new(),
            wanted: AtomicUsize::new(0),
            lanes: Mutex::default(),
        }
    }

    /// Registers a lane whose threads have connections to share.
    pub fn know(&self, lane: &Arc<Lane>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.push(Arc::downgrade(lane));
    }

    /// Returns a connection: a spare one, a new one, or the next that another thread gives back. While one for handlers
    /// is being opened, the cutter passed to `opening` can end it.
    pub fn take(
        self: &Arc<Self>,
        purpose: Purpose,
        opening: &mut dyn FnMut(Cutter),
    ) -> Result<Pooled, String> {
        let shared = self.database.connections_are_interchangeable() && purpose != Purpose::Handle;
        let until = Instant::now() + self.patience;
        let mut why = String::from("too few connections");
        let place = Place::new(self);
        loop {
            let mut state = self.state();
            if shared
                && place.is_next(&state)
                && let Some(connection) = state.spare.pop()
            {
                return Ok(self.held(connection));
            }
            let now = Instant::now();
            if state.again.is_none_or(|again| again <= now) {
                // Other threads may go first while this one opens a connection.
                place.leave(&mut state);
                drop(state);
                match self.open(purpose, opening) {
                    Ok(connection) => return Ok(self.held(connection)),
                    Err(error) => why = error,
                }
                state = self.state();
                // Fail if no other connection is open to share, or sharing would not help.
                if state.open == 0 || !self.database.connections_are_interchangeable() {
                    return Err(why);
                }
                state.again = Some(Instant::now() + TRY_AGAIN);
                log_seldom!(
                    warn,
                    "cannot open another connection to the database; the store's threads share the {} that are open: \
                    {why}",
                    state.open
                );
            }
            if now >= until {
                return Err(why);
            }
            match shared {
                true => place.take(&mut state),
                false => self.close_next(&mut state),
            }
            self.wait(state, |state| shared && place.is_next(state));
        }
    }

    fn open(
        &self,
        purpose: Purpose,
        opening: &mut dyn FnMut(Cutter),
    ) -> Result<Box<dyn WorkConnection>, String> {
        let connection = match purpose {
            Purpose::Write => self.database.writer(),
            Purpose::Handle => self.database.handler(opening),
            Purpose::Read => self.database.reader(),
        }?;
        let mut state = self.state();
        state.open += 1;
        state.again = None;
        Ok(connection)
    }

    /// Waits briefly, until a connection is given back or another one may be opened.
    fn wait(&self, state: MutexGuard<'_, State>, is_next: impl Fn(&State) -> bool) {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        drop(state);
        self.wake_idle();
        let state = self.state();
        // A connection may have been given back before the lock was taken.
        if state.spare.is_empty() || !is_next(&state) {
            drop(
                self.returned
                    .wait_timeout(state, TRY_AGAIN / 4)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
        self.wanted.fetch_sub(1, Ordering::SeqCst);
    }

    /// Closes one of several connections, so that another client of the database can have it.
    pub fn spare_one(&self) {
        let mut state = self.state();
        if state.open > 1 {
            self.close_next(&mut state);
            drop(state);
            self.wake_idle();
        }
    }

    /// Closes the next connection that is given back.
    fn close_next(&self, state: &mut State) {
        if !std::mem::replace(&mut state.close_next, true) {
            self.wanted.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether the last attempt found too few connections.
    pub fn are_too_few(&self) -> bool {
        self.state().again.is_some()
    }

    /// Whether a thread waits for a connection.
    pub fn are_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    fn wake_idle(&self) {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in lanes.iter().filter_map(Weak::upgrade) {
            lane.wake_idle();
        }
    }

    fn held(self: &Arc<Self>, connection: Box<dyn WorkConnection>) -> Pooled {
        Pooled {
            connection: Some(connection),
            pool: self.clone(),
        }
    }

    /// Number of open connections, including those in use.
    pub fn open_connections(&self) -> u64 {
        self.state().open as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread's place in the queue for spare connections, if it has one. Given up when dropped.
struct Place<'a> {
    number: u64,
    pool: &'a ConnectionPool,
}

impl<'a> Place<'a> {
    fn new(pool: &'a ConnectionPool) -> Place<'a> {
        let mut state = pool.state();
        state.next += 1;
        Place {
            number: state.next,
            pool,
        }
    }

    fn take(&self, state: &mut State) {
        if !state.queue.contains(&self.number) {
            state.queue.push_back(self.number);
        }
    }

    fn leave(&self, state: &mut State) {
        state.queue.retain(|it| *it != self.number);
    }

    fn is_next(&self, state: &State) -> bool {
        state.queue.front().is_none_or(|it| *it == self.number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave(&mut self.pool.state());
        self.pool.returned.notify_all();
    }
}

impl Pooled {
    /// Gives the connection to a waiting thread, if it is of a kind that can be shared; otherwise closes it.
    pub fn give_back(mut self, purpose: Purpose) {
        let mut state = self.pool.state();
        let close_next = std::mem::take(&mut state.close_next);
        if close_next {
            self.pool.wanted.fetch_sub(1, Ordering::SeqCst);
        }
        if close_next && state.open > 1 {
            state.again = None;
        } else if purpose != Purpose::Handle && self.pool.database.connections_are_interchangeable()
        {
            state.spare.extend(self.connection.take());
        }
        drop(state);
    }

    pub fn connection(&mut self) -> &mut dyn WorkConnection {
        self.connection
            .as_deref_mut()
            .expect("given back only at its end")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Close it before the count lets other threads open theirs.
            drop(connection);
            self.pool.state().open -= 1;
        }
        self.pool.returned.notify_all();
    }
}
