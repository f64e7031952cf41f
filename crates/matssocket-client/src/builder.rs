//! The client's settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use rand::seq::SliceRandom;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use super::Client;
use super::authorization::{
    Authorization, AuthorizationCallback, AuthorizationError, AuthorizationNeed,
};
use super::backoff::Backoff;
use super::redact::without_credentials;
use matssocket_wire::DebugOptions;

/// All settings.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) app_name: String,
    pub(super) app_version: String,
    pub(super) urls: Vec<String>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) authorization: Option<Authorization>,
    pub(super) callback: Option<AuthorizationCallback>,
    pub(super) debug: DebugOptions,
    pub(super) reconnect: Backoff,
    pub(super) retry: Backoff,
    pub(super) max_connect_attempts: Option<u32>,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) ping_interval: Duration,
    pub(super) ack_delay: Duration,
    pub(super) wait_for_welcome: bool,
    pub(super) reopen_session: bool,
    pub(super) max_outbox_messages: usize,
    pub(super) max_outbox_bytes: usize,
    pub(super) max_message_bytes: usize,
    pub(super) max_waiting_messages: usize,
    pub(super) pipeline_messages: usize,
    pub(super) pipeline_bytes: usize,
}

/// Configures a [`Client`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` or `start` is called"]
pub struct ClientBuilder {
    pub(super) config: Config,
    shuffle: bool,
    #[cfg(feature = "durable")]
    journal: Option<Arc<std::sync::Mutex<Option<crate::Journal>>>>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls = self.config.urls.iter();
        let urls: Vec<String> = urls.map(|url| without_credentials(url)).collect();
        f.debug_struct("ClientBuilder")
            .field("urls", &urls)
            .finish_non_exhaustive()
    }
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(String);

impl ClientBuilder {
    pub(super) fn new(app_name: String, app_version: String) -> ClientBuilder {
        let config = Config {
            app_name,
            app_version,
            urls: Vec::new(),
            headers: Vec::new(),
            authorization: None,
            callback: None,
            debug: DebugOptions::default(),
            reconnect: Backoff {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(15),
            },
            retry: Backoff {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(600),
            },
            max_connect_attempts: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(45),
            ping_interval: Duration::from_secs(15),
            ack_delay: Duration::from_millis(2),
            wait_for_welcome: false,
            reopen_session: false,
            max_outbox_messages: 10_000,
            max_outbox_bytes: 64 << 20,
            max_message_bytes: 4 << 20,
            max_waiting_messages: 10_000,
            pipeline_messages: 200,
            pipeline_bytes: 256 << 10,
        };
        ClientBuilder {
            config,
            shuffle: true,
            #[cfg(feature = "durable")]
            journal: None,
        }
    }

