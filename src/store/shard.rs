//! Which writer an operation goes to: all those of a session to the same, whether they know its id or its key. They
//! keep their order, and several writers do not wait for each other's locks.

use super::Operation;
use super::fair::Share;
use super::operation::{NewForward, SessionKey};
use super::statements::Touched;

/// A key is a number times this, plus the session's shard.
pub const SHARDS: i64 = 256;

/// The shard of the session with this id.
pub fn of_sid(sid: &str) -> i64 {
    (hash(sid) % SHARDS as u64) as i64
}

/// FNV-1a, whose low bits are well mixed: a number on which nodes of all versions agree.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A number under which a user is counted.
pub fn account_of(user_id: &str) -> u64 {
    hash(user_id)
}

impl Share {
    /// The share of a user whose sessions come and go, which they do in their order.
    pub fn of_user(user_id: &str) -> Share {
        Share::of(user_id, SessionKey(0))
    }

    /// The share of one of a user's sessions.
    pub fn of(user_id: &str, session: SessionKey) -> Share {
        Share {
            user: account_of(user_id),
            session: session.0 as u64,
        }
    }
}

impl NewForward {
    /// On whose account a service works on it.
    pub(crate) fn share(&self) -> Share {
        Share {
            user: account_of(&self.user_id),
            session: hash(&self.sid),
        }
    }
}

/// The share of an operation of which nobody said for whom it is: whatever it touches first counts as a user.
pub fn share_of<O: Operation>(operation: &O) -> Share {
    let mut user = None;
    operation.touches(&mut |touched| {
        user.get_or_insert_with(|| match touched {
            Touched::Session(SessionKey(key)) => key as u64,
            Touched::Sid(text) | Touched::Resumed(text) | Touched::User(text) => hash(text),
            Touched::Forwarded(_) | Touched::Publications => 0,
        });
    });
    Share {
        user: user.unwrap_or(0),
        session: 0,
    }
}

/// The shard of whatever is touched.
pub fn of(touched: Touched<'_>) -> i64 {
    match touched {
        Touched::Session(SessionKey(key)) => key.rem_euclid(SHARDS),
        Touched::Sid(sid) | Touched::Resumed(sid) => of_sid(sid),
        Touched::User(user_id) => of_sid(user_id),
        Touched::Forwarded(id) => id.rem_euclid(SHARDS),
        Touched::Publications => 0,
    }
}
