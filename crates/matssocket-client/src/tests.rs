//! The client against a server that does exactly what the test says.

mod authorization;
#[cfg(feature = "durable")]
mod durable;
mod flush;
mod messages;
mod mock;
mod reopening;
mod requests;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use self::mock::{Line, Mock, in_time};
use super::*;
use matssocket_wire::MessageType;

const QUICK: Backoff = Backoff {
    first: Duration::from_millis(20),
    longest: Duration::from_millis(100),
};

fn builder(mock: &Mock) -> ClientBuilder {
    Client::builder("App", "1.0")
        .url(&mock.url)
        .authorization_value("Auth:me")
        .reconnect_backoff(QUICK)
        .retry_backoff(QUICK)
}

async fn established(mock: &Mock) -> (Client, Line) {
    established_with(builder(mock), mock).await
}

async fn established_with(builder: ClientBuilder, mock: &Mock) -> (Client, Line) {
    let client = builder.start().unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    in_time(client.established()).await.unwrap();
    (client, line)
}

/// A terminator that passes its payloads to the test.
fn listen(client: &Client, id: &str) -> mpsc::UnboundedReceiver<Value> {
    let (sender, receiver) = mpsc::unbounded_channel();
    client.terminator(id, move |message: Message<Value>| {
        let sender = sender.clone();
        async move { drop(sender.send(message.payload)) }
    });
    receiver
}
