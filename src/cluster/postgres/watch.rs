//! Watches over calls that may never return.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the thread of a line is doing.
#[derive(Default)]
enum Doing {
    #[default]
    Listening,
    /// A call that should have returned by then.
    Busy(Instant),
    GivenUp,
}

/// Between the thread of a line and its keeper. A call on a line that leads nowhere any more may block for ever: the
/// kernel sees nothing wrong as long as some proxy takes the bytes. Then the thread is left behind.
#[derive(Default)]
pub(super) struct Watch(Mutex<Doing>);

impl Watch {
    fn doing(&self) -> MutexGuard<'_, Doing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call that may block.
    pub(super) fn during<T>(
        &self,
        longest: Duration,
        call: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        *self.doing() = Doing::Busy(Instant::now() + longest);
        let result = call();
        let mut doing = self.doing();
        if let Doing::GivenUp = *doing {
            return Err("it was given up".into());
        }
        *doing = Doing::Listening;
        result
    }

    /// Gives the line up if it is stuck: there may be another one now.
    pub(super) fn give_up(&self) -> bool {
        let mut doing = self.doing();
        let stuck = matches!(*doing, Doing::Busy(until) if until < Instant::now());
        if stuck {
            *doing = Doing::GivenUp;
        }
        stuck
    }
}
