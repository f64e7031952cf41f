//! Outgoing data: the pump that drives the connection actor, and the response body that it fills.
//!
//! actix-http polls a response body only while its write buffer has room, so a connection actor that *is* the body
//! would freeze, including its timers and mailbox, when its client does not read. Here a separate task drives the
//! actor, which queues its frames; the body only drains the queue.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::rt::time::{Sleep, sleep};
use bytes::Bytes;
use futures_util::Stream;

use super::state::{ConnectionState, Ending};

/// Largest piece passed to actix-http at a time, the size of its write buffer: it takes the next one only when most of
/// this one has been sent.
const PIECE: usize = 32 * 1024;
/// How long the last small frame has to leave actix-http's write buffer, which does not report it.
const FLUSH: Duration = Duration::from_millis(10);

/// Drives the connection actor until it is done or TCP has ended, and makes sure that what it leaves in the queue is
/// sent or dropped.
pub(super) fn pump(
    actor: impl Stream + 'static,
    state: Rc<ConnectionState>,
) -> impl Future<Output = ()> {
    // Boxed here, so that the future is small.
    drive(Box::pin(actor), state)
}

async fn drive(actor: Pin<Box<impl Stream + 'static>>, state: Rc<ConnectionState>) {
    {
        let mut actor = actor;
        poll_fn(|context| {
            state.pump.register(context);
            // The actor queues its frames itself: as a stream it yields nothing, it only ends.
            while !state.gone.get() && ready!(actor.as_mut().poll_next(context)).is_some() {}
            Poll::Ready(())
        })
        .await;
    }
    state.closed.set(true);
    state.finished.set(true);
    state.writer.ring();
    if state.ending.get() != Ending::GiveUp {
        // The body sends what is queued, and ends.
        let mut limit = Box::pin(sleep(state.config.close_timeout));
        poll_fn(|context| {
            state.pump.register(context);
            match state.gone.get() {
                true => Poll::Ready(()),
                false => limit.as_mut().poll(context),
            }
        })
        .await;
    }
    state.drop_queue();
    if !state.gone.get() {
        state.ending.set(Ending::GiveUp);
        if let Some(socket) = &state.socket {
            socket.give_up();
        }
        state.writer.ring();
    }
}

/// The body of the upgrade's response.
pub(super) struct Outgoing {
    state: Rc<ConnectionState>,
    /// Counted bytes of the last piece handed out.
    leaving: usize,
    flush: Option<Pin<Box<Sleep>>>,
}

impl Outgoing {
    pub(super) fn new(state: Rc<ConnectionState>) -> Outgoing {
        Outgoing {
            state,
            leaving: 0,
            flush: None,
        }
    }

    /// Ends the body, and so TCP.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, EndOfLine>>> {
        match self.state.ending.get() {
            Ending::ClientEnded => return Poll::Ready(None),
            Ending::AtOnce | Ending::GiveUp => {}
            Ending::AfterFlush => {
                let flush = self.flush.get_or_insert_with(|| Box::pin(sleep(FLUSH)));
                ready!(flush.as_mut().poll(context));
            }
        }
        Poll::Ready(match &self.state.socket {
            Some(socket) => {
                socket.end();
                None
            }
            None => Some(Err(EndOfLine)),
        })
    }
}

impl Stream for Outgoing {
    type Item = Result<Bytes, EndOfLine>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Being polled again means that the previous piece has been sent, except for what is in the write buffer.
        let left = std::mem::take(&mut this.leaving);
        if left > 0 {
            this.state.sent(left);
        }
        this.state.writer.register(context);
        if let Some((piece, counted)) = this.state.pop(PIECE) {
            this.leaving = counted;
            return Poll::Ready(Some(Ok(piece)));
        }
        if !this.state.finished.get() {
            return Poll::Pending;
        }
        this.poll_end(context)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.state.gone.set(true);
        self.state.pump.ring();
    }
}

/// Ends the response body so that actix-http drops the socket at once. A body that simply ends while its request's
/// payload (here: the client's frames) has not ended makes actix-http linger for its `client_disconnect_timeout`, or
/// until the client ends its side, which it does at once if we could end ours through a [`Socket`].
///
/// [`Socket`]: super::socket::Socket
pub(super) struct EndOfLine;

impl fmt::Display for EndOfLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the WebSocket is closed; ending TCP (this is in order)")
    }
}

impl fmt::Debug for EndOfLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for EndOfLine {}
