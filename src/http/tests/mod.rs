//! The edge as seen by clients: a real server, a minimal session, and a client that writes raw frames.

mod before_hello;
mod budget;
mod closing;
mod flow;
mod guard;
mod limits;
mod pages;
mod refusals;
mod server;
mod session;
mod upgrade;

use std::time::Duration;

use server::{Client, Server};
use session::Event;

use crate::config::Config;

/// Short time-outs where a test waits for one, and otherwise ones that are never reached.
fn config() -> Config {
    Config {
        close_timeout: Duration::from_secs(2),
        ..Config::default()
    }
}

/// A client after HELLO.
async fn established(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.text("hello").await;
    assert_eq!(client.read_text().await, "welcome");
    client
}
