//! Reliable messaging over WebSocket for actix-web.
// Unused while the rooms are being built.
#![allow(dead_code, missing_docs, unused_imports)]

#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod store;
pub mod wire;
