//! What can be done with sessions and their subscriptions.

use std::time::{Duration, SystemTime};

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
    /// Most sessions that one user may have. For a new one beyond that, those go that have been without a connection
    /// longest; resuming one is never refused.
    pub max_sessions_per_user: u32,
    /// How long a session must have been without a connection to go.
    pub min_absence: Duration,
    /// Sessions may go that nobody has let go, since the leases of their nodes ran out. Not so if the caller's own has run
    /// out a moment ago: a clock that is set forward ends all of them at once, and the others are about to renew theirs.
    pub of_the_dead: bool,
}

/// Whether [`Register`] opens or resumes.
#[derive(Clone, Debug)]
pub enum NewOrResumed {
    /// Open a session with this id; its messages get ids starting with `smid_prefix`.
    New {
        /// Session id.
        sid: String,
        /// What its server message ids start with.
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
    /// No session with that id.
    NoSuchSession,
    /// The session belongs to somebody else; nothing was touched.
    WrongUser,
    /// The user has as many sessions as allowed.
    TooManySessions,
}

/// A session just registered.
#[derive(Clone, Debug)]
pub struct HeldSession {
    /// The fencing token.
    pub holder: Holder,
    /// Opened now, not resumed.
    pub new: bool,
    /// Session id.
    pub sid: String,
    /// What its server message ids start with.
    pub smid_prefix: String,
    /// The registration that held it until now, and its node, if it was connected.
    pub replaced: Option<(String, ConnectionId)>,
    /// Newest sequence number stored for it, 0 for none yet.
    pub last_seq: i64,
    /// Client message ids in its inbox, each with the bytes of its answer.
    pub inbox: Vec<(String, u64)>,
    /// Topics subscribed, each with the number up to which nothing is for the session.
    pub topics: Vec<(String, Option<i64>)>,
    /// Whether anything is in the outbox.
    pub has_outbox: bool,
    /// Sessions of the same user that were closed to make room for a new one.
    pub made_room: Vec<ClosedSession>,
}

/// The connection is gone; the session stays. True if this registration still held it.
#[derive(Clone, Debug)]
pub struct Deregister {
    /// Who lets go.
    pub holder: Holder,
}

/// Deletes a session with its inbox, outbox and subscriptions. Its request correlations end: they are due at once
/// with the reason given (see [`ClaimEndedCorrelations`]). Forwarded rows and dead letters stay.
#[derive(Clone, Debug)]
pub struct CloseSession {
    /// Which one.
    pub target: CloseTarget,
    /// Why, for the reply terminators of its open requests.
    pub reason: String,
}

/// Notes that a session is to be closed after a while, unless its client registers again before. `None`: there is no such
/// session. If it is noted already, nothing is changed.
#[derive(Clone, Debug)]
pub struct CloseLater {
    /// Session id.
    pub sid: String,
    /// When.
    pub after: Duration,
}

/// A session that is to be closed after a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosesLater {
    /// Which.
    pub holder: Holder,
    /// The node that held it last, if it was connected.
    pub node: Option<String>,
}

/// Closes the sessions that were to be closed by now and are not connected; at most `limit` of them. For those that are
/// connected, whose node cannot have heard of it, the time begins anew.
#[derive(Clone, Debug)]
pub struct CloseDue {
    /// Time for those that are connected.
    pub after: Duration,
    /// At most so many in one go.
    pub limit: u32,
}

/// Outcome of [`CloseDue`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedDue {
    /// These were closed.
    pub closed: Vec<ClosedSession>,
    /// These are connected still.
    pub connected: Vec<ClosesLater>,
    /// There may be more.
    pub more: bool,
}

/// Where a session stands, for whoever was told something about it. `None`: it does not exist.
#[derive(Clone, Copy, Debug)]
pub struct ReadStanding {
    /// Which.
    pub session: SessionKey,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its newest registration.
    pub connection: ConnectionId,
    /// It is to be closed, unless its client registers again.
    pub closes: bool,
}

/// Which session [`CloseSession`] closes.
#[derive(Clone, Debug)]
pub enum CloseTarget {
    /// By id, whoever holds it.
    Sid(String),
    /// By its holder; refused if fenced off.
    Holder(Holder),
}

