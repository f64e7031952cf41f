//! What bounds the rows that clients leave in the database.

use super::StoreConfig;

/// The bounds, as the statements need them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages in one session's outbox.
    pub outbox: i64,
    /// Its payload bytes.
    pub outbox_bytes: i64,
    /// Payload bytes in the outboxes of one user.
    pub outbox_bytes_of_user: i64,
    /// Forwarded rows of one session.
    pub forwarded_of_session: i64,
    /// Forwarded rows of one user.
    pub forwarded_of_user: i64,
    /// Their bytes.
    pub forwarded_bytes_of_user: i64,
}

/// A user's bytes are looked at whenever one of his sessions has taken in another such part of what he may have, and not
/// for each message: so much may each of his sessions have beyond the limit.
const PARTS: i64 = 256;

impl Limits {
    /// Payload bytes that a session takes in until its user's bytes are looked at.
    pub fn part_of_user(&self) -> i64 {
        (self.outbox_bytes_of_user / PARTS).max(1)
    }
}

impl From<&StoreConfig> for Limits {
    fn from(config: &StoreConfig) -> Limits {
        Limits {
            outbox: config.max_outbox.into(),
            outbox_bytes: i64::try_from(config.max_outbox_bytes).unwrap_or(i64::MAX),
            outbox_bytes_of_user: i64::try_from(config.max_outbox_bytes_per_user)
                .unwrap_or(i64::MAX),
            forwarded_of_session: config.max_forwarded_per_session.into(),
            forwarded_of_user: config.max_forwarded_per_user.into(),
            forwarded_bytes_of_user: i64::try_from(config.max_forwarded_bytes_per_user)
                .unwrap_or(i64::MAX),
        }
    }
}
