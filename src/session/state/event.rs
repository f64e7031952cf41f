//! Events, which the state receives, and actions, which it requests.

use tokio::sync::oneshot;

use super::super::connection::{FromConnection, Text};
use super::super::handler::HandlerEnded;
use crate::auth::{AuthError, Verdict};
use crate::introspection::LiveSession;
use crate::registry::ToSession;
use crate::store::StoreError;
use crate::store::operation::{
    Fenced, FetchedOutbox, Holder, Missed, NewOrResumed, PublicationPage, Registered, Since,
    Standing,
};
use crate::wire::{Close, Envelope, MessageType};

/// Inputs that are sampled before each event.
#[derive(Clone, Copy, Debug)]
pub(in crate::session) struct Environment {
    /// Milliseconds on a monotonic clock.
    pub(in crate::session) now: i64,
    /// Milliseconds since the epoch.
    pub(in crate::session) wall: i64,
    /// Bytes are waiting to be sent to the client.
    pub(in crate::session) going_out: bool,
    /// The connection takes no more for now.
    pub(in crate::session) backpressured: bool,
    /// The connection holds at least half of its limit: what can wait is not written. The connection signals when it holds less.
    pub(in crate::session) filling: bool,
    /// How many more incoming bytes this session may hold.
    pub(in crate::session) incoming_room: usize,
    /// How many more outgoing bytes this session may hold.
    pub(in crate::session) outgoing_room: usize,
    /// The user has reached the limit of running handlers on this node.
    pub(in crate::session) user_is_busy: bool,
    /// The node's lease may have expired, for example after a long pause: the session may have moved to another node
    /// unnoticed.
    pub(in crate::session) lease_in_doubt: bool,
    /// Somebody listens to spans.
    pub(in crate::session) traced: bool,
}

impl Default for Environment {
    fn default() -> Self {
        Environment {
            going_out: false,
            now: 0,
            wall: 0,
            backpressured: false,
            filling: false,
            incoming_room: usize::MAX,
            outgoing_room: usize::MAX,
            user_is_busy: false,
            lease_in_doubt: false,
            traced: false,
        }
    }
}

/// What happened.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // `Registry` is the common one: boxing it would cost an allocation each
pub(in crate::session) enum Event {
    /// From the connection.
    Connection(FromConnection),
    /// From the registry.
    Registry(ToSession),
    /// Outcome of [`Action::Authenticate`] or [`Action::Reevaluate`].
    Authenticated(Result<Verdict, AuthError>),
    /// Outcome of [`Action::ReevaluateOutgoing`].
    OutgoingAuthenticated(Result<Verdict, AuthError>),
    /// Outcome of [`Action::ReevaluateReplies`].
    RepliesAuthenticated(Result<Verdict, AuthError>),
    /// Outcome of [`Action::Register`].
    Registered(Result<Registered, StoreError>),
    /// Outcome of [`Action::AuthorizeTopic`].
    TopicAuthorized {
        topic: String,
        allowed: Result<bool, AuthError>,
    },
    /// Outcome of [`Action::SubscribeTopics`].
    TopicsSubscribed(Result<Subscribed, StoreError>),
    /// Outcome of [`Action::ReadTopic`].
    TopicRead {
        topic: String,
        up_to: i64,
        outcome: Result<Option<PublicationPage>, StoreError>,
    },
    /// Outcome of [`Action::CheckTopic`].
    TopicChecked {
        topic: String,
        allowed: Result<bool, AuthError>,
    },
    /// A handler has ended.
    HandlerEnded(HandlerEnded),
    /// Outcome of [`Action::ReadAnswer`].
    AnswerRead {
        cmid: String,
        kind: MessageType,
        answer: Result<Option<Option<String>>, StoreError>,
    },
    /// Outcome of [`Action::Complete`].
    Completed {
        acks: Acks,
        outcome: Result<Fenced, StoreError>,
    },
    /// Outcome of [`Action::DropInbox`].
    InboxDropped {
        cmids: Vec<String>,
        outcome: Result<Fenced, StoreError>,
    },
    /// Outcome of [`Action::Fetch`].
    Fetched(Result<FetchedOutbox, StoreError>),
    /// Outcome of [`Action::MarkRedelivery`]: these became dead letters.
    DeadLetters(Vec<i64>),
    /// The fence refused another write of this registration.
    FencedOff,
    /// Outcome of [`Action::AskStanding`].
    Standing(Result<Option<Standing>, StoreError>),
    /// Time has passed, or a burst of input has been processed: check what is due.
    Tick,
    /// The client has read nothing for too long although bytes are waiting for it.
    Stalled,
}

