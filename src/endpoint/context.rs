//! What a handler is given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::auth::Principal;
use crate::clock::Clock;
use crate::error::SendError;
use crate::message::{self, Maker, ReplyTo};
use crate::seldom::log_seldom;
use crate::store::operation::{Effect, EndedCorrelation};
use crate::wire::{DebugOptions, MessageType, Payload};

/// A message for a handler.
///
/// ```
/// use matssocket::{HandlerError, Incoming, Outcome};
///
/// async fn place(order: Incoming<u32>) -> Result<Outcome<u32>, HandlerError> {
///     let (pieces, context) = order.into_parts();
///     context.send(context.session_id(), context.trace_id(), "Orders.news", "packed")?;
///     Ok(Outcome::resolve(pieces))
/// }
/// # drop(place);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Incoming<T> {
    /// The payload.
    pub payload: T,
    /// Where the message comes from, and the means to send others.
    pub context: Context,
}

impl<T> Incoming<T> {
    pub(crate) fn new(payload: T, context: Context) -> Incoming<T> {
        Incoming { payload, context }
    }

    /// Splits it into payload and context.
    pub fn into_parts(self) -> (T, Context) {
        (self.payload, self.context)
    }
}

/// Where a message comes from, and the means to send others in one transaction with the handler's outcome: either all
/// of them are stored with the outcome, or none. Clones are cheap. What is sent through it after the handler has
/// returned is lost, and logged; use the [server handle](crate::MatsSocketServer::send) there.
#[derive(Clone, Debug)]
pub struct Context(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    origin: Origin,
    /// `None` once the handler has returned.
    effects: Mutex<Option<Vec<Effect>>>,
}

/// Where a message comes from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) node: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) request_timeout: Duration,
    pub(crate) session_id: String,
    pub(crate) user_id: String,
    pub(crate) principal: Option<Principal>,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) trace_id: String,
    pub(crate) endpoint: String,
    pub(crate) kind: MessageType,
    pub(crate) debug: DebugOptions,
    pub(crate) correlation_string: Option<String>,
    pub(crate) correlation_bytes: Option<Vec<u8>>,
    pub(crate) forwarded: Option<Payload>,
    pub(crate) ended: Option<String>,
    pub(crate) token: Option<ReplyToken>,
}

/// An authorization value, kept out of `Debug` output.
#[derive(Clone)]
pub(crate) struct Authorization(pub(crate) String);

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Names work in a service whose reply comes [later](crate::Outcome::later). It can be stored, sent elsewhere, and used
/// on any node of the cluster: see [`MatsSocketServer::reply`](crate::MatsSocketServer::reply). Replying twice does no
/// harm. Anyone who has it can reply, so protect it like a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyToken {
    pub(crate) id: i64,
    pub(crate) secret: String,
}

/// Omits the secret.
impl std::fmt::Debug for ReplyToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Origin {
    /// The origin of a reply terminator's call for a request that ended without a reply.
    pub(crate) fn of_ended(
        ended: &EndedCorrelation,
        node: Arc<str>,
        clock: Clock,
        request_timeout: Duration,
    ) -> Origin {
        Origin {
            node,
            clock,
            request_timeout,
            session_id: ended.sid.clone(),
            user_id: ended.user_id.clone(),
            principal: None,
            authorization: None,
            trace_id: ended.tid.clone(),
            endpoint: ended.correlation.terminator.clone(),
            kind: MessageType::Reject,
            debug: DebugOptions::default(),
            correlation_string: ended.correlation.string.clone(),
            correlation_bytes: ended.correlation.bytes.clone(),
            forwarded: None,
            ended: Some(ended.reason.clone()),
            token: None,
        }
    }
}

impl Context {
    pub(crate) fn new(origin: Origin) -> Context {
        Context(Arc::new(Inner {
            origin,
            effects: Mutex::new(Some(Vec::new())),
        }))
    }

    /// The session the message came from.
    pub fn session_id(&self) -> &str {
        &self.0.origin.session_id
    }

    /// The session's user.
    pub fn user_id(&self) -> &str {
        &self.0.origin.user_id
    }

    /// The principal, as the authenticator made it. `None` in services and for requests that ended without a reply, where
    /// there is no connection.
    pub fn principal(&self) -> Option<&Principal> {
        self.0.origin.principal.as_ref()
    }

