//! Builds messages for clients: checked and serialised in one place, whoever sends them.

mod destination;
mod topic;
mod user;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;

pub use destination::Destination;
pub use topic::Topic;
pub(crate) use topic::publish;
pub use user::{SentToUser, UserRecipient};

use crate::error::SendError;
use crate::store::StoreHandle;
use crate::store::operation::{
    Cause, Correlation, Effect, NODES_TOPIC, NewMessage, Revocation, Unit,
};
use crate::wire::{Debug, InvalidId, MessageType, check_id};

/// Where the reply to a server request goes: a terminator of this application, with the correlation data it needs.
///
/// ```
/// use std::time::Duration;
/// use matssocket::ReplyTo;
///
/// let reply_to = ReplyTo::terminator("Orders.confirmed")
///     .correlation_string("17")
///     .timeout(Duration::from_secs(600));
/// # drop(reply_to);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ReplyTo {
    pub(crate) terminator: String,
    string: Option<String>,
    bytes: Option<Vec<u8>>,
    timeout: Option<Duration>,
}

impl ReplyTo {
    /// The reply goes to this terminator.
    pub fn terminator(id: impl Into<String>) -> ReplyTo {
        ReplyTo {
            terminator: id.into(),
            string: None,
            bytes: None,
            timeout: None,
        }
    }

    /// Sets a correlation string, which is returned with the reply.
    pub fn correlation_string(mut self, string: impl Into<String>) -> ReplyTo {
        self.string = Some(string.into());
        self
    }

    /// Sets correlation bytes, which are returned with the reply.
    pub fn correlation_bytes(mut self, bytes: impl Into<Vec<u8>>) -> ReplyTo {
        self.bytes = Some(bytes.into());
        self
    }

    /// Sets the timeout, after which the terminator gets a REJECT with an [`end_reason`](crate::Context::end_reason).
    /// The default is [`Config::request_timeout`](crate::Config::request_timeout).
    pub fn timeout(mut self, timeout: Duration) -> ReplyTo {
        self.timeout = Some(timeout);
        self
    }
}

/// Distinguishes a repeated [`send_once`](crate::MatsSocketServer::send_once) from a new one: 1 to 255 bytes without
/// control characters, unique among the messages of the application. It is remembered for
/// [`Config::idempotency`](crate::Config::idempotency).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key that names one message, such as `"shipped-17"`; it is checked when it is used.
    pub fn new(key: impl Into<String>) -> IdempotencyKey {
        IdempotencyKey(key.into())
    }

    pub(crate) fn checked(self) -> Result<String, SendError> {
        check_id("idempotency key", &self.0)?;
        Ok(self.0)
    }
}

/// Whom a message is for.
#[derive(Clone)]
pub(crate) enum Recipient<'a> {
    /// The session with this id.
    Session(&'a str),
    /// All sessions of this user.
    User(UserRecipient),
}

impl Recipient<'_> {
    fn check(&self) -> Result<(), InvalidId> {
        match self {
            Recipient::Session(id) => check_id("session id", id),
            Recipient::User(user) => user.check(),
        }
    }

    fn gets(self, message: NewMessage) -> Effect {
        match self {
            Recipient::Session(id) => Effect::Message {
                sid: id.to_owned(),
                message,
            },
            Recipient::User(user) => Effect::ToUser {
                user_id: user.id,
                message,
                keep: user.keep,
            },
        }
    }
}

/// Who creates a message, and when.
pub(crate) struct Maker {
    pub(crate) node: Arc<str>,
    pub(crate) now: i64,
}

impl Maker {
    fn debug(&self) -> Option<Debug> {
        // Always recorded: how much of it the client may see is decided when the message is sent.
        Some(Debug {
            smcts: Some(self.now),
            smcnn: Some(self.node.to_string()),
            ..Debug::default()
        })
    }

    pub(crate) fn send<T: Serialize + ?Sized>(
        &self,
        recipient: Recipient<'_>,
        trace_id: &str,
        terminator: Destination,
        payload: &T,
    ) -> Result<Effect, SendError> {
        let kind = MessageType::Send;
        self.message(kind, recipient, trace_id, terminator, payload, None)
    }

    pub(crate) fn request<T: Serialize + ?Sized>(
        &self,
        recipient: Recipient<'_>,
        trace_id: &str,
        endpoint: Destination,
        payload: &T,
        reply_to: ReplyTo,
        default_timeout: Duration,
    ) -> Result<Effect, SendError> {
        if reply_to.string.as_ref().is_some_and(|it| it.contains('\0')) {
            let why = "the correlation string contains NUL, which not every database can store";
            return Err(InvalidId::new(why).into());
        }
        let timeout = reply_to.timeout.unwrap_or(default_timeout);
        let correlation = Correlation {
            terminator: reply_to.terminator,
            string: reply_to.string,
            bytes: reply_to.bytes,
            requested: self.now,
            timeout_ms: timeout.as_millis().min(i64::MAX as u128) as i64,
        };
        let (kind, correlation) = (MessageType::Request, Some(correlation));
        self.message(kind, recipient, trace_id, endpoint, payload, correlation)
    }

    fn message<T: Serialize + ?Sized>(
        &self,
        kind: MessageType,
        recipient: Recipient<'_>,
        trace_id: &str,
        destination: Destination,
        payload: &T,
        correlation: Option<Correlation>,
    ) -> Result<Effect, SendError> {
        recipient.check()?;
        check_id("trace id", trace_id)?;
        destination.check()?;
        Ok(recipient.gets(NewMessage {
            kind,
            eid: Some(destination.id),
            cmid: None,
            tid: trace_id.to_owned(),
            msg: Some(to_raw_value(payload)?),
            debug: self.debug(),
            correlation,
            time_to_live: destination.time_to_live,
        }))
    }
}

/// Revokes a user's authorization, or the user's right to a topic, on all nodes.
pub(crate) async fn revoke(
    store: &StoreHandle,
    user_id: &str,
    topic: Option<&str>,
) -> Result<(), SendError> {
    check_id("user id", user_id)?;
    let revocation = Revocation {
        user_id: user_id.to_owned(),
        topic: topic.map(str::to_owned),
    };
    let unit = Unit {
        cause: Cause::Call {
            idempotency_key: None,
        },
        effects: vec![Effect::Publish {
            topic: NODES_TOPIC.to_owned(),
            tid: "revocation".to_owned(),
            msg: to_raw_value(&revocation)?,
            value_of: None,
        }],
    };
    store.run(unit).await?;
    Ok(())
}
