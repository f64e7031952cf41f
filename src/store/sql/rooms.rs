//! How far outboxes have room, and how much may be forwarded: learnt by counting, which is rare.

use std::collections::HashMap;

use super::allowances::Allowances;
use crate::store::limits::Limits;
use crate::store::operation::SessionKey;

/// Most sessions of which it is remembered.
const MOST: usize = 10_000;

/// Up to which sequence number each session's outbox has room, whatever becomes of the messages before. Once true it
/// stays true, whoever stores or deletes: each number is given to one message at most. So it outlives the transaction
/// in which it was learnt, unless that is rolled back: then what it deleted is there again.
pub struct Rooms {
    max: i64,
    until: HashMap<SessionKey, i64>,
    /// What may be forwarded.
    pub forwards: Allowances,
}

impl Rooms {
    pub fn new(limits: Limits) -> Rooms {
        Rooms {
            max: limits.outbox,
            until: HashMap::new(),
            forwards: Allowances::new(limits),
        }
    }

    /// Most messages in an outbox.
    pub fn max(&self) -> i64 {
        self.max
    }

    /// The message of this number has room, as far as is known.
    pub fn reach(&self, session: SessionKey, seq: i64) -> bool {
        let known = self.until.get(&session);
        seq <= known.map_or(self.max, |until| *until)
    }

    /// Messages have room up to the one of this number.
    pub fn learn(&mut self, session: SessionKey, until: i64) {
        if self.until.len() >= MOST {
            self.until.clear();
        }
        self.until.insert(session, until);
    }

    /// A transaction was rolled back.
    pub fn forget(&mut self) {
        self.until.clear();
        self.forwards.forget();
    }
}
