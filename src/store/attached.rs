//! The nodes of an opened store: the last of them closes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::Inner;
use super::actor::Opened;

/// A node's being attached to an opened store.
pub(super) struct Attached {
    opened: Arc<Opened>,
    /// Where it is taken out, so that the next node opens it anew.
    store: Weak<Inner>,
    left: AtomicBool,
}

impl Attached {
    pub(super) fn new(opened: &Arc<Opened>, store: &Arc<Inner>) -> Arc<Attached> {
        opened.attach_node();
        Arc::new(Attached {
            opened: opened.clone(),
            store: Arc::downgrade(store),
            left: AtomicBool::new(false),
        })
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// The node has stopped. False: it had before.
    pub(super) fn leave(&self) -> bool {
        !self.left.swap(true, Ordering::AcqRel)
    }

    /// Comes after the node has left: if it was the last one, closes the database, and waits for that.
    pub(super) fn close_if_last(&self) {
        let store = self.store.upgrade();
        // Until it is closed, for who attaches meanwhile would find the file in use.
        let mut slots = store.as_ref().map(|store| store.slots());
        if !self.opened.detach_node() || !self.opened.outlives_closing() {
            return;
        }
        if let Some(slots) = &mut slots {
            slots.full.take_if(|full| Arc::ptr_eq(full, &self.opened));
        }
        self.opened.close();
    }
}

/// A node whose start failed has no `stop`. Then the store stays open, as for one that comes later.
impl Drop for Attached {
    fn drop(&mut self) {
        if !self.has_left() {
            self.opened.detach_node();
        }
    }
}
