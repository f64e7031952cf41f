//! The nodes attached to an opened store; the last one to leave closes it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::Inner;
use super::opened::Opened;
use crate::logging;

/// One node's attachment to an opened store.
pub(super) struct Attached {
    opened: Arc<Opened>,
    /// The store from whose slots the database is removed, so that the next node opens it again.
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

    /// The node has stopped. False: it had stopped before.
    pub(super) fn leave(&self) -> bool {
        !self.left.swap(true, Ordering::AcqRel)
    }

    /// Called after the node has left. If it was the last one, closes the database and waits for that.
    pub(super) fn close_if_last(&self) {
        close_if_last(&self.opened, &self.store);
    }
}

fn close_if_last(opened: &Arc<Opened>, store: &Weak<Inner>) {
    let store = store.upgrade();
    // Keep the slots locked until the database is closed: a node attaching meanwhile would find the file in use.
    let mut slots = store.as_ref().map(|store| store.slots());
    if !opened.detach_node() || !opened.outlives_closing() {
        return;
    }
    if let Some(slots) = &mut slots {
        slots.full.take_if(|full| Arc::ptr_eq(full, opened));
    }
    opened.close();
}

/// A node whose start failed never calls `stop`. The store then stays open for a later node, unless all other nodes
/// have stopped meanwhile: then it is closed here, because none of them could do so.
impl Drop for Attached {
    fn drop(&mut self) {
        if self.has_left() || self.opened.detach_unstarted() {
            return;
        }
        let (opened, store) = (self.opened.clone(), self.store.clone());
        // Not on this thread, which may be one of the store's own.
        let thread = std::thread::Builder::new().name("matssocket-close".into());
        if let Err(error) = thread.spawn(move || close_if_last(&opened, &store)) {
            self.opened.detach_node();
            logging::warn!("cannot start a thread to close the store; it stays open: {error}");
        }
    }
}
