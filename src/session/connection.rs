//! The messages between a session and its connection (the connection actor, or a test).

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use actix::Message;
use bytestring::ByteString;

use crate::auth::Authenticator;
use crate::mailbox::Mailbox;
use crate::node::UserCounts;
use crate::node::budget::{Held, NodeBudget, SMALL};
use crate::registry::SharedText;
use crate::store::Share;
use crate::wire::Close;

/// From the connection to the session.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum FromConnection {
    /// A whole text message. Its bytes count as unprocessed in [`Flow`] until the session has taken them.
    Text(ByteString),
    /// A binary message: a protocol error.
    Binary,
    /// Close with this: nothing arrived for too long, HELLO is late, or something was too large or too frequent.
    Violation(Close),
    /// The client closed, with this code if it gave one.
    Closed(Option<u16>),
    /// The connection broke without a Close.
    Lost,
    /// Enough of what was written has been sent: more may be written.
    Drained,
    /// The client has received this [`Ping`](ToConnection::Ping), and so everything before it.
    Pong(u64),
}

/// From the session to the connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum ToConnection {
    /// A text message to send.
    Text(Text),
    /// HELLO is done: the wider limits apply.
    Established,
    /// Send a WebSocket ping with this number, behind everything before it.
    Ping(u64),
    /// Send Close, then end the connection. Nothing comes after it.
    Close(Close),
}

/// A text message to send.
#[derive(Debug)]
pub(crate) enum Text {
    /// For this connection only.
    Own(String),
    /// The same for many connections.
    Shared(Arc<SharedText>),
}

impl Text {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Text::Own(text) => text,
            Text::Shared(shared) => shared.text(),
        }
    }
}

/// Sends from a session to its connection, on the same thread.
pub(crate) trait ConnectionHandle {
    /// Sends to the connection. Messages are processed in order, except that [`Established`](ToConnection::Established) may be
    /// overtaken.
    fn tell(&self, message: ToConnection);
}

impl ConnectionHandle for Mailbox<ToConnection> {
    fn tell(&self, message: ToConnection) {
        Mailbox::tell(self, message);
    }
}

/// A newly upgraded connection.
pub(crate) struct NewConnection {
    /// Where the session sends.
    pub(crate) connection: Box<dyn ConnectionHandle>,
    /// The connection's flow.
    pub(crate) flow: Flow,
    /// The connection's authenticator.
    pub(crate) authenticator: Rc<dyn Authenticator>,
    /// The client's address, for introspection.
    pub(crate) remote: Option<String>,
}

/// Whose connection it is.
pub(crate) struct ConnectionUser {
    /// The account for what it brings.
    pub(crate) share: Share,
    /// Running handlers on this node, by user.
    pub(crate) handlers: Arc<UserCounts>,
}

/// The flow of one connection, shared on one thread by its session, connection actor, payload guard and response stream.
#[derive(Clone)]
pub(crate) struct Flow(Rc<FlowState>);

struct FlowState {
    unprocessed: Cell<usize>,
    unsent: Cell<usize>,
    gone: Cell<u64>,
    reader: Bell,
    incoming: Held,
    outgoing: Held,
    user: OnceCell<ConnectionUser>,
    /// The session waits until most of what it wrote has been sent.
    awaits_drain: Cell<bool>,
}

impl Flow {
    /// The flow of a connection before HELLO.
    pub(crate) fn new(budget: &NodeBudget) -> Flow {
        let (incoming, outgoing) = budget.before_hello();
        Flow(Rc::new(FlowState {
            unprocessed: Cell::new(0),
            unsent: Cell::new(0),
            gone: Cell::new(0),
            reader: Bell::default(),
            incoming: Held::new(incoming),
            outgoing: Held::new(outgoing),
            user: OnceCell::new(),
            awaits_drain: Cell::new(false),
        }))
    }

    /// HELLO is done: from now on the connection's bytes are this user's.
    pub(crate) fn belongs_to(&self, budget: &NodeBudget, user_id: &str, user: ConnectionUser) {
        // HELLO happens once per session.
        let _ = self.0.user.set(user);
        let (incoming, outgoing) = budget.of_user(user_id);
        self.0.incoming.move_to(incoming);
        self.0.outgoing.move_to(outgoing);
    }

    /// Whose connection it is, once HELLO is done.
    pub(crate) fn user(&self) -> Option<&ConnectionUser> {
        self.0.user.get()
    }

    /// Incoming bytes held by the connection and its session.
    pub(crate) fn incoming(&self) -> &Held {
        &self.0.incoming
    }

    /// Counts this many incoming bytes until the returned guard is dropped.
    pub(crate) fn on_hand(&self, bytes: usize) -> OnHand {
        self.0.incoming.grow(bytes);
        OnHand {
            flow: self.clone(),
            bytes,
        }
    }

    /// Outgoing bytes held by the connection and its session.
    pub(crate) fn outgoing(&self) -> &Held {
        &self.0.outgoing
    }

    /// Bytes received that the session has not processed.
    pub(crate) fn unprocessed(&self) -> usize {
        self.0.unprocessed.get()
    }

    /// A message of this many bytes was handed to the session. `held` bytes were held for it while it was arriving.
    pub(crate) fn received(&self, bytes: usize, held: usize) {
        self.0.unprocessed.set(self.0.unprocessed.get() + bytes);
        match bytes.checked_sub(held) {
            Some(more) => self.0.incoming.grow(more),
            None => self.0.incoming.shrink(held - bytes),
        }
    }

    /// The session has processed a message of this many bytes: reading may continue.
    pub(crate) fn processed(&self, bytes: usize) {
        self.0
            .unprocessed
            .set(self.0.unprocessed.get().saturating_sub(bytes));
        self.0.incoming.shrink(bytes);
        self.0.reader.ring();
    }

    /// Bytes written but not yet sent.
    pub(crate) fn unsent(&self) -> usize {
        self.0.unsent.get()
    }

    /// This many bytes were handed to the connection.
    pub(crate) fn written(&self, bytes: usize) {
        self.0.unsent.set(self.0.unsent.get() + bytes);
        self.0.outgoing.grow(bytes);
    }

    /// This many bytes have been sent.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.unsent.set(self.0.unsent.get().saturating_sub(bytes));
        self.0.outgoing.shrink(bytes);
        self.0
            .gone
            .set(self.0.gone.get().wrapping_add(bytes as u64));
    }

    /// Sets whether the session waits until most of what it wrote has been sent, since the node has no room for more.
    pub(crate) fn await_drain(&self, awaits: bool) {
        self.0.awaits_drain.set(awaits);
    }

    /// Ends that wait if enough has been sent. Returns whether it did.
    pub(crate) fn drained(&self) -> bool {
        self.0.unsent.get() <= SMALL / 2 && self.0.awaits_drain.replace(false)
    }

    /// How many bytes have been sent in total: while this grows, the client is reading.
    pub(crate) fn gone(&self) -> u64 {
        self.0.gone.get()
    }

    /// Rings when reading may continue.
    pub(crate) fn reader(&self) -> &Bell {
        &self.0.reader
    }
}

/// Bytes of a message that is being handled.
#[must_use]
pub(crate) struct OnHand {
    flow: Flow,
    bytes: usize,
}

impl Drop for OnHand {
    fn drop(&mut self) {
        self.flow.incoming().shrink(self.bytes);
    }
}

/// Holds the waker of the polling task.
#[derive(Default)]
pub(crate) struct Bell(RefCell<Option<Waker>>);

impl Bell {
    /// The next ring wakes this task.
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
