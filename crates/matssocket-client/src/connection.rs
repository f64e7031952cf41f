//! One WebSocket, from HELLO to its end.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::SinkExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, Sleep, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::authorization::{Authorization, AuthorizationError};
use super::builder::Config;
use super::core::Command;
use super::event::{ConnectionEvent, ConnectionState};
use super::handler::Worker;
use super::incoming::Received;
use super::keeping::store;
use super::ping::Pings;
use super::shared::Shared;
use super::socket::{Step, WebSocket, step};
use matssocket_wire::{
    Close, CloseCode, DebugOptions, Envelope, MessageType, parse_pipeline, random_id, shown,
};

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Without a close frame, or dropped by us.
    Lost(String),
    /// The server sent this close frame.
    Closed { code: u16, reason: String },
    /// We closed the session.
    SessionClosed {
        reason: String,
        done: oneshot::Sender<()>,
    },
    /// We disconnected and keep the session.
    Disconnected(oneshot::Sender<()>),
    /// The last handle is gone, and so is the session.
    Shutdown,
}

/// How long the other side may take to answer a close frame.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Bytes per second that a connection must at least accept while a large message is sent.
const SLOWEST_LINE: u64 = 64 << 10;

/// How long the server may take to end TCP after both close frames; usually it does so at once.
const LINGER: Duration = Duration::from_millis(250);

/// HELLO without session and authorization.
pub(super) fn hello(config: &Config) -> Envelope {
    let clv = format!(
        "matssocket-rs,{}; {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS
    );
    Envelope {
        tid: Some(random_id(8, &mut rand::rng())),
        clv: Some(clv),
        an: Some(config.app_name.clone()),
        av: Some(config.app_version.clone()),
        rd: (config.debug != DebugOptions::default()).then_some(config.debug.bits()),
        ..Envelope::new(MessageType::Hello)
    }
}

pub(super) fn close_frame(code: CloseCode, reason: &str) -> Message {
    let close = Close::new(code, reason);
    let reason = close.reason().into();
    Message::Close(Some(CloseFrame {
        code: close.code.code().into(),
        reason,
    }))
}

type Authorizing = BoxFuture<'static, Result<Authorization, AuthorizationError>>;

