//! Code shared by the tests, benches and tools of this workspace: nodes in one process, a raw client of the protocol,
//! running programs, and PostgreSQL servers. Never published.
#![allow(
    missing_debug_implementations,
    missing_docs,
    clippy::new_without_default
)]

pub mod auth;
pub mod bench;
pub mod child;
pub mod control;
pub mod endpoints;
pub mod line;
pub mod node;
#[cfg(feature = "postgres")]
pub mod pooler;
pub mod postgres;
pub mod program;
pub mod proxy;

pub use control::{Control, Seen};
pub use line::{Client, Line};
pub use node::{Node, Nodes, Setup};
pub use serde_json::{Value, json};

use std::net::TcpListener;
use std::time::Duration;

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A free port that the system does not give to outgoing connections, so that it is still free when a program binds it,
/// and after a restart.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Fails the test, saying what it waited for, when this takes too long.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
