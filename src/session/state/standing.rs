//! Whether the session still is this registration's: what other nodes say of it, and what the store says to that.

use super::{Action, Keep, State};
use crate::store::StoreError;
use crate::store::operation::Standing;
use crate::wire::{Close, CloseCode};

/// What another node says of this session, while the store is asked about it.
#[derive(Default)]
pub(super) struct Rumour {
    /// It is closed, for this reason.
    closed: Option<String>,
    asking: bool,
    /// It came again after the store was asked.
    ask_again: bool,
}

impl State {
    /// Another node's word that the session is closed (with this reason), taken over, or to be closed. Anybody may have
    /// sent it who can reach the database, so the store is asked.
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

    /// Where the session stands, as the store says.
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
            // The sweep finds out, should there be something in it.
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

    /// Somebody wants to close the session from outside: a client that is there comes back, and keeps it.
    pub(super) fn come_back(&mut self) {
        let why = "somebody asked to close the session: come back to keep it";
        self.leave(Close::new(CloseCode::Reconnect, why));
    }
}
