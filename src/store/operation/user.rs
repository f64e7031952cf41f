//! Users, as the store knows them: by their sessions.

/// Lists the users who have sessions, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListUsers {
    /// Only users whose ids are greater than this, compared byte by byte.
    pub after: Option<String>,
    /// Maximum number of users.
    pub limit: u32,
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
