//! The handle of a running server.

mod admin;
mod builder;
mod context;
mod edge;
mod inspection;
mod live;
mod metrics;
mod run;
#[cfg(feature = "schema")]
mod schema;
mod start;
mod started;
mod users;

use std::fmt;
use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::value::to_raw_value;

pub use admin::Admin;
pub use builder::ServerBuilder;
use edge::Beside;
pub(crate) use edge::Edge;
#[cfg(feature = "schema")]
pub use schema::{ApiDocument, Description};
pub use started::Started;

use crate::endpoint::{Host, ReplyToken};
use crate::error::{NotReady, SendError};
use crate::message::{self, Destination, IdempotencyKey, Recipient, ReplyTo};
use crate::metrics::{Metrics, prometheus};
use crate::node::Node;
use crate::store::StoreError;
use crate::store::operation::{Cause, Effect, EffectOutcome, Unit, UnitOutcome};

/// A running server: one node of a cluster. Made by [`MatsSocketServer::builder`]. Clones are cheap and share the node;
/// call [`stop`](Self::stop) or [`run`](Self::run), since dropping the last clone does not stop it.
#[derive(Clone)]
pub struct MatsSocketServer {
    pub(crate) node: Arc<Node>,
    pub(crate) edge: Arc<Edge>,
    beside: Arc<Beside>,
}

impl fmt::Debug for MatsSocketServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatsSocketServer")
            .field("node_name", &self.node_name())
            .finish_non_exhaustive()
    }
}

impl MatsSocketServer {
    /// Starts to configure a server. `app` names the application in logs, metrics and the store. A store belongs to one
    /// application and refuses any other, since two on one store would mix their sessions, topics and messages.
    pub fn builder(app: impl Into<String>) -> ServerBuilder {
        ServerBuilder::new(app.into())
    }

    /// This node's name: the host name and a random part. It changes if the node loses its lease, for example after a
    /// long pause, and comes back as a new node.
    pub fn node_name(&self) -> String {
        self.node.name().to_string()
    }

    /// Whether this node can serve: it holds its lease, its threads can write to the store and read from it, and it
    /// receives notices from the other nodes. For readiness probes: the path `ready` below that of the WebSocket
    /// answers with the same.
    ///
    /// # Errors
    /// The first reason found why it cannot serve.
    pub fn ready(&self) -> Result<(), NotReady> {
        self.node.ready()
    }