/// Acknowledgements from the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::session) struct Acks {
    /// Sequence numbers acknowledged.
    pub(in crate::session) acked: Vec<i64>,
    /// Sequence numbers refused.
    pub(in crate::session) nacked: Vec<i64>,
    /// Server message ids to answer with ACK2.
    pub(in crate::session) smids: Vec<String>,
}

/// A subscription to be made.
#[derive(Debug)]
pub(in crate::session) struct ToSubscribe {
    pub(in crate::session) topic: String,
    /// It is already stored.
    pub(in crate::session) is_stored: bool,
    /// What the client has already seen of the topic. `None`: nothing, it begins now.
    pub(in crate::session) since: Option<Since>,
}

/// Outcome of subscriptions.
#[derive(Debug)]
pub(in crate::session) enum Subscribed {
    /// In force: publications with a higher number than `horizon` will arrive. For each topic of which the client has
    /// seen something, in order: what it has missed up to there. `None` if that is no longer known, or is too much.
    Done {
        horizon: i64,
        missed: Vec<Option<Missed>>,
    },
    /// Another registration holds the session.
    FencedOff,
}

/// What the session actor must do.
#[derive(Debug)]
pub(in crate::session) enum Action {
    /// Send this text to the client.
    Send(Text),
    /// HELLO is complete.
    Established,
    /// A message of this many bytes was processed.
    Processed(usize),
    /// Ask the authenticator about the first authorization value.
    Authenticate,
    /// Ask it about the offered value if that has changed, otherwise whether the accepted one is still valid.
    Reevaluate { changed: bool },
    /// Ask it before messages are delivered.
    ReevaluateOutgoing,
    /// Ask whether the accepted value is still valid before answers are sent whose handlers took long.
    ReevaluateReplies,
    /// Register the session. By the time of the outcome, the previous holder has released it.
    Register(Box<Hello>),
    /// Ask whether the user may subscribe.
    AuthorizeTopic(String),
    /// Subscribe, and find out how much was missed.
    SubscribeTopics(Vec<ToSubscribe>),
    /// Read publications on a topic with numbers above `after`, up to `up_to`, as many as fit.
    ReadTopic {
        topic: String,
        after: i64,
        up_to: i64,
        max_bytes: u64,
    },
    /// Check again whether the user may be subscribed to a topic.
    CheckTopic(String),
    /// Unsubscribe.
    UnsubscribeTopic(String),
    /// Send a WebSocket ping with this number.
    Ping(u64),
    /// Tell the registry that the client has received all that was published to it up to a number, and whether that is
    /// everything.
    ReportPosition { position: i64, is_all: bool },
    /// Run the handler of a message.
    Handle(Handle),
    /// Read the stored answer to this message, which has this many bytes.
    ReadAnswer {
        cmid: String,
        kind: MessageType,
        bytes: u64,
    },
    /// Begin the spans of messages that are being sent. (Only if somebody listens to spans.)
    Delivering(Vec<Delivering>),
    /// Delete messages from the outbox.
    Complete(Box<Acks>),
    /// Delete messages from the inbox.
    DropInbox(Vec<String>),
    /// Read from the outbox.
    Fetch {
        after: i64,
        limit: u32,
        max_bytes: u64,
        /// The first message may nevertheless have this many bytes.
        max_first: u64,
    },
    /// Ask where the session stands in the store.
    AskStanding,
    /// Count RETRY answers.
    Retried,
    /// Record a mistake of the client.
    Mistake(String),
    /// Log that something the session requested has failed.
    Failed(Failure),
    /// Notify the listeners of an envelope.
    Recorded(Box<Recorded>),
    /// Answer a request for introspection.
    Introspected {
        to: oneshot::Sender<LiveSession>,
        live: Box<LiveSession>,
    },
    /// Count a delivery without acknowledgement.
    MarkRedelivery(Vec<i64>),
    /// End the session's actor: close the connection if it is still there, and treat the session as `keep` says.
    End { close: Option<Close>, keep: Keep },
}

