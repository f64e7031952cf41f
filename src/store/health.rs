//! Whether the threads of a lane get their work done.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::statements::{Fault, Meaning};
use crate::wire::shown;

/// What keeps a store from serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// For the log: it may name hosts and roles.
    pub why: String,
}

/// What kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TroubleKind {
    /// Nothing can be written.
    Write = 1,
    /// Nothing can be read.
    Read,
    /// The database is full, read-only, or forbids it.
    Unable,
    /// The nodes cannot hear each other.
    Listen,
}

/// The health of one lane.
#[derive(Default)]
pub struct Health {
    state: Mutex<State>,
    /// So that success costs next to nothing.
    is_ill: AtomicBool,
}

#[derive(Default)]
struct State {
    /// A check that was asked for and not made yet: when, and for how long the store had been held by then.
    asked: Option<(Instant, Duration)>,
    trouble: Option<(bool, String)>,
}

impl Health {
    /// A transaction has gone well.
    pub fn well(&self) {
        if self.is_ill.swap(false, Ordering::Relaxed) {
            self.state().trouble = None;
        }
    }

    /// A transaction has failed. Is it more than that one's own fault?
    pub fn failed(&self, fault: &Fault) {
        let (error, unable) = match fault {
            Fault::Begin(error, meaning) => (error, *meaning == Meaning::Unable),
            Fault::Inside(error, Meaning::Unable) => (error, true),
            Fault::Lost(error) => (error, false),
            Fault::Inside(..) | Fault::Unknown(_) => return,
        };
        self.state().trouble = Some((unable, shown(&error.to_string()).into_owned()));
        self.is_ill.store(true, Ordering::Relaxed);
    }

    /// A check is asked for, unless one is under way.
    pub fn ask(&self, held: Duration) {
        self.state().asked.get_or_insert((Instant::now(), held));
    }

    /// The check was made.
    pub fn checked(&self) {
        self.state().asked = None;
    }

    /// What is wrong, if anything: the last transaction has failed, or the check has not been made in time.
    pub fn trouble(
        &self,
        kind: TroubleKind,
        patience: Duration,
        held: Duration,
    ) -> Option<Trouble> {
        let state = self.state();
        if let Some((unable, why)) = &state.trouble {
            let kind = if *unable { TroubleKind::Unable } else { kind };
            let why = why.clone();
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
