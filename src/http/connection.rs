//! The connection actor: frames, fragment reassembly, timers, and the close handshake of one WebSocket.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Handler, StreamHandler};
use actix_http::ws::{Item, OpCode};
use actix_web::rt::time::Instant;
use actix_web_actors::ws::{self, CloseReason, Message, ProtocolError};
use bytes::BytesMut;
use bytestring::ByteString;

use super::Backend;
use super::before_hello::Place;
use super::frame::{close_frame, frame};
use super::state::{ConnectionState, Ending, Seen, Wire};
use crate::auth::Authenticator;
use crate::clock::after;
use crate::logging;
use crate::mailbox::{Mailbox, metered};
use crate::session::connection::{FromConnection, NewConnection, ToConnection};
use crate::wire::{Close, CloseCode};

/// How long the session has to answer a reported violation with its Close.
const SESSION_ANSWERS: Duration = Duration::from_secs(1);

/// The progress of the close handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A violation was reported to the session, which will say how to close.
    Complained,
    /// Our Close is sent; the client's is awaited.
    Closing,
    Done,
}

/// The connection actor.
pub(super) struct Connection {
    state: Rc<ConnectionState>,
    backend: Arc<dyn Backend>,
    /// For the session, which is opened when the actor starts.
    opening: Option<Box<Opening>>,
    phase: Phase,
    /// The session knows that the connection is ending.
    told: bool,
    /// When HELLO must have arrived. `None`: it has arrived, or its absence was handled.
    hello_by: Option<Instant>,
    /// Held until HELLO is done.
    before_hello: Option<Place>,
    next_ping: Instant,
    /// Fragments of a text message, joined so far; the guard limits their sum.
    joined: BytesMut,
}

/// What is needed to open the session.
struct Opening {
    authenticator: Rc<dyn Authenticator>,
    remote: Option<String>,
}

type Context = ws::WebsocketContext<Connection>;

impl Connection {
    pub(super) fn new(
        state: Rc<ConnectionState>,
        backend: Arc<dyn Backend>,
        authenticator: Rc<dyn Authenticator>,
        remote: Option<String>,
        before_hello: Place,
    ) -> Connection {
        let (now, config) = (Instant::now(), &state.config);
        Connection {
            hello_by: Some(after(now, config.hello_timeout)),
            before_hello: Some(before_hello),
            next_ping: after(now, config.ping_interval),
            state,
            backend,
            opening: Some(Box::new(Opening {
                authenticator,
                remote,
            })),
            phase: Phase::Open,
            told: false,
            joined: BytesMut::new(),
        }
    }

    fn text(&mut self, text: ByteString, ctx: &mut Context) {
        if !self.state.has_session() {
            let close = Close::new(CloseCode::Reconnect, "the session ended unexpectedly");
            return self.close(close, ctx);
        }
        // The first message is HELLO. From here on, any delay is not the client's.
        self.hello_by = None;
        self.state
            .flow
            .received(text.len(), self.state.receiving.take());
        self.state.tell(FromConnection::Text(text));
    }

    fn fragment(&mut self, item: Item, ctx: &mut Context) {
        match item {
            Item::FirstText(bytes) => {
                let whole = self.state.whole.take().max(bytes.len());
                self.joined = BytesMut::with_capacity(whole);
                self.joined.extend_from_slice(&bytes);
            }
            Item::Continue(bytes) => self.joined.extend_from_slice(&bytes),
            Item::FirstBinary(_) => self.binary(ctx),
            Item::Last(bytes) => {
                self.joined.extend_from_slice(&bytes);
                let whole = mem::take(&mut self.joined).freeze();
                match ByteString::try_from(whole) {
                    Ok(text) => self.text(text, ctx),
                    Err(_) => self.violation(not_utf8(), ctx),
                }
            }
        }
    }

    fn binary(&mut self, ctx: &mut Context) {
        let close = Close::new(
            CloseCode::ProtocolError,
            "binary messages are not supported",
        );
        self.complain(FromConnection::Binary, close, ctx);
    }

    fn violation(&mut self, close: Close, ctx: &mut Context) {
        self.complain(FromConnection::Violation(close.clone()), close, ctx);
    }

