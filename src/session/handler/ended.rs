//! How a handler ended.

use actix::Message;

use crate::store::operation::Holder;
use crate::wire::{Envelope, MessageType};

/// A handler has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerEnded {
    pub(crate) cmid: String,
    pub(crate) kind: MessageType,
    pub(crate) end: End,
}

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Committed: this is the answer.
    Answered {
        answer: Box<Envelope>,
        /// It does not wait for company.
        at_once: bool,
    },
    /// The message was in the inbox already: the answer given then, `None` for a plain ACK.
    Duplicate(Option<String>),
    /// There is no correlation left that a reply could settle: acknowledged as a duplicate, nothing kept.
    NothingToSettle,
    /// Nothing was kept; the client tries again.
    Retry(Option<String>),
    /// Whether it was kept is not known; the client tries again, and the inbox will tell.
    Unknown,
    /// Another registration than this one holds the session; nothing was kept.
    FencedOff(Holder),
}
