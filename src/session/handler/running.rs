//! The handlers running on this node, by session and client message id.
//!
//! A client that loses its connection while its handler is running, and reconnects to this node before the handler
//! ends, repeats the message. The handler must not run a second time; the new registration adopts the running one
//! instead.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ended::{End, HandlerEnded};
use crate::mailbox::Mailbox;
use crate::store::operation::{Holder, SessionKey};
use crate::trace::Trace;
use crate::wire::MessageType;

/// All running handlers of the node.
#[derive(Default)]
pub(crate) struct RunningHandlers(Mutex<HashMap<(SessionKey, String), Owner>>);

/// The registration for which a handler's outcome is committed, and the actor that is notified.
pub(super) struct Owner {
    pub(super) holder: Holder,
    pub(super) to: Mailbox<HandlerEnded>,
}

/// A handler's entry. If its task is dropped, the owner is notified, so that the message is sent again.
pub(super) struct Running {
    handlers: Arc<RunningHandlers>,
    key: (SessionKey, String),
    kind: MessageType,
    ended: bool,
}

impl RunningHandlers {
    fn lock(&self) -> MutexGuard<'_, HashMap<(SessionKey, String), Owner>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Registers a handler that is about to run. `None`: one is already running for this message, and now belongs to
    /// this owner.
    pub(super) fn enter(
        handlers: Arc<RunningHandlers>,
        cmid: &str,
        kind: MessageType,
        owner: Owner,
    ) -> Option<Running> {
        let key = (owner.holder.session, cmid.to_owned());
        match handlers.lock().entry(key.clone()) {
            Entry::Occupied(mut running) => {
                if running.get().holder.connection < owner.holder.connection {
                    running.insert(owner);
                }
                return None;
            }
            Entry::Vacant(vacant) => drop(vacant.insert(owner)),
        }
        Some(Running {
            handlers,
            key,
            kind,
            ended: false,
        })
    }

    /// The registration for which the outcome is now to be committed.
    pub(super) fn holder(&self) -> Option<Holder> {
        let running = self.handlers.lock();
        running.get(&self.key).map(|owner| owner.holder)
    }

    /// The handler has ended. Returns the owner to notify.
    pub(super) fn end(mut self) -> Option<Owner> {
        self.ended = true;
        self.handlers.lock().remove(&self.key)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let owner = self.handlers.lock().remove(&self.key);
        if let Some(owner) = owner {
            // Its outcome may already be on its way to the store.
            owner.to.tell(HandlerEnded {
                cmid: self.key.1.clone(),
                kind: self.kind,
                end: End::Unknown,
                trace: Trace::none(),
            });
        }
    }
}
