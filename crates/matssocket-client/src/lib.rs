//! A client of the MatsSocket protocol: reliable messaging over WebSocket.
//!
//! A [`Client`] keeps one session with a cluster of servers. Messages are queued in its outbox and sent as soon as
//! there is a connection. A lost connection is replaced, to whichever node answers, and unacknowledged messages are
//! sent again. Both sides recognise duplicates by their ids, so each message is handled once.
//!
//! ```no_run
//! use matssocket_client::{Client, Message};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize)]
//! struct Order { item: String, pieces: u32 }
//!
//! #[derive(Deserialize)]
//! struct Receipt { number: u64 }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("Shop", "1.0")
//!     .urls(["ws://node1:8080/matssocket", "ws://node2:8080/matssocket"])
//!     .authorization_value("Bearer …")
//!     .build()?;
//!
//! // Messages that the server may send.
//! client.terminator("Shop.news", |news: Message<String>| async move {
//!     println!("news: {}", news.payload);
//! });
//! client.endpoint("Shop.stock", |question: Message<String>| async move {
//!     if question.payload == "apples" { Ok(17) } else { Err("unknown item") }
//! });
//!
//! let order = Order { item: "apples".into(), pieces: 3 };
//! let receipt = client.request::<Receipt>("order-1", "Orders.place", &order).await?.resolved()?;
//! println!("order number {}", receipt.number);
//!
//! client.send("bye-1", "Visits.end", "nothing more today").await?;
//! client.close("done").await;
//! # Ok(()) }
//! ```
//!
//! # Logs
//! The client never logs an authorization value, at any level: neither from envelopes, nor from URLs and headers of the
//! upgrade request, nor from a server's text or a callback's error that quotes a value known to the client. The
//! underlying library is less careful: at `TRACE`, `tungstenite` prints the whole upgrade request, including its
//! headers, and every frame. It logs under targets that begin with `tungstenite` (`tungstenite::handshake::client`,
//! `tungstenite::protocol`, `tungstenite::protocol::frame` …). If you log at `TRACE`, set that target to a higher
//! level; with `env_logger`: `RUST_LOG=trace,tungstenite=debug`. (`tokio_tungstenite`, a target of its own, prints
//! neither.)
//!
//! # Restarts
//! With the feature `durable`, a client keeps its session, what it sends and what it receives in a file, and the process
//! that follows goes on where the last one ended: see `ClientBuilder::journal`. Without it, a client lives as long as its
//! process.
//!
//! Internally, `driver` connects and reconnects, `connection` is one WebSocket, and `core` decides what is sent and (in
//! `incoming`) how input is processed, with `outbox`, `inbox`, `topic`, `flush` and `authorization` as its parts;
//! `keeping` is what `core` tells the `journal`;
//! `authorizing` obtains an authorization when one is needed; `handler` runs the application's code in a separate task.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod authorization;
mod authorizing;
mod backoff;
mod builder;
mod connection;
mod core;
mod driver;
#[cfg(feature = "durable")]
mod durable;
mod error;
mod event;
mod farewell;
mod flush;
mod handler;
mod inbox;
mod incoming;
mod journal;
mod keeping;
mod message;
mod outbox;
mod ping;
mod pipeline;
mod redact;
mod request;
mod shared;
mod socket;
#[cfg(test)]
mod tests;
mod topic;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, oneshot, watch};

/// The protocol's own types, some of which appear in signatures here.
pub use matssocket_wire as wire;

pub use authorization::{Authorization, AuthorizationError, AuthorizationNeed};
pub use backoff::Backoff;
pub use builder::{BuildError, ClientBuilder};
#[cfg(feature = "durable")]
pub use durable::Unresolved;
pub use error::{RequestError, SendError, SessionClosed};
pub use event::{ConnectionEvent, ConnectionState, TopicEvent};
#[cfg(feature = "durable")]
pub use journal::{Journal, JournalError, JournalSync};
#[cfg(feature = "durable")]
pub use message::Correlated;
pub use message::{Message, Outcome, Rejection, Reply};
pub use request::{Request, Sending};

use self::builder::Config;
use self::core::{Command, Outgoing};
use self::driver::Driver;
use self::shared::Shared;

