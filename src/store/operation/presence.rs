//! Who is connected, which the sessions tell; and who is present, as far as that was published.
//!
//! Every node notes whose sessions have come and gone on it, and asks the store to [settle](SettlePresence) these users:
//! to compare them with their sessions, and to publish what has changed. Whichever node asks, a change is published once,
//! in the transaction that notes it. What no node has noted is found by a [review](ReviewPresence) of all users: what
//! happened on a node that has died, or on one of an earlier version.

use std::time::Duration;

pub use crate::introspection::{ConnectedUser, PresencePage};

/// Finds a user's connected sessions. `None`: there are none.
#[derive(Clone, Debug)]
pub struct FindConnected {
    /// The user.
    pub user_id: String,
}

/// Lists the users who have connected sessions, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ListConnected {
    /// Only users whose ids are greater than this, compared byte by byte.
    pub after: Option<String>,
    /// Maximum number of users.
    pub limit: u32,
}

/// Reads who is present, in the order of their ids. `None`: the subscriber has not subscribed.
#[derive(Clone, Debug)]
pub struct ReadPresence {
    /// If present: the session, by its id, and the topic to which it must have subscribed.
    pub subscriber: Option<(String, String)>,
    /// Only users whose ids are greater than this, compared byte by byte.
    pub after: Option<String>,
    /// Maximum number of users.
    pub limit: u32,
}

/// Compares users with their sessions, notes who has come, gone and come back, and publishes who has joined, and who of
/// all users has been gone for longer than the grace.
#[derive(Clone, Debug)]
pub struct SettlePresence {
    /// Users whose sessions may have come or gone.
    pub users: Vec<String>,
    /// How long a user may be gone without leaving.
    pub grace: Duration,
    /// Maximum number of users who leave.
    pub limit: u32,
    /// The topic on which to publish.
    pub topic: String,
}

/// Outcome of [`SettlePresence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledPresence {
    /// Nothing was done: the caller's own lease has expired. Until it holds one again, it cannot tell which other nodes
    /// live.
    NoLease,
    /// It is done.
    Settled {
        /// Number of users who have joined.
        joined: u32,
        /// Number of users who have left.
        left: u32,
        /// Number of publications that say so.
        published: u32,
        /// Whether more users are to leave.
        more: bool,
    },
}

/// Reads whether there is anything to settle or to review that the caller has not noted itself.
#[derive(Clone, Copy, Debug)]
pub struct LookAtPresence {
    /// How long a user may be gone without leaving.
    pub grace: Duration,
    /// How long after one review the next is due.
    pub review: Duration,
}

/// Outcome of [`LookAtPresence`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceDue {
    /// Whether users have been gone for longer than the grace.
    pub leaves: bool,
    /// Whether a review is due: the last one is long ago, or a node has appeared or died since.
    pub review: bool,
}

/// Takes on the review that is due. False: another node was faster, or the caller's own lease has expired. A node that
/// dies in the middle of a review makes another one due by its death.
#[derive(Clone, Copy, Debug)]
pub struct ClaimPresenceReview {
    /// As in [`LookAtPresence`].
    pub review: Duration,
}

/// One part of a review: finds users to be settled among the next ones, in the order of their ids.
#[derive(Clone, Debug)]
pub struct ReviewPresence {
    /// Which users.
    pub of: Reviewed,
    /// Only users whose ids are greater than this, compared byte by byte.
    pub after: Option<String>,
    /// Maximum number of users, or of sessions, that are looked at.
    pub limit: u32,
}

/// Whose users a review looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// Those who are present and not known to be gone: are they connected?
    Present,
    /// Those who have sessions: if they are connected, are they present?
    WithSessions,
}

/// Outcome of [`ReviewPresence`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceReviewed {
    /// Users to be settled.
    pub users: Vec<String>,
    /// The last user looked at, if there may be more.
    pub next: Option<String>,
}
