//! One WebSocket, from HELLO to its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use rand::RngExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant, Sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::authorization::{Authorization, AuthorizationError};
use super::builder::Config;
use super::core::{Command, Received};
use super::event::{ConnectionEvent, ConnectionState};
use super::handler::Worker;
use super::shared::Shared;
use crate::wire::{
    Close, CloseCode, DebugOptions, Envelope, MessageType, PingId, parse_pipeline, random_id,
};

pub(super) type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Without a close frame, or cut by us.
    Lost(String),
    /// The server sent this.
    Closed { code: u16, reason: String },
    /// We closed the session.
    SessionClosed {
        reason: String,
        done: oneshot::Sender<()>,
    },
    /// We left and keep the session.
    Disconnected(oneshot::Sender<()>),
    /// The last handle is gone, and so is the session.
    Shutdown,
}

/// How long the other side may take to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may take to end TCP after both close frames; it does so at once, mostly.
const LINGER: Duration = Duration::from_millis(250);

/// Opens a WebSocket.
pub(super) async fn open(config: &Config, url: &str) -> Result<WebSocket, String> {
    let wrong = |error: tungstenite::Error| error.to_string();
    let mut request = url.into_client_request().map_err(wrong)?;
    let headers = request.headers_mut();
    headers.insert(
        "Sec-WebSocket-Protocol",
        HeaderValue::from_static("matssocket"),
    );
    for (name, value) in &config.headers {
        headers.append(name, value.clone());
    }
    let limits = WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .max_message_size(Some(64 << 20))
        .max_frame_size(Some(64 << 20));
    let connect = tokio_tungstenite::connect_async_with_config(request, Some(limits), true);
    match timeout(config.connect_timeout, connect).await {
        Ok(result) => result.map(|(ws, _)| ws).map_err(wrong),
        Err(_) => Err(format!("no connection within {:?}", config.connect_timeout)),
    }
}

/// What happened on the line.
enum Step {
    Flushed,
    Read(Message),
    Ended(String),
}

/// Waits until something was read or, if asked for, everything is written. Both in one poll: a
/// server that does not read because nobody reads from it must not block us as well.
async fn step(ws: &mut WebSocket, flushing: bool, reading: bool) -> Step {
    poll_fn(|cx| {
        if flushing && let Poll::Ready(flushed) = ws.poll_flush_unpin(cx) {
            return Poll::Ready(match flushed {
                Ok(()) => Step::Flushed,
                Err(error) => Step::Ended(error.to_string()),
            });
        }
        if !reading {
            return Poll::Pending;
        }
        ws.poll_next_unpin(cx).map(|read| match read {
            Some(Ok(message)) => Step::Read(message),
            Some(Err(error)) => Step::Ended(error.to_string()),
            None => Step::Ended("the line was closed".into()),
        })
    })
    .await
}

/// PINGs and the PONGs they wait for.
struct Pings {
    interval: Duration,
    last: u64,
    next: Instant,
    /// The PING without a PONG yet.
    sent: Option<(u64, Instant)>,
}

impl Pings {
    fn new(interval: Duration, now: Instant) -> Pings {
        // The first comes early, and not of all clients at once.
        let first = Duration::from_secs_f64(rand::rng().random_range(3.0..7.0)).min(interval);
        Pings {
            interval,
            last: 0,
            next: now + first,
            sent: None,
        }
    }

    fn take_due(&mut self, now: Instant) -> Option<u64> {
        if self.sent.is_some() || now < self.next {
            return None;
        }
        self.last += 1;
        self.sent = Some((self.last, now));
        self.next = now + self.interval;
        Some(self.last)
    }

    fn pong(&mut self, x: &PingId, now: Instant) -> Option<Duration> {
        let (number, sent) = self.sent?;
        if *x != PingId::Number(number as i64) {
            return None;
        }
        self.sent = None;
        Some(now - sent)
    }

    /// When to send the next, or to give up waiting for the PONG.
    fn due(&self) -> Instant {
        self.sent
            .map_or(self.next, |(_, sent)| sent + 2 * self.interval)
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.sent.is_some() && now >= self.due()
    }

    /// We did not read, so that no PONG could come: the wait starts again.
    fn excuse(&mut self, now: Instant) {
        if let Some((_, sent)) = &mut self.sent {
            *sent = now;
        }
    }
}

type Authorizing = BoxFuture<'static, Result<Authorization, AuthorizationError>>;

