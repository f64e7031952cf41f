//! How much room outboxes have, and how much may be forwarded. Determined by counting, which is rare.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::allowances::Allowances;
use super::reserved::Reserved;
use crate::store::Looks;
use crate::store::limits::Limits;
use crate::store::numbers::Floor;
use crate::store::operation::SessionKey;

/// Maximum number of sessions, and of users, for which this is remembered.
const MOST: usize = 10_000;

/// The fraction of a user's free room that a connection lets fill before it counts again. Each connection may let the
/// user exceed the limit by that much.
const UNCOUNTED: i64 = 16;

/// How long a user whose outboxes are full is not counted again, in milliseconds, since counting may be expensive.
const FULL_FOR: i64 = 1_000;

/// A number of messages and payload bytes, of all that an outbox has ever taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    pub messages: i64,
    pub bytes: i64,
}

impl Amount {
    fn within(self, until: Amount) -> bool {
        self.messages <= until.messages && self.bytes <= until.bytes
    }
}

/// What is known about a user.
enum User {
    /// This number of bytes may be stored before the next count.
    Room(i64),
    /// Full, as far as is known, until this time in milliseconds.
    Full(i64),
}

/// Up to which total each session's outbox has room, whatever happens to earlier messages. Once true, this stays true
/// whoever stores or deletes, since each number and each byte is counted for one message only. So it outlives the
/// transaction that determined it, unless that is rolled back: then the messages that it deleted exist again.
pub struct Rooms {
    limits: Limits,
    until: HashMap<SessionKey, Amount>,
    users: HashMap<String, User>,
    /// What may be forwarded.
    pub forwards: Allowances,
    /// No session is due to be closed before this time.
    pub closing: Looks<i64>,
    /// There are no publications below this number, since the oldest are deleted first.
    pub oldest_publication: i64,
    /// Sequence numbers of sessions.
    pub reserved: Reserved,
    /// Ids reserved for forwarded rows, the next one last. Kept even when a transaction is rolled back.
    #[allow(dead_code)] // SQLite assigns them itself
    pub forwarded_ids: Vec<i64>,
    /// The lowest number that this connection may assign. Kept even when a transaction is rolled back.
    pub floor: Floor,
    /// Whether initial work has been done: once for each connection, unless several share this.
    pub begun: Arc<AtomicBool>,
}

impl Rooms {
    pub fn new(limits: Limits) -> Rooms {
        Rooms {
            limits,
            until: HashMap::new(),
            users: HashMap::new(),
            forwards: Allowances::new(limits),
            closing: Looks::default(),
            oldest_publication: i64::MIN,
            reserved: Reserved::default(),
            forwarded_ids: Vec::new(),
            floor: Floor::default(),
            begun: Arc::default(),
        }
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether an outbox has room up to this total, as far as is known.
    pub fn reach(&self, session: SessionKey, taken: Amount) -> bool {
        let all = Amount {
            messages: self.limits.outbox,
            bytes: self.limits.outbox_bytes,
        };
        taken.within(*self.until.get(&session).unwrap_or(&all))
    }

    /// Records that an outbox has room up to this total.
    pub fn learn(&mut self, session: SessionKey, until: Amount) {
        if self.until.len() >= MOST {
            self.until.clear();
        }
        self.until.insert(session, until);
    }

    /// Whether a user's total must be checked before an outbox that has taken `taken` bytes takes `bytes` more.
    pub fn concerns_user(&self, taken: i64, bytes: i64) -> bool {
        let part = self.limits.part_of_user();
        taken / part != (taken + bytes) / part
    }

    /// Whether a user has room for this number of bytes. `None`: that must be counted.
    pub fn user_has_room(&mut self, user_id: &str, bytes: i64, now: i64) -> Option<bool> {
        let bytes = bytes.max(self.limits.part_of_user());
        match self.users.get_mut(user_id) {
            Some(User::Room(left)) => {
                *left -= bytes;
                (*left >= 0).then_some(true)
            }
            // Not longer than that, in case the clock was set back meanwhile.
            Some(User::Full(until)) => {
                let is_fresh = now < *until && until.saturating_sub(now) <= FULL_FOR;
                is_fresh.then_some(false)
            }
            None => None,
        }
    }

    /// Records the bytes counted in a user's outboxes. Returns whether there is room for `bytes` more, which is always
    /// the case if they are empty.
    pub fn learn_user(&mut self, user_id: &str, counted: i64, bytes: i64, now: i64) -> bool {
        if self.users.len() >= MOST {
            self.users.clear();
        }
        let room = self.limits.outbox_bytes_of_user - counted - bytes;
        let has_room = room >= 0 || counted == 0;
        let learnt = match has_room {
            true => User::Room(room / UNCOUNTED),
            false => User::Full(now + FULL_FOR),
        };
        self.users.insert(user_id.to_owned(), learnt);
        has_room
    }

    /// The transaction was rolled back.
    pub fn rolled_back(&mut self) {
        self.until.clear();
        self.users.clear();
        self.forwards.forget();
        self.reserved.rolled_back();
    }

    /// The outcome of the transaction is unknown.
    pub fn forget(&mut self) {
        self.rolled_back();
        self.reserved.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Rooms};
    use crate::store::StoreConfig;
    use crate::store::limits::Limits;
    use crate::store::operation::SessionKey;

    const MIB: i64 = 1024 * 1024;

    fn rooms() -> Rooms {
        Rooms::new(Limits {
            outbox: 10,
            outbox_bytes: 1_000,
            outbox_bytes_of_user: 256 * MIB,
            ..Limits::from(&StoreConfig::default())
        })
    }

    #[test]
    fn an_outbox_has_room_until_either_is_used_up() {
        let taken = |messages, bytes| Amount { messages, bytes };
        let (mut rooms, session) = (rooms(), SessionKey(1));
        assert!(rooms.reach(session, taken(10, 1_000)));
        assert!(!rooms.reach(session, taken(11, 0)));
        assert!(!rooms.reach(session, taken(1, 1_001)));
        rooms.learn(session, taken(15, 1_400));
        assert!(rooms.reach(session, taken(15, 1_400)));
        assert!(!rooms.reach(session, taken(15, 1_401)));
        rooms.forget();
        assert!(!rooms.reach(session, taken(15, 1_400)));
    }

    #[test]
    fn a_user_is_counted_seldom_and_the_more_often_the_less_room_there_is() {
        let mut rooms = rooms();
        assert!(!rooms.concerns_user(0, 1_000));
        assert!(rooms.concerns_user(MIB - 1, 1));
        assert_eq!(rooms.user_has_room("u", 10, 0), None);
        assert!(rooms.learn_user("u", 96 * MIB, 0, 0));
        for _ in 0..10 {
            assert_eq!(rooms.user_has_room("u", 10, 0), Some(true));
        }
        assert_eq!(rooms.user_has_room("u", 10, 0), None);
        assert!(rooms.learn_user("u", 255 * MIB, MIB, 0), "just so");
        assert_eq!(rooms.user_has_room("u", 10, 0), None);
        assert!(!rooms.learn_user("u", 255 * MIB, MIB + 1, 0));
        assert_eq!(rooms.user_has_room("u", 10, 999), Some(false));
        assert_eq!(rooms.user_has_room("u", 10, 1_000), None);
        assert_eq!(rooms.user_has_room("u", 10, -1), None, "it was set back");
        assert!(rooms.learn_user("u", 0, 300 * MIB, 0), "one always fits");
    }
}
