//! What is known about a client's authorization, and what is held until it is valid. Only bookkeeping: [`authorize`]
//! decides.
//!
//! [`authorize`]: super::authorize

use std::collections::VecDeque;

use crate::auth::Principal;
use crate::wire::Envelope;

/// Who the client is, and what waits for it to be authorized.
#[derive(Default)]
pub(super) struct Authorization {
    /// The last value that the authenticator accepted. `None` before the first one, and after it was revoked.
    pub(super) accepted: Option<String>,
    /// A value that the client has sent and the authenticator has not decided on yet.
    pub(super) offered: Option<String>,
    pub(super) principal: Option<Principal>,
    pub(super) validity: Validity,
    /// When the accepted value was last found valid, ms since the epoch.
    pub(super) valid_at: i64,
    /// When it was last checked for the client's messages or for answers, and found valid (monotonic ms).
    pub(super) checked_at: i64,
    /// The authenticator is being asked whether it is still valid, for answers that wait.
    pub(super) asking_for_replies: bool,
    /// How many values were refused, without those already forgotten, and when the last one was (monotonic ms).
    pub(super) refused: u32,
    refused_at: i64,
    /// REAUTH was sent, and no authorization has come since.
    pub(super) reauth_sent: bool,
    /// A revocation overtook the call in progress: its answer does not count, and the authenticator is asked again.
    pub(super) ask_again: bool,
    pub(super) outgoing: Outgoing,
    /// Publications may be sent until this time (monotonic ms) without another check.
    pub(super) open_until: i64,
    /// `None`: nothing is held.
    pub(super) held: Option<Box<Held>>,
}

/// Milliseconds after which one refused value is forgotten.
const FORGET_REFUSED: i64 = 60_000;

/// What is known about the authorization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Validity {
    /// Valid at the last check.
    #[default]
    Good,
    /// The accepted value was found invalid. It is checked again with each pipeline.
    Expired,
    /// Another value was refused, or the accepted one was revoked: only an accepted value changes this.
    Refused,
}

/// Whether something may be delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// The authenticator must be asked before the next round.
    #[default]
    Ask,
    /// The authenticator is being asked.
    Asking,
    /// It is being asked about a value that is no longer the accepted one, and must be asked again afterwards.
    Stale,
    /// The next round may go.
    Granted,
    /// Nothing may be delivered until a valid authorization has arrived.
    Held,
}

/// Messages waiting for authorization.
#[derive(Default)]
pub(super) struct Held {
    pub(super) envelopes: VecDeque<Box<Envelope>>,
    pub(super) bytes: usize,
    pub(super) messages: usize,
    pub(super) subscriptions: usize,
    /// Information-bearing messages that have arrived since, held or not.
    pub(super) received: usize,
}

impl Authorization {
    pub(super) fn nothing_held(&self) -> bool {
        self.held
            .as_ref()
            .is_none_or(|held| held.envelopes.is_empty())
    }

    pub(super) fn held_bytes(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.bytes);
        let values = self.accepted.iter().chain(&self.offered);
        held + values.map(String::len).sum::<usize>()
    }

    /// The client sends a value, which answers REAUTH whether or not it is valid.
    pub(super) fn offer(&mut self, value: String) {
        self.reauth_sent = false;
        if self.accepted.as_ref() == Some(&value) {
            // The value is not new: the authenticator is asked whether the accepted one is still valid.
            self.offered = None;
            if self.validity == Validity::Refused {
                self.validity = Validity::Expired;
            }
        } else {
            self.offered = Some(value);
        }
    }

    /// The value to be authenticated.
    pub(super) fn offered(&self) -> Option<&str> {
        self.offered.as_deref()
    }

    /// Whether it was valid at the last check, and no other value was refused since.
    pub(super) fn is_good(&self) -> bool {
        self.validity == Validity::Good
    }

    /// The value asked about is accepted. True: it differs from the one before.
    pub(super) fn accept(&mut self, now: i64) -> bool {
        self.valid_at = now;
        self.validity = Validity::Good;
        let offered = self.offered.take();
        let is_new = offered.is_some();
        if is_new {
            self.accepted = offered;
            self.outgoing_is_stale();
            // The permission was for another value.
            self.open_until = 0;
        }
        is_new
    }

    /// A check of outgoing messages in progress no longer concerns the accepted value.
    fn outgoing_is_stale(&mut self) {
        self.asking_for_replies = false;
        if self.outgoing == Outgoing::Asking {
            self.outgoing = Outgoing::Stale;
        }
    }

    /// The value asked about is refused.
    pub(super) fn refuse(&mut self, now: i64) {
        self.open_until = 0;
        self.validity = match self.offered.take() {
            Some(_) => {
                let forgotten = now.saturating_sub(self.refused_at) / FORGET_REFUSED;
                let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
                self.refused = self.refused.saturating_sub(forgotten).saturating_add(1);
                self.refused_at = now;
                Validity::Refused
            }
            None => Validity::Expired,
        };
    }

    /// The accepted value is no longer valid.
    pub(super) fn revoke(&mut self, asking: bool) {
        self.accepted = None;
        self.validity = Validity::Refused;
        self.open_until = 0;
        self.outgoing_is_stale();
        if self.outgoing != Outgoing::Stale {
            self.outgoing = Outgoing::Held;
        }
        self.reauth_sent = false;
        self.ask_again = asking;
    }
}
