//! The edge as clients meet it: a real server, a session of a few lines, and a client that writes its frames by hand.

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

/// Short times, so that what is late is soon late; and nothing else is.
fn config() -> Config {
    Config {
        close_timeout: Duration::from_secs(2),
        ..Config::default()
    }
}

/// A client whose HELLO is done.
async fn established(server: &Server) -> Client {
    let mut client = server.connect().await;
    client.text("hello").await;
    assert_eq!(client.read_text().await, "welcome");
    client
}
