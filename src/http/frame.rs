//! Parses the headers of client frames and checks them before anything is buffered; builds frames to the client.

use std::time::Duration;

use actix_http::ws::{CloseReason, OpCode, Parser};
use actix_web::rt::time::Instant;
use bytes::{Bytes, BytesMut};

use crate::config::Config;
use crate::session::connection::Text;

/// Longest frame header in bytes: two, eight of length, four of mask.
pub(super) const MAX_HEADER_BYTES: usize = 14;
/// How many times its size a message may occupy while it is joined from fragments: the buffer grows by doubling.
pub(super) const GROWTH: usize = 2;

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) last: bool,
    pub(super) reserved_bits: bool,
    pub(super) opcode: u8,
    pub(super) masked: bool,
    /// Declared bytes of payload, not validated.
    pub(super) payload: u64,
    /// Bytes of the header itself, the mask included.
    pub(super) size: usize,
}

impl Header {
    pub(super) const CONTINUATION: u8 = 0x0;
    pub(super) const BINARY: u8 = 0x2;
    pub(super) const CLOSE: u8 = 0x8;
    pub(super) const PONG: u8 = 0xA;
    /// Longest payload of a control frame.
    const MAX_CONTROL: u64 = 125;

    /// Parses the header at the front of these bytes; `None` if there are too few.
    pub(super) fn parse(bytes: &[u8]) -> Option<Header> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (payload, size) = match second & 0x7f {
            126 => (
                u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(),
                4,
            ),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
            short => (short.into(), 2),
        };
        let masked = second & 0x80 != 0;
        let size = if masked { size + 4 } else { size };
        (bytes.len() >= size).then_some(Header {
            last: first & 0x80 != 0,
            reserved_bits: first & 0x70 != 0,
            opcode: first & 0x0f,
            masked,
            payload,
            size,
        })
    }

    pub(super) fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }

    fn is_known(&self) -> bool {
        matches!(
            self.opcode,
            Self::CONTINUATION..=Self::BINARY | Self::CLOSE..=Self::PONG
        )
    }
}

/// What to do with a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Pass it on.
    Pass,
    /// It may be acceptable after HELLO: leave it in the socket until then.
    Wait,
    /// Refuse it; the text names the problem and the limit.
    Refuse(String),
    /// Its message is too long; the text names the limit.
    TooLong(String),
    /// Refuse it as [`Refuse`](Judgement::Refuse): HELLO is at least this many bytes long.
    RefuseHello(u64, String),
}

/// Judges the frames of one connection, in order.
#[derive(Default)]
pub(super) struct Judge {
    /// Payload bytes of the unfinished message; `None` between messages.
    message: Option<u64>,
    /// A whole data message has passed.
    begun: bool,
    /// Payload bytes of data frames that passed.
    passed: u64,
    idle_frames: u32,
    idle_since: Option<Instant>,
}

impl Judge {
    /// Judges a frame; one that must wait is judged again later. After HELLO, no more than `largest` bytes can be held
    /// for a message.
    pub(super) fn judge(
        &mut self,
        header: &Header,
        established: bool,
        config: &Config,
        largest: usize,
    ) -> Judgement {
        if let Some(what) = self.malformed(header) {
            return Judgement::Refuse(what.into());
        }
        if header.is_control() {
            return self.count_idle(config);
        }
        let message = self.message.unwrap_or(0).saturating_add(header.payload);
        let before_hello = config.max_message_before_hello as u64;
        if established {
            // A frame larger than the whole budget would wait for ever.
            let fits = match header.last && self.message.is_none() {
                true => largest,
                false => largest / GROWTH,
            };
            let limit = config.max_message.min(fits);
            if message > limit as u64 {
                return Judgement::TooLong(too_long(message, limit, ""));
            }
        } else if !self.begun {
            if message > before_hello {
                let limit = config.max_message_before_hello;
                let what = too_long(message, limit, " before HELLO");
                return Judgement::RefuseHello(message, what);
            }
        } else if self.passed.saturating_add(header.payload) > before_hello {
            return Judgement::Wait;
        }
        if header.payload == 0 {
            let judgement = self.count_idle(config);
            if judgement != Judgement::Pass {
                return judgement;
            }
        }
        self.passed += header.payload;
        self.message = (!header.last).then_some(message);
        self.begun |= header.last;
        Judgement::Pass
    }

    /// What is wrong with the frame, whatever the limits.
    fn malformed(&self, header: &Header) -> Option<&'static str> {
        if !header.masked {
            Some("a frame from the client is not masked")
        } else if header.reserved_bits {
            Some("a frame has reserved bits set")
        } else if !header.is_known() {
            Some("a frame has an unknown opcode")
        } else if header.is_control() {
            if !header.last {
                Some("a control frame is fragmented")
            } else if header.payload > Header::MAX_CONTROL {
                Some("a control frame is longer than 125 bytes")
            } else {
                None
            }
        } else if (header.opcode == Header::CONTINUATION) != self.message.is_some() {
            Some("a message's fragments are out of order")
        } else {
            None
        }
    }

    /// Counts a frame that carries no data.
    fn count_idle(&mut self, config: &Config) -> Judgement {
        let now = Instant::now();
        if self
            .idle_since
            .is_none_or(|since| now - since >= Duration::from_secs(1))
        {
            self.idle_since = Some(now);
            self.idle_frames = 0;
        }
        self.idle_frames += 1;
        if self.idle_frames > config.max_idle_frames_per_second {
            let limit = config.max_idle_frames_per_second;
            return Judgement::Refuse(format!(
                "more than {limit} control and empty frames within a second"
            ));
        }
        Judgement::Pass
    }
}

fn too_long(bytes: u64, limit: usize, when: &str) -> String {
    format!("message of {bytes} bytes or more; the limit{when} is {limit}")
}

/// The header of a part of a client's frame, whose length fits into a `u16`.
pub(super) fn part_header(opcode: u8, last: bool, payload: usize, mask: [u8; 4]) -> Bytes {
    let first = opcode | if last { 0x80 } else { 0 };
    let mut header = BytesMut::with_capacity(8);
    header.extend_from_slice(&[first, 0x80 | 126]);
    header.extend_from_slice(&(payload as u16).to_be_bytes());
    header.extend_from_slice(&mask);
    header.freeze()
}

/// A complete frame to the client.
pub(super) fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    // With the exact capacity, it becomes `Bytes` without another allocation.
    let mut frame = BytesMut::with_capacity(sent_header_bytes(payload.len()) + payload.len());
    Parser::write_message(&mut frame, payload, opcode, true, false);
    frame.freeze()
}

/// A complete text frame to the client.
pub(super) fn text_frame(text: &Text) -> Bytes {
    let make = |text: &str| frame(OpCode::Text, text.as_bytes());
    match text {
        Text::Own(text) => make(text),
        Text::Shared(shared) => shared.frame(make),
    }
}

/// A Close frame to the client.
pub(super) fn close_frame(reason: Option<CloseReason>) -> Bytes {
    let mut frame = BytesMut::new();
    Parser::write_close(&mut frame, reason, false);
    frame.freeze()
}

fn sent_header_bytes(payload: usize) -> usize {
    match payload {
        0..126 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}
