//! Reliable messaging over WebSocket for actix-web: each message is processed once and in order, even when connections
//! break and nodes fail.
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use matssocket::{Incoming, MatsSocketServer, Outcome, Principal, Store, Verdict, auth_fn};
//!
//! # #[cfg(feature = "sqlite")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MatsSocketServer::builder("echo")
//!     .store(Store::sqlite("echo.db"))
//!     .authentication(auth_fn(async |value: String| {
//!         Ok(match value.strip_prefix("User:") {
//!             Some(user) => Verdict::Authenticated(Principal::user(user)),
//!             None => Verdict::Invalid("expected User:<name>".into()),
//!         })
//!     }))
//!     .endpoint("Echo", async |incoming: Incoming<String>| {
//!         Ok(Outcome::resolve(incoming.into_parts().0))
//!     })
//!     .start()
//!     .await?;
//! let mounted = server.clone();
//! let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
//!     .on_connect(matssocket::on_connect)
//!     .bind(("127.0.0.1", 8080))?;
//! server.run(http).await?;
//! # Ok(()) }
//! ```
//!
//! # Where to begin
//!
//! [`MatsSocketServer::builder`] takes a [`Store`], an [`Authentication`] (or [`auth_fn`]), endpoints, terminators and
//! services; [`start`](ServerBuilder::start) returns the handle, a [`MatsSocketServer`]. A handler turns an
//! [`Incoming`] message into an [`Outcome`]. Limits are in [`Config`], figures in [`Metrics`]. The README has a chapter
//! on each. [`security`] describes who is trusted with what.
//!
//! # The rooms
//!
//! They form layers: each room imports only rooms listed above it in this table, which `tests/layers.rs` enforces.
//! Where a room must notify one listed below it, it defines the message itself.
//!
//! | room | holds |
//! |---|---|
//! | [`wire`], `clock` | the protocol as data: the package `matssocket-wire`, which knows no actor, no database, no clock; an injectable clock |
//! | `conninfo`, `fault_injection`, `mailbox`, `request`, `seldom` | the ground: PostgreSQL's connection strings, switches that break guarantees on purpose, metered mailboxes, who sent an HTTP request, rate-limited log lines |
//! | `auth`, `events`, `introspection` | public data and traits: the authentication plugin, events for the application's listeners, what a connected session looks like |
//! | `store` | the store actor, group commit, and the database behind one narrow trait: `store::sqlite`, `store::postgres`, and `store::sql`, which both share |
//! | `config`, `error`, `message` | more of the public API: every limit, the errors, and the building of messages for clients |
//! | `cluster` | cluster-notify: notifies other nodes of news; notices may be lost, doubled or late |
//! | `registry` | one actor per node: which sessions live here, who listens to which topic |
//! | `endpoint` | handlers with their types erased, their contexts and outcomes; the built-in endpoints |
//! | `node` | what the rooms of one running node share: its name, its lease, its limits |
//! | `session` | one session actor per registration of a session; `session::state` decides, without I/O, and the actor carries it out; `session::handler` runs handlers |
//! | `service` | forwarded messages: dispatch, retries, replies |
//! | `http` | the actix-web edge: upgrade, guard of the incoming bytes, one connection actor per WebSocket |
//! | `maintenance` | the periodic tasks of a node: lease, sweep, liveliness, time-outs, scavenging |
//! | `metrics` | the snapshot of all figures |
//! | `server` | puts everything together: [`ServerBuilder`], [`MatsSocketServer`], mounting, running and stopping |
//! | [`testkit`] | drives an application's endpoints in its tests, without a socket |
//! | `client` | a Rust client of the same protocol: the package `matssocket-client` (feature `client`), which knows [`wire`] only |
//!
//! Connection and session actors live on the thread of the HTTP worker that accepted the socket; registry, cluster,
//! services and maintenance on a thread of the node's own, and the store on its own threads.
//!
//! # One message, from room to room
//!
//! A client's REQUEST comes in on a socket. In `http` the guard admits its bytes, and the connection actor assembles
//! them into a WebSocket message, which it hands to the session actor. `session` parses it by [`wire`], has the
//! application authenticate it, and starts the endpoint's handler. The handler returns [`Outcome::resolve`]. The client
//! message id and the answer, with whatever the handler sent through its [`Context`], go to `store` as one operation. A
//! writer thread puts it into one transaction with everything else that is waiting at that moment, and answers after
//! the commit. Only then does the session send the RESOLVE, which `wire` serialises and the connection actor writes. If
//! the connection breaks first, the client repeats the REQUEST, to any node: the id is already stored, so the stored
//! answer is sent and no handler runs. The client's ACK2 deletes the row.
//!
//! [`MatsSocketServer::send`] goes the other way. `store` gives the message the session's next sequence number and
//! stores it. After the commit, the registry hands it to the session if that lives on this node. Otherwise `cluster`
//! notifies the node that holds the session, which fetches the message. The client's ACK deletes the row. Messages that
//! were not acknowledged are sent again after a reconnect, oldest first.
//!
//! # Features
//!
//! - `sqlite` (default): the store on SQLite, which is bundled.
//! - `postgres`: the store on PostgreSQL, and clusters of several processes, using the system's libpq.
//!   `postgres-bundled`: with libpq and OpenSSL built in.
//! - `client`: the Rust client, as `matssocket::client`; a service that is only a client should depend on the package
//!   `matssocket-client` instead, which pulls in neither actix nor a database. `client-tls`: its `wss://`.
//! - `browser-client`: the server also serves the browser client, below the path of its WebSocket.
//! - `dashboard`: a dashboard for operators, and the admin API that it uses.
//! - `schema`: the server describes its endpoints and topics as an AsyncAPI document, with JSON Schemas by the crate
//!   `schemars`; TypeScript types are made from it.
//!
//! The program `matssocket` (the demo and the commands for operators) is in the package `matssocket-cli`, the load
//! generator in `matssocket-load`.

