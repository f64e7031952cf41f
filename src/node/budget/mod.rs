//! The bytes that the connections of a node may hold, counted where they are promised.
//!
//! Incoming data is reserved before it is read, and outgoing data is counted when it is created. The two are separate,
//! so that clients that do not read cannot keep others from sending. In each direction, one user may have a share.
//! Before HELLO there is no user: incoming data then has a budget of its own.
//!
//! Small amounts never wait: up to [`SMALL`], a connection's bytes are counted but need no room. So on top of the
//! budget there may be that many bytes per connection and direction, bounded by the number of connections.

mod held;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(crate) use self::held::Held;
pub(crate) use self::pool::{Account, Reserved, Ticket};
use self::pool::{Budget, Pool};
use crate::config::Config;
use crate::latency::Latency;
use crate::logging;
use crate::seldom::Seldom;

/// Bytes of one connection in one direction that never wait for room.
pub(crate) const SMALL: usize = 64 * 1024;

/// The budgets of a node.
#[derive(Debug)]
pub(crate) struct NodeBudget {
    incoming: Arc<Budget>,
    before_hello: Arc<Budget>,
    outgoing: Arc<Budget>,
    users: Mutex<Users>,
    max_user_bytes: usize,
    /// Connections closed because a message arrived too slowly.
    pub(crate) closed_slow: AtomicU64,
    /// Connections closed because there was no room for what they had begun to send.
    pub(crate) closed_waiting: AtomicU64,
    /// How long what is written to a connection takes to be handed to its socket.
    pub(crate) sending: Latency,
    /// Limits the log lines about both.
    pub(crate) closes: Seldom,
}

/// The shares of users who currently have connections.
#[derive(Debug, Default)]
struct Users {
    shares: HashMap<Box<str>, Weak<Share>>,
    /// At this many entries, those of users who have left are removed.
    sweep_at: usize,
}

/// One user's share: what the user's connections may hold.
#[derive(Debug)]
pub(crate) struct Share {
    incoming: Pool,
    outgoing: Pool,
}

/// What is held now, for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InUse {
    pub(crate) incoming: usize,
    pub(crate) before_hello: usize,
    pub(crate) outgoing: usize,
    /// Connections whose reading is paused for lack of room.
    pub(crate) readers_waiting: usize,
}

impl NodeBudget {
    /// Half of the node's bytes are for incoming data, including that before HELLO, and half for outgoing data.
    pub(crate) fn new(config: &Config) -> Arc<NodeBudget> {
        let half = config.max_node_bytes / 2;
        let before_hello = config.max_bytes_before_hello.min(half / 2);
        Arc::new(NodeBudget {
            incoming: Budget::new(half - before_hello),
            before_hello: Budget::new(before_hello),
            outgoing: Budget::new(half),
            users: Mutex::default(),
            max_user_bytes: config.max_user_bytes.min(half - before_hello),
            closed_slow: AtomicU64::new(0),
            closed_waiting: AtomicU64::new(0),
            sending: Latency::default(),
            closes: Seldom::default(),
        })
    }

    /// The accounts for incoming and outgoing data of a connection that has no user yet.
    pub(crate) fn before_hello(&self) -> (Account, Account) {
        let incoming = Account::new(self.before_hello.clone());
        (incoming, Account::new(self.outgoing.clone()))
    }

    /// The accounts for incoming and outgoing data of a connection of this user.
    pub(crate) fn of_user(&self, user_id: &str) -> (Account, Account) {
        let share = self.share(user_id);
        let incoming = Account::of_user(self.incoming.clone(), share.clone(), |it| &it.incoming);
        let outgoing = Account::of_user(self.outgoing.clone(), share, |it| &it.outgoing);
        (incoming, outgoing)
    }

    fn share(&self, user_id: &str) -> Arc<Share> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = users.shares.get(user_id).and_then(Weak::upgrade) {
            return share;
        }
        if users.shares.len() >= users.sweep_at {
            users.shares.retain(|_, share| share.strong_count() > 0);
            users.sweep_at = 2 * users.shares.len() + 64;
        }
        let share = Arc::new(Share {
            incoming: Pool::new(self.max_user_bytes),
            outgoing: Pool::new(self.max_user_bytes),
        });
        let entry = Arc::downgrade(&share);
        users.shares.insert(user_id.into(), entry);
        share
    }

    /// The most that can be reserved at once for a user's incoming data.
    pub(crate) fn largest_incoming(&self) -> usize {
        self.max_user_bytes
    }

    pub(crate) fn in_use(&self) -> InUse {
        InUse {
            incoming: self.incoming.used(),
            before_hello: self.before_hello.used(),
            outgoing: self.outgoing.used(),
            readers_waiting: self.incoming.waiting() + self.before_hello.waiting(),
        }
    }

    /// Counts and logs that a message arrived too slowly.
    pub(crate) fn count_slow(&self, why: &str) {
        self.closed_slow.fetch_add(1, Ordering::Relaxed);
        self.log_close(why);
    }

    /// Counts and logs that there was no room for a message.
    pub(crate) fn count_waiting(&self, why: &str) {
        self.closed_waiting.fetch_add(1, Ordering::Relaxed);
        self.log_close(why);
    }

    fn log_close(&self, why: &str) {
        if let Some(count) = self.closes.count() {
            logging::info!(
                "connections closed in the middle of a message since the last such line: {count}; this one: {why}"
            );
        }
    }
}
