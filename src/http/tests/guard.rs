//! The frame reader and the guard without a server.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use actix_http::ws::Parser;
use actix_web::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use proptest::prelude::*;

use super::config;
use super::server::frame;
use crate::config::Config;
use crate::http::frame::Header;
use crate::http::payload_guard::{Guard, PART};
use crate::http::state::{ConnectionState, Seen};
use crate::node::budget::NodeBudget;

#[test]
fn headers_byte_by_byte() {
    let header = |last, opcode, masked, payload, size| Header {
        last,
        reserved_bits: false,
        opcode,
        masked,
        payload,
        size,
    };
    for (bytes, expected) in [
        (&b"\x81\x85mask"[..], header(true, 1, true, 5, 6)),
        (b"\x02\xfe\x01\x00mask", header(false, 2, true, 256, 8)),
        (
            b"\x80\xff\x00\x00\x01\x00\x00\x00\x00\x00mask",
            header(true, 0, true, 1 << 40, 14),
        ),
        (b"\x8a\x7e\x00\x05", header(true, 10, false, 5, 4)),
        (b"\x88\x00", header(true, 8, false, 0, 2)),
    ] {
        for short in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..short]), None, "{bytes:x?} {short}");
        }
        let longer = [bytes, b"more"].concat();
        assert_eq!(Header::parse(bytes), Some(expected));
        assert_eq!(Header::parse(&longer), Some(expected));
    }
    assert!(Header::parse(b"\xc1\x80mask").unwrap().reserved_bits);
}

/// Yields these chunks, then nothing more for now.
struct Chunks(std::vec::IntoIter<Bytes>, Rc<Cell<bool>>);

impl Stream for Chunks {
    type Item = Result<Bytes, PayloadError>;
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.next();
        self.1.set(next.is_none());
        next.map_or(Poll::Pending, |chunk| Poll::Ready(Some(Ok(chunk))))
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Reads as `actix-web-actors` does: until Pending, then one frame. Returns the frames, how it ended, and the most that
/// was buffered without being decoded.
fn read(chunks: Vec<Bytes>, established: bool, config: Config) -> (Vec<String>, String, usize) {
    // For the time-out of incomplete messages.
    let mut timers = tokio::runtime::Builder::new_current_thread();
    let timers = timers.enable_time().build().expect("a runtime");
    let _entered = timers.enter();
    let budget = NodeBudget::new(&config);
    let state = ConnectionState::new(Arc::new(config), budget, None);
    state.established.set(established);
    let exhausted = Rc::new(Cell::new(false));
    let mut guard = Guard::new(Chunks(chunks.into_iter(), exhausted.clone()), state.clone());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    let mut buffer = BytesMut::new();
    let (mut frames, mut most) = (Vec::new(), 0);
    loop {
        let before = buffer.len();
        while let Poll::Ready(piece) = Pin::new(&mut guard).poll_next(&mut context) {
            match piece.expect("never ends") {
                Ok(piece) => buffer.extend_from_slice(&piece),
                Err(_) => {
                    let end = match *state.seen.take().expect("announced") {
                        Seen::Violation(close) | Seen::OversizedHello(_, close) => {
                            format!("{} {}", close.code.code(), close.reason())
                        }
                        Seen::Close => "close".into(),
                        Seen::End => "end".into(),
                    };
                    return (frames, end, most);
                }
            }
        }
        // 14 for a header that was begun at the very end of a burst.
        assert!(buffer.len() - before <= 64 * 1024 + 14);
        match Parser::parse(&mut buffer, true, PART).expect("the guard lets only good frames pass")
        {
            Some(frame) => {
                state.decoded.set(state.decoded.get() + 1);
                frames.push(format!("{frame:?}"));
                // At most the frame that was decoded had been passed on.
                most = most.max(buffer.len());
            }
            None if woken.0.swap(false, Ordering::SeqCst) => {}
            None => {
                assert!(
                    exhausted.get() || !established,
                    "stuck with something to read"
                );
                return (frames, "pending".into(), most);
            }
        }
    }
}

fn split(bytes: &[u8], sizes: &[usize]) -> Vec<Bytes> {
    let (mut rest, mut chunks) = (bytes, Vec::new());
    for &size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, more) = rest.split_at(size.min(rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = more;
    }
    chunks
}

fn small() -> Config {
    Config {
        max_message_before_hello: 200,
        max_message: 1_000,
        max_idle_frames_per_second: 1_000_000,
        ..config()
    }
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same(
        frames in prop::collection::vec(
            (prop_oneof![
                6 => prop::sample::select(vec![0x81_u8, 0x01, 0x00, 0x80, 0x82, 0x89, 0x8a, 0x88]),
                1 => any::<u8>(),
            ], prop_oneof![0_usize..20, 100_usize..140, 0_usize..1_200]),
            0..20,
        ),
        sizes in prop::collection::vec(1_usize..300, 1..10),
        established: bool,
    ) {
        let mut bytes = Vec::new();
        for (first, length) in frames {
            bytes.extend(frame(first, &vec![b'a'; length]));
        }
        let whole = read(vec![bytes.clone().into()], established, small());
        prop_assert_eq!(whole.2, 0, "one frame at a time");
        prop_assert_eq!(&whole, &read(split(&bytes, &sizes), established, small()));
        prop_assert_eq!(&whole, &read(split(&bytes, &[1]), established, small()));
    }

    #[test]
    fn garbage_never_gets_through(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(vec![bytes.into()], true, small());
    }
}

#[test]
fn a_frame_larger_than_a_burst_gets_through() {
    let text: Vec<u8> = (0..1 << 20)
        .map(|index| b'a' + (index % 23) as u8)
        .collect();
    let big = frame(0x81, &text);
    let after = frame(0x81, b"b");
    let bytes = [big, after].concat();
    for size in [1_000, 32_768, bytes.len()] {
        let (frames, end, most) = read(split(&bytes, &[size]), true, config());
        let parts = (1 << 20) / PART;
        assert_eq!((frames.len(), &*end, most), (parts + 1, "pending", 0));
        let begins = |index: usize, what: &str| frames[index].starts_with(what);
        assert!(begins(0, "(false, Text") && begins(1, "(false, Continue"));
        assert!(begins(parts - 1, "(true, Continue") && begins(parts, "(true, Text"));
    }
}

/// Many small frames at once used to pile up in the decoder's buffer.
#[test]
fn small_frames_are_handed_on_one_at_a_time() {
    let bytes = frame(0x81, b"[]").repeat(1_000);
    let (frames, _, most) = read(vec![bytes.into()], true, config());
    assert_eq!((frames.len(), most), (1_000, 0));
}

#[test]
fn before_hello_later_messages_wait_and_are_not_refused() {
    let message = |length| frame(0x81, &vec![b'a'; length]);
    let bytes = [message(100), message(100), message(1)].concat();
    let (frames, end, _) = read(vec![bytes.into()], false, small());
    assert_eq!((frames.len(), &*end), (2, "pending"));
    // Even frames that can never be valid are judged only then.
    let bytes = [message(100), message(5_000)].concat();
    let (frames, end, _) = read(vec![bytes.into()], false, small());
    assert_eq!((frames.len(), &*end), (1, "pending"));
    let (frames, end, _) = read(vec![message(201).into()], false, small());
    assert_eq!(frames.len(), 0);
    assert_eq!(
        end,
        "1008 message of 201 bytes or more; the limit before HELLO is 200"
    );
}
