//! State shared on one thread by the guard, the connection actor and the response body of one WebSocket.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use actix_http::ws::OpCode;
use actix_web::rt::time::Instant;
use bytes::Bytes;

use super::frame::{frame, text_frame};
use super::socket::Socket;
use crate::config::Config;
use crate::mailbox::Mailbox;
use crate::node::budget::NodeBudget;
use crate::session::connection::{
    Bell, ConnectionHandle, Flow, FromConnection, Text, ToConnection,
};
use crate::wire::Close;

/// What the guard reports to the connection actor.
pub(super) enum Seen {
    /// Too long, too frequent, or malformed. The guard only discards from now on.
    Violation(Close),
    /// HELLO is at least this many bytes long, which is a violation.
    OversizedHello(u64, Close),
    /// The client's Close, while input is discarded.
    Close,
    /// The client ended the stream.
    End,
}

/// How the response body ends, which is how TCP ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client ended its side: there is nothing left to wait for.
    ClientEnded,
    /// The client has received our last bytes: end at once.
    AtOnce,
    /// The last bytes still have to be sent.
    AfterFlush,
    /// The client has had its time to read our last bytes and to answer.
    GiveUp,
}

/// A frame, or the rest of one, on its way out.
struct Chunk {
    bytes: Bytes,
    /// Bytes of it that count as unsent in [`Flow`].
    counted: usize,
}

/// Sends from the session to the connection actor. Texts and pings go straight into the queue instead: they are most of
/// the traffic, and the actor would have to be woken for each.
pub(super) struct Wire {
    pub(super) state: Rc<ConnectionState>,
    pub(super) actor: Mailbox<ToConnection>,
}

impl ConnectionHandle for Wire {
    fn tell(&self, message: ToConnection) {
        match message {
            ToConnection::Text(text) => self.state.send_text(&text),
            // The same path as texts: it must prove that exactly what was sent before it has arrived.
            ToConnection::Ping(number) => self.state.send_ping(number),
            ToConnection::Close(_) => {
                self.state.closed.set(true);
                self.actor.tell(message);
            }
            ToConnection::Established => self.actor.tell(message),
        }
    }
}

/// The shared state of one WebSocket.
pub(super) struct ConnectionState {
    pub(super) config: Arc<Config>,
    pub(super) budget: Arc<NodeBudget>,
    pub(super) flow: Flow,
    /// `Some` if the application registered [`on_connect`](super::on_connect).
    pub(super) socket: Option<Socket>,
    /// Set before the first frame is read.
    pub(super) session: OnceCell<Mailbox<FromConnection>>,

    /// HELLO is complete.
    pub(super) established: Cell<bool>,
    /// Close is sent, or on its way through the actor, or the actor is done: no more texts are sent.
    pub(super) closed: Cell<bool>,
    /// Our Close is sent or about to be: what the client still sends is discarded.
    pub(super) discarding: Cell<bool>,
    /// Bytes held for the message being received.
    pub(super) receiving: Cell<usize>,
    /// Size of the message being received, if a single frame announces all of it.
    pub(super) whole: Cell<usize>,
    /// Frames that came out of the decoder.
    pub(super) decoded: Cell<u64>,
    /// The frame in the decoder is a Close.
    pub(super) decoding_close: Cell<bool>,
    /// Boxed, since it is rare.
    pub(super) seen: Cell<Option<Box<Seen>>>,
    /// When the client last showed a sign of life, or reading last resumed after a pause that we caused.
    pub(super) last_heard: Cell<Instant>,
    /// Reading is paused because the session cannot accept more.
    pub(super) paused: Cell<bool>,

    /// When texts began to wait for the socket. `None`: none is waiting.
    sending_since: Cell<Option<std::time::Instant>>,
    queue: RefCell<VecDeque<Chunk>>,
    queued: Cell<usize>,
    /// More than half of the allowance was unsent; the session wants to be notified when that has ended.
    filled: Cell<bool>,
    /// How to end, as determined by the connection actor.
    pub(super) ending: Cell<Ending>,
    /// The connection actor is done: nothing is added to the queue any more.
    pub(super) finished: Cell<bool>,
    /// The response body was dropped: TCP has ended.
    pub(super) gone: Cell<bool>,
    pub(super) writer: Bell,
    pub(super) pump: Bell,
}