// src/store/sql is compiled once for each database, on purpose.
#![allow(clippy::duplicate_mod)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod auth;
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
mod clock;
mod cluster;
mod config;
#[cfg(feature = "postgres")]
mod conninfo;
#[cfg(feature = "dashboard")]
mod dashboard;
mod endpoint;
mod error;
mod events;
#[cfg(feature = "sabotage")]
#[doc(hidden)] // only for tests/tools/chaos
pub mod fault_injection;
#[cfg(not(feature = "sabotage"))]
#[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), allow(dead_code))]
mod fault_injection;
mod http;
mod introspection;
mod mailbox;
mod maintenance;
mod message;
mod metrics;
mod node;
mod registry;
mod request;
mod seldom;
mod server;
mod service;
mod session;
// Without a database (a client-only build) this code is unused.
#[cfg_attr(not(any(feature = "sqlite", feature = "postgres")), allow(dead_code))]
mod store;
pub mod testkit;

#[cfg(feature = "client")]
#[doc(inline)]
pub use matssocket_client as client;
#[doc(inline)]
pub use matssocket_wire as wire;

pub use auth::{
    AuthError, Authentication, Authenticator, ClientInfo, Principal, Refused, ResponseHeaders,
    Verdict, auth_fn, same_host, token_auth,
};
pub use clock::Clock;
pub use cluster::{Cluster, ClusterMetrics};
pub use config::{Config, ConfigMistake};
#[cfg(feature = "dashboard")]
pub use dashboard::AdminAccess;
pub use endpoint::{
    Context, EndpointMetrics, Forward, Incoming, Outcome, ReplyToken, ServiceFailure,
    ServiceMetrics, ServiceOptions,
};
pub use error::{HandlerError, NotReady, SendError, StartError};
pub use events::{MessageEvent, SessionChange, SessionEvent};
#[cfg(feature = "browser-client")]
pub use http::BROWSER_CLIENT;
pub use http::{listen, no_upgrade, on_connect};
pub use introspection::{LiveSession, RecentEnvelope, TopicMetrics};
pub use mailbox::MailboxMetrics;
pub use maintenance::MaintenanceMetrics;
pub use message::{Destination, IdempotencyKey, ReplyTo, SentToUser};
pub use metrics::Metrics;
pub use server::{Admin, MatsSocketServer, ServerBuilder, Started};
#[cfg(feature = "schema")]
pub use server::{ApiDocument, Description};
#[cfg(feature = "postgres")]
pub use store::Postgres;
pub use store::operation::{
    DeadLetter, FullOutbox, OutboxCap, SessionFilter, SessionHome, StoredNode, StoredSession,
    StoredUser, UnservedWork,
};
pub use store::{Store, StoreConfig, StoreError, StoreMetricsSnapshot};
pub use wire::{DebugOptions, MessageType};

#[doc = include_str!("../docs/security.md")]
pub mod security {}

/// The README's examples compile.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples about metrics compile.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/metrics.md")]
struct MetricsGuide;

/// The examples of the guide to pages compile.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../docs/browser.md")]
struct BrowserGuide;