pub(super) struct Connection<'a> {
    shared: &'a Arc<Shared>,
    worker: &'a Worker,
    ws: WebSocket,
    /// Something is written but not flushed; it must be flushed by then.
    flush_due: Option<Instant>,
    /// The unflushed data contains a PING.
    ping_in_flush: bool,
    pings: Option<Pings>,
    /// WELCOME must have arrived by then.
    welcome_due: Instant,
    established: Option<Instant>,
    authorizing: Option<Authorizing>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        worker: &'a Worker,
        ws: WebSocket,
    ) -> Connection<'a> {
        Connection {
            shared,
            worker,
            ws,
            flush_due: None,
            ping_in_flush: false,
            pings: None,
            welcome_due: Instant::now() + shared.config.connect_timeout,
            established: None,
            authorizing: None,
        }
    }

    /// Speaks the protocol until the connection ends. Also returns when the session was established, if it was.
    pub(super) async fn run(mut self) -> (End, Option<Instant>) {
        let hello = hello(&self.shared.config);
        let first = self.shared.core().begin_connection(hello, Instant::now());
        let begun = first
            .map_err(|error| error.to_string())
            .and_then(|first| self.write(Message::text(first)));
        let end = match begun {
            Ok(()) => self.talk().await,
            Err(error) => End::Lost(error),
        };
        // What is queued from here on has not been carried by any line.
        self.shared.core().may_send = false;
        (end, self.established)
    }

    /// Passes a message to the WebSocket's buffer; flushing continues in [`step`].
    fn write(&mut self, message: Message) -> Result<(), String> {
        // Generous to slow connections, but one that accepts nothing at all is lost.
        let slow = Duration::from_secs(message.len() as u64 / SLOWEST_LINE);
        self.flush_due = Some(Instant::now() + 2 * self.shared.config.ping_interval + slow);
        self.ws
            .start_send_unpin(message)
            .map_err(|error| error.to_string())
    }

    fn flush_soon(&mut self) {
        let due = Instant::now() + 2 * self.shared.config.ping_interval;
        self.flush_due.get_or_insert(due);
    }

    fn flushed(&mut self) {
        self.flush_due = None;
        self.shared.core().written();
        if std::mem::take(&mut self.ping_in_flush)
            && let Some(pings) = &mut self.pings
        {
            // The wait for the PONG starts when the PING is sent.
            pings.excuse(Instant::now());
        }
    }

    async fn talk(&mut self) -> End {
        let mut timer = std::pin::pin!(sleep_until(self.welcome_due));
        loop {
            if let Some(command) = self.shared.take_command()
                && let Some(end) = self.command(command).await
            {
                return end;
            }
            let now = Instant::now();
            let reading = !self.worker.is_full(self.shared.config.max_waiting_messages)
                && !self.shared.core().keeping.unstored;
            if let Err(error) = self.send_and_schedule(now, reading, &mut timer) {
                return End::Lost(error);
            }
            let authorizing = &mut self.authorizing;
            let step = tokio::select! {
                step = step(&mut self.ws, self.flush_due.is_some(), reading) => step,
                () = self.shared.wake.notified() => continue,
                () = &mut timer => continue,
                result = async { authorizing.as_mut().expect("checked").await }, if authorizing.is_some() => {
                    self.authorized(result);
                    continue;
                }
            };
            match step {
                Step::Flushed => self.flushed(),
                Step::Read(Message::Text(text)) => {
                    if let Err(error) = self.receive(text.as_str()) {
                        return self.give_up(CloseCode::Reconnect, error).await;
                    }
                }
                Step::Read(Message::Close(frame)) => return self.closed_by_server(frame).await,
                // Pings are answered by the WebSocket itself, with the next flush.
                Step::Read(Message::Ping(_)) => self.flush_soon(),
                Step::Read(_) => {}
                Step::Ended(error) => return End::Lost(error),
            }
        }
    }

    /// Writes what is due now, and sets the timer for what is due later.
    fn send_and_schedule(
        &mut self,
        now: Instant,
        reading: bool,
        timer: &mut Pin<&mut Sleep>,
    ) -> Result<(), String> {
        if self.established.is_none() && now >= self.welcome_due {
            return Err("no WELCOME in time".into());
        }
        if self.flush_due.is_some_and(|due| now >= due) {
            return Err("the server takes nothing".into());
        }
        if let Some(pings) = &mut self.pings {
            if !reading {
                pings.excuse(now);
            }
            if pings.is_overdue(now) {
                return Err("no PONG in time".into());
            }
        }
        let (mut due, mut text) = (None, None);
        let mut core = self.shared.core();
        let (hold, need) = core.wants_authorization(now);
        if self.flush_due.is_none() {
            let ping = self.pings.as_mut().and_then(|pings| pings.take_due(now));
            self.ping_in_flush = ping.is_some();
            text = core.take_pipeline(now, ping, hold);
            due = core.next_due(now);
        }
        let wanted = core.take_unanswerable_reauth();
        drop(core);
        if wanted {
            self.shared.event(ConnectionEvent::AuthorizationWanted);
        }
        if let (Some(need), None, Some(callback)) =
            (need, &self.authorizing, &self.shared.config.callback)
        {
            self.authorizing = Some(callback(need));
        }
        if let Some(text) = text {
            self.write(Message::text(text))?;
        }
        // While flushing, nothing else that is due is sent; the connection's own timers continue.
        let line = match (&self.pings, self.flush_due) {
            (None, _) => Some(self.welcome_due),
            (Some(pings), Some(_)) if !pings.is_waiting() => None,
            (Some(pings), _) => Some(pings.due()),
        };
        let due = [due, line, self.flush_due].into_iter().flatten().min();
        // Waking too early does no harm; moving the timer with each message would be costly.
        if let Some(due) = due
            && (due < timer.deadline() || timer.is_elapsed())
        {
            timer.as_mut().reset(due);
        }
        Ok(())
    }

    fn authorized(&mut self, result: Result<Authorization, AuthorizationError>) {
        self.authorizing = None;
        // The error's text comes from the application's code, which must not run under the lock.
        let result = result.map_err(|error| error.to_string());
        self.shared.core().authorized(result);
    }

    fn receive(&mut self, text: &str) -> Result<(), String> {
        let envelopes = parse_pipeline(text)
            .map_err(|error| format!("not a pipeline from the server: {error}"))?;
        let now = Instant::now();
        let received = self.shared.core().receive(envelopes, now);
        self.handle(received, now);
        Ok(())
    }

    fn handle(&mut self, received: Received, now: Instant) {
        if let Some(resumed) = received.welcome {
            self.welcome(resumed, now);
        }
        if let Some(x) = received.pong
            && let Some(round_trip) = self.pings.as_mut().and_then(|pings| pings.pong(&x, now))
        {
            self.shared.core().round_trip = Some(round_trip);
        }
        for event in received.topics {
            let _ = self.shared.topic_events.send(event);
        }
        match received.committing {
            Some(committing) => {
                let (shared, worker) = (self.shared.clone(), self.worker.clone());
                // Not with the connection: what is received has to be stored even if that ends.
                tokio::spawn(store(shared, worker, committing, received.jobs));
            }
            None => received
                .jobs
                .into_iter()
                .for_each(|job| self.worker.push(job)),
        }
    }

    fn welcome(&mut self, resumed: bool, now: Instant) {
        self.established = Some(now);
        self.pings = Some(Pings::new(self.shared.config.ping_interval, now));
        let session_id = self.shared.core().session_id.clone().unwrap_or_default();
        self.shared
            .set_state(ConnectionState::Established(session_id.clone()));
        self.shared.event(ConnectionEvent::SessionEstablished {
            session_id,
            resumed,
        });
    }

    async fn command(&mut self, command: Command) -> Option<End> {
        match command {
            Command::Close { reason, done } => {
                self.close(CloseCode::CloseSession, &reason).await;
                Some(End::SessionClosed { reason, done })
            }
            Command::Disconnect { done } => {
                self.close(CloseCode::Disconnect, "disconnect").await;
                Some(End::Disconnected(done))
            }
            Command::Cut => Some(End::Lost("cut".into())),
            Command::Reconnect => None,
            Command::Shutdown => {
                // With a journal, the session is the next process's.
                let code = match self.shared.core().keeping.is_durable() {
                    true => CloseCode::Disconnect,
                    false => CloseCode::GoingAway,
                };
                self.close(code, "the client is gone").await;
                Some(End::Shutdown)
            }
        }
    }

    async fn give_up(&mut self, code: CloseCode, error: String) -> End {
        log::warn!("{}", shown(&self.shared.core().auth.hide(&error)));
        self.close(code, &error).await;
        End::Lost(error)
    }

    /// Sends a close frame and waits for the server's.
    async fn close(&mut self, code: CloseCode, reason: &str) {
        if self.write(close_frame(code, reason)).is_ok() {
            self.read_out(false).await;
        }
    }

    /// The server closes: the WebSocket answers its frame while we continue to read.
    async fn closed_by_server(&mut self, frame: Option<CloseFrame>) -> End {
        self.read_out(true).await;
        match frame {
            Some(frame) => End::Closed {
                code: frame.code.into(),
                reason: frame.reason.to_string(),
            },
            None => End::Lost("closed by the server without a code".into()),
        }
    }

    /// Flushes, and discards input until both sides have sent Close and the connection ends. If the server does not
    /// answer, or leaves the connection open, this gives up.
    async fn read_out(&mut self, mut answered: bool) {
        self.flush_soon();
        let give_up = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let due = if answered && self.flush_due.is_none() {
                Instant::now() + LINGER
            } else {
                give_up
            };
            match timeout_at(
                due.min(give_up),
                step(&mut self.ws, self.flush_due.is_some(), true),
            )
            .await
            {
                Ok(Step::Flushed) => self.flushed(),
                Ok(Step::Read(message)) => answered |= message.is_close(),
                Ok(Step::Ended(_)) | Err(_) => return,
            }
        }
    }
}
