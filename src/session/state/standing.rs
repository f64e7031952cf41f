//! Whether this registration still holds the session: what other nodes claim, and what the store says.

use super::{Action, Keep, State};
use crate::store::StoreError;
use crate::store::operation::Standing;
use crate::wire::{Close, CloseCode};

/// What another node claims about this session, while the store is asked.
#[derive(Default)]
pub(super) struct Rumour {
    /// It is closed, for this reason.
    closed: Option<String>,
    asking: bool,
    /// The claim was repeated after the store was asked.
    ask_again: bool,
}

impl State {
    /// Another node's claim that the session is closed (for this reason), taken over, or to be closed. Anyone who can
    /// reach the database could have sent it, so the store is asked.
    pub(super) fn heard(&mut self, closed: Option<String>) {
        let rumour = self.rumour.get_or_insert_default();
        rumour.closed = closed.or(rumour.closed.take());
        rumour.ask_again = rumour.asking;
        self.ask_standing();
    }

    /// Asks the store about a rumour, once the session is known to it.
    pub(super) fn ask_standing(&mut self) {
        let known = self.identity.is_some();
        if let Some(rumour) = &mut self.rumour
            && known
            && !std::mem::replace(&mut rumour.asking, true)
        {
            self.actions.push(Action::AskStanding);
        }
    }

    /// The session's standing according to the store.
    pub(super) fn stands(&mut self, standing: Result<Option<Standing>, StoreError>) {
        let Some(ours) = self.identity().map(|it| it.holder.connection) else {
            return;
        };
        let refused = self.leaving.as_ref();
        let refused = refused.is_some_and(|it| it.close.code == CloseCode::Disconnect);
        let rumour = self.rumour.take();
        match standing {
            Ok(None) => match rumour.and_then(|rumour| rumour.closed) {
                Some(reason) => self.closed(reason),
                None => self.gone(),
            },
            Ok(Some(standing)) if refused || standing.connection > ours => self.taken_over(),
            Ok(Some(standing)) if standing.closes => self.come_back(),
            // If the claim is true, the sweep finds out.
            Ok(Some(_)) | Err(_) => {
                if let Some(rumour) = rumour.filter(|rumour| rumour.ask_again) {
                    self.heard(rumour.closed);
                }
            }
        }
    }

    pub(super) fn closed(&mut self, reason: String) {
        let close = Close::new(CloseCode::CloseSession, reason);
        self.end(Some(close), Keep::Closed);
    }

    /// Someone outside asked to close the session: a client that is connected reconnects, and so keeps it.
    pub(super) fn come_back(&mut self) {
        let why = "someone asked to close the session: reconnect to keep it";
        self.leave(Close::new(CloseCode::Reconnect, why));
    }
}