    /// Adds a server's URL: `ws://…`, or `wss://…` with the feature `tls`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.config.urls.push(url.into());
        self
    }

    /// Adds the URLs of several nodes.
    pub fn urls(mut self, urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.config.urls.extend(urls.into_iter().map(Into::into));
        self
    }

    /// Whether the URLs are shuffled, so that clients spread over the nodes. Default: yes.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// Adds a header to the upgrade request, such as `Origin` or `Cookie`. Its value is treated as a secret: errors and
    /// `Debug` output never show it.
    ///
    /// # Errors
    /// The name or the value is not valid for a header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, BuildError> {
        // Not quoted, so that a value passed as the name by mistake does not end up in a log.
        let wrong = |_| BuildError("not a header's name".into());
        let key: HeaderName = name.parse().map_err(wrong)?;
        let wrong = |_| BuildError(format!("not a value of the header {key}"));
        let mut value: HeaderValue = value.parse().map_err(wrong)?;
        value.set_sensitive(true);
        self.config.headers.push((key, value));
        Ok(self)
    }

    /// A fixed authorization value.
    pub fn authorization_value(mut self, value: impl Into<String>) -> Self {
        self.config.authorization = Some(Authorization::new(value));
        self
    }

    /// Provides an authorization whenever one is needed: for the first connection, when the last one expires, when the
    /// server requests a new one, and once when it refuses HELLO (1008), before the client gives up. A failed call is
    /// retried with back-off; an expired value counts as a failure, and is never sent.
    ///
    /// The text of an error is logged: keep authorization values out of it.
    pub fn authorization<F, Fut>(mut self, callback: F) -> Self
    where
        F: Fn(AuthorizationNeed) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Authorization, AuthorizationError>> + Send + 'static,
    {
        self.config.callback = Some(Arc::new(move |need| callback(need).boxed()));
        self
    }

    /// Debug options to request for everything. Default: none.
    pub fn debug_options(mut self, options: DebugOptions) -> Self {
        self.config.debug = options;
        self
    }

    /// Waits between connection attempts: each failed round through the URLs doubles it, with jitter.
    /// Default: 0.5 s up to 15 s.
    pub fn reconnect_backoff(mut self, backoff: Backoff) -> Self {
        self.config.reconnect = backoff;
        self
    }

    /// Waits before a message is sent again that the server answered with RETRY. Default: 0.5 s, doubling.
    pub fn retry_backoff(mut self, backoff: Backoff) -> Self {
        self.config.retry = backoff;
        self
    }

    /// Gives up the session after this many failed connection attempts in a row; at least 1. Default: never.
    pub fn max_connect_attempts(mut self, attempts: u32) -> Self {
        self.config.max_connect_attempts = Some(attempts.max(1));
        self
    }

    /// Longest time for TCP, TLS and upgrade, and again for WELCOME. Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long requests wait for their answer, unless they specify a timeout. Default: 45 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.config.request_timeout = timeout;
        self
    }

    /// Time between PINGs; without a PONG for two intervals, the connection counts as lost. Default: 15 s.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// How long an acknowledgement may wait to be batched with others. Default: 2 ms.
    pub fn ack_delay(mut self, delay: Duration) -> Self {
        self.config.ack_delay = delay;
        self
    }

    /// Whether the messages of a new session wait for WELCOME. Default: no, they are sent right after HELLO.
    ///
    /// If the connection is lost at that moment, the client does not learn the session's id, and what was sent after
    /// HELLO is sent again in another session: it may be handled twice. Waiting costs one round trip at the start and
    /// closes that gap.
    pub fn wait_for_welcome(mut self, wait: bool) -> Self {
        self.config.wait_for_welcome = wait;
        self
    }

    /// Whether a new session is opened when the server has lost the last one (close code 4001), or has closed it
    /// because of an unexpected condition (1011). Default: no, the client stays closed until
    /// [`Client::reconnect`](super::Client::reconnect).
    ///
    /// Outstanding messages still fail with [`SessionClosed`](super::SessionClosed): it is not known whether they were
    /// handled, so sending them again is the application's decision.
    /// [`ConnectionEvent::SessionClosed`](super::ConnectionEvent::SessionClosed) reports this, followed by a
    /// `SessionEstablished` that is not `resumed`; the state changes to `Connecting` without ever being `Closed`.
    /// Subscriptions carry over. If the new session is refused too, attempts back off. After any other code the client
    /// stays closed, since the outcome would be the same again: 1008 (refused), 4000 (closed on purpose), 4004
    /// (protocol error).
    pub fn reopen_session(mut self, reopen: bool) -> Self {
        self.config.reopen_session = reopen;
        self
    }

    /// Most messages, and bytes, that wait to be sent, acknowledged or answered; beyond that sending
    /// fails with [`SendError::OutboxFull`](super::SendError::OutboxFull). Default: 10,000 and 64 MiB.
    pub fn max_outbox(mut self, messages: usize, bytes: usize) -> Self {
        (
            self.config.max_outbox_messages,
            self.config.max_outbox_bytes,
        ) = (messages, bytes);
        self
    }

    /// Largest message, in bytes of its envelope; a larger one fails with
    /// [`SendError::TooLarge`](super::SendError::TooLarge). Default: 4 MiB, which is what a server accepts by default
    /// (`Config::max_envelope`). A server closes the session of a client that sends a larger message, so do not exceed
    /// your server's limit.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.config.max_message_bytes = bytes;
        self
    }

    /// Most messages that wait for their handlers; beyond that the client stops reading from the connection. Default:
    /// 10,000.
    pub fn max_waiting_messages(mut self, messages: usize) -> Self {
        self.config.max_waiting_messages = messages.max(1);
        self
    }

    /// Most messages and bytes that are sent as one WebSocket message (a single message may be larger). Default: 200
    /// and 256 KiB.
    pub fn max_pipeline(mut self, messages: usize, bytes: usize) -> Self {
        (self.config.pipeline_messages, self.config.pipeline_bytes) = (messages.max(1), bytes);
        self
    }

    /// Keeps the session, what is sent and what is received in this journal, so that the client survives the restart of
    /// its process: the next one continues the same session, and neither repeats nor forgets a message. See
    /// [`Journal`](crate::Journal).
    ///
    /// - [`send`](Client::send) and [`request_with`](Client::request_with) put nothing on the wire before it is committed;
    ///   [`Sending::stored`](crate::Sending::stored) waits for that. A [`request`](Client::request) is not kept: whoever
    ///   waits for its reply ends with the process.
    /// - A message of the server's is committed before it is acknowledged. If the process ends before its handler does, the
    ///   next one runs the handler again, with [`Message::redelivered`](crate::Message::redelivered).
    /// - A session that the server has lost (4001) is replaced, as by
    ///   [`reopen_session`](ClientBuilder::reopen_session): what was never sent goes out in the new one; the rest fails, and
    ///   what nobody is told of stays in [`Client::unresolved`](crate::Client::unresolved).
    /// - Messages of a new session wait for WELCOME, as by [`wait_for_welcome`](ClientBuilder::wait_for_welcome).
    /// - Dropping the client keeps the session. [`Client::close`](crate::Client::close) ends it.
    /// - With a full disk, sending fails with [`SendError::Storage`](crate::SendError::Storage), and what comes in waits,
    ///   unacknowledged, until there is room.
    ///
    /// Register all handlers before the client connects. [`build`](ClientBuilder::build) fails if the journal was used for
    /// another application, or for servers of which none is among the URLs.
    #[cfg(feature = "durable")]
    pub fn journal(mut self, journal: crate::Journal) -> Self {
        self.journal = Some(Arc::new(std::sync::Mutex::new(Some(journal))));
        self
    }

    /// Creates a client that connects when it has something to send, so that handlers can be registered first.
    ///
    /// # Errors
    /// No URL, or one that is not `ws://…` or `wss://…`.
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub fn build(mut self) -> Result<Client, BuildError> {
        if self.config.urls.is_empty() {
            return Err(BuildError("no URL to connect to".into()));
        }
        for url in &self.config.urls {
            if !(url.starts_with("ws://") || cfg!(feature = "tls") && url.starts_with("wss://")) {
                return Err(BuildError(format!(
                    "not a URL this client connects to: {:?}",
                    without_credentials(url)
                )));
            }
        }
        #[cfg(feature = "durable")]
        let journal = self.bound_journal()?;
        if self.shuffle {
            self.config.urls.shuffle(&mut rand::rng());
        }
        #[cfg(feature = "durable")]
        if let Some((journal, bound)) = journal {
            return Ok(Client::spawn_durable(self.config, journal, bound));
        }
        Ok(Client::spawn(self.config))
    }

    /// The journal, if there is one, and what it has to note about its use.
    #[cfg(feature = "durable")]
    fn bound_journal(
        &mut self,
    ) -> Result<Option<(crate::Journal, super::journal::Write)>, BuildError> {
        let Some(journal) = self.journal.take() else {
            return Ok(None);
        };
        let taken = journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let used = || {
            BuildError("a clone of this builder has made a client with its journal already".into())
        };
        let mut journal = taken.ok_or_else(used)?;
        let urls: Vec<String> = self
            .config
            .urls
            .iter()
            .map(|url| without_credentials(url))
            .collect();
        let bound = journal
            .bind(&self.config.app_name, &urls)
            .map_err(BuildError)?;
        (self.config.wait_for_welcome, self.config.reopen_session) = (true, true);
        Ok(Some((journal, bound)))
    }

    /// Creates a client that connects at once.
    ///
    /// # Errors
    /// As [`build`](ClientBuilder::build).
    ///
    /// # Panics
    /// If called outside a tokio runtime.
    pub fn start(self) -> Result<Client, BuildError> {
        let client = self.build()?;
        client.reconnect();
        Ok(client)
    }
}
