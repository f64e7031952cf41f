//! Watches over calls that may never return.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the thread of a connection is doing.
#[derive(Default)]
enum Doing {
    #[default]
    Listening,
    /// A call that should have returned by then.
    Busy(Instant),
    GivenUp,
}

/// Shared by the thread of a connection and its keeper. A call on a dead connection may block for ever: the kernel sees
/// nothing wrong as long as some proxy accepts the bytes. Then the thread is abandoned.
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

    /// Abandons the connection if it is stuck, so that another one may be opened.
    pub(super) fn give_up(&self) -> bool {
        let mut doing = self.doing();
        let stuck = matches!(*doing, Doing::Busy(until) if until < Instant::now());
        if stuck {
            *doing = Doing::GivenUp;
        }
        stuck
    }
}
