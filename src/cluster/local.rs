//! The transport between nodes of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Sender, bounded};

use super::{ClusterCounters, Deliver, Done, Faults, Notice, Transport};
use crate::logging;

/// Notices waiting for one node; more are dropped, and the sweep finds what they announced.
const QUEUE: usize = 10_000;

pub(super) struct LocalTransport {
    nodes: Mutex<HashMap<String, Sender<Notice>>>,
    faults: Faults,
}

impl LocalTransport {
    pub(super) fn new(faults: Faults) -> LocalTransport {
        LocalTransport {
            nodes: Mutex::default(),
            faults,
        }
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<String, Sender<Notice>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, node: &Sender<Notice>, notice: &Notice) {
        if self.faults.drop > 0.0 && rand::random_bool(self.faults.drop) {
            return;
        }
        let doubled = self.faults.duplicate > 0.0 && rand::random_bool(self.faults.duplicate);
        for _ in 0..1 + usize::from(doubled) {
            if node.try_send(notice.clone()).is_err() {
                logging::debug!(
                    "a notice was dropped: the node's queue is full, or the node has left"
                );
            }
        }
    }
}

impl Transport for LocalTransport {
    fn join(&self, node: &str, deliver: Deliver, _: Arc<ClusterCounters>) {
        let (sender, receiver) = bounded::<Notice>(QUEUE);
        let delay = self.faults.delay;
        let pump = move || {
            for notice in receiver {
                std::thread::sleep(delay);
                deliver(notice);
            }
        };
        match std::thread::Builder::new()
            .name("matssocket-notices".into())
            .spawn(pump)
        {
            Ok(_) => drop(self.nodes().insert(node.to_owned(), sender)),
            Err(error) => logging::error!(
                "cannot start a thread for notices to {node}; only the sweep finds news: {error}"
            ),
        }
    }

    fn leave(&self, node: &str, _: Done) {
        self.nodes().remove(node);
    }

    fn tell(&self, _: &str, node: &str, notice: Notice) {
        if let Some(node) = self.nodes().get(node) {
            self.put(node, &notice);
        }
    }

    fn tell_others(&self, teller: &str, notice: Notice) {
        for (_, other) in self.nodes().iter().filter(|(name, _)| *name != teller) {
            self.put(other, &notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn join(transport: &LocalTransport, node: &str) -> crossbeam_channel::Receiver<Notice> {
        let (sender, receiver) = bounded(100);
        transport.join(
            node,
            Box::new(move |notice| sender.send(notice).expect("the test listens")),
            Arc::default(),
        );
        receiver
    }

    #[test]
    fn tells_one_or_all_others() {
        let transport = LocalTransport::new(Faults::default());
        let (a, b) = (join(&transport, "a"), join(&transport, "b"));
        transport.tell_others("a", Notice::Published);
        transport.tell("a", "b", Notice::Stored(vec![]));
        transport.tell("a", "nobody", Notice::Published);
        assert_eq!(b.recv(), Ok(Notice::Published));
        assert_eq!(b.recv(), Ok(Notice::Stored(vec![])));
        transport.leave("b", oneshot::channel().0);
        transport.tell_others("b", Notice::Published);
        assert_eq!(a.recv(), Ok(Notice::Published));
        assert!(b.recv().is_err(), "who has left is told nothing more");
    }

    #[test]
    fn a_faulty_transport_drops_and_doubles() {
        let dropping = LocalTransport::new(Faults::default().drop(1.0));
        let doubling = LocalTransport::new(Faults::default().duplicate(1.0));
        let (a, b) = (join(&dropping, "a"), join(&doubling, "b"));
        dropping.tell("a", "a", Notice::Published);
        doubling.tell("b", "b", Notice::Published);
        assert_eq!(
            [b.recv(), b.recv()],
            [Ok(Notice::Published), Ok(Notice::Published)]
        );
        dropping.leave("a", oneshot::channel().0);
        assert!(a.recv().is_err(), "nothing came through");
    }
}
