//! Operations that open, resume, find and close sessions.

use std::time::Duration;

use super::{ConnectionId, Holder, SessionKey};

/// Opens a session, or resumes one.
#[derive(Clone, Debug)]
pub struct Register {
    /// What to open or resume.
    pub session: NewOrResumed,
    /// The authenticated user.
    pub user_id: String,
    /// Client library and versions.
    pub client: String,
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
    /// Maximum number of sessions per user. When a new session exceeds it, the sessions that have been without a
    /// connection longest are closed; resuming a session is never refused.
    pub max_sessions_per_user: u32,
    /// How long a session must have been without a connection before it may be closed for this.
    pub min_absence: Duration,
    /// Whether sessions that are still assigned to a node with an expired lease may be closed for this. False if the
    /// caller's own lease has expired a moment ago: a clock that jumps forward ends all leases at once, and the other
    /// nodes are about to renew theirs.
    pub of_the_dead: bool,
}

/// Whether [`Register`] opens or resumes.
#[derive(Clone, Debug)]
pub enum NewOrResumed {
    /// Open a session with this id.
    New {
        /// Session id.
        sid: String,
        /// The prefix of the ids of its server messages.
        smid_prefix: String,
    },
    /// Resume the session with this id.
    Resumed {
        /// Session id.
        sid: String,
    },
}

/// Outcome of [`Register`].
#[derive(Clone, Debug)]
pub enum Registered {
    /// The caller now holds the session.
    Held(Box<HeldSession>),
    /// There is no session with that id.
    NoSuchSession,
    /// The session belongs to another user; nothing was changed.
    WrongUser,
    /// The user has as many sessions as allowed, and none may be closed.
    TooManySessions,
}

/// A session just registered.
#[derive(Clone, Debug)]
pub struct HeldSession {
    /// The fencing token.
    pub holder: Holder,
    /// Whether it was opened now rather than resumed.
    pub new: bool,
    /// Session id.
    pub sid: String,
    /// The prefix of the ids of its server messages.
    pub smid_prefix: String,
    /// The node and registration that held it until now, if it was connected.
    pub replaced: Option<(String, ConnectionId)>,
    /// The newest sequence number stored for it; 0 if there is none yet.
    pub last_seq: i64,
    /// Client message ids in its inbox, each with the size of its answer in bytes.
    pub inbox: Vec<(String, u64)>,
    /// Subscribed topics, each with the number up to which publications are not for the session.
    pub topics: Vec<(String, Option<i64>)>,
    /// Whether anything is in the outbox.
    pub has_outbox: bool,
    /// Sessions of the same user that were closed to make room for a new one.
    pub made_room: Vec<ClosedSession>,
}

/// The connection is gone; the session stays. True if this registration still held it.
#[derive(Clone, Debug)]
pub struct Deregister {
    /// The registration to end.
    pub holder: Holder,
}

/// Deletes a session with its inbox, outbox and subscriptions. Its request correlations end: they become due at once,
/// with the reason given (see [`ClaimEndedCorrelations`]). Forwarded rows and dead letters stay.
#[derive(Clone, Debug)]
pub struct CloseSession {
    /// Which one.
    pub target: CloseTarget,
    /// The reason passed to the reply terminators of its open requests.
    pub reason: String,
}

/// Schedules a session to be closed after a while, unless its client registers again before then. `None`: there is no
/// such session. If it is scheduled already, nothing is changed.
#[derive(Clone, Debug)]
pub struct CloseLater {
    /// Session id.
    pub sid: String,
    /// How long until it is closed.
    pub after: Duration,
}

/// A session that is scheduled to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosesLater {
    /// Its newest registration.
    pub holder: Holder,
    /// The node that held it last, if it was connected.
    pub node: Option<String>,
}

/// Closes sessions that were due to be closed by now and are not connected; at most `limit` of them. For those that are
/// connected, the delay starts over, since their node evidently was not notified.
#[derive(Clone, Debug)]
pub struct CloseDue {
    /// The new delay for those that are connected.
    pub after: Duration,
    /// Maximum number of sessions in one operation.
    pub limit: u32,
}

/// Outcome of [`CloseDue`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedDue {
    /// The sessions that were closed.
    pub closed: Vec<ClosedSession>,
    /// The sessions that are still connected.
    pub connected: Vec<ClosesLater>,
    /// Whether there may be more.
    pub more: bool,
}

/// Reads the current state of a session, to verify a notice about it. `None`: it does not exist.
#[derive(Clone, Copy, Debug)]
pub struct ReadStanding {
    /// The session.
    pub session: SessionKey,
}

/// The current state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its newest registration.
    pub connection: ConnectionId,
    /// Whether it is scheduled to be closed unless its client registers again.
    pub closes: bool,
}

/// Which session [`CloseSession`] closes.
#[derive(Clone, Debug)]
pub enum CloseTarget {
    /// By id, whichever registration holds it.
    Sid(String),
    /// By its holder; refused if that registration is fenced off.
    Holder(Holder),
}

/// A session that was closed, and the node where it was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSession {
    /// Its key.
    pub session: SessionKey,
    /// Its id.
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// The node and registration that held it, if it was connected.
    pub home: Option<(String, ConnectionId)>,
}

/// Finds out whether a session exists, and where it is connected.
#[derive(Clone, Debug)]
pub struct FindHome {
    /// Session id.
    pub sid: String,
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionHome {
    /// There is no such session: it was closed or has timed out.
    NoSuchSession,
    /// It exists, but its client is not connected.
    NotConnected,
    /// It is held by this node, whose lease is valid.
    Node(String),
}

/// Outcome of a write on behalf of a connection that only the fence can refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Done.
    Done,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
}
