//! Builds messages for clients: checked and serialised in one place, whoever sends them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::error::SendError;
use crate::store::StoreHandle;
use crate::store::operation::{
    Cause, Correlation, Effect, FullOutbox, KeepFor, NODES_TOPIC, NewMessage, Revocation, Unit,
};
use crate::wire::{Debug, InvalidId, MessageType, check_id, shown};

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

/// Where in a client a message goes: a terminator or an endpoint, and for how long it is worth delivering. A plain id is
/// one, too: `server.send(session_id, trace_id, "Orders.shipped", &17)`.
///
/// ```no_run
/// # async fn example(server: matssocket::MatsSocketServer, session_id: &str) -> Result<(), matssocket::SendError> {
/// use std::time::Duration;
/// use matssocket::Destination;
///
/// // Of no use to anybody who comes back later than that.
/// let driver = Destination::new("Taxi.position").time_to_live(Duration::from_secs(10));
/// server.send(session_id, "taxi 17", driver, &(59.91, 10.75)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Destination {
    id: String,
    time_to_live: Option<Duration>,
}

impl Destination {
    /// The client terminator or endpoint with this id.
    pub fn new(id: impl Into<String>) -> Destination {
        Destination {
            id: id.into(),
            time_to_live: None,
        }
    }

    /// The message is not delivered later than this after it was stored; it must not be zero. The default is for as long as
    /// the session lives. A message that was sent before may still be acknowledged, and is not sent again.
    ///
    /// If a request expires, its reply terminator gets a REJECT with an [`end_reason`](crate::Context::end_reason): the client
    /// has not handled it, or its acknowledgement was lost. Expired messages are counted
    /// ([`Metrics::messages_expired`](crate::Metrics::messages_expired)).
    pub fn time_to_live(mut self, time: Duration) -> Destination {
        self.time_to_live = Some(time);
        self
    }

    fn check(&self) -> Result<(), SendError> {
        check_id("client endpoint", &self.id)?;
        match self.time_to_live {
            Some(Duration::ZERO) => Err(SendError::NoTimeToLive(self.id.clone())),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<&str> for Destination {
    fn from(id: &str) -> Destination {
        Destination::new(id)
    }
}

impl From<&String> for Destination {
    fn from(id: &String) -> Destination {
        Destination::new(id)
    }
}

impl From<String> for Destination {
    fn from(id: String) -> Destination {
        Destination::new(id)
    }
}

/// The user a message is for, and what becomes of it if the user has no session. A plain id is one, too: then the message
/// goes to nobody.
///
/// ```no_run
/// # async fn example(server: matssocket::MatsSocketServer) -> Result<(), matssocket::SendError> {
/// use std::time::Duration;
/// use matssocket::UserRecipient;
///
/// // Whoever has uninstalled the app, or was away for too long, finds it after the next login.
/// let anna = UserRecipient::new("anna").keep_for(Duration::from_secs(30 * 24 * 3600));
/// server.send_to_user(anna, "order 17 shipped", "Orders.shipped", &17).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct UserRecipient {
    id: String,
    keep: Option<KeepFor>,
}

impl UserRecipient {
    /// The user with this id.
    pub fn new(id: impl Into<String>) -> UserRecipient {
        UserRecipient {
            id: id.into(),
            keep: None,
        }
    }

    /// If the user has no session when the message is stored, it is kept this long, and stored in the next session that
    /// the user opens. The time must not be zero; it counts from when the message is stored, and a shorter
    /// [time to live](Destination::time_to_live) ends it earlier.
    ///
    /// It is kept until a session has acknowledged it: a session that is opened before that gets it as well, as after a
    /// client that lost its connection before it learnt of its session. If a session is closed without having
    /// acknowledged it, it waits for the next one.
    ///
    /// A user may have [`StoreConfig::max_kept_per_user`](crate::StoreConfig::max_kept_per_user) such messages; what is
    /// beyond that is not stored. Messages that nobody fetched in time are counted
    /// ([`Metrics::messages_expired`](crate::Metrics::messages_expired)).
    pub fn keep_for(mut self, time: Duration) -> UserRecipient {
        self.keep = Some(KeepFor {
            time,
            for_every_session: false,
        });
        self
    }

    /// Like [`keep_for`](Self::keep_for), but it is stored in every session that the user opens within this time.
    pub fn keep_for_every_session(mut self, time: Duration) -> UserRecipient {
        self.keep = Some(KeepFor {
            time,
            for_every_session: true,
        });
        self
    }

    fn check(&self) -> Result<(), InvalidId> {
        check_id("user id", &self.id)?;
        match self.keep {
            Some(KeepFor { time, .. }) if time.is_zero() => Err(InvalidId::new(format!(
                "a message for the user \"{}\" is to be kept for no time at all: give a longer one, or do not ask for it",
                shown(&self.id)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

impl From<&str> for UserRecipient {
    fn from(id: &str) -> UserRecipient {
        UserRecipient::new(id)
    }
}

impl From<&String> for UserRecipient {
    fn from(id: &String) -> UserRecipient {
        UserRecipient::new(id)
    }
}

impl From<String> for UserRecipient {
    fn from(id: String) -> UserRecipient {
        UserRecipient::new(id)
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

/// What became of a message for all sessions of a user.
///
/// It is stored for every session that the user has at the moment of the commit. A session that is opened at the same
/// time is either one of them or comes into being after the message: it is never missed halfway. A client that has been
/// welcomed before the message was sent gets it, unless its outbox is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentToUser {
    /// Number of sessions for which the message was stored. 0: the user has no session with room for it.
    pub sessions: u64,
    /// Whether it is [kept](UserRecipient::keep_for) for the user's next session. `false`: the user has sessions, or it was
    /// not to be kept, or as much is kept for the user as may be
    /// ([`StoreConfig::max_kept_per_user`](crate::StoreConfig::max_kept_per_user)).
    pub is_kept: bool,
    /// Sessions for which it was not stored, because their outboxes are full. The others get it all the same.
    pub full: Vec<FullOutbox>,
    /// Whether a call with the same idempotency key came before. Then this one has done nothing, and says nothing about
    /// sessions.
    pub is_repeat: bool,
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

/// A message for every subscriber of a topic, which may have this many characters.
pub(crate) fn publish<T: Serialize + ?Sized>(
    topic: &str,
    trace_id: &str,
    payload: &T,
    max_topic_length: usize,
) -> Result<Effect, SendError> {
    check_id("trace id", trace_id)?;
    let length = topic.chars().count();
    if length > max_topic_length {
        return Err(InvalidId::new(format!(
            "the topic \"{}\" has {length} characters, and nobody can subscribe to one of more than {max_topic_length} \
            (max_topic_length)",
            shown(topic)
        ))
        .into());
    }
    if topic.is_empty() || topic.contains(char::is_control) {
        return Err(InvalidId::new(format!(
            "the topic \"{}\" is empty, or has a control character",
            shown(topic)
        ))
        .into());
    }
    Ok(Effect::Publish {
        topic: topic.to_owned(),
        tid: trace_id.to_owned(),
        msg: to_raw_value(payload)?,
    })
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
        }],
    };
    store.run(unit).await?;
    Ok(())
}
