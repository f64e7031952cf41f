//! Limits on the rows that clients leave in the database.

use super::StoreConfig;

/// The limits in the types that the statements use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum messages in one session's outbox.
    pub outbox: i64,
    /// Maximum payload bytes in one session's outbox.
    pub outbox_bytes: i64,
    /// Maximum payload bytes in the outboxes of all sessions of one user.
    pub outbox_bytes_of_user: i64,
    /// Maximum keys of which one topic has last values.
    pub values_of_topic: i64,
    /// Maximum messages kept for one user who has no session.
    pub kept_of_user: i64,
    /// Maximum payload bytes of those.
    pub kept_bytes_of_user: i64,
    /// Maximum forwarded rows of one session.
    pub forwarded_of_session: i64,
    /// Maximum forwarded rows of one user.
    pub forwarded_of_user: i64,
    /// Maximum bytes in one user's forwarded rows.
    pub forwarded_bytes_of_user: i64,
}

/// A user's bytes are not summed for every message, but whenever one of the user's sessions has stored another such
/// fraction of the limit. Each session may therefore exceed the limit by that fraction.
const PARTS: i64 = 256;

impl Limits {
    /// Payload bytes that a session may store before its user's total is checked again.
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
            values_of_topic: config.max_values_per_topic.into(),
            kept_of_user: config.max_kept_per_user.into(),
            kept_bytes_of_user: i64::try_from(config.max_kept_bytes_per_user).unwrap_or(i64::MAX),
            forwarded_of_session: config.max_forwarded_per_session.into(),
            forwarded_of_user: config.max_forwarded_per_user.into(),
            forwarded_bytes_of_user: i64::try_from(config.max_forwarded_bytes_per_user)
                .unwrap_or(i64::MAX),
        }
    }
}