    /// The application's data of the principal, if it is of this type.
    pub fn principal_data<P: Send + Sync + 'static>(&self) -> Option<&P> {
        self.principal()?.data.downcast_ref()
    }

    /// The authorization value that was accepted last on the connection. `None` where there is no connection.
    pub fn authorization(&self) -> Option<&str> {
        self.0
            .origin
            .authorization
            .as_ref()
            .map(|authorization| authorization.0.as_str())
    }

    /// The trace id.
    pub fn trace_id(&self) -> &str {
        &self.0.origin.trace_id
    }

    /// The endpoint, terminator or service that was called.
    pub fn endpoint(&self) -> &str {
        &self.0.origin.endpoint
    }

    /// SEND or REQUEST; RESOLVE or REJECT in reply terminators and reply adapters.
    pub fn message_type(&self) -> MessageType {
        self.0.origin.kind
    }

    /// Debug options in effect for this message.
    pub fn debug_options(&self) -> DebugOptions {
        self.0.origin.debug
    }

    /// In a reply terminator: the correlation string of the request.
    pub fn correlation_string(&self) -> Option<&str> {
        self.0.origin.correlation_string.as_deref()
    }

    /// In a reply terminator: the correlation bytes of the request.
    pub fn correlation_bytes(&self) -> Option<&[u8]> {
        self.0.origin.correlation_bytes.as_deref()
    }

    /// In a service or reply adapter: what was given to [`Forward::correlation`](super::Forward::correlation), if anything.
    ///
    /// # Errors
    /// It is not a `C`.
    pub fn correlation<C: DeserializeOwned>(&self) -> Result<Option<C>, serde_json::Error> {
        self.0
            .origin
            .forwarded
            .as_ref()
            .map(|json| serde_json::from_str(json.get()))
            .transpose()
    }

    /// In a reply terminator: why the request ended without a reply (timeout, NACK, session closed). `None` if a reply came.
    pub fn end_reason(&self) -> Option<&str> {
        self.0.origin.ended.as_deref()
    }

    /// In a service: names this work, so that its reply can come later and from elsewhere.
    pub fn reply_token(&self) -> Option<&ReplyToken> {
        self.0.origin.token.as_ref()
    }

    /// Sends a message to a client terminator, together with the handler's outcome.
    ///
    /// # Errors
    /// An id is invalid, or the payload cannot be written as JSON. If the session is gone when the outcome is stored, the
    /// message is dropped and counted ([`Metrics::messages_without_session`](crate::Metrics::messages_without_session)).
    pub fn send<T: Serialize + ?Sized>(
        &self,
        session_id: &str,
        trace_id: &str,
        terminator: &str,
        payload: &T,
    ) -> Result<(), SendError> {
        let effect = self
            .maker()
            .send(session_id, trace_id, terminator, payload)?;
        self.add(effect);
        Ok(())
    }

    /// Sends a request to a client endpoint, together with the handler's outcome.
    ///
    /// # Errors
    /// As [`Context::send`].
    pub fn request<T: Serialize + ?Sized>(
        &self,
        session_id: &str,
        trace_id: &str,
        endpoint: &str,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<(), SendError> {
        let timeout = self.0.origin.request_timeout;
        let effect = self
            .maker()
            .request(session_id, trace_id, endpoint, payload, reply_to, timeout)?;
        self.add(effect);
        Ok(())
    }

    /// Publishes to every subscriber of a topic, together with the handler's outcome.
    ///
    /// # Errors
    /// The topic, the trace id or the payload is not acceptable.
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        trace_id: &str,
        payload: &T,
    ) -> Result<(), SendError> {
        self.add(message::publish(topic, trace_id, payload)?);
        Ok(())
    }

    /// The context of a reply terminator, for a reply that a service received.
    pub(crate) fn as_reply_to(
        &self,
        terminator: String,
        string: Option<String>,
        bytes: Option<Vec<u8>>,
    ) -> Context {
        let origin = &self.0.origin;
        Context::new(Origin {
            node: origin.node.clone(),
            clock: origin.clock.clone(),
            request_timeout: origin.request_timeout,
            session_id: origin.session_id.clone(),
            user_id: origin.user_id.clone(),
            principal: None,
            authorization: None,
            trace_id: origin.trace_id.clone(),
            endpoint: terminator,
            kind: origin.kind,
            debug: origin.debug,
            correlation_string: string,
            correlation_bytes: bytes,
            forwarded: None,
            ended: None,
            token: None,
        })
    }

    /// Adopts what was sent through another context.
    pub(crate) fn take_over(&self, effects: Vec<Effect>) {
        for effect in effects {
            self.add(effect);
        }
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            node: &self.0.origin.node,
            now: self.0.origin.clock.now_ms(),
        }
    }

    fn add(&self, effect: Effect) {
        let mut effects = self
            .0
            .effects
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match effects.as_mut() {
            Some(effects) => effects.push(effect),
            None => log_seldom!(
                warn,
                "{}: a message sent through the context after its handler had returned is lost; use the server handle",
                self.endpoint()
            ),
        }
    }
}

/// Takes what was sent through the context, which accepts nothing more from now on.
pub(crate) fn take_effects(context: &Context) -> Vec<Effect> {
    context
        .0
        .effects
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .unwrap_or_default()
}
