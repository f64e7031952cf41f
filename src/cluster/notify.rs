//! The cluster-notify actor: coalesces notices per target node, and hands on those that come in.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, Handler, Message};

use super::{Notice, Transport};
use crate::metrics::{Mailbox, metered};
use crate::store::operation::SessionKey;

/// A notice that came in, for the registry.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct FromCluster(pub(crate) Notice);

/// Tells other nodes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Tell {
    /// A message was stored for this session, which that node holds. Coalesced.
    Stored { node: String, session: SessionKey },
    /// Anything else for one node.
    One { node: String, notice: Notice },
    /// For every other node.
    Others(Notice),
    /// This node is called like this from now on; the old name hears nothing more.
    Join { node: String },
    /// This node leaves.
    Leave,
}

/// The actor.
pub(crate) struct ClusterNotify {
    transport: Arc<dyn Transport>,
    node: String,
    registry: Mailbox<FromCluster>,
    stored: HashMap<String, Vec<SessionKey>>,
    flushing: bool,
}

/// Most sessions named in one notice.
const MOST: usize = 500;

impl ClusterNotify {
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        registry: Mailbox<FromCluster>,
    ) -> ClusterNotify {
        ClusterNotify {
            transport,
            node: String::new(),
            registry,
            stored: HashMap::new(),
            flushing: false,
        }
    }

    fn flush(&mut self) {
        self.flushing = false;
        for (node, mut sessions) in self.stored.drain() {
            sessions.sort_unstable();
            sessions.dedup();
            for part in sessions.chunks(MOST) {
                self.transport.tell(&node, Notice::Stored(part.to_vec()));
            }
        }
    }
}

impl Actor for ClusterNotify {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Self::Context) {
        self.transport.leave(&self.node);
    }
}

/// Sent to itself behind what is in the mailbox already, so that all of it goes out as one.
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
            Tell::One { node, notice } => self.transport.tell(&node, notice),
            Tell::Others(notice) => self.transport.tell_others(&self.node, notice),
            Tell::Join { node } => {
                self.transport.leave(&self.node);
                let registry = self.registry.clone();
                self.transport.join(
                    &node,
                    Box::new(move |notice| registry.tell(FromCluster(notice))),
                );
                self.node = node;
            }
            Tell::Leave => {
                self.flush();
                self.transport.leave(&self.node);
            }
        }
    }
}

metered!(ClusterNotify: Tell);