/// What has failed, with the error.
#[derive(Debug)]
pub(in crate::session) enum Failure {
    /// The authenticator, with the text of its error.
    Authenticator(String),
    /// Reading from the outbox; it is retried.
    ReadOutbox(StoreError),
    /// Deleting acknowledged messages; it is retried.
    DeleteAcknowledged(StoreError),
    /// Reading an earlier answer.
    ReadAnswer(StoreError),
    /// Reading publications; it is retried.
    ReadTopic(StoreError),
}

/// An envelope to report to listeners. (Only created if there are any, so it costs nothing otherwise.)
#[derive(Debug)]
pub(in crate::session) struct Recorded {
    pub(in crate::session) session_id: Box<str>,
    pub(in crate::session) user_id: Box<str>,
    /// It is from the client.
    pub(in crate::session) incoming: bool,
    pub(in crate::session) message_type: MessageType,
    pub(in crate::session) endpoint: Option<Box<str>>,
    pub(in crate::session) trace_id: Option<Box<str>>,
}

/// A message that is being sent, as its span shows it.
#[derive(Debug)]
pub(in crate::session) struct Delivering {
    pub(in crate::session) seq: i64,
    pub(in crate::session) kind: MessageType,
    pub(in crate::session) smid: String,
    pub(in crate::session) endpoint: Option<String>,
    pub(in crate::session) trace_id: String,
}

/// A message to be handled.
#[derive(Debug)]
pub(in crate::session) struct Handle {
    pub(in crate::session) envelope: Box<Envelope>,
    /// The bytes it occupies.
    pub(in crate::session) bytes: usize,
    pub(in crate::session) settles: Option<i64>,
    pub(in crate::session) debug: crate::wire::DebugOptions,
}

/// What HELLO asks for.
#[derive(Debug)]
pub(in crate::session) struct Hello {
    pub(in crate::session) session: Option<String>,
    pub(in crate::session) client: String,
    pub(in crate::session) app_name: String,
    pub(in crate::session) app_version: String,
}

/// What becomes of the session when its actor ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::session) enum Keep {
    /// It waits for its client.
    Deregister,
    /// It is closed, for this reason.
    Close(String),
    /// Nothing: it has been closed already.
    Closed,
    /// Nothing: there was none, or another registration holds it by now.
    Nothing,
}

/// The identity of the session.
#[derive(Clone, Debug)]
pub(in crate::session) struct Identity {
    pub(in crate::session) holder: Holder,
    pub(in crate::session) sid: Box<str>,
    pub(in crate::session) smid_prefix: Box<str>,
    /// The user who owns the session, if its client has since become another user.
    pub(in crate::session) owner: Option<Box<str>>,
}

impl Hello {
    /// The registration for the store; a new session gets these ids.
    pub(in crate::session) fn registration(
        &self,
        sid: String,
        smid_prefix: String,
    ) -> NewOrResumed {
        match &self.session {
            Some(sid) => NewOrResumed::Resumed { sid: sid.clone() },
            None => NewOrResumed::New { sid, smid_prefix },
        }
    }
}
