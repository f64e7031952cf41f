//! The transport between processes: LISTEN and NOTIFY of PostgreSQL.
//!
//! Each node has a channel of its own, and there is one for all nodes. A node has one connection for both directions,
//! its LISTEN connection, which is kept up by a separate thread.

mod keeper;
mod listen;
mod packet;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::keeper::Keeper;
use super::{ClusterCounters, Deliver, Done, Notice, Transport};
use crate::conninfo;
use crate::logging;

/// Notices waiting to be sent by one node; more are dropped, and the sweep finds what they announced.
const QUEUE: usize = 10_000;
/// Most bytes of a node's name in a channel's name, which may have 63.
const NAME: usize = 40;

/// A notice to be sent.
struct Told {
    channel: String,
    /// The sender's channel, for a notice to all others.
    from: Option<String>,
    notice: Notice,
}

/// State shared by a node's successive LISTEN connections.
struct Post {
    conninfo: String,
    /// The node's own channel.
    own: String,
    /// The channel of all nodes.
    all: String,
    waiting: Receiver<Told>,
    deliver: Mutex<Deliver>,
    /// Connections lost, or not opened, since the last one that worked.
    failures: AtomicU32,
    counters: Arc<ClusterCounters>,
}

impl Post {
    fn deliver(&self, notice: Notice) {
        let deliver = self.deliver.lock().unwrap_or_else(PoisonError::into_inner);
        deliver(notice);
    }
}

/// A node that has joined.
struct Joined {
    waiting: Sender<Told>,
    leave: Sender<Done>,
}

pub(super) struct PostgresTransport {
    conninfo: String,
    /// The channel of all nodes.
    all: String,
    nodes: Mutex<HashMap<String, Joined>>,
}

impl PostgresTransport {
    pub(super) fn new(url: &str, schema: &str) -> PostgresTransport {
        PostgresTransport {
            conninfo: conninfo::with_keepalives(url, "matssocket-listen"),
            all: format!("matssocket-all:{}", tail(schema)),
            nodes: Mutex::default(),
        }
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Joined>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, teller: &str, told: Told) {
        let nodes = self.nodes();
        let put = nodes.get(teller).map(|it| it.waiting.try_send(told));
        if !matches!(put, Some(Ok(()))) {
            logging::debug!("a notice was dropped: the node's queue is full, or the node has left");
        }
    }
}

/// The end of a name, which distinguishes it: a node's name ends in its random part.
fn tail(name: &str) -> &str {
    let mut ends = name.char_indices().map(|(at, _)| &name[at..]);
    ends.find(|end| end.len() <= NAME).unwrap_or_default()
}

fn channel_of(node: &str) -> String {
    format!("matssocket-node:{}", tail(node))
}

impl Transport for PostgresTransport {
    fn join(&self, node: &str, deliver: Deliver, counters: Arc<ClusterCounters>) {
        let (sender, waiting) = bounded(QUEUE);
        let (leave, left) = bounded(1);
        let post = Post {
            conninfo: self.conninfo.clone(),
            own: channel_of(node),
            all: self.all.clone(),
            waiting,
            deliver: Mutex::new(deliver),
            failures: AtomicU32::new(0),
            counters,
        };
        let keeper = Keeper {
            post: Arc::new(post),
            left,
        };
        match std::thread::Builder::new()
            .name("matssocket-keeper".into())
            .spawn(|| keeper.run())
        {
            Ok(_) => {
                let joined = Joined {
                    waiting: sender,
                    leave,
                };
                self.nodes().insert(node.to_owned(), joined);
            }
            Err(error) => logging::error!(
                "cannot start a thread for notices to {node}; only the sweep finds news: {error}"
            ),
        }
    }

    fn leave(&self, node: &str, done: Done) {
        if let Some(joined) = self.nodes().remove(node) {
            // There is room, since a node leaves only once.
            let _ = joined.leave.try_send(done);
        }
    }

    fn tell(&self, teller: &str, node: &str, notice: Notice) {
        let channel = channel_of(node);
        self.put(
            teller,
            Told {
                channel,
                from: None,
                notice,
            },
        );
    }

    fn tell_others(&self, teller: &str, notice: Notice) {
        let told = Told {
            channel: self.all.clone(),
            from: Some(channel_of(teller)),
            notice,
        };
        self.put(teller, told);
    }
}
