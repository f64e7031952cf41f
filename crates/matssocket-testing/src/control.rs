//! Coordinates a test with the handlers of its nodes: what has run, and what may continue.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use matssocket::{Context, MatsSocketServer, ReplyToken, SessionFilter};
use serde_json::Value;
use tokio::sync::{Semaphore, watch};

use super::within;

/// One call of a handler, or one session event.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Endpoint, terminator, service, `adapter:<endpoint>`, `session:<event>` or `session:authenticated`.
    pub what: String,
    pub node: usize,
    pub session: String,
    pub user: String,
    pub tid: String,
    pub kind: String,
    pub payload: Value,
    pub string: Option<String>,
    pub bytes: Option<Vec<u8>>,
    pub end: Option<String>,
    pub token: Option<ReplyToken>,
    /// The client's authorization, as the handler sees it; empty if there is none.
    pub authorization: String,
}

/// Shared by a test and all its nodes.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    seen: Mutex<Vec<Seen>>,
    changed: watch::Sender<usize>,
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
    flags: Mutex<HashSet<String>>,
    waiting: watch::Sender<HashMap<String, usize>>,
}

/// A handler waiting at a gate, until it is opened or the handler is dropped.
struct Waiting(String, Arc<Inner>);

impl Waiting {
    fn at(gate: &str, inner: &Arc<Inner>) -> Waiting {
        let waiting = Waiting(gate.to_owned(), inner.clone());
        inner
            .waiting
            .send_modify(|all| *all.entry(gate.to_owned()).or_default() += 1);
        waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.1
            .waiting
            .send_modify(|all| *all.entry(self.0.clone()).or_default() -= 1);
    }
}

impl Control {
    pub fn new() -> Control {
        Control(Arc::new(Inner {
            seen: Mutex::default(),
            changed: watch::Sender::new(0),
            gates: Mutex::default(),
            flags: Mutex::default(),
            waiting: watch::Sender::default(),
        }))
    }

    // ---- called by handlers ----

    pub fn saw(&self, seen: Seen) {
        self.0.seen.lock().unwrap().push(seen);
        self.0.changed.send_modify(|count| *count += 1);
    }

    pub fn ran(&self, node: usize, what: &str, context: &Context, payload: &Value) {
        self.saw(Seen {
            what: what.to_owned(),
            node,
            session: context.session_id().to_owned(),
            user: context.user_id().to_owned(),
            tid: context.trace_id().to_owned(),
            kind: context.message_type().to_string(),
            payload: payload.clone(),
            string: context.correlation_string().map(str::to_owned),
            bytes: context.correlation_bytes().map(<[u8]>::to_vec),
            end: context.end_reason().map(str::to_owned),
            token: context.reply_token().cloned(),
            authorization: context.authorization().unwrap_or_default().to_owned(),
        });
    }

    /// Waits until the test opens this gate (once per opening).
    pub async fn pass(&self, gate: &str) {
        let _waiting = Waiting::at(gate, &self.0);
        let gate = self.gate(gate);
        gate.acquire()
            .await
            .expect("gates are never closed")
            .forget();
    }

    pub fn is_set(&self, flag: &str) -> bool {
        self.0.flags.lock().unwrap().contains(flag)
    }

    // ---- called by the test ----

    /// Lets this many pass, now or later.
    pub fn open(&self, gate: &str, many: usize) {
        self.gate(gate).add_permits(many);
    }

    /// How many are waiting at this gate.
    pub fn waiting(&self, gate: &str) -> usize {
        let waiting = self.0.waiting.borrow();
        waiting.get(gate).copied().unwrap_or_default()
    }

    /// Waits until this many are waiting at this gate.
    pub async fn until_waiting(&self, gate: &str, many: usize) {
        let mut waiting = self.0.waiting.subscribe();
        within(&format!("{many} waiting at {gate}"), async {
            while self.waiting(gate) != many {
                waiting.changed().await.expect("the sender is in self");
            }
        })
        .await;
    }

    pub fn set(&self, flag: &str) {
        self.0.flags.lock().unwrap().insert(flag.to_owned());
    }

    pub fn unset(&self, flag: &str) {
        self.0.flags.lock().unwrap().remove(flag);
    }

    pub fn all(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.0
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|seen| wanted(seen))
            .cloned()
            .collect()
    }

    /// How often the handlers were called for this trace id (session events do not count).
    pub fn runs(&self, tid: &str) -> usize {
        self.all(|seen| seen.tid == tid && !seen.what.starts_with("session:"))
            .len()
    }

    /// How often this handler was called for this trace id.
    pub fn runs_of(&self, what: &str, tid: &str) -> usize {
        self.all(|seen| seen.what == what && seen.tid == tid).len()
    }

    /// Waits until this many match. Returns all that match.
    pub async fn wait(&self, what: &str, many: usize, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let mut changed = self.0.changed.subscribe();
        within(&format!("{many} of {what}"), async {
            loop {
                let fitting = self.all(&wanted);
                if fitting.len() >= many {
                    return fitting;
                }
                changed.changed().await.expect("the sender is in self");
            }
        })
        .await
    }

    /// Waits until the handler for this trace id has been called.
    pub async fn called(&self, tid: &str) -> Seen {
        self.wait(&format!("a call for {tid}"), 1, |s| {
            s.tid == tid && !s.what.starts_with("session:")
        })
        .await
        .remove(0)
    }

    /// Waits for a session's event: `new`, `reconnect`, `deregister`, `close`, `timeout`.
    pub async fn event(&self, event: &str, session: &str) -> Seen {
        self.events(event, session, 1).await.remove(0)
    }

    pub async fn events(&self, event: &str, session: &str, many: usize) -> Vec<Seen> {
        let name = format!("session:{event}");
        self.wait(&format!("{name} of {session}"), many, |s| {
            s.what == name && s.session == session
        })
        .await
    }

    fn gate(&self, name: &str) -> Arc<Semaphore> {
        self.0
            .gates
            .lock()
            .unwrap()
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(0)))
            .clone()
    }
}

/// Stored sessions of a user.
pub async fn sessions_of(server: &MatsSocketServer, user: &str) -> usize {
    server
        .count_sessions(SessionFilter::default().user_id(user))
        .await
        .expect("the store counts") as usize
}

/// The node that holds a session, if one does.
pub async fn holder_of(server: &MatsSocketServer, session: &str) -> Option<String> {
    let sessions = server
        .sessions(SessionFilter::default(), 1_000)
        .await
        .expect("the store lists");
    sessions
        .into_iter()
        .find(|stored| stored.session_id == session)
        .and_then(|stored| stored.node)
}
