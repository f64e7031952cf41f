//! Reliable messaging over WebSocket for actix-web.
// Unused while the rooms are being built.
#![allow(dead_code, missing_docs, unused_imports)]

pub mod auth;
pub mod clock;
pub mod config;
mod http;
mod session;
pub mod store;
pub mod wire;
pub use auth::*;
pub use config::Config;
pub use http::{no_upgrade, on_connect};