    /// Sends a message to a client terminator. When this returns `Ok`, the message is stored and will arrive.
    ///
    /// # Errors
    /// See [`SendError`]: nothing was stored, except perhaps after [`StoreError::Unknown`].
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer, session_id: &str) -> Result<(), matssocket::SendError> {
    /// server.send(session_id, "order 17 shipped", "Orders.shipped", &17).await?;
    /// # Ok(()) }
    /// ```
    pub async fn send<T: Serialize + ?Sized>(
        &self,
        session_id: &str,
        trace_id: &str,
        terminator: impl Into<Destination>,
        payload: &T,
    ) -> Result<(), SendError> {
        let recipient = Recipient::Session(session_id);
        let effect = self
            .host()
            .send(recipient, trace_id, terminator.into(), payload)?;
        self.call(effect, None).await
    }

    /// Like [`send`](Self::send), but a repeat with the same key does nothing. For callers that may run twice, and for
    /// repeating a call after [`StoreError::Unknown`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```no_run
    /// # async fn example(server: matssocket::MatsSocketServer, session_id: &str) -> Result<(), matssocket::SendError> {
    /// use matssocket::IdempotencyKey;
    ///
    /// let key = IdempotencyKey::new("shipped-17");
    /// server.send_once(key, session_id, "order 17 shipped", "Orders.shipped", &17).await?;
    /// # Ok(()) }
    /// ```
    pub async fn send_once<T: Serialize + ?Sized>(
        &self,
        key: IdempotencyKey,
        session_id: &str,
        trace_id: &str,
        terminator: impl Into<Destination>,
        payload: &T,
    ) -> Result<(), SendError> {
        let key = key.checked()?;
        let recipient = Recipient::Session(session_id);
        let effect = self
            .host()
            .send(recipient, trace_id, terminator.into(), payload)?;
        self.call(effect, Some(key)).await
    }

    /// Sends a request to a client endpoint; the reply goes to a terminator of this application, on any node.
    ///
    /// # Errors
    /// As [`send`](Self::send); also if there is no such terminator here.
    pub async fn request<T: Serialize + ?Sized>(
        &self,
        session_id: &str,
        trace_id: &str,
        endpoint: impl Into<Destination>,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<(), SendError> {
        let recipient = Recipient::Session(session_id);
        let effect =
            self.host()
                .request(recipient, trace_id, endpoint.into(), payload, reply_to)?;
        self.call(effect, None).await
    }

    /// Publishes to every subscriber of a topic, on every node.
    ///
    /// # Errors
    /// As [`send`](Self::send), except that no subscriber is required.
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        topic: &str,
        trace_id: &str,
        payload: &T,
    ) -> Result<(), SendError> {
        self.call(self.host().publish(topic, trace_id, payload)?, None)
            .await
    }

    /// Resolves work whose service answered [later](crate::Outcome::later).
    ///
    /// # Errors
    /// [`SendError::AlreadyReplied`], or as [`send`](Self::send).
    pub async fn reply<T: Serialize + ?Sized>(
        &self,
        token: &ReplyToken,
        payload: &T,
    ) -> Result<(), SendError> {
        let payload = to_raw_value(payload)?;
        crate::service::reply_by_token(
            &self.node,
            token,
            crate::wire::MessageType::Resolve,
            payload,
        )
        .await
    }

    /// Like [`reply`](Self::reply), but rejects.
    ///
    /// # Errors
    /// As [`reply`](Self::reply).
    pub async fn reject<T: Serialize + ?Sized>(
        &self,
        token: &ReplyToken,
        payload: &T,
    ) -> Result<(), SendError> {
        let payload = to_raw_value(payload)?;
        crate::service::reply_by_token(&self.node, token, crate::wire::MessageType::Reject, payload)
            .await
    }

    /// Closes a session, whichever node holds it: its messages are deleted, and its client's connection is closed with
    /// 4000. Returns whether there was such a session.
    ///
    /// # Errors
    /// The store failed.
    pub async fn close_session(&self, session_id: &str, reason: &str) -> Result<bool, StoreError> {
        self.node.close_session(session_id, reason).await
    }

    /// Closes all sessions of a user, whichever nodes hold them, and returns how many there were. A client may open a
    /// new session: make your authenticator refuse the user *before* you call this.
    ///
    /// # Errors
    /// The store failed; some of the sessions may have been closed.
    pub async fn close_sessions_of(&self, user_id: &str, reason: &str) -> Result<u64, StoreError> {
        self.node.close_sessions_of(user_id, reason).await
    }

    /// Ends a user's authorization at once, on all nodes, for example because a login was withdrawn. The sessions stay,
    /// but no messages are handled or delivered until the client, which is asked for an authorization value, has sent
    /// one that is accepted. The value accepted before is not trusted either: it is authenticated again. Make your
    /// authenticator refuse what was withdrawn *before* you call this. To end the sessions as well, see
    /// [`close_sessions_of`](Self::close_sessions_of).
    ///
    /// # Errors
    /// The user id is not a valid id, or the store failed.
    pub async fn revoke(&self, user_id: &str) -> Result<(), SendError> {
        message::revoke(&self.node.store, user_id, None).await
    }

    /// Ends a user's subscriptions to a topic at once, on all nodes; the clients get SUB_NO_AUTH. Nothing that is
    /// published after this has returned reaches the user without a new subscription: make your authenticator's
    /// [`authorize_topic`](crate::Authenticator::authorize_topic) refuse that *before* you call this.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    pub async fn revoke_topic(&self, user_id: &str, topic: &str) -> Result<(), SendError> {
        message::revoke(&self.node.store, user_id, Some(topic)).await
    }

    /// Figures of every actor, the store and the maintenance tasks since the start. They serialise to JSON.
    pub fn metrics(&self) -> Metrics {
        metrics::snapshot(&self.node, &self.beside.maintenance)
    }

    /// A route that answers with [`metrics`](Self::metrics) as Prometheus reads them. It shows no payloads and no users,
    /// but the names of endpoints and services: mount it where only your monitoring can reach it.
    ///
    /// ```
    /// use actix_web::{App, HttpServer};
    /// # fn run(server: matssocket::MatsSocketServer) -> std::io::Result<()> {
    /// let metrics = HttpServer::new(move || {
    ///     App::new().route("/metrics", server.prometheus_scrape())
    /// });
    /// // A port of its own, which only your monitoring can reach.
    /// let metrics = metrics.workers(1).disable_signals().bind("127.0.0.1:9464")?;
    /// # drop(metrics);
    /// # Ok(())
    /// # }
    /// ```
    pub fn prometheus_scrape(&self) -> actix_web::Route {
        let server = self.clone();
        actix_web::web::get().to(move || {
            let answer = HttpResponse::Ok()
                .content_type(prometheus::CONTENT_TYPE)
                .body(server.metrics().to_prometheus());
            std::future::ready(answer)
        })
    }

    /// Says by [`ready`](Self::ready) that the node is stopping, and goes on serving for
    /// [`Config::stop_delay`](crate::Config::stop_delay), new clients included. [`run`](Self::run) calls it before
    /// [`stop`](Self::stop); so does an application that handles signals itself.
    pub async fn prepare_to_stop(&self) {
        self.node.retire();
        tokio::time::sleep(self.node.config.stop_delay).await;
    }

    /// Stops the node: no new sockets are accepted, running handlers get [`Config::stop_grace`](crate::Config::stop_grace)
    /// to finish, sockets are closed with 1012 over [`Config::stop_spread`](crate::Config::stop_spread), sessions are
    /// deregistered, and the node leaves the cluster. It may be called twice.
    pub async fn stop(&self) {
        self.node.stop().await;
    }

    /// What makes messages.
    fn host(&self) -> &dyn Host {
        &*self.node
    }

    async fn call(&self, effect: Effect, idempotency_key: Option<String>) -> Result<(), SendError> {
        let sid = match &effect {
            Effect::Message { sid, .. } => sid.clone(),
            Effect::ToUser { .. }
            | Effect::Publish { .. }
            | Effect::Forward(_)
            | Effect::Cancel { .. }
            | Effect::EndRequest { .. } => String::new(),
        };
        match self.commit(effect, idempotency_key).await? {
            Some(EffectOutcome::NoSession) => Err(SendError::NoSession(sid)),
            _ => Ok(()),
        }
    }

    /// Commits one effect in a transaction of its own. `None`: a call with this key has been committed before.
    async fn commit(
        &self,
        effect: Effect,
        idempotency_key: Option<String>,
    ) -> Result<Option<EffectOutcome>, SendError> {
        let unit = Unit {
            cause: Cause::Call { idempotency_key },
            effects: vec![effect],
        };
        match self.node.store.run(unit).await? {
            UnitOutcome::Committed(outcomes) => Ok(outcomes.into_iter().next()),
            UnitOutcome::Repeated => Ok(None),
            UnitOutcome::OutboxFull(full) => Err(SendError::OutboxFull(full)),
            UnitOutcome::Duplicate(_)
            | UnitOutcome::AlreadySettled
            | UnitOutcome::FencedOff
            | UnitOutcome::TooMuchForwarded(_) => Err(SendError::Store(StoreError::Failed(
                "a call was taken for something else".into(),
            ))),
        }
    }
}
