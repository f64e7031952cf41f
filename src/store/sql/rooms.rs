//! How far outboxes have room, and how much may be forwarded: learnt by counting, which is rare.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::allowances::Allowances;
use super::reserved::Reserved;
use crate::store::Looks;
use crate::store::limits::Limits;
use crate::store::numbers::Floor;
use crate::store::operation::SessionKey;

/// Most sessions, and most users, of which it is remembered.
const MOST: usize = 10_000;

/// Of the room that was counted for a user, a connection lets such a part be filled before it counts again: so much may
/// each connection let him have beyond the limit.
const UNCOUNTED: i64 = 16;

/// How long a user whose outboxes are full is not counted again, in milliseconds: there may be much to count.
const FULL_FOR: i64 = 1_000;

/// So many messages and payload bytes, of those that an outbox has ever taken.
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

/// What is known of a user.
enum User {
    /// So many bytes may come before it is counted again.
    Room(i64),
    /// Full, as far as is known until this time.
    Full(i64),
}

/// Up to where each session's outbox has room, whatever becomes of the messages before. Once true it stays true, whoever
/// stores or deletes: each number, and each byte, is given to one message at most. So it outlives the transaction in
/// which it was learnt, unless that is rolled back: then what it deleted is there again.
pub struct Rooms {
    limits: Limits,
    until: HashMap<SessionKey, Amount>,
    users: HashMap<String, User>,
    /// What may be forwarded.
    pub forwards: Allowances,
    /// No session is to be closed before this.
    pub closing: Looks<i64>,
    /// There are no publications below this number: the oldest go first.
    pub oldest_publication: i64,
    /// The numbers of sessions.
    pub reserved: Reserved,
    /// Ids for forwarded rows that nobody else gets, the next one last: they stay, whatever is rolled back.
    #[allow(dead_code)] // SQLite gives them itself
    pub forwarded_ids: Vec<i64>,
    /// The lowest number that this connection may give: it stays, whatever is rolled back.
    pub floor: Floor,
    /// What is to be done once is done: through each connection, unless several share this.
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

    /// An outbox has room to take so much, as far as is known.
    pub fn reach(&self, session: SessionKey, taken: Amount) -> bool {
        let all = Amount {
            messages: self.limits.outbox,
            bytes: self.limits.outbox_bytes,
        };
        taken.within(*self.until.get(&session).unwrap_or(&all))
    }

    /// An outbox has room until it has taken so much.
    pub fn learn(&mut self, session: SessionKey, until: Amount) {
        if self.until.len() >= MOST {
            self.until.clear();
        }
        self.until.insert(session, until);
    }

    /// Whether the bytes of the user of an outbox that has taken so many are to be looked at before it takes more.
    pub fn concerns_user(&self, taken: i64, bytes: i64) -> bool {
        let part = self.limits.part_of_user();
        taken / part != (taken + bytes) / part
    }

    /// Whether a user has room for so many bytes; `None`: that must be counted.
    pub fn user_has_room(&mut self, user_id: &str, bytes: i64, now: i64) -> Option<bool> {
        let bytes = bytes.max(self.limits.part_of_user());
        match self.users.get_mut(user_id) {
            Some(User::Room(left)) => {
                *left -= bytes;
                (*left >= 0).then_some(true)
            }
            // Not for longer, if the clock was set back meanwhile.
            Some(User::Full(until)) => {
                let is_fresh = now < *until && until.saturating_sub(now) <= FULL_FOR;
                is_fresh.then_some(false)
            }
            None => None,
        }
    }

    /// The outboxes of a user have so many bytes. Whether they have room for so many more: always if there is nothing
    /// in them.
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

    /// The transaction may have been rolled back, or not.
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
