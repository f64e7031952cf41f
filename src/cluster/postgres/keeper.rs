//! Keeps a node's LISTEN connection up: opens it again when it is lost, and abandons it when it is stuck.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::watch::Watch;
use super::{Done, Post, listen};
use crate::logging;

/// How often a connection is checked.
const LOOK: Duration = Duration::from_millis(500);
/// First and longest wait before a lost connection is opened again. The wait doubles each time, plus up to half of it
/// at random.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

pub(super) struct Keeper {
    pub(super) post: Arc<Post>,
    /// Gets a message, or is disconnected, when the node leaves.
    pub(super) left: Receiver<Done>,
}

impl Keeper {
    pub(super) fn run(self) {
        self.post.counters.mark_down();
        while let Err(why) = self.keep_one() {
            self.post.counters.mark_down();
            let failures = self.post.failures.fetch_add(1, Relaxed);
            if failures == 0 {
                logging::warn!(
                    "no LISTEN connection; until it is back, only the sweep finds news: {why}"
                );
            } else {
                logging::debug!("still no LISTEN connection: {why}");
            }
            // If the node leaves now, notices still waiting are left to the sweep.
            let (Ok(_) | Err(RecvTimeoutError::Disconnected)) =
                self.left.recv_timeout(wait(failures))
            else {
                continue;
            };
            return;
        }
    }

    /// Runs one connection until it is lost, or the node has left.
    fn keep_one(&self) -> Result<(), String> {
        let watch = Arc::new(Watch::default());
        let (ended, end) = bounded(1);
        let (post, watched) = (self.post.clone(), watch.clone());
        std::thread::Builder::new()
            .name("matssocket-listen".into())
            .spawn(move || ended.send(listen::run(&post, &watched)))
            .map_err(|error| format!("cannot start its thread: {error}"))?;
        loop {
            match end.recv_timeout(LOOK) {
                Ok(end) => return end,
                Err(RecvTimeoutError::Disconnected) => return Err("its thread panicked".into()),
                Err(RecvTimeoutError::Timeout) if watch.give_up() => {
                    return Err("no answer".into());
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
