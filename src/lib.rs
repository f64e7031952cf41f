//! Reliable messaging over WebSocket for actix-web.
#![allow(dead_code)]

mod auth;
#[cfg(feature = "client")]
pub mod client;
mod clock;
mod cluster;
mod config;
mod endpoint;
mod error;
mod http;
mod message;
mod metrics;
mod node;
mod registry;
mod server;
mod service;
mod session;
pub mod store;
pub mod testkit;
mod upkeep;
pub mod wire;

pub use auth::{
    AuthError, Authentication, Authenticator, Principal, Refused, ResponseHeaders, Verdict,
    auth_fn, same_host,
};
pub use clock::Clock;
pub use cluster::{Cluster, Faults};
pub use config::Config;
pub use endpoint::{Context, Forward, Incoming, Outcome, ReplyToken};
pub use error::{HandlerError, SendError, StartError};
pub use http::{no_upgrade, on_connect};
pub use message::ReplyTo;
pub use metrics::{MailboxMetrics, Metrics, UpkeepMetrics};
pub use server::{
    LiveSession, MatsSocketServer, MessageEvent, RecentEnvelope, ServerBuilder, SessionChange,
    SessionEvent,
};
pub use store::operation::{DeadLetter, SessionFilter, StoredSession};
pub use store::{Store, StoreConfig, StoreError, StoreMetricsSnapshot};
pub use wire::{DebugOptions, MessageType};