impl ConnectionState {
    pub(super) fn new(
        config: Arc<Config>,
        budget: Arc<NodeBudget>,
        socket: Option<Socket>,
    ) -> Rc<ConnectionState> {
        Rc::new(ConnectionState {
            config,
            flow: Flow::new(&budget),
            budget,
            socket,
            session: OnceCell::new(),
            established: Cell::new(false),
            closed: Cell::new(false),
            discarding: Cell::new(false),
            receiving: Cell::new(0),
            whole: Cell::new(0),
            decoded: Cell::new(0),
            decoding_close: Cell::new(false),
            seen: Cell::new(None),
            last_heard: Cell::new(Instant::now()),
            paused: Cell::new(false),
            sending_since: Cell::new(None),
            queue: RefCell::default(),
            queued: Cell::new(0),
            filled: Cell::new(false),
            ending: Cell::new(Ending::AfterFlush),
            finished: Cell::new(false),
            gone: Cell::new(false),
            writer: Bell::default(),
            pump: Bell::default(),
        })
    }

    /// Queues a text, unless Close is sent. Its bytes are counted.
    pub(super) fn send_text(&self, text: &Text) {
        if self.closed.get() {
            return;
        }
        let frame = text_frame(text);
        if self.sending_since.get().is_none() {
            self.sending_since.set(Some(std::time::Instant::now()));
        }
        self.flow.written(frame.len());
        if self.flow.unsent() > self.config.max_unsent / 2 {
            self.filled.set(true);
        }
        self.push(Chunk {
            counted: frame.len(),
            bytes: frame,
        });
    }

    /// Queues a ping, unless Close is sent.
    pub(super) fn send_ping(&self, number: u64) {
        if !self.closed.get() {
            self.push_control(frame(OpCode::Ping, &number.to_be_bytes()));
        }
    }

    /// Queues a control frame.
    pub(super) fn push_control(&self, frame: Bytes) {
        self.push(Chunk {
            counted: 0,
            bytes: frame,
        });
    }

    fn push(&self, chunk: Chunk) {
        self.queued.set(self.queued.get() + chunk.bytes.len());
        self.queue.borrow_mut().push_back(chunk);
        self.writer.ring();
    }

    /// The next piece to send, of at most this many bytes, and how many of them count in [`Flow`].
    pub(super) fn pop(&self, most: usize) -> Option<(Bytes, usize)> {
        let mut queue = self.queue.borrow_mut();
        let chunk = queue.front_mut()?;
        let piece = if chunk.bytes.len() > most {
            let counted = chunk.counted.min(most);
            chunk.counted -= counted;
            (chunk.bytes.split_to(most), counted)
        } else {
            let chunk = queue.pop_front()?;
            if queue.is_empty() {
                // Most connections have nothing to send most of the time.
                *queue = VecDeque::new();
            }
            (chunk.bytes, chunk.counted)
        };
        let full = self.backlogged();
        self.queued.set(self.queued.get() - piece.0.len());
        if full {
            // Reading may be paused in the meantime, but a client that reads what we send is not idle.
            self.last_heard.set(Instant::now());
            if !self.backlogged() {
                self.flow.reader().ring();
            }
        }
        Some(piece)
    }

    /// This many counted bytes have been sent.
    pub(super) fn sent(&self, counted: usize) {
        self.flow.sent(counted);
        if self.flow.unsent() == 0
            && let Some(since) = self.sending_since.take()
        {
            self.budget.sending.record(since.elapsed());
        }
        let empties = self.filled.get() && self.flow.unsent() <= self.config.max_unsent / 2;
        if empties {
            self.filled.set(false);
        }
        if self.flow.drained() || empties {
            self.tell(FromConnection::Drained);
        }
    }

    /// Whether so much is waiting for a client that it should not be read from either: its pings and requests would
    /// only add to it.
    pub(super) fn backlogged(&self) -> bool {
        self.queued.get() > self.config.max_unsent
    }

    /// Drops what is queued.
    pub(super) fn drop_queue(&self) {
        let counted = self.queue.borrow_mut().drain(..).map(|c| c.counted).sum();
        self.queued.set(0);
        self.flow.sent(counted);
    }

    /// Sends to the session.
    pub(super) fn tell(&self, message: FromConnection) {
        if let Some(session) = self.session.get() {
            session.tell(message);
        }
    }

    /// Whether the session actor is alive.
    pub(super) fn has_session(&self) -> bool {
        self.session.get().is_some_and(Mailbox::connected)
    }
}
