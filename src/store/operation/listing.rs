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
}

/// Lists stored sessions, oldest first.
#[derive(Clone, Debug)]
pub struct ListSessions {
    /// Which ones.
    pub filter: SessionFilter,
    /// Maximum number of sessions.
    pub limit: u32,
}

/// A session as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StoredSession {
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
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub created: SystemTime,
    /// When it was last known to be alive. Serialised as milliseconds since the epoch.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub alive: SystemTime,
}

/// Counts stored sessions.
#[derive(Clone, Debug)]
pub struct CountSessions {
    /// Which ones.
    pub filter: SessionFilter,
}
