//! Keeps a node's LISTEN line up: opens it again when it is lost, and gives it up when it is stuck.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::{Done, Post, line};

/// How often a line is looked after.
const LOOK: Duration = Duration::from_millis(500);
/// First and longest wait before a lost line is opened again; it doubles, with up to half of it on top.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the thread of a line is doing.
enum Doing {
    Listening,
    /// A call that should have returned by then.
    Busy(Instant),
    GivenUp,
}

/// Between the thread of a line and its keeper. A call on a line that leads nowhere any more may block for ever: the
/// kernel sees nothing wrong as long as some proxy takes the bytes. Then the thread is left behind.
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
    fn give_up(&self) -> bool {
        let mut doing = self.doing();
        let stuck = matches!(*doing, Doing::Busy(until) if until < Instant::now());
        if stuck {
            *doing = Doing::GivenUp;
        }
        stuck
    }
}

pub(super) struct Keeper {
    pub(super) post: Arc<Post>,
    /// Told, or disconnected, when the node leaves.
    pub(super) left: Receiver<Done>,
}

impl Keeper {
    pub(super) fn run(self) {
        self.post.counters.is_down();
        while let Err(why) = self.line() {
            self.post.counters.is_down();
            let failures = self.post.failures.fetch_add(1, Relaxed);
            if failures == 0 {
                log::warn!(
                    "no LISTEN line, until it is back the sweep has to find all news: {why}"
                );
            } else {
                log::debug!("still no LISTEN line: {why}");
            }
            // Who leaves now leaves what still waits to the sweep.
            let (Ok(_) | Err(RecvTimeoutError::Disconnected)) =
                self.left.recv_timeout(wait(failures))
            else {
                continue;
            };
            return;
        }
    }

    /// Runs one line until it is lost, or the node has left.
    fn line(&self) -> Result<(), String> {
        let watch = Arc::new(Watch(Mutex::new(Doing::Listening)));
        let (ended, end) = bounded(1);
        let (post, watched) = (self.post.clone(), watch.clone());
        std::thread::Builder::new()
            .name("matssocket-listen".into())
            .spawn(move || ended.send(line::run(&post, &watched)))
            .map_err(|error| format!("no thread for it: {error}"))?;
        loop {
            match end.recv_timeout(LOOK) {
                Ok(end) => return end,
                Err(RecvTimeoutError::Disconnected) => return Err("its thread panicked".into()),
                Err(RecvTimeoutError::Timeout) if watch.give_up() => {
                    return Err("it leads nowhere: no answer".into());
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

fn wait(failures: u32) -> Duration {
    let doubled = WAIT.0.saturating_mul(1 << failures.min(10)).min(WAIT.1);
    doubled.mul_f64(rand::random_range(1.0..1.5))
}