/// A session that was closed, and where it was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSession {
    /// Its key.
    pub session: SessionKey,
    /// Its id.
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// Node and registration that held it, if it was connected.
    pub home: Option<(String, ConnectionId)>,
}

/// Whether a session exists, and where it is connected.
#[derive(Clone, Debug)]
pub struct FindHome {
    /// Session id.
    pub sid: String,
}

/// Where a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionHome {
    /// There is no such session: it was closed, or has timed out.
    NoSuchSession,
    /// It waits for its client.
    NotConnected,
    /// This node, whose lease is valid, holds it.
    Node(String),
}

/// Which sessions to list or count; all conditions must hold. The default holds for every session.
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
    /// At most so many.
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
    /// Node that holds it, if it is connected.
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

/// Notes that these sessions are alive; those fenced off are passed over.
#[derive(Clone, Debug)]
pub struct Liveliness {
    /// Sessions held by the caller.
    pub holders: Vec<Holder>,
}

/// Notes that the clients of these sessions have received all that was published to them up to a number. Whoever found
/// that out, it stays true: so it is not fenced, and a lower number than is known changes nothing.
#[derive(Clone, Debug)]
pub struct NotePositions {
    /// Sessions and numbers.
    pub positions: Vec<(SessionKey, i64)>,
}

/// Closes sessions that are not connected and have not been alive for so long; at most `limit` of them.
#[derive(Clone, Debug)]
pub struct TimeOutSessions {
    /// Longest time without liveliness.
    pub idle: Duration,
    /// At most so many in one go.
    pub limit: u32,
}

/// Deletes one part of what nobody needs any more: what is left of sessions that are gone, old inbox rows, old
/// publications, old idempotency keys, and nodes whose lease ran out long ago.
#[derive(Clone, Debug)]
pub struct Scavenge {
    /// Inbox rows older than this go: their clients had long been answered, but their ACK2 was lost.
    pub inbox_older: Duration,
    /// Publications older than this go.
    pub publications_older: Duration,
    /// Idempotency keys older than this go.
    pub keys_older: Duration,
    /// Where to go on.
    pub from: ScavengeFrom,
    /// Most rows looked at.
    pub limit: u32,
}

impl Scavenge {
    /// Where to go on after so many rows: behind them, or with the next table if there were fewer than asked for.
    pub(crate) fn after(
        &self,
        rows: usize,
        behind: ScavengeFrom,
        next: ScavengeFrom,
    ) -> ScavengeFrom {
        match rows >= self.limit as usize {
            true => behind,
            false => next,
        }
    }
}

/// Where scavenging goes on: it passes once over each table. What it has passed it does not look at again, since a
/// database may have to step over each row that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScavengeFrom {
    /// Inbox rows above this session and cmid.
    Inbox(i64, String),
    /// Outbox rows above this session and number.
    Outbox(i64, i64),
    /// Subscriptions above this session and topic.
    Subscriptions(i64, String),
    /// Publications above this number.
    Publications(i64),
    /// Idempotency keys from this time on.
    Keys(i64),
    /// Nodes, all of them.
    Nodes,
}

impl Default for ScavengeFrom {
    fn default() -> Self {
        ScavengeFrom::Inbox(i64::MIN, String::new())
    }
}

/// Outcome of [`Scavenge`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scavenged {
    /// Rows deleted.
    pub rows: u64,
    /// Where to go on; `None`: everything was passed.
    pub next: Option<ScavengeFrom>,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}

/// Adds subscriptions; those that are there already are left alone. How many a session may have is the session's to check.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// On whose behalf.
    pub holder: Holder,
    /// Topics, each with the number of the publication that the client has seen last, if it has: what is newer is for it,
    /// otherwise what is published from now on.
    pub topics: Vec<(String, Option<i64>)>,
}

/// Removes a subscription; unknown ones are fine.
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// On whose behalf.
    pub holder: Holder,
    /// Topic.
    pub topic: String,
}

/// Outcome of a write on behalf of a connection that can only be refused by the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Done.
    Done,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
}
