//! Users, as the store knows them: by their sessions.

/// Lists the users who have sessions, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListUsers {
    /// Only users whose ids are greater than this, compared byte by byte.
    pub after: Option<String>,
    /// Maximum number of users.
    pub limit: u32,
}

/// Deletes messages that have been kept for long enough for users who had no session, in part.
#[derive(Clone, Copy, Debug)]
pub struct ExpireKept {
    /// Maximum number of messages.
    pub limit: u32,
}

/// Outcome of [`ExpireKept`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpiredKept {
    /// How many of those deleted no session ever got.
    pub undelivered: u64,
    /// Whether there may be more to delete.
    pub more: bool,
}

/// Deletes what is kept for a user who had no session.
#[derive(Clone, Debug)]
pub struct DropKept {
    /// The user.
    pub user_id: String,
}

/// A user who has sessions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct StoredUser {
    /// The user's id.
    pub user_id: String,
    /// Number of the user's sessions, connected or not.
    pub sessions: u64,
    /// Number of those that are connected to a living node.
    pub connected: u64,
}
