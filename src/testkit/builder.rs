//! How a [`TestClient`] connects.

use std::fmt;
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};

use super::{Error, TestClient};
use crate::server::MatsSocketServer;
use crate::wire::{Envelope, MessageType};

/// What a [`TestClient`] sends about itself, and how long it waits. Created by [`TestClient::builder`].
#[must_use = "a builder does nothing until `connect` is called and awaited"]
pub struct TestClientBuilder {
    pub(super) server: MatsSocketServer,
    pub(super) authorization: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) app: (String, String),
    pub(super) timeout: Duration,
    pub(super) hold_acks: bool,
}

/// Omits the authorization value and the headers.
impl fmt::Debug for TestClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClientBuilder")
            .field("server", &self.server)
            .field("app", &self.app)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl TestClientBuilder {
    pub(super) fn new(server: &MatsSocketServer) -> TestClientBuilder {
        TestClientBuilder {
            server: server.clone(),
            authorization: String::new(),
            headers: Vec::new(),
            app: ("testkit".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            timeout: Duration::from_secs(10),
            hold_acks: false,
        }
    }

    /// The authorization value.
    pub fn authorization(mut self, value: impl Into<String>) -> Self {
        self.authorization = value.into();
        self
    }

    /// Adds a header to the upgrade request, which the authentication's handshake sees (and, for `Origin`, its origin
    /// check).
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Name and version of the client's app.
    pub fn app(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.app = (name.into(), version.into());
        self
    }

    /// How long to wait for anything before [`Error::Timeout`]. Default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts as if [`TestClient::hold_acks`]`(true)` had been called.
    pub fn hold_acks(mut self) -> Self {
        self.hold_acks = true;
        self
    }

    /// Connects: a new session.
    ///
    /// # Errors
    /// [`Error::Refused`] at the upgrade, [`Error::Closed`] at HELLO.
    pub async fn connect(self) -> Result<TestClient, Error> {
        TestClient::start(self).await
    }

    /// HELLO, without authorization.
    pub(super) fn hello(&self) -> Envelope {
        Envelope {
            tid: Some("testkit HELLO".to_owned()),
            clv: Some(format!("testkit,v{}", env!("CARGO_PKG_VERSION"))),
            an: Some(self.app.0.clone()),
            av: Some(self.app.1.clone()),
            ..Envelope::new(MessageType::Hello)
        }
    }
}
