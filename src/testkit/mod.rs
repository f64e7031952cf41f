//! Drives an application's endpoints in tests, without a socket: real sessions, a real store, no HTTP.
//!
//! A [`TestClient`] is a client of a running [`MatsSocketServer`](crate::MatsSocketServer). Its connection is a small actor
//! next to the server's own. Everything behind the socket is the same as in production: authentication, sessions, inbox
//! and outbox, services, topics. Tests need no special setup: both `#[actix_web::test]` and `#[tokio::test]` work.
//!
//! ```
//! use matssocket::testkit::{TestClient, any_user};
//! use matssocket::{Incoming, MatsSocketServer, Outcome, Store};
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MatsSocketServer::builder("orders")
//!     .store(Store::sqlite_in_memory())
//!     .authentication(any_user())
//!     .endpoint("Orders.place", |order: Incoming<u32>| async move {
//!         order.context.send(order.context.session_id(), order.context.trace_id(), "Orders.placed", &order.payload)?;
//!         Ok(Outcome::resolve(order.payload + 1))
//!     })
//!     .start()
//!     .await?;
//!
//! let client = TestClient::connect(&server, "alice").await?;
//! let reply = client.request::<u32>("Orders.place", &16).await?;
//! assert_eq!(reply.resolved()?, 17);
//!
//! // What the handler sent was stored with its answer; it is acknowledged when it arrives.
//! let push = client.next_message().await?;
//! assert_eq!((push.endpoint.as_str(), push.payload::<u32>()?), ("Orders.placed", 16));
//! server.stop().await;
//! # Ok(()) }
//! ```
//!
//! To call a handler as the function that it is, without a server, see [`TestContext`].

mod builder;
mod client;
mod connection;
mod context;
mod decision;
mod error;
mod message;
mod peer;
mod sent;
#[cfg(all(test, feature = "sqlite"))]
mod tests;

pub use builder::TestClientBuilder;
pub use client::TestClient;
pub use context::TestContext;
pub use decision::Decision;
pub use error::Error;
pub use message::{Publication, Push, Reply};
pub use sent::{Sent, SentTo, WorkBegins};

pub use crate::cluster::Faults;

use crate::auth::{Authentication, Principal, Verdict, auth_fn};
use crate::cluster::Cluster;

/// A cluster of nodes in one process that loses, doubles and delays the notices between them. Each node's
/// [sweep](crate::Config::sweep_interval) finds what was missed: this exposes applications that rely on notices.
///
/// ```
/// use matssocket::testkit::{Faults, faulty_cluster};
///
/// let deaf = faulty_cluster(Faults::default().drop(1.0));
/// # drop(deaf);
/// ```
pub fn faulty_cluster(faults: Faults) -> Cluster {
    Cluster::faulty(faults)
}

/// An authentication for tests: the authorization value *is* the user id. An empty value is refused.
pub fn any_user() -> impl Authentication {
    auth_fn(|value: String| async move {
        Ok(if value.is_empty() {
            Verdict::Invalid("the authorization value, which is the user id, is empty".into())
        } else {
            Verdict::Authenticated(Principal::user(value))
        })
    })
}
