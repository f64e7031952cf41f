//! What a handler is given.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Host, Origin};
use crate::auth::{ClientInfo, Principal};
use crate::clock::wall_time;
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
pub struct Context(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) origin: Origin,
    /// `None` once the handler has returned.
    pub(super) effects: Mutex<Option<Vec<Effect>>>,
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

    /// What runs the handler.
    pub(crate) fn host(&self) -> &Arc<dyn Host> {
        &self.0.origin.host
    }
}
