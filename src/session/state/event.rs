//! What comes in, and what comes out.

use tokio::sync::oneshot;

use super::super::handler::HandlerEnded;
use super::super::line::{FromLine, Text};
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
    /// Bytes wait for the client to take them.
    pub(in crate::session) going_out: bool,
    /// The line takes no more for now.
    pub(in crate::session) backpressured: bool,
    /// It holds half of what it should, or more: what can wait is not written. The line tells when it holds less.
    pub(in crate::session) filling: bool,
    /// Bytes of what has come in that this session may hold more of.
    pub(in crate::session) incoming_room: usize,
    /// Bytes of what is to go out that it may hold more of.
    pub(in crate::session) outgoing_room: usize,
    /// The user's handlers on this node are as many as may be.
    pub(in crate::session) user_is_busy: bool,
    /// The node's lease may have run out, as after a long pause: the session may have moved, unheard of here.
    pub(in crate::session) lease_in_doubt: bool,
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
        }
    }
}

/// What happened.
#[derive(Debug)]
pub(in crate::session) enum Event {
    /// From the line.
    Line(FromLine),
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
    /// Something else was refused by the fence.
    FencedOff,
    /// Outcome of [`Action::AskStanding`].
    Standing(Result<Option<Standing>, StoreError>),
    /// Time has passed, or what came in at once has been taken in: see what is due.
    Tick,
    /// The client has taken nothing for too long though bytes wait for it.
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
    /// The store has it already.
    pub(in crate::session) is_stored: bool,
    /// What the client has heard of it; `None`: nothing, it begins now.
    pub(in crate::session) since: Option<Since>,
}

/// Outcome of subscriptions.
#[derive(Debug)]
pub(in crate::session) enum Subscribed {
    /// In force: publications with a higher number than this will come. What was missed up to it, of each topic of which
    /// the client has heard, in their order: `None` if that is not known any more, or is too much.
    Done {
        horizon: i64,
        missed: Vec<Option<Missed>>,
    },
    /// Another registration holds the session.
    FencedOff,
}

/// What is to be done.
#[derive(Debug)]
pub(in crate::session) enum Action {
    /// Send this text to the client.
    Send(Text),
    /// HELLO is done.
    Established,
    /// A message of so many bytes was taken in.
    Processed(usize),
    /// Ask the authenticator about the first authorization value.
    Authenticate,
    /// Ask it about the value offered, if that is another one; else whether the accepted one still holds.
    Reevaluate { changed: bool },
    /// Ask it before something is delivered.
    ReevaluateOutgoing,
    /// Ask whether the accepted value still holds, before answers go out that were long in the making.
    ReevaluateReplies,
    /// Register the session; the one that held it before has let go when the outcome comes.
    Register(Box<Hello>),
    /// Ask whether the user may subscribe.
    AuthorizeTopic(String),
    /// Subscribe, and find out how much was missed.
    SubscribeTopics(Vec<ToSubscribe>),
    /// Read what was published on a topic with a number above `after`, up to `up_to`, as far as it fits.
    ReadTopic {
        topic: String,
        after: i64,
        up_to: i64,
        max_bytes: u64,
    },
    /// Ask again whether the user may listen to a topic.
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
    /// Read what was answered to this message, which has so many bytes.
    ReadAnswer {
        cmid: String,
        kind: MessageType,
        bytes: u64,
    },
    /// Delete messages from the outbox.
    Complete(Box<Acks>),
    /// Delete messages from the inbox.
    DropInbox(Vec<String>),
    /// Read from the outbox.
    Fetch {
        after: i64,
        limit: u32,
        max_bytes: u64,
        /// The first message may have so many all the same.
        max_first: u64,
    },
    /// Ask where the session stands in the store.
    AskStanding,
    /// The session was told RETRY so many times.
    Retried,
    /// The client has sent what cannot be meant.
    Mistake(String),
    /// Something that the session asked for has failed, which is for the log.
    Failed(Failure),
    /// Tell the listeners of an envelope.
    Recorded(Box<Recorded>),
    /// Tell whoever wanted to look at the session.
    Introspected {
        to: oneshot::Sender<LiveSession>,
        live: Box<LiveSession>,
    },
    /// Count a delivery without acknowledgement.
    MarkRedelivery(Vec<i64>),
    /// It is over: close the line (if it is still there), and do with the session what `keep` says.
    End { close: Option<Close>, keep: Keep },
}

/// What has failed, with the error.
#[derive(Debug)]
pub(in crate::session) enum Failure {
    /// The authenticator, with the text of its error.
    Authenticator(String),
    /// Reading from the outbox; it is tried again.
    ReadOutbox(StoreError),
    /// Deleting what was acknowledged; it is tried again.
    DeleteAcknowledged(StoreError),
    /// Reading an earlier answer.
    ReadAnswer(StoreError),
    /// Reading what was published; it is tried again.
    ReadTopic(StoreError),
}

/// An envelope of which listeners are told. (Only where there are any, so it costs nobody else anything.)
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

/// A message to be handled.
#[derive(Debug)]
pub(in crate::session) struct Handle {
    pub(in crate::session) envelope: Box<Envelope>,
    /// What it takes.
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
    /// It is closed, with this reason.
    Close(String),
    /// Nothing: it has been closed already.
    Closed,
    /// Nothing: there was none, or it is somebody else's by now.
    Nothing,
}

/// Who the session is.
#[derive(Clone, Debug)]
pub(in crate::session) struct Identity {
    pub(in crate::session) holder: Holder,
    pub(in crate::session) sid: Box<str>,
    pub(in crate::session) smid_prefix: Box<str>,
    /// Whose the session is, if its client is another user by now.
    pub(in crate::session) owner: Option<Box<str>>,
}

impl Hello {
    /// As the store takes it; a new session gets these ids.
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
