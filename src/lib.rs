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
pub mod endpoint;
pub mod error;
pub mod message;
pub use auth::*;
pub use endpoint::*;
pub use error::*;
pub use config::Config;
