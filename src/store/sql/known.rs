//! Session rows that a transaction has read.

use std::collections::HashMap;
use std::sync::Arc;

use super::reserved::Numbers;
use crate::store::operation::{ConnectionId, SessionKey};

/// What is known of session rows. Where nobody else writes them, this outlives the transaction, unless it is rolled
/// back; whatever else changes session rows makes a transaction forget all of this first.
#[derive(Default)]
pub struct Known {
    pub(super) rows: HashMap<SessionKey, Row>,
    /// `None`: there is no such session.
    pub(super) keys: HashMap<String, Option<SessionKey>>,
    /// All sessions of users, in the order of their keys.
    pub(super) of_users: HashMap<String, Vec<SessionKey>>,
    /// Rows whose newest numbers must be written back.
    pub(super) dirty: Vec<SessionKey>,
}

impl Known {
    /// Maximum number of sessions remembered from one transaction to the next.
    #[allow(dead_code)] // PostgreSQL forgets them with the transaction
    const MOST: usize = 10_000;

    /// Forgets everything if it has grown too large.
    #[allow(dead_code)] // PostgreSQL forgets them with the transaction
    pub fn bound(&mut self) {
        let of_users = self.of_users.values().map(|keys| 1 + keys.len());
        let known = [self.rows.len(), self.keys.len(), of_users.sum()];
        if known.into_iter().any(|known| known > Known::MOST) {
            self.forget();
        }
    }

    pub fn forget(&mut self) {
        *self = Known::default();
    }
}

/// A session row.
pub struct Row {
    pub sid: String,
    pub user_id: String,
    pub connection: ConnectionId,
    pub node: Option<Arc<str>>,
    pub(super) numbers: Numbers,
    /// Its newest sequence number before the last one was taken.
    pub before: i64,
    /// Whether every reader of this row knows that it may contain more than was taken.
    pub(super) may_reserve: bool,
    /// Numbers were taken that are not yet accounted for.
    pub(super) dirty: bool,
}

impl Row {
    /// The newest sequence number in the row as written.
    #[allow(dead_code)] // SQLite reads rows again
    pub fn written_seq(&self) -> i64 {
        self.numbers.written.last_seq
    }

    /// The newest sequence number.
    pub fn seq(&self) -> i64 {
        self.numbers.taken.last_seq
    }

    /// Where the session is connected.
    pub fn home(&self) -> Option<(Arc<str>, ConnectionId)> {
        self.node.clone().map(|node| (node, self.connection))
    }
}
