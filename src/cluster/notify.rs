//! The cluster-notify actor: coalesces notices per target node, and passes incoming ones on.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, Message};

use tokio::sync::oneshot;

use super::{ClusterCounters, Done, Notice, Transport};
use crate::mailbox::{Mailbox, metered};
use crate::store::operation::SessionKey;

/// An incoming notice, for the registry.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromCluster(pub(crate) Notice);

/// Notifies other nodes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Tell {
    /// A message was stored for this session, which that node holds. Coalesced.
    Stored { node: String, session: SessionKey },
    /// Anything else for one node.
    One { node: String, notice: Notice },
    /// For every other node.
    Others(Notice),
    /// This node has this name from now on; the old name gets no more notices.
    Join { node: String },
    /// This node leaves.
    Leave(Done),
}

/// The actor.
pub(crate) struct ClusterNotify {
    transport: Arc<dyn Transport>,
    node: String,
    registry: Mailbox<FromCluster>,
    stored: HashMap<String, Vec<SessionKey>>,
    flushing: bool,
    counters: Arc<ClusterCounters>,
}

impl ClusterNotify {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        registry: Mailbox<FromCluster>,
        counters: Arc<ClusterCounters>,
    ) -> ClusterNotify {
        ClusterNotify {
            transport,
            node: String::new(),
            registry,
            stored: HashMap::new(),
            flushing: false,
            counters,
        }
    }

    fn leave(&self, done: Done) {
        self.transport.leave(&self.node, done);
    }

    fn flush(&mut self) {
        self.flushing = false;
        for (node, mut sessions) in self.stored.drain() {
            sessions.sort_unstable();
            sessions.dedup();
            self.transport
                .tell(&self.node, &node, Notice::Stored(sessions));
        }
    }
}

impl Actor for ClusterNotify {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.leave(oneshot::channel().0);
    }
}

/// Sent to itself, after everything already in the mailbox, so that all of it is sent together.
#[derive(Message)]
#[rtype(result = "()")]
struct Flush;

impl Handler<Flush> for ClusterNotify {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Self::Context) {
        self.flush();
    }
}

impl Handler<Tell> for ClusterNotify {
    type Result = ();

    fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) {
        match tell {
            Tell::Stored { node, session } => {
                self.stored.entry(node).or_default().push(session);
                if !self.flushing {
                    self.flushing = true;
                    ctx.notify(Flush);
                }
            }
            Tell::One { node, notice } => self.transport.tell(&self.node, &node, notice),
            Tell::Others(notice) => self.transport.tell_others(&self.node, notice),
            Tell::Join { node } => {
                self.leave(oneshot::channel().0);
                let registry = self.registry.clone();
                self.transport.join(
                    &node,
                    Box::new(move |notice| registry.tell(FromCluster(notice))),
                    self.counters.clone(),
                );
                self.node = node;
            }
            Tell::Leave(done) => {
                self.flush();
                self.leave(done);
            }
        }
    }
}

metered!(ClusterNotify: Tell);
