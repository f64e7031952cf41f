//! The guard in front of the decoder: passes on only what is allowed, and only as fast as it is decoded.
//!
//! `actix-web-actors` reads its payload until Pending before it decodes one frame, and the codec checks a frame's
//! length only when the frame is complete. So the guard parses the frame headers itself, refuses what is too long or
//! too frequent, and passes on at most one whole frame that is not yet decoded.

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::error::PayloadError;
use actix_web::rt::time::Instant;
use bytes::Bytes;
use futures_util::Stream;

use super::frame::{Header, Judge, Judgement, MAX_HEADER_BYTES, part_header};
use super::receiving::Receiving;
use super::state::{ConnectionState, Seen};
use super::turn::Turn;
use crate::wire::{Close, CloseCode};

/// Most bytes passed on without a Pending in between.
const MAX_BURST: usize = 64 * 1024;
/// A larger data frame is passed on in parts of this size. (A multiple of four, since the mask has four bytes.)
pub(super) const PART: usize = 32 * 1024;
/// Most messages passed on before the session has caught up with all of them: many tiny messages cost more than their
/// size suggests.
const MAX_BEHIND: u32 = 1024;

/// The payload of an upgraded request, guarded. It never ends: what the connection actor must know is put into
/// [`ConnectionState::seen`] and announced by an `Err`.
pub(super) struct Guard<S> {
    raw: S,
    state: Rc<ConnectionState>,
    chunk: Bytes,
    /// The front of a header whose rest has not arrived yet.
    head: [u8; MAX_HEADER_BYTES],
    head_bytes: u8,
    /// Payload bytes still to come of the current frame, or of the part of it that is being passed on.
    payload: u64,
    /// The parts of it that are still to follow.
    parts: Option<Parts>,
    /// The current frame is a Close.
    closing: bool,
    /// The current frame is the last of a message.
    finishing: bool,
    judge: Judge,
    /// The frame at the front was judged acceptable, and needs room.
    judged: bool,
    receiving: Receiving,
    turn: Turn,
    /// Whole frames and parts passed on.
    handed: u64,
    burst: usize,
    /// Messages passed on since the session had last caught up.
    behind: u32,
    done: bool,
}

/// The rest of a frame that is passed on in parts.
struct Parts {
    opcode: u8,
    last: bool,
    mask: [u8; 4],
    payload: u64,
}

/// What is at the front of the stream.
enum Front {
    /// A piece to pass on.
    Piece(Bytes),
    /// Too little: read on.
    Short,
    /// A frame that must wait for HELLO.
    Wait,
    /// A frame that must wait for room.
    NoRoom,
    /// A frame that is refused, and why.
    Refused(String),
    /// A message that is too long, and why.
    TooLong(String),
    /// A HELLO of this many bytes that is refused, and why.
    RefusedHello(u64, String),
}

type Item = Result<Bytes, PayloadError>;

impl<S: Stream<Item = Item> + Unpin> Guard<S> {
    pub(super) fn new(raw: S, state: Rc<ConnectionState>) -> Guard<S> {
        Guard {
            raw,
            receiving: Receiving::new(state.clone()),
            state,
            chunk: Bytes::new(),
            head: [0; MAX_HEADER_BYTES],
            head_bytes: 0,
            payload: 0,
            parts: None,
            closing: false,
            finishing: false,
            judge: Judge::default(),
            judged: false,
            turn: Turn::default(),
            handed: 0,
            burst: 0,
            behind: 0,
            done: false,
        }
    }

    /// Parses the header at the front without consuming it. Bytes of an incomplete header are set aside.
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

    /// Takes the header just peeked, with the part of its payload that has arrived.
    fn take_frame(&mut self, header: &Header, most: usize) -> Bytes {
        self.payload = header.payload;
        self.closing = header.opcode == Header::CLOSE;
        self.finishing = header.last && !header.is_control();
        if self.head_bytes > 0 {
            self.head_bytes = 0;
            return Bytes::copy_from_slice(&self.head[..header.size]);
        }
        let body = clamp(self.payload).min(self.chunk.len() - header.size);
        // At least the header, whatever is left of the burst.
        let body = body.min(most.saturating_sub(header.size));
        self.payload -= body as u64;
        self.receiving.received(body);
        self.chunk.split_to(header.size + body)
    }

    /// Takes the header just peeked, of a large data frame, and returns the header of its first part.
    fn take_in_parts(&mut self, header: &Header) -> Bytes {
        let bytes = self.take_frame(header, 0);
        let mask = bytes.last_chunk().copied().unwrap_or_default();
        if header.last && header.opcode != Header::CONTINUATION {
            self.state.whole.set(clamp(header.payload));
        }
        self.payload = 0;
        self.next_part(Parts {
            opcode: header.opcode,
            last: header.last,
            mask,
            payload: header.payload,
        })
    }

