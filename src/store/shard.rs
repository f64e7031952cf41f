//! Which writer an operation goes to: all those of a session to the same, whether they know its id or its key. They
//! keep their order, and several writers do not wait for each other's locks.

use super::operation::SessionKey;
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

/// The shard of whatever is touched.
pub fn of(touched: Touched<'_>) -> i64 {
    match touched {
        Touched::Session(SessionKey(key)) => key.rem_euclid(SHARDS),
        Touched::Sid(sid) => of_sid(sid),
        Touched::User(user_id) => of_sid(user_id),
        Touched::Publications => 0,
    }
}
