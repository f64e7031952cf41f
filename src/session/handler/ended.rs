//! How a handler ended.

use actix::Message;

use crate::store::operation::Holder;
use crate::trace::Trace;
use crate::wire::{Envelope, MessageType};

/// A handler has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerEnded {
    pub(crate) cmid: String,
    pub(crate) kind: MessageType,
    pub(crate) end: End,
    /// The span of the message.
    pub(crate) trace: Trace,
}

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Committed: this is the answer.
    Answered {
        answer: Box<Envelope>,
        /// It is sent at once, without waiting to be batched.
        at_once: bool,
    },
    /// The message was already in the inbox. This is the answer given then; `None` for a plain ACK.
    Duplicate(Option<String>),
    /// The reply's correlation no longer exists: it is acknowledged as a duplicate, and nothing is kept.
    NothingToSettle,
    /// Nothing was kept; the client retries.
    Retry(Option<String>),
    /// It is not known whether it was kept; the client retries, and the inbox then shows whether it was.
    Unknown,
    /// This registration no longer holds the session; nothing was kept.
    FencedOff(Holder),
}

impl End {
    /// Its name in spans.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            End::Answered { answer, .. } => answer.t.name(),
            End::Duplicate(_) => "duplicate",
            End::NothingToSettle => "nothing to settle",
            End::Retry(_) => "RETRY",
            End::Unknown => "unknown",
            End::FencedOff(_) => "fenced off",
        }
    }
}