pub(super) struct Connection<'a> {
    shared: &'a Arc<Shared>,
    worker: &'a Worker,
    ws: WebSocket,
    /// Written, but not flushed.
    flushing: bool,
    pings: Option<Pings>,
    /// WELCOME is to be there by then.
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
            flushing: false,
            pings: None,
            welcome_due: Instant::now() + shared.config.connect_timeout,
            established: None,
            authorizing: None,
        }
    }

    /// Speaks the protocol until the end; says also when the session was established, if it was.
    pub(super) async fn run(mut self) -> (End, Option<Instant>) {
        let hello = self.hello();
        let first = self.shared.core().begin_connection(hello);
        let end = match self.write(Message::text(first)) {
            Ok(()) => self.talk().await,
            Err(error) => End::Lost(error),
        };
        (end, self.established)
    }

    fn hello(&self) -> Envelope {
        let config = &self.shared.config;
        Envelope {
            tid: Some(random_id(8, &mut rand::rng())),
            clv: Some(format!(
                "matssocket-rs,{}; {}",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS
            )),
            an: Some(config.app_name.clone()),
            av: Some(config.app_version.clone()),
            rd: (config.debug != DebugOptions::default()).then_some(config.debug.0),
            ..Envelope::new(MessageType::HELLO)
        }
    }

    /// Hands a message to the WebSocket's buffer; flushing goes on in [`step`].
    fn write(&mut self, message: Message) -> Result<(), String> {
        self.flushing = true;
        self.ws
            .start_send_unpin(message)
            .map_err(|error| error.to_string())
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
            let reading = !self.worker.is_full(self.shared.config.max_waiting_messages);
            if let Err(error) = self.send_and_schedule(now, reading, &mut timer) {
                return End::Lost(error);
            }
            let authorizing = &mut self.authorizing;
            let step = tokio::select! {
                step = step(&mut self.ws, self.flushing, reading) => step,
                () = self.shared.wake.notified() => continue,
                () = &mut timer => continue,
                result = async { authorizing.as_mut().expect("checked").await }, if authorizing.is_some() => {
                    self.authorized(result);
                    continue;
                }
            };
            match step {
                Step::Flushed => self.flushing = false,
                Step::Read(Message::Text(text)) => {
                    if let Err(error) = self.receive(text.as_str()) {
                        return self.give_up(CloseCode::Reconnect, error).await;
                    }
                }
                Step::Read(Message::Close(frame)) => return self.closed_by_server(frame).await,
                // Pings are answered by the WebSocket itself, with the next flush.
                Step::Read(Message::Ping(_)) => self.flushing = true,
                Step::Read(_) => {}
                Step::Ended(error) => return End::Lost(error),
            }
        }
    }

    /// Writes what is to be sent now, and sets the timer for what is due later.
    fn send_and_schedule(
        &mut self,
        now: Instant,
        reading: bool,
        timer: &mut Pin<&mut Sleep>,
    ) -> Result<(), String> {
        if self.established.is_none() && now >= self.welcome_due {
            return Err("no WELCOME in time".into());
        }
        if let Some(pings) = &mut self.pings {
            if !reading {
                pings.excuse(now);
            }
            if pings.is_overdue(now) {
                return Err("no PONG in time".into());
            }
        }
        let mut due = None;
        let mut text = None;
        {
            let mut core = self.shared.core();
            let (hold, need) = core.wants_authorization(now);
            if let (Some(need), None, Some(callback)) =
                (need, &self.authorizing, &self.shared.config.callback)
            {
                self.authorizing = Some(callback(need));
            }
            if !self.flushing {
                let ping = self.pings.as_mut().and_then(|pings| pings.take_due(now));
                text = core.take_pipeline(now, ping, hold);
                due = core.next_due(now);
            }
        }
        if let Some(text) = text {
            self.write(Message::text(text))?;
        }
        // While flushing, nothing is sent that could be due; the line's own clocks go on.
        let line = match &self.pings {
            None => Some(self.welcome_due),
            Some(pings) if self.flushing && pings.sent.is_none() => None,
            Some(pings) => Some(pings.due()),
        };
        let due = [due, line].into_iter().flatten().min();
        let due = due.unwrap_or_else(|| now + self.shared.config.ping_interval);
        if timer.deadline() != due {
            timer.as_mut().reset(due);
        }
        Ok(())
    }

    fn authorized(&mut self, result: Result<Authorization, AuthorizationError>) {
        self.authorizing = None;
        let mut core = self.shared.core();
        match result {
            Ok(authorization) => core.auth.set(authorization, Instant::now()),
            Err(error) => {
                log::warn!("no authorization, asking again: {error}");
                core.auth.failed(Instant::now());
            }
        }
    }

    fn receive(&mut self, text: &str) -> Result<(), String> {
        let envelopes = parse_pipeline(text)
            .map_err(|error| format!("not a pipeline from the server: {error}"))?;
        let now = Instant::now();
        let (received, wanted) = {
            let mut core = self.shared.core();
            (
                core.receive(envelopes, now),
                core.take_unanswerable_reauth(),
            )
        };
        if wanted {
            self.shared.event(ConnectionEvent::AuthorizationWanted);
        }
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
        for job in received.jobs {
            self.worker.push(job);
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
                self.close(CloseCode::GoingAway, "the client is gone").await;
                Some(End::Shutdown)
            }
        }
    }

    async fn give_up(&mut self, code: CloseCode, error: String) -> End {
        log::warn!("{error}");
        self.close(code, &error).await;
        End::Lost(error)
    }

    /// Sends a close frame and waits for the server's.
    async fn close(&mut self, code: CloseCode, reason: &str) {
        let close = Close::new(code, reason);
        let frame = CloseFrame {
            code: close.code.code().into(),
            reason: close.reason().into(),
        };
        if self.write(Message::Close(Some(frame))).is_ok() {
            self.read_out(false).await;
        }
    }

    /// The server closes: its frame is answered by the WebSocket while we read on.
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

    /// Flushes, and discards what comes until both sides have said Close and the line ends. A server
    /// that does not answer, or leaves the line open, is left to itself.
    async fn read_out(&mut self, mut answered: bool) {
        self.flushing = true;
        let give_up = Instant::now() + CLOSE_TIMEOUT;
        loop {
            let due = if answered && !self.flushing {
                Instant::now() + LINGER
            } else {
                give_up
            };
            match timeout_at(due.min(give_up), step(&mut self.ws, self.flushing, true)).await {
                Ok(Step::Flushed) => self.flushing = false,
                Ok(Step::Read(message)) => answered |= message.is_close(),
                Ok(Step::Ended(_)) | Err(_) => return,
            }
        }
    }
}
