//! What a handler sends through its context, in one transaction with its outcome.

use std::sync::PoisonError;

use serde::Serialize;

use super::{Context, Forward, Starter};
use crate::error::SendError;
use crate::message::{Destination, Recipient, ReplyTo, Topic, UserRecipient};
use crate::seldom::log_seldom;
use crate::store::operation::Effect;

impl Context {
    /// Sends a message to a client terminator, together with the handler's outcome.
    ///
    /// # Errors
    /// An id is invalid, or the payload cannot be written as JSON. If the session is gone when the outcome is stored, the
    /// message is dropped and counted ([`Metrics::messages_without_session`](crate::Metrics::messages_without_session)).
    pub fn send<T: Serialize + ?Sized>(
        &self,
        session_id: &str,
        trace_id: &str,
        terminator: impl Into<Destination>,
        payload: &T,
    ) -> Result<(), SendError> {
        let recipient = Recipient::Session(session_id);
        self.add(
            self.host()
                .send(recipient, trace_id, terminator.into(), payload)?,
        );
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
        endpoint: impl Into<Destination>,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<(), SendError> {
        let recipient = Recipient::Session(session_id);
        self.add(
            self.host()
                .request(recipient, trace_id, endpoint.into(), payload, reply_to)?,
        );
        Ok(())
    }

    /// Sends a message to a client terminator of every session that a user has when the handler's outcome is stored;
    /// see [`SentToUser`](crate::SentToUser). It goes to no one if the user has none,
    /// unless it is [kept](UserRecipient::keep_for).
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
        user: impl Into<UserRecipient>,
        trace_id: &str,
        terminator: impl Into<Destination>,
        payload: &T,
    ) -> Result<(), SendError> {
        let recipient = Recipient::User(user.into());
        self.add(
            self.host()
                .send(recipient, trace_id, terminator.into(), payload)?,
        );
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
        endpoint: impl Into<Destination>,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<(), SendError> {
        let recipient = Recipient::User(user_id.into());
        self.add(
            self.host()
                .request(recipient, trace_id, endpoint.into(), payload, reply_to)?,
        );
        Ok(())
    }

    /// Publishes to every subscriber of a topic, together with the handler's outcome; with [`Topic`] also to those who
    /// subscribe later.
    ///
    /// # Errors
    /// The topic, the trace id or the payload is not acceptable.
    pub fn publish<T: Serialize + ?Sized>(
        &self,
        topic: impl Into<Topic>,
        trace_id: &str,
        payload: &T,
    ) -> Result<(), SendError> {
        self.add(self.host().publish(topic.into(), trace_id, payload)?);
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

    /// Adopts what was sent through another context.
    pub(crate) fn take_over(&self, effects: Vec<Effect>) {
        for effect in effects {
            self.add(effect);
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
