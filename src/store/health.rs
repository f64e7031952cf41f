//! Tracks whether the threads of a lane get their work done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::statements::{Fault, Meaning};
use crate::wire::shown;

/// What keeps a store from serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// For the log only: it may name hosts and roles.
    pub why: String,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// Nothing can be written.
    Write,
    /// Nothing can be read.
    Read,
    /// The database is full, read-only or denies permission.
    Unable,
    /// The nodes cannot receive each other's notifications.
    Listen,
}

/// The health of one lane.
#[derive(Default)]
pub struct Health {
    state: Mutex<State>,
    /// Lets a success return without taking the lock.
    is_ill: AtomicBool,
}

#[derive(Default)]
struct State {
    /// A check that was asked for and is not done yet: when it was asked for, and for how long the store had been held
    /// by then.
    asked: Option<(Instant, Duration)>,
    trouble: Option<Ill>,
}

/// Why the last transaction failed.
struct Ill {
    /// The database is full, read-only or denies permission.
    unable: bool,
    why: String,
    since: Instant,
}

/// A check that writes nothing does not prove that the database can be written to again, so `unable` outlives such
/// checks for this long.
const UNABLE_LASTS: Duration = Duration::from_secs(10);

impl Health {
    /// A transaction succeeded. `with_work` tells whether it had anything to do.
    pub fn well(&self, with_work: bool) {
        if !self.is_ill.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        let lasts = |ill: &Ill| ill.unable && !with_work && ill.since.elapsed() < UNABLE_LASTS;
        if !state.trouble.as_ref().is_some_and(lasts) {
            state.trouble = None;
            self.is_ill.store(false, Ordering::Relaxed);
        }
    }

    /// A transaction failed. Only a fault that concerns more than this one transaction counts.
    pub fn failed(&self, fault: &Fault) {
        let (error, unable) = match fault {
            Fault::Begin(error, meaning) => (error, *meaning == Meaning::Unable),
            Fault::Inside(error, Meaning::Unable) => (error, true),
            Fault::Lost(error) => (error, false),
            Fault::Inside(..) | Fault::Unknown(_) => return,
        };
        self.state().trouble = Some(Ill {
            unable,
            why: shown(&error.to_string()).into_owned(),
            since: Instant::now(),
        });
        self.is_ill.store(true, Ordering::Relaxed);
    }

    /// A check is asked for, unless one is pending.
    pub fn ask(&self, held: Duration) {
        self.state().asked.get_or_insert((Instant::now(), held));
    }

    /// The check is done.
    pub fn checked(&self) {
        self.state().asked = None;
    }

    /// What is wrong, if anything: the last transaction failed, or a check was not done in time.
    pub fn trouble(
        &self,
        kind: TroubleKind,
        patience: Duration,
        held: Duration,
    ) -> Option<Trouble> {
        let state = self.state();
        if let Some(ill) = &state.trouble {
            let kind = if ill.unable {
                TroubleKind::Unable
            } else {
                kind
            };
            let why = ill.why.clone();
            return Some(Trouble { kind, why });
        }
        let (asked, held_then) = state.asked?;
        let waited = asked
            .elapsed()
            .saturating_sub(held.saturating_sub(held_then));
        (waited > patience).then(|| Trouble {
            kind,
            why: format!("no answer for {waited:.1?}"),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
