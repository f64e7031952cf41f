//! Operations that list and count sessions.

use std::time::SystemTime;

/// Which sessions to list or count; all conditions must hold. The default matches every session.
///
/// ```
/// use matssocket::SessionFilter;
/// let online = SessionFilter::default().user_id("anna").connected_only();
/// # assert!(online.connected_only);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionFilter {
    /// Only sessions connected to a node.
    pub connected_only: bool,
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only this app's.
    pub app_name: Option<String>,
    /// Only this app version or a higher one (dotted numbers compared as numbers).
    pub app_version_at_or_above: Option<String>,
    /// Only the session with this id.
    pub session_id: Option<String>,
    /// Only sessions with [numbers](StoredSession::number) above this one: that is, opened later.
    pub number_above: Option<i64>,
    /// Only sessions with [numbers](StoredSession::number) below this one: that is, opened earlier.
    pub number_below: Option<i64>,
}

impl SessionFilter {
    /// Only sessions connected to a node.
    #[must_use]
    pub fn connected_only(mut self) -> SessionFilter {
        self.connected_only = true;
        self
    }

    /// Only this user's sessions.
    #[must_use]
    pub fn user_id(mut self, user_id: impl Into<String>) -> SessionFilter {
        self.user_id = Some(user_id.into());
        self
    }

    /// Only sessions of the client app with this name.
    #[must_use]
    pub fn app_name(mut self, name: impl Into<String>) -> SessionFilter {
        self.app_name = Some(name.into());
        self
    }

    /// Only sessions of this version of the client app or a higher one; dotted numbers are compared as numbers.
    #[must_use]
    pub fn app_version_at_or_above(mut self, version: impl Into<String>) -> SessionFilter {
        self.app_version_at_or_above = Some(version.into());
        self
    }

    /// Only the session with this id.
    #[must_use]
    pub fn session_id(mut self, session_id: impl Into<String>) -> SessionFilter {
        self.session_id = Some(session_id.into());
        self
    }

    /// Only sessions opened after the one with this [number](StoredSession::number): the next page of a list that begins
    /// with the oldest.
    #[must_use]
    pub fn number_above(mut self, number: i64) -> SessionFilter {
        self.number_above = Some(number);
        self
    }

    /// Only sessions opened before the one with this [number](StoredSession::number): the next page of a list that begins
    /// with the newest.
    #[must_use]
    pub fn number_below(mut self, number: i64) -> SessionFilter {
        self.number_below = Some(number);
        self
    }
}

/// Lists stored sessions in the order of their numbers.
#[derive(Clone, Debug)]
pub struct ListSessions {
    /// Which ones.
    pub filter: SessionFilter,
    /// Whether the newest comes first; otherwise the oldest does.
    pub newest_first: bool,
    /// Maximum number of sessions.
    pub limit: u32,
}

/// A session as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct StoredSession {
    /// Its number in the store: sessions opened later have higher ones. See [`SessionFilter::number_above`].
    pub number: i64,
    /// Session id.
    pub session_id: String,
    /// Its user.
    pub user_id: String,
    /// The node that holds it, if it is connected.
    pub node: Option<String>,
    /// Client library and versions.
    pub client: String,
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
    /// When it was first registered. Serialised as milliseconds since the epoch.
    #[serde(with = "crate::clock::epoch_ms_of")]
    pub created: SystemTime,
    /// When it was last known to be alive. Serialised as milliseconds since the epoch.
    #[serde(with = "crate::clock::epoch_ms_of")]
    pub alive: SystemTime,
}

/// Counts stored sessions.
#[derive(Clone, Debug)]
pub struct CountSessions {
    /// Which ones.
    pub filter: SessionFilter,
}
