//! What a handler is given.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Forward, Host, Origin, Starter};
use crate::auth::{ClientInfo, Principal};
use crate::clock::wall_time;
use crate::error::SendError;
use crate::message::{Recipient, ReplyTo};
use crate::seldom::log_seldom;
use crate::store::operation::Effect;
use crate::wire::{DebugOptions, MessageType};

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

impl Context {
    pub(crate) fn new(origin: Origin) -> Context {
        Context(Arc::new(Inner {
            origin,
            effects: Mutex::new(Some(Vec::new())),
        }))
    }

    /// The session the message came from. Empty in a service whose work was started outside handlers, by
    /// [`MatsSocketServer::start`](crate::MatsSocketServer::start): there is none, and sending to it fails.
    pub fn session_id(&self) -> &str {
        &self.0.origin.session_id
    }

    /// The session's user. Empty where the [session id](Self::session_id) is.
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

    /// When the authorization value was last found valid. `None` where there is no connection.
    pub fn authenticated(&self) -> Option<SystemTime> {
        self.0.origin.authenticated.map(wall_time)
    }

    /// The client that is connected: its app, library and address. `None` where there is no connection.
    pub fn client(&self) -> Option<&ClientInfo> {
        self.0.origin.client.as_deref()
    }

    /// The client's id of its message. Together with the [session id](Self::session_id), it is the same whenever the
    /// message comes again, and no other message of the session has it: a handler that writes to a database of its own
    /// can recognise a repeat by it.
    ///
    /// In a service or reply adapter it is the id of the client's REQUEST, and `None` for a SEND: a service has its
    /// [`work_id`](Self::work_id). For a request that ended without a reply it is `None`.
    pub fn message_id(&self) -> Option<&str> {
        self.0.origin.message_id.as_deref()
    }

    /// In a service: a number for this work, the same in each attempt, on whatever node. No other work has it, but if
    /// the work becomes a dead letter and is put back, it gets a new one.
    pub fn work_id(&self) -> Option<i64> {
        self.0.origin.token.as_ref().map(|token| token.id)
    }

    /// In a service: which attempt this is, 1 for the first. Attempts that failed count; those that ended with their
    /// node, asked to be called [later](super::Outcome::later), or could not store their outcome do not. Elsewhere
    /// it is 1.
    pub fn attempt(&self) -> u32 {
        self.0.origin.attempt
    }