    fn next_part(&mut self, mut parts: Parts) -> Bytes {
        self.payload = parts.payload.min(PART as u64);
        parts.payload -= self.payload;
        let last = parts.last && parts.payload == 0;
        let header = part_header(parts.opcode, last, clamp(self.payload), parts.mask);
        parts.opcode = Header::CONTINUATION;
        self.parts = Some(parts).filter(|parts| parts.payload > 0);
        header
    }

    fn take_payload(&mut self, most: usize) -> Bytes {
        let bytes = clamp(self.payload).min(self.chunk.len()).min(most);
        self.payload -= bytes as u64;
        self.receiving.received(bytes);
        self.chunk.split_to(bytes)
    }

    fn front(&mut self, context: &mut Context<'_>) -> Front {
        let most = MAX_BURST - self.burst;
        let piece = if self.payload > 0 {
            if self.chunk.is_empty() {
                return Front::Short;
            }
            self.take_payload(most)
        } else if let Some(parts) = self.parts.take() {
            self.next_part(parts)
        } else {
            let Some(header) = self.peek() else {
                return Front::Short;
            };
            if let Err(refused) = self.judge(&header) {
                return refused;
            }
            if header.is_control() {
                self.take_frame(&header, most)
            } else if self.receiving.admit(&header, context).is_pending() {
                return Front::NoRoom;
            } else {
                match header.payload > PART as u64 {
                    true => self.take_in_parts(&header),
                    false => self.take_frame(&header, most),
                }
            }
        };
        self.judged = false;
        if self.payload == 0 {
            self.handed += 1;
            self.state.decoding_close.set(self.closing);
            if self.parts.is_none() {
                self.behind += 1;
                if mem::take(&mut self.finishing) {
                    self.receiving.finished();
                }
            }
        }
        self.burst += piece.len();
        self.turn.read(piece.len());
        Front::Piece(piece)
    }

    /// Judges the frame at the front, once.
    fn judge(&mut self, header: &Header) -> Result<(), Front> {
        if self.judged {
            return Ok(());
        }
        let established = self.state.established.get();
        let largest = self.state.budget.largest_incoming();
        let config = &self.state.config;
        match self.judge.judge(header, established, config, largest) {
            Judgement::Pass => self.judged = true,
            Judgement::Wait => return Err(Front::Wait),
            Judgement::Refuse(what) => return Err(Front::Refused(what)),
            Judgement::TooLong(what) => return Err(Front::TooLong(what)),
            Judgement::RefuseHello(bytes, what) => return Err(Front::RefusedHello(bytes, what)),
        }
        Ok(())
    }

    /// Whether the session cannot accept more for now.
    fn session_is_full(&mut self) -> bool {
        let flow = &self.state.flow;
        if flow.unprocessed() == 0 {
            self.behind = 0;
        }
        flow.unprocessed() > self.state.config.max_unprocessed || self.behind > MAX_BEHIND
    }

    /// Whether it is not yet this connection's turn to be read from. Before HELLO there are no turns.
    fn waits_for_its_turn(&mut self, context: &mut Context<'_>) -> bool {
        let user = self.state.flow.user();
        user.is_some_and(|user| self.turn.poll(user, context).is_pending())
    }

    fn set_paused(&self, paused: bool) {
        // The idle time restarts after a pause that we caused.
        if self.state.paused.replace(paused) && !paused {
            self.state.last_heard.set(Instant::now());
        }
    }

    fn pending(&mut self) -> Poll<Option<Item>> {
        self.burst = 0;
        Poll::Pending
    }

    /// Waits for room or for input from the client, up to a time limit.
    fn pending_in_time(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        match self.receiving.overdue(context) {
            Some(close) => self.close(close),
            None => self.pending(),
        }
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
        self.close(Close::new(code, what))
    }

    fn close(&mut self, close: Close) -> Poll<Option<Item>> {
        self.state.discarding.set(true);
        self.announce(Seen::Violation(close))
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

    /// Passes input on.
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
            let backlogged = self.state.backlogged();
            let waits = !full && !backlogged && self.waits_for_its_turn(context);
            self.set_paused(full || waits);
            let stop = full || backlogged || waits;
            self.receiving.stop(stop);
            if stop {
                return self.pending();
            }
            match self.front(context) {
                Front::Piece(piece) => return Poll::Ready(Some(Ok(piece))),
                Front::Refused(what) => return self.refuse(what),
                Front::TooLong(what) => {
                    return self.close(Close::new(CloseCode::MessageTooBig, what));
                }
                Front::RefusedHello(bytes, what) => return self.refuse_hello(bytes, what),
                Front::Wait => {
                    self.set_paused(true);
                    return self.pending();
                }
                Front::NoRoom => {
                    self.set_paused(true);
                    self.receiving.stop(true);
                    return self.pending_in_time(context);
                }
                Front::Short => match self.read(context) {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return self.ended(),
                    Poll::Pending => return self.pending_in_time(context),
                },
            }
        }
    }

    /// Discards input, looking for the client's Close. After unparsable input no frame can be found any more; the
    /// connection actor's time-out then ends it.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.set_paused(false);
        self.receiving.give_up();
        self.payload += self.parts.take().map_or(0, |parts| parts.payload);
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
