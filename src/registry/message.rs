//! Messages to and from the registry.

use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use super::{Published, UserHash};
use crate::introspection::LiveSession;
use crate::mailbox::Mailbox;
use crate::store::operation::{ClosedSession, Holder, OutboxMessage, Revocation, SessionKey};

/// From the registry to a session of this node.
#[derive(Debug, Message)]
#[rtype(result = "()")]
#[allow(clippy::large_enum_variant)] // `Stored` is the common one: boxing it would cost an allocation each
pub(crate) enum ToSession {
    /// This message was just stored for you, and none between this sequence number and its own.
    Stored(i64, OutboxMessage),
    /// Something was stored for you.
    Notice,
    /// The newest sequence number stored for you is this one.
    Swept(i64),
    /// Something was published on a topic you listen to.
    Published(Arc<Published>),
    /// A user's authorization, or right to a topic, was revoked: perhaps your user's.
    Revoked(Arc<Revocation>),
    /// Another registration holds your session.
    TakenOver,
    /// Another node claims that you no longer hold your session (and why, if it was closed): ask the store.
    Rumour(Option<String>),
    /// Make your client reconnect if it is connected: someone asked to close the session.
    ComeBack,
    /// Your session was closed.
    Closed(String),
    /// Your session does not exist any more.
    Gone,
    /// The node is stopping, or must come back as a new incarnation.
    Restart(&'static str),
    /// Describe yourself for introspection.
    Introspect(oneshot::Sender<LiveSession>),
}

/// To the services: another node has stored work that this one may have the service for. They will look for it soon.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LookSoon;

/// This node has this name from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Rename(pub(crate) String);

/// A session lives here now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Attach {
    pub(crate) holder: Holder,
    pub(crate) to: Mailbox<ToSession>,
    /// The session's user; `None` if that may change.
    pub(crate) user: Option<UserHash>,
    /// How many revocations this node had seen when its user was authenticated: the session gets those since.
    pub(crate) revocations: u64,
}

/// A session actor has released its session: its connection is closed, and nothing more is sent.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Detach(pub(crate) Holder);

/// Sessions were closed in the store: notify their holders.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Closed {
    pub(crate) sessions: Vec<ClosedSession>,
    pub(crate) reason: String,
}

/// The sessions that live here.
#[derive(Message)]
#[rtype(result = "Vec<Mailbox<ToSession>>")]
pub(crate) struct List;

/// A session, if it lives here.
#[derive(Message)]
#[rtype(result = "Option<Mailbox<ToSession>>")]
pub(crate) struct Find {
    pub(crate) session: SessionKey,
}

/// The sessions that live here, for liveliness.
#[derive(Message)]
#[rtype(result = "Vec<Holder>")]
pub(crate) struct Holders;

/// Reports when no session lives here any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WhenEmpty(pub(crate) oneshot::Sender<()>);
