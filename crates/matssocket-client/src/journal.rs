//! What a client keeps so that it survives the restart of its process.
//!
//! The core decides under its lock, and tells the journal what to keep by [`Write`]s, in the order of the decisions. A
//! thread of the journal's own commits them, everything that waits in one transaction. Without a journal, nothing is kept
//! and nothing waits.
#![cfg_attr(not(feature = "durable"), allow(dead_code))]

#[cfg(feature = "durable")]
mod file;
#[cfg(feature = "durable")]
mod open;
#[cfg(feature = "durable")]
mod thread;

use std::sync::{Weak, mpsc};

use matssocket_wire::{Envelope, MessageType, Payload};
use tokio::sync::oneshot;

#[cfg(feature = "durable")]
pub use self::open::{Journal, JournalError, JournalSync};
use super::shared::Shared;

/// Where the reply to a request goes that outlives its process.
#[derive(Clone, Debug)]
pub(super) struct ReplyTo {
    pub(super) terminator: String,
    pub(super) correlation: Payload,
}

/// A message of ours, as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Its place in the order in which messages go out.
    pub(super) key: u64,
    pub(super) cmid: String,
    /// The envelope, as it is sent.
    pub(super) text: String,
    /// A socket may have carried it.
    pub(super) carried: bool,
    /// The server has taken this request and owes its reply.
    pub(super) taken: bool,
    pub(super) reply_to: Option<ReplyTo>,
}

/// A message of the server's that no handler has finished yet.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// Its place in the order of what was received.
    pub(super) order: u64,
    pub(super) envelope: Envelope,
    /// For a reply: where it goes.
    pub(super) reply_to: Option<ReplyTo>,
}

/// A message that failed, and whose caller was not told.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) key: u64,
    pub(super) envelope: Envelope,
    pub(super) carried: bool,
    pub(super) why: String,
}

/// What a journal is used for.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) app_name: String,
    pub(super) urls: Vec<String>,
}

/// One change of what is kept.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// The application, and the URLs of its servers.
    Bind(Bound),
    /// Keep this message of ours. The trace id, if any, is the last one from now on.
    Out(Box<Kept>, Option<String>),
    /// The server has settled this message.
    DropOut(u64),
    /// The server has taken this request.
    Taken(u64),
    /// The session is established: from now on, each message that is kept may have been carried.
    Session(String),
    /// The session is gone. What is still kept has not been carried by another one.
    EndSession,
    /// The server may send this again; our answer to it.
    Seen(String, MessageType),
    /// The server will not send this again.
    Forget(String),
    /// A handler has to run for this.
    Deliver(Box<Delivery>),
    /// The handler has finished.
    Done(u64),
    /// This message of ours failed, and nobody was told.
    Failed(u64, String),
    /// The application has looked at this failure.
    DropFailed(u64),
}

/// What an earlier process has left.
#[derive(Debug, Default)]
pub(super) struct Saved {
    pub(super) session_id: Option<String>,
    pub(super) outbox: Vec<Kept>,
    pub(super) seen: Vec<(String, MessageType)>,
    pub(super) inbox: Vec<Delivery>,
    pub(super) bound: Option<Bound>,
    /// The highest key ever given.
    pub(super) last_key: u64,
    pub(super) last_trace_id: Option<String>,
}

/// Work for the journal's thread.
pub(super) struct Op {
    pub(super) writes: Vec<Write>,
    pub(super) then: Then,
}

/// What happens once the writes are committed, or cannot be.
pub(super) enum Then {
    /// The core is told about this message of ours.
    Queue(u64),
    /// The caller is told. It tries again itself if it has to.
    Tell(oneshot::Sender<Result<(), String>>),
    /// The caller is given all failures.
    List(oneshot::Sender<Result<Vec<Failed>, String>>),
    #[cfg(test)]
    Fill(bool),
    /// Nothing waits for it. What could not be written is written with whatever can be next.
    Nothing,
}

/// The client's side of the journal.
pub(super) struct Link {
    pub(super) ops: mpsc::Sender<(Op, Weak<Shared>)>,
    /// Who is told what is committed.
    pub(super) shared: Weak<Shared>,
}

impl Link {
    /// Never waits. What may be outstanding is bounded by the limits of outbox and inbox.
    pub(super) fn send(&self, writes: Vec<Write>, then: Then) {
        // If the thread is gone, whoever waits learns it by its channel, and an entry of the outbox stays unsent.
        let _ = self.ops.send((Op { writes, then }, self.shared.clone()));
    }
}
