//! The guard before the decoder: hands on only what is allowed, and only as fast as it is decoded.
//!
//! `actix-web-actors` reads its payload until Pending before it decodes one frame, and the codec checks a frame's
//! length only when the frame is complete. So the guard reads the frame headers itself, refuses what is too long or
//! too frequent, and hands on at most one whole frame that is not yet decoded.

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::error::PayloadError;
use actix_web::rt::time::Instant;
use bytes::Bytes;
use futures_util::Stream;

use super::frame::{Header, Judge, Judgement, MAX_HEADER_BYTES};
use super::state::{LineState, Seen};
use crate::wire::{Close, CloseCode};

/// Most bytes handed on without a Pending in between.
const MAX_BURST: usize = 64 * 1024;
/// Most messages handed on before the session has caught up with all of them: many tiny messages cost more than
/// their bytes say.
const MAX_BEHIND: u32 = 1024;

/// The payload of an upgraded request, guarded. Never ends: what the connection actor must know is put into
/// [`LineState::seen`] and announced by an `Err`.
pub(super) struct Guard<S> {
    raw: S,
    state: Rc<LineState>,
    chunk: Bytes,
    /// The front of a header whose rest has not come yet.
    head: [u8; MAX_HEADER_BYTES],
    head_bytes: u8,
    /// Payload bytes of the current frame still to come.
    payload: u64,
    /// The current frame is a Close.
    closing: bool,
    judge: Judge,
    /// Whole frames handed on.
    handed: u64,
    burst: usize,
    /// Messages handed on since the session had caught up.
    behind: u32,
    done: bool,
}

/// What the front of the stream holds.
enum Front {
    /// A piece to hand on.
    Piece(Bytes),
    /// Too little: read on.
    Short,
    /// A frame that must wait.
    Wait,
    /// A frame that is refused, and why.
    Refused(String),
    /// A HELLO of so many bytes that is refused, and why.
    RefusedHello(u64, String),
}

type Item = Result<Bytes, PayloadError>;

impl<S: Stream<Item = Item> + Unpin> Guard<S> {
    pub(super) fn new(raw: S, state: Rc<LineState>) -> Guard<S> {
        Guard {
            raw,
            state,
            chunk: Bytes::new(),
            head: [0; MAX_HEADER_BYTES],
            head_bytes: 0,
            payload: 0,
            closing: false,
            judge: Judge::default(),
            handed: 0,
            burst: 0,
            behind: 0,
            done: false,
        }
    }

    /// The header at the front, without taking it. Bytes of a header that is not whole are put aside.
    fn peek(&mut self) -> Option<Header> {
        if self.head_bytes == 0
            && let Some(header) = Header::parse(&self.chunk)
        {
            return Some(header);
        }
        loop {
            if let Some(header) = Header::parse(&self.head[..usize::from(self.head_bytes)]) {
                return Some(header);
            }
            if self.chunk.is_empty() {
                return None;
            }
            self.head[usize::from(self.head_bytes)] = self.chunk.split_to(1)[0];
            self.head_bytes += 1;
        }
    }

    /// Takes the header just peeked, with what is there of its payload.
    fn take_frame(&mut self, header: &Header, most: usize) -> Bytes {
        self.payload = header.payload;
        self.closing = header.opcode == Header::CLOSE;
        if self.head_bytes > 0 {
            self.head_bytes = 0;
            return Bytes::copy_from_slice(&self.head[..header.size]);
        }
        let body = clamp(self.payload).min(self.chunk.len() - header.size);
        // At least the header, whatever is left of the burst.
        let body = body.min(most.saturating_sub(header.size));
        self.payload -= body as u64;
        self.chunk.split_to(header.size + body)
    }

    fn take_payload(&mut self, most: usize) -> Bytes {
        let bytes = clamp(self.payload).min(self.chunk.len()).min(most);
        self.payload -= bytes as u64;
        self.chunk.split_to(bytes)
    }