/// A client with one session. Clones are cheap and share it.
///
/// When the last clone is dropped, the session is closed. A handler that owns a clone keeps its client alive: call
/// [`close`](Client::close) to end it.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Notifies the task when the last clone is dropped.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.abandoned.store(true, Ordering::Release);
        self.shared.wake.notify_one();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Starts to configure a client of the application with this name and version.
    pub fn builder(app_name: impl Into<String>, app_version: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(app_name.into(), app_version.into())
    }

    fn spawn(config: Config) -> Client {
        let shared = Arc::new(Shared::new(config));
        handler::built_in(&shared);
        tokio::spawn(Driver::new(shared.clone()).run());
        Client {
            handle: Arc::new(Handle { shared }),
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    fn outgoing(
        &self,
        trace_id: impl Into<String>,
        endpoint: impl Into<String>,
        payload: &(impl Serialize + ?Sized),
    ) -> Result<Outgoing, SendError> {
        let msg = Some(request::payload(payload)?);
        let debug = self.shared().config.debug.bits();
        Ok(Outgoing {
            trace_id: trace_id.into(),
            endpoint: endpoint.into(),
            msg,
            timeout: None,
            debug,
            stored: None,
            reply_to: None,
        })
    }

    /// Sends a message to a server terminator. The message is queued at once, in the order of the calls; the future
    /// resolves when the server has accepted it, across reconnects if necessary. Dropping the future does not withdraw
    /// the message.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send(
        &self,
        trace_id: impl Into<String>,
        endpoint: impl Into<String>,
        payload: &(impl Serialize + ?Sized),
    ) -> Sending {
        // A SEND has no answer that could carry debug information.
        let out = self
            .outgoing(trace_id, endpoint, payload)
            .map(|out| Outgoing { debug: 0, ..out });
        Sending::new(self.shared(), out)
    }

    /// A request to a server endpoint. It is sent when it is awaited, which returns the [`Reply`], a RESOLVE or REJECT.
    /// Dropping it withdraws the request.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn request<R: DeserializeOwned>(
        &self,
        trace_id: impl Into<String>,
        endpoint: impl Into<String>,
        payload: &(impl Serialize + ?Sized),
    ) -> Request<R> {
        Request::new(
            self.shared().clone(),
            self.outgoing(trace_id, endpoint, payload),
        )
    }

    /// Registers or replaces a terminator: a handler of the server's SENDs. Terminators and topic callbacks run one
    /// after the other, in the order in which their messages arrived.
    ///
    /// A message for which there is no terminator is refused: register terminators for unsolicited messages before
    /// connecting ([`ClientBuilder::build`]).
    pub fn terminator<T, F, Fut>(&self, id: impl Into<String>, handler: F)
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let replaced = self
            .shared()
            .core()
            .terminators
            .insert(id.into(), handler::terminator(handler));
        // This drops application code, so only after the core is unlocked.
        drop(replaced);
    }

    /// Registers or replaces an endpoint: a handler of the server's REQUESTs. `Ok` resolves, `Err` rejects. Endpoints start in
    /// the order of their messages and then run concurrently.
    pub fn endpoint<T, R, E, F, Fut>(&self, id: impl Into<String>, handler: F)
    where
        T: DeserializeOwned + Send + 'static,
        R: Serialize + 'static,
        E: Serialize + 'static,
        F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        let replaced = self
            .shared()
            .core()
            .endpoints
            .insert(id.into(), handler::endpoint(handler));
        // This drops application code, so only after the core is unlocked.
        drop(replaced);
    }

    /// Subscribes to a topic, or replaces the callback of one that is subscribed to. The server's answer is a [`TopicEvent`].
    /// A message whose payload is not a `T` is logged and dropped.
    ///
    /// # Errors
    /// The topic is not a valid id.
    pub fn subscribe<T, F, Fut>(&self, topic: &str, callback: F) -> Result<(), SendError>
    where
        T: DeserializeOwned + Send + 'static,
        F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let replaced = self
            .shared()
            .core()
            .subscribe(topic, handler::terminator(callback))?;
        // This drops application code, so only after the core is unlocked.
        drop(replaced);
        self.shared().wake.notify_one();
        Ok(())
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, topic: &str) {
        let callback = self.shared().core().unsubscribe(topic);
        // This drops application code, so only after the core is unlocked.
        drop(callback);
        self.shared().wake.notify_one();
    }

    /// Connects now: for the first time, again after a disconnect, with a new session if the last one was closed, or without
    /// further delay after failures.
    pub fn reconnect(&self) {
        let shared = self.shared();
        if shared.core().reconnect() {
            shared.set_state(ConnectionState::Connecting);
        }
        shared.wake.notify_one();
    }

    /// Closes the session; everything outstanding fails. Returns when that is done. If the client is not connected, it tries
    /// one more connection for a few seconds; failing that, the server keeps the session until it times out.
    pub async fn close(&self, reason: impl Into<String>) {
        let (done, closed) = oneshot::channel();
        self.shared().command(Command::Close {
            reason: reason.into(),
            done,
        });
        let _ = closed.await;
    }

    /// Disconnects and keeps the session; the next message, or [`reconnect`](Client::reconnect), connects again.
    pub async fn disconnect(&self) {
        let (done, left) = oneshot::channel();
        self.shared().command(Command::Disconnect { done });
        let _ = left.await;
    }

    /// Drops the connection without closing it, as a failing network would; the client then reconnects.
    #[cfg(any(test, feature = "__test"))]
    #[doc(hidden)]
    pub fn cut(&self) {
        self.shared().command(Command::Cut);
    }

    /// Events of the connection and the session, from now on.
    pub fn connection_events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.shared().events.subscribe()
    }

    /// The server's answers to subscriptions, from now on.
    pub fn topic_events(&self) -> broadcast::Receiver<TopicEvent> {
        self.shared().topic_events.subscribe()
    }

    /// The state of the connection and the session.
    pub fn state(&self) -> ConnectionState {
        self.shared().state.borrow().clone()
    }

    /// The state of the connection and the session, and each change of it.
    pub fn watch_state(&self) -> watch::Receiver<ConnectionState> {
        self.shared().state.subscribe()
    }

    /// Waits until the session is established. Returns its id.
    ///
    /// # Errors
    /// The session is closed.
    pub async fn established(&self) -> Result<String, SessionClosed> {
        let mut states = self.watch_state();
        let settled = |state: &ConnectionState| {
            matches!(
                state,
                ConnectionState::Established(_) | ConnectionState::Closed(_)
            )
        };
        match states.wait_for(settled).await.as_deref() {
            Ok(ConnectionState::Established(session_id)) => Ok(session_id.clone()),
            Ok(ConnectionState::Closed(closed)) => Err(closed.clone()),
            _ => Err(request::task_gone()),
        }
    }

    /// The id of the session, if there is one.
    pub fn session_id(&self) -> Option<String> {
        self.shared().core().session_id.clone()
    }

    /// Time from the last PING to its PONG; `None` before the first.
    pub fn round_trip(&self) -> Option<Duration> {
        self.shared().core().round_trip
    }
}

/// The README's examples compile; one needs the journal.
#[cfg(all(doctest, feature = "durable"))]
#[doc = include_str!("../README.md")]
struct Readme;
