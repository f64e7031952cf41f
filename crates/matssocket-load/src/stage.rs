//! State shared by the sessions of one thread, and by all threads.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::http::Uri;

use crate::args::{Args, Scenario};
use crate::mix::{ByKind, Kind};
use crate::session::Session;
use crate::tally::{Fault, Tally};

/// How many sessions a thread opens at a time.
const OPENING: usize = 64;

/// State shared by all threads.
pub struct Shared {
    pub args: Args,
    /// Sessions (and publishers) that are ready to begin.
    pub ready: AtomicUsize,
    /// Why one could not be opened: then nothing begins.
    pub failed: Mutex<Option<String>>,
    pub done: AtomicU64,
    pub faults: AtomicU64,
    /// `None`: not yet.
    pub begun: watch::Sender<Option<Instant>>,
    /// Sessions that have done everything.
    pub finished: AtomicUsize,
    /// Everything is measured: open sessions may be closed.
    pub over: watch::Sender<bool>,
    /// For each session, where the numbers of due messages are sent.
    pub due: Mutex<Vec<Option<mpsc::UnboundedSender<u64>>>>,
    /// The topic for publications.
    pub topic: String,
    /// Numbers of publications in the order in which the fastest subscriber received them.
    pub order: Mutex<Vec<u64>>,
    /// What was done in the current window of time, by kind. `None`: windows are not used.
    window: Option<Mutex<ByKind<Tally>>>,
}

impl Shared {
    pub fn new(args: Args) -> Arc<Shared> {
        let window = matches!(args.scenario, Scenario::Sustained(..)).then(Mutex::default);
        Arc::new(Shared {
            window,
            due: Mutex::new(vec![None; args.sessions + 1]),
            args,
            ready: AtomicUsize::new(0),
            failed: Mutex::default(),
            done: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            begun: watch::Sender::new(None),
            finished: AtomicUsize::new(0),
            over: watch::Sender::new(false),
            topic: format!("load/{}", std::process::id()),
            order: Mutex::default(),
        })
    }

    /// How many there are: one for each session, and the publisher.
    pub fn players(&self) -> usize {
        let publisher = matches!(self.args.scenario, Scenario::Fanout { .. });
        self.args.sessions + usize::from(publisher)
    }

    /// What was done since the last call, by kind.
    pub fn next_window(&self) -> ByKind<Tally> {
        let fresh = ByKind::default();
        let Some(window) = &self.window else {
            return fresh;
        };
        std::mem::replace(
            &mut *window.lock().unwrap_or_else(PoisonError::into_inner),
            fresh,
        )
    }

    pub fn failure(&self) -> Option<String> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone()
    }
}

/// State shared by the sessions of one thread.
pub struct Stage {
    pub shared: Arc<Shared>,
    pub tally: RefCell<Tally>,
    opening: Semaphore,
}

impl Stage {
    pub fn new(shared: Arc<Shared>) -> Stage {
        Stage {
            shared,
            tally: RefCell::default(),
            opening: Semaphore::new(OPENING),
        }
    }

    pub fn args(&self) -> &Args {
        &self.shared.args
    }

    /// The URL for a session's nth connection.
    pub fn url(&self, number: usize) -> &Uri {
        let urls = &self.args().urls;
        &urls[number % urls.len()]
    }

    /// The user of the nth session.
    pub fn user(&self, number: usize) -> String {
        let user = self.args().user.clone();
        user.unwrap_or_else(|| format!("load-{number}"))
    }

    /// Opens something, not too many at a time.
    pub async fn open<T>(&self, opening: impl Future<Output = Result<T, String>>) -> Option<T> {
        let _permit = self.opening.acquire().await;
        match opening.await {
            Ok(opened) => Some(opened),
            Err(why) => {
                let mut failed =
                    (self.shared.failed.lock()).unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(why);
                None
            }
        }
    }

    /// Opens the session with this number, at the next URL in turn.
    pub async fn open_session(&self, number: usize) -> Option<Session> {
        self.open(Session::open(self.url(number), self.user(number)))
            .await
    }

    /// Where this session receives the numbers of due messages.
    pub fn due(&self, number: usize) -> mpsc::UnboundedReceiver<u64> {
        let (sender, due) = mpsc::unbounded_channel();
        let mut all = (self.shared.due.lock()).unwrap_or_else(PoisonError::into_inner);
        all[number] = Some(sender);
        due
    }

    /// Reports that one more is ready, and waits until all are. Returns when that was.
    pub async fn ready(&self) -> Instant {
        let mut begun = self.shared.begun.subscribe();
        self.shared.ready.fetch_add(1, Ordering::Relaxed);
        let begun = begun.wait_for(Option::is_some).await;
        // The sender lives as long as the threads.
        begun
            .ok()
            .and_then(|begun| *begun)
            .unwrap_or_else(Instant::now)
    }

    /// When missing messages are given up.
    pub fn give_up(&self, begun: Instant) -> Instant {
        begun + self.args().time + self.args().patience
    }

    pub fn done(&self, since: Instant, now: Instant) {
        self.tally.borrow_mut().done(since, now);
        self.shared.done.fetch_add(1, Ordering::Relaxed);
    }

    /// One of this kind is done.
    pub fn done_of(&self, kind: Kind, since: Instant, now: Instant) {
        self.done(since, now);
        if let Some(window) = &self.shared.window {
            let mut tallies = window.lock().unwrap_or_else(PoisonError::into_inner);
            tallies[kind as usize].done(since, now);
        }
    }

    pub fn fault(&self, fault: Fault, what: impl FnOnce() -> String) {
        self.faults(fault, 1, what);
    }

    pub fn faults(&self, fault: Fault, times: u64, what: impl FnOnce() -> String) {
        self.tally.borrow_mut().fault(fault, times, what);
        self.shared.faults.fetch_add(times, Ordering::Relaxed);
    }
}