    fn front(&mut self) -> Front {
        let most = MAX_BURST - self.burst;
        let piece = if self.payload > 0 {
            if self.chunk.is_empty() {
                return Front::Short;
            }
            self.take_payload(most)
        } else {
            let Some(header) = self.peek() else {
                return Front::Short;
            };
            let established = self.state.established.get();
            match self.judge.judge(&header, established, &self.state.config) {
                Judgement::Pass => self.take_frame(&header, most),
                Judgement::Wait => return Front::Wait,
                Judgement::Refuse(what) => return Front::Refused(what),
                Judgement::RefuseHello(bytes, what) => return Front::RefusedHello(bytes, what),
            }
        };
        if self.payload == 0 {
            self.handed += 1;
            self.behind += 1;
            self.state.decoding_close.set(self.closing);
        }
        self.burst += piece.len();
        Front::Piece(piece)
    }

    /// The session cannot take more for now.
    fn session_is_full(&mut self) -> bool {
        let flow = &self.state.flow;
        if flow.unprocessed() == 0 {
            self.behind = 0;
        }
        flow.reading_paused()
            || flow.unprocessed() > self.state.config.max_unprocessed
            || self.behind > MAX_BEHIND
    }

    fn set_paused(&self, paused: bool) {
        // The idle time starts anew after a pause of our making.
        if self.state.paused.replace(paused) && !paused {
            self.state.last_heard.set(Instant::now());
        }
    }

    fn pending(&mut self) -> Poll<Option<Item>> {
        self.burst = 0;
        Poll::Pending
    }

    fn announce(&mut self, seen: Seen) -> Poll<Option<Item>> {
        self.burst = 0;
        self.state.seen.set(Some(Box::new(seen)));
        Poll::Ready(Some(Err(PayloadError::Incomplete(None))))
    }

    fn ended(&mut self) -> Poll<Option<Item>> {
        self.done = true;
        self.announce(Seen::End)
    }

    fn refuse(&mut self, what: String) -> Poll<Option<Item>> {
        let code = if self.state.established.get() {
            CloseCode::ProtocolError
        } else {
            CloseCode::ViolatedPolicy
        };
        self.state.discarding.set(true);
        self.announce(Seen::Violation(Close::new(code, what)))
    }

    fn refuse_hello(&mut self, bytes: u64, what: String) -> Poll<Option<Item>> {
        self.state.discarding.set(true);
        let close = Close::new(CloseCode::ViolatedPolicy, what);
        self.announce(Seen::OversizedHello(bytes, close))
    }

    /// Reads into the chunk, which is empty. `Ready(false)` is the end.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        match Pin::new(&mut self.raw).poll_next(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                self.state.last_heard.set(Instant::now());
                self.chunk = chunk;
                Poll::Ready(true)
            }
            Poll::Ready(_) => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Hands on.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            // A whole frame is in the decoder: it will yield, and poll again.
            if self.handed > self.state.decoded.get() {
                return self.pending();
            }
            if self.burst >= MAX_BURST {
                context.waker().wake_by_ref();
                return self.pending();
            }
            let full = self.session_is_full();
            self.set_paused(full);
            if full || self.state.backlogged() {
                return self.pending();
            }
            match self.front() {
                Front::Piece(piece) => return Poll::Ready(Some(Ok(piece))),
                Front::Refused(what) => return self.refuse(what),
                Front::RefusedHello(bytes, what) => return self.refuse_hello(bytes, what),
                Front::Wait => {
                    self.set_paused(true);
                    return self.pending();
                }
                Front::Short => match self.read(context) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return self.ended(),
                    Poll::Pending => return self.pending(),
                },
            }
        }
    }

    /// Discards, looking for the client's Close. After something unparsable no frame will be found again; the
    /// connection actor's time-out ends it.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.set_paused(false);
        loop {
            if self.payload > 0 {
                self.take_payload(usize::MAX);
            }
            if self.payload == 0 {
                if mem::take(&mut self.closing) {
                    self.done = true;
                    return self.announce(Seen::Close);
                }
                if let Some(header) = self.peek() {
                    self.take_frame(&header, usize::MAX);
                    continue;
                }
            }
            match self.read(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return self.ended(),
                Poll::Pending => return self.pending(),
            }
        }
    }
}

impl<S: Stream<Item = Item> + Unpin> Stream for Guard<S> {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let guard = self.get_mut();
        guard.state.flow.reader().register(context);
        if guard.done {
            return guard.pending();
        }
        if guard.state.discarding.get() {
            guard.poll_discard(context)
        } else {
            guard.poll_open(context)
        }
    }
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