    /// The application's state of this type, as given to [`ServerBuilder::data`](crate::ServerBuilder::data).
    ///
    /// ```
    /// use matssocket::{HandlerError, Incoming, Outcome};
    ///
    /// struct Prices(std::collections::HashMap<String, u32>);
    ///
    /// async fn price(article: Incoming<String>) -> Result<Outcome<u32>, HandlerError> {
    ///     let prices: &Prices = article.context.data().ok_or("the server has no prices")?;
    ///     Ok(match prices.0.get(&article.payload) {
    ///         Some(price) => Outcome::resolve(*price),
    ///         None => Outcome::reject("no such article"),
    ///     })
    /// }
    /// # drop(price);
    /// ```
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.origin.host.data().get()
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
        let recipient = Recipient::Session(session_id);
        self.add(self.host().send(recipient, trace_id, terminator, payload)?);
        Ok(())
    }

    /// Sends a request to a client endpoint, together with the handler's outcome.
    ///
    /// # Errors
    /// As [`Context::send`]; also if there is no such terminator here.
    pub fn request<T: Serialize + ?Sized>(
        &self,
        session_id: &str,
        trace_id: &str,
        endpoint: &str,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<(), SendError> {
        let recipient = Recipient::Session(session_id);
        self.add(
            self.host()
                .request(recipient, trace_id, endpoint, payload, reply_to)?,
        );
        Ok(())
    }

    /// Sends a message to a client terminator of every session that a user has when the handler's outcome is stored;
    /// see [`SentToUser`](crate::SentToUser). It goes to no one if the user has none.
    ///
    /// ```
    /// use matssocket::{HandlerError, Incoming, Outcome};
    ///
    /// async fn mark_read(message: Incoming<u32>) -> Result<Outcome<()>, HandlerError> {
    ///     let (id, context) = message.into_parts();
    ///     // On all devices of this user, together with the answer.
    ///     context.send_to_user(context.user_id(), context.trace_id(), "Mail.read", &id)?;
    ///     Ok(Outcome::resolve(()))
    /// }
    /// # drop(mark_read);
    /// ```
    ///
    /// # Errors
    /// An id is invalid, or the payload cannot be written as JSON. If the outbox of a session is full when the outcome
    /// is stored, that session does not get the message, which is counted
    /// ([`Metrics::messages_without_room`](crate::Metrics::messages_without_room)); the others and the outcome are not
    /// affected.
    pub fn send_to_user<T: Serialize + ?Sized>(
        &self,
        user_id: &str,
        trace_id: &str,
        terminator: &str,
        payload: &T,
    ) -> Result<(), SendError> {
        let recipient = Recipient::User(user_id);
        self.add(self.host().send(recipient, trace_id, terminator, payload)?);
        Ok(())
    }

    /// Sends a request to a client endpoint of every session that a user has when the handler's outcome is stored. Each
    /// session answers for itself, or times out: the reply terminator is called once for each.
    ///
    /// # Errors
    /// As [`Context::send_to_user`]; also if there is no such terminator on this server.
    pub fn request_user<T: Serialize + ?Sized>(
        &self,
        user_id: &str,
        trace_id: &str,
        endpoint: &str,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<(), SendError> {
        let recipient = Recipient::User(user_id);
        self.add(
            self.host()
                .request(recipient, trace_id, endpoint, payload, reply_to)?,
        );
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
        self.add(self.host().publish(topic, trace_id, payload)?);
        Ok(())
    }

    /// Starts work in a service, in the transaction of the handler's outcome. If the handler fails, asks to retry, or
    /// returns an outcome that its message does not allow, nothing is started; nor if a transactional handler rejects or
    /// denies. The work is durable, as that of [`Outcome::forward`](super::Outcome::forward), but nobody waits for it: what the
    /// service resolves or rejects is dropped, and if its attempts are used up, it becomes a dead letter. In the service, the
    /// session, the user and the trace id are those of this context.
    ///
    /// If the work has a [key](Forward::key) and the service has outstanding work with it, nothing is stored for it.
    ///
    /// Any number of works may be started. They count towards the limits on forwarded messages
    /// ([`StoreConfig::max_forwarded_per_session`](crate::StoreConfig::max_forwarded_per_session) and the like) if a client's
    /// message started them: beyond a limit, the client is told to retry, and nothing of the handler's outcome is stored. (A
    /// handler that starts more than the limit for one message fails.) What services start is not limited, since it continues
    /// work that was accepted; nor is what reply terminators start.
    ///
    /// ```
    /// use matssocket::{Forward, HandlerError, Incoming, Outcome};
    ///
    /// async fn place(order: Incoming<u32>) -> Result<Outcome<String>, HandlerError> {
    ///     order.context.start(Forward::to("Billing", &order.payload))?;
    ///     order.context.start(Forward::to("Receipts", &order.payload))?;
    ///     Ok(Outcome::resolve("accepted".to_owned()))
    /// }
    /// # drop(place);
    /// ```
    ///
    /// # Errors
    /// The service's name is not a valid id, or the payload or the correlation cannot be written as JSON.
    pub fn start(&self, forward: Forward) -> Result<(), SendError> {
        let origin = &self.0.origin;
        let work = forward.started(Starter {
            clock: origin.host.clock(),
            session_id: &origin.session_id,
            user_id: &origin.user_id,
            trace_id: &origin.trace_id,
            endpoint: &origin.endpoint,
            debug: origin.debug,
        })?;
        self.add(Effect::Forward(Box::new(work)));
        Ok(())
    }

    /// Cancels a service's outstanding work with this [key](Forward::key), in the transaction of the handler's outcome, if it
    /// waits then. See [`MatsSocketServer::cancel`](crate::MatsSocketServer::cancel).
    ///
    /// # Errors
    /// The service's name or the key is not a valid id.
    pub fn cancel(&self, service: &str, key: &str) -> Result<(), SendError> {
        self.add(super::forward::cancel(service, key)?);
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
            session_id: origin.session_id.clone(),
            user_id: origin.user_id.clone(),
            trace_id: origin.trace_id.clone(),
            message_id: origin.message_id.clone(),
            debug: origin.debug,
            correlation_string: string,
            correlation_bytes: bytes,
            ..Origin::new(origin.host.clone(), origin.kind, terminator)
        })
    }

    /// Adopts what was sent through another context.
    pub(crate) fn take_over(&self, effects: Vec<Effect>) {
        for effect in effects {
            self.add(effect);
        }
    }

    /// What runs the handler.
    pub(crate) fn host(&self) -> &Arc<dyn Host> {
        &self.0.origin.host
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

/// What was sent through the context so far.
pub(crate) fn effects(context: &Context) -> Vec<Effect> {
    let effects = context.0.effects.lock();
    let effects = effects.unwrap_or_else(PoisonError::into_inner);
    effects.clone().unwrap_or_default()
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
