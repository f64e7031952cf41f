//! Assigns operations to writers. All operations of a session go to the same writer, whether they know its id or its
//! key, which keeps their order and prevents writers from waiting for each other's locks.

use super::Operation;
use super::fair::Share;
use super::operation::{NewForward, SessionKey};
use super::statements::Touched;

/// A session key is a multiple of this plus the session's shard.
pub const SHARDS: i64 = 256;

/// The shard of the session with this id.
pub fn of_sid(sid: &str) -> i64 {
    (hash(sid) % SHARDS as u64) as i64
}

/// FNV-1a, whose low bits are well mixed. Nodes of all versions must compute the same value.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The number of a user's account.
pub fn account_of(user_id: &str) -> u64 {
    hash(user_id)
}

impl Share {
    /// The share for opening and resuming a user's sessions, which happen in order.
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
    /// The account on which a service processes this.
    pub(crate) fn share(&self) -> Share {
        Share {
            user: account_of(&self.user_id),
            session: hash(&self.sid),
        }
    }
}

/// The share of an operation without a given account: whatever it touches first serves as the user.
pub fn share_of<O: Operation>(operation: &O) -> Share {
    let mut user = None;
    operation.touches(&mut |touched| {
        user.get_or_insert_with(|| match touched {
            Touched::Session(SessionKey(key)) => key as u64,
            Touched::Sid(text)
            | Touched::Resumed(text)
            | Touched::User(text)
            | Touched::SessionsOf(text) => hash(text),
            Touched::Forwarded(_) | Touched::Publications => 0,
        });
    });
    Share {
        user: user.unwrap_or(0),
        session: 0,
    }
}

/// The shard of something touched.
pub fn of(touched: Touched<'_>) -> i64 {
    match touched {
        Touched::Session(SessionKey(key)) => key.rem_euclid(SHARDS),
        Touched::Sid(sid) | Touched::Resumed(sid) => of_sid(sid),
        Touched::User(user_id) | Touched::SessionsOf(user_id) => of_sid(user_id),
        Touched::Forwarded(id) => id.rem_euclid(SHARDS),
        Touched::Publications => 0,
    }
}