    /// Reports to the session, which answers with its Close; if it does not, the connection closes by itself. No more
    /// input is accepted from the client.
    fn complain(&mut self, message: FromConnection, close: Close, ctx: &mut Context) {
        if self.phase != Phase::Open {
            return;
        }
        if !self.state.has_session() {
            return self.close(close, ctx);
        }
        self.phase = Phase::Complained;
        self.discard();
        self.state.tell(message);
        ctx.run_later(SESSION_ANSWERS, |connection, ctx| {
            connection.close(close, ctx)
        });
    }

    fn discard(&mut self) {
        self.joined = BytesMut::new();
        self.state
            .flow
            .incoming()
            .shrink(self.state.receiving.take());
        self.state.discarding.set(true);
        // The guard may be paused.
        self.state.flow.reader().ring();
    }

    /// Sends a control frame.
    fn send(&self, opcode: OpCode, payload: &[u8]) {
        self.state.push_control(frame(opcode, payload));
    }

    /// Sends Close and waits for the client's.
    fn close(&mut self, close: Close, ctx: &mut Context) {
        if matches!(self.phase, Phase::Closing | Phase::Done) {
            return;
        }
        self.phase = Phase::Closing;
        self.backend.closes().by_server(close.code);
        self.state.closed.set(true);
        self.discard();
        let description = (!close.reason().is_empty()).then(|| close.reason().to_owned());
        let close = close_frame(Some(CloseReason {
            code: close.code.code().into(),
            description,
        }));
        self.state.push_control(close);
        ctx.run_later(self.state.config.close_timeout, |connection, ctx| {
            connection.done(Ending::GiveUp, ctx);
        });
    }

    /// The client's Close arrived.
    fn client_closed(&mut self, reason: Option<CloseReason>, ctx: &mut Context) {
        match self.phase {
            Phase::Done => {}
            Phase::Closing => self.done(Ending::AtOnce, ctx),
            Phase::Open | Phase::Complained => {
                let code = reason.map(|reason| reason.code);
                self.backend.closes().by_client(code.map(u16::from));
                let close = close_frame(code.map(CloseReason::from));
                self.state.push_control(close);
                self.tell_end(FromConnection::Closed(code.map(u16::from)));
                self.done(Ending::AfterFlush, ctx);
            }
        }
    }

    /// The client's Close is invalid: its payload is a single byte, or has a code that must not be sent, or a reason
    /// that is not UTF-8. It ends the connection, and does not affect the session.
    fn client_closed_illegally(&mut self, ctx: &mut Context) {
        if self.phase == Phase::Open || self.phase == Phase::Complained {
            let code = ws::CloseCode::Protocol;
            self.backend.closes().by_client(Some(code.into()));
            self.state.push_control(close_frame(Some(code.into())));
            self.tell_end(FromConnection::Closed(Some(code.into())));
        }
        self.done(Ending::AfterFlush, ctx);
    }

    fn tell_end(&mut self, message: FromConnection) {
        if !self.told {
            self.told = true;
            self.state.tell(message);
        }
    }

    fn done(&mut self, ending: Ending, ctx: &mut Context) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        self.state.closed.set(true);
        self.discard();
        self.state.ending.set(ending);
        ctx.stop();
    }

    fn seen(&mut self, seen: Seen, ctx: &mut Context) {
        match seen {
            Seen::Violation(close) => self.violation(close, ctx),
            Seen::OversizedHello(bytes, close) => {
                self.log_oversized_hello(bytes);
                self.violation(close, ctx);
            }
            // Only while we discard: either our Close is sent, or the session is about to send it.
            Seen::Close => self.client_closed(None, ctx),
            Seen::End => self.done(Ending::ClientEnded, ctx),
        }
    }

    fn log_oversized_hello(&self, bytes: u64) {
        if let Some(count) = self.backend.admission().logs.oversized_hello.count() {
            let limit = self.state.config.max_message_before_hello;
            logging::info!(
                "HELLOs refused for their size since the last such line: {count}; this one has {bytes} bytes or more, \
                 and max_message_before_hello is {limit}"
            );
        }
    }

    /// All periodic checks, on one timer, since there are many connections.
    fn watch(&mut self, ctx: &mut Context) {
        let now = Instant::now();
        if self.hello_by.is_some_and(|by| by <= now) {
            self.hello_by = None;
            self.hello_is_late(ctx);
        }
        if self.next_ping <= now {
            self.next_ping = after(now, self.state.config.ping_interval);
            self.ping(ctx);
        }
        let mut next = self.next_ping;
        if self.phase == Phase::Open {
            next = next.min(self.check_idle(now, ctx));
        }
        next = self.hello_by.map_or(next, |by| by.min(next));
        ctx.run_later(next.saturating_duration_since(now), Self::watch);
    }

    /// Returns when to check again.
    fn check_idle(&mut self, now: Instant, ctx: &mut Context) -> Instant {
        let timeout = self.state.config.idle_timeout;
        if self.state.paused.get() {
            self.state.last_heard.set(now);
        }
        let until = after(self.state.last_heard.get(), timeout);
        if until <= now {
            let what = format!("nothing was received for {timeout:?}");
            self.violation(Close::new(CloseCode::GoingAway, what), ctx);
        }
        until
    }

    fn hello_is_late(&mut self, ctx: &mut Context) {
        let timeout = self.state.config.hello_timeout;
        let what = format!("no HELLO within {timeout:?}");
        self.violation(Close::new(CloseCode::GoingAway, what), ctx);
    }

    fn ping(&mut self, ctx: &mut Context) {
        if !self.state.has_session() {
            let close = Close::new(CloseCode::Reconnect, "the session ended unexpectedly");
            self.close(close, ctx);
        } else if self.phase == Phase::Open {
            self.send(OpCode::Ping, b"");
        }
    }
}

