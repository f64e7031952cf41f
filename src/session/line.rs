//! What the session and its line (the connection actor, or a test) say to each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use actix::Message;
use bytestring::ByteString;

use crate::wire::Close;

/// From the line to the session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum FromLine {
    /// A whole text message. Its bytes count as unprocessed in [`Flow`] until the session has taken them.
    Text(ByteString),
    /// A binary message: a protocol error.
    Binary,
    /// Nothing was said for too long, or HELLO is late, or something was too big or too frequent: close like this.
    Violation(Close),
    /// The client closed, with this code if it gave one.
    Closed(Option<u16>),
    /// The line broke without a word.
    Lost,
    /// Enough of what was written has gone out: more may be written.
    Drained,
}

/// From the session to the line.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToLine {
    /// A text message to send.
    Text(String),
    /// HELLO is done: the wider limits apply.
    Established,
    /// Send Close, then end the connection. Nothing comes after it.
    Close(Close),
}

/// The flow of one line, shared on one thread by its session, connection actor, payload guard and response stream.
#[derive(Clone, Default)]
pub(crate) struct Flow(Rc<FlowState>);

#[derive(Default)]
struct FlowState {
    unprocessed: Cell<usize>,
    unsent: Cell<usize>,
    gone: Cell<u64>,
    reading_paused: Cell<bool>,
    reader: Bell,
}

impl Flow {
    /// Bytes received that the session has not taken.
    pub(crate) fn unprocessed(&self) -> usize {
        self.0.unprocessed.get()
    }

    /// A message of so many bytes was handed to the session.
    pub(crate) fn received(&self, bytes: usize) {
        self.0.unprocessed.set(self.0.unprocessed.get() + bytes);
    }

    /// The session has taken a message of so many bytes: reading may go on.
    pub(crate) fn processed(&self, bytes: usize) {
        self.0
            .unprocessed
            .set(self.0.unprocessed.get().saturating_sub(bytes));
        self.0.reader.ring();
    }

    /// Bytes written that have not gone out.
    pub(crate) fn unsent(&self) -> usize {
        self.0.unsent.get()
    }

    /// So many bytes were handed to the line.
    pub(crate) fn written(&self, bytes: usize) {
        self.0.unsent.set(self.0.unsent.get() + bytes);
    }

    /// So many bytes have gone out.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.unsent.set(self.0.unsent.get().saturating_sub(bytes));
        self.0
            .gone
            .set(self.0.gone.get().wrapping_add(bytes as u64));
    }

    /// How many bytes have ever gone out: as long as this grows, the client reads.
    pub(crate) fn gone(&self) -> u64 {
        self.0.gone.get()
    }

    /// Whether the session asked for a pause in reading.
    pub(crate) fn reading_paused(&self) -> bool {
        self.0.reading_paused.get()
    }

    /// Pauses reading, or lets it go on.
    pub(crate) fn pause_reading(&self, pause: bool) {
        self.0.reading_paused.set(pause);
        if !pause {
            self.0.reader.ring();
        }
    }

    /// Rings when reading may go on.
    pub(crate) fn reader(&self) -> &Bell {
        &self.0.reader
    }
}

/// A place for the waker of whoever polls.
#[derive(Default)]
pub(crate) struct Bell(RefCell<Option<Waker>>);

impl Bell {
    /// The next ring is for this task.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    /// Wakes the task.
    pub(crate) fn ring(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }
}
