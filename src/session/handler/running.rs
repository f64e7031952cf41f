//! The handlers running on this node, by session and client message id.
//!
//! A client that loses its line while its handler runs, and is back on this node before the handler ends, sends the
//! message again: the handler must not run a second time. The new registration adopts the running one instead.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ended::{End, HandlerEnded};
use crate::mailbox::Mailbox;
use crate::store::operation::{Holder, SessionKey};
use crate::wire::MessageType;

/// Every running handler of the node.
#[derive(Default)]
pub(crate) struct RunningHandlers(Mutex<HashMap<(SessionKey, String), Owner>>);

/// On whose behalf a handler's outcome is committed, and who is told.
pub(super) struct Owner {
    pub(super) holder: Holder,
    pub(super) to: Mailbox<HandlerEnded>,
}

/// A handler's entry. Should its task be dropped, its owner is told to have the message sent again.
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
    /// Enters a handler that is about to run. `None`: one for this message runs already, and belongs to this owner now.
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

    /// On whose behalf the outcome is to be committed by now.
    pub(super) fn holder(&self) -> Option<Holder> {
        let running = self.handlers.lock();
        running.get(&self.key).map(|owner| owner.holder)
    }

    /// The handler has ended. Returned is the owner to tell.
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
            // What it has done may be on its way to the store.
            owner.to.tell(HandlerEnded {
                cmid: self.key.1.clone(),
                kind: self.kind,
                end: End::Unknown,
            });
        }
    }
}