impl Actor for Connection {
    type Context = Context;

    /// This runs before the first poll of the guard, so the session exists before the first frame.
    fn started(&mut self, ctx: &mut Context) {
        if let Some(opening) = self.opening.take() {
            let session = self.backend.open(NewConnection {
                connection: Box::new(Wire {
                    state: self.state.clone(),
                    actor: Mailbox::new(&ctx.address(), self.backend.meter()),
                }),
                flow: self.state.flow.clone(),
                authenticator: opening.authenticator,
                remote: opening.remote,
            });
            let _ = self.state.session.set(session);
        }
        self.watch(ctx);
    }

    fn stopped(&mut self, _: &mut Context) {
        if !self.told && matches!(self.phase, Phase::Open | Phase::Complained) {
            self.backend.closes().lost();
        }
        self.tell_end(FromConnection::Lost);
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Connection {
    fn handle(&mut self, message: Result<Message, ProtocolError>, ctx: &mut Context) {
        if let Some(seen) = self.state.seen.take() {
            return self.seen(*seen, ctx);
        }
        self.state.decoded.set(self.state.decoded.get() + 1);
        match message {
            Ok(Message::Close(reason)) => self.client_closed(reason, ctx),
            Err(_) if self.state.decoding_close.get() => self.client_closed_illegally(ctx),
            _ if self.phase != Phase::Open => {}
            Ok(Message::Text(text)) => self.text(text, ctx),
            Ok(Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(Message::Binary(_)) => self.binary(ctx),
            Ok(Message::Ping(payload)) => self.send(OpCode::Pong, &payload),
            Ok(Message::Pong(payload)) => {
                // Pongs to this actor's own pings are empty.
                if let Ok(number) = <[u8; 8]>::try_from(&*payload) {
                    self.state
                        .tell(FromConnection::Pong(u64::from_be_bytes(number)));
                }
            }
            Ok(Message::Nop) => {}
            // The guard has admitted the header, so the problem is in the text.
            Err(ProtocolError::Io(_)) => self.violation(not_utf8(), ctx),
            Err(error) => {
                let close = Close::new(CloseCode::ProtocolError, error.to_string());
                self.violation(close, ctx);
            }
        }
    }

    /// The guard never ends; the actor stops by itself.
    fn finished(&mut self, _: &mut Context) {}
}

impl Handler<ToConnection> for Connection {
    type Result = ();

    fn handle(&mut self, message: ToConnection, ctx: &mut Context) {
        match message {
            ToConnection::Text(text) => self.state.send_text(&text),
            ToConnection::Established => {
                self.state.established.set(true);
                self.before_hello = None;
                self.state.flow.reader().ring();
            }
            ToConnection::Ping(number) => self.state.send_ping(number),
            ToConnection::Close(close) => {
                // The session knows by now, whichever side closed first.
                self.told = true;
                self.close(close, ctx);
            }
        }
    }
}

metered!(Connection: ToConnection);

fn not_utf8() -> Close {
    Close::new(CloseCode::ProtocolError, "text is not UTF-8")
}
