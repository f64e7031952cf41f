//! Obtains an authorization when one is needed: before connecting, while connected, and when the server has refused the
//! last one.

use std::time::SystemTime;

use tokio::time::Instant;

use super::Client;
use super::authorization::{AlreadyExpired, Authorization, AuthorizationNeed};
use super::core::{Command, Core};
use super::error::SessionClosed;
use super::event::ConnectionEvent;
use super::shared::Shared;
use matssocket_wire::shown;

/// Why there is no authorization to connect with.
#[derive(Debug)]
pub(super) enum Unauthorized {
    /// The value has expired, and there is no callback that could provide another.
    Expired,
    /// The callback provided no valid one.
    Failed(String),
    /// The callback provided the value that the server has refused: the session ends like this.
    RefusedAgain(SessionClosed),
}

impl Unauthorized {
    /// The text for the event.
    pub(super) fn text(&self) -> String {
        match self {
            Unauthorized::Expired => {
                "the authorization value has expired, and there is no callback to ask for another"
                    .to_owned()
            }
            Unauthorized::Failed(error) => format!("no authorization: {error}"),
            Unauthorized::RefusedAgain(closed) => closed.to_string(),
        }
    }
}

/// Makes sure that there is a value to connect with, if the client uses any.
pub(super) async fn authorize(shared: &Shared) -> Result<(), Unauthorized> {
    let Some(callback) = &shared.config.callback else {
        return match shared.core().auth.is_expired() {
            true => Err(Unauthorized::Expired),
            false => Ok(()),
        };
    };
    let Some(need) = shared.core().auth.need(Instant::now()) else {
        return Ok(());
    };
    let authorization = callback(need)
        .await
        .map_err(|error| Unauthorized::Failed(error.to_string()))?;
    let mut core = shared.core();
    if let Some(closed) = core.auth.refused_again(&authorization) {
        return Err(Unauthorized::RefusedAgain(closed));
    }
    core.take_authorization(authorization)
        .map_err(Unauthorized::Failed)
}

impl Core {
    /// Accepts the callback's result. A value that has already expired is a failure like any other.
    pub(super) fn take_authorization(
        &mut self,
        authorization: Authorization,
    ) -> Result<(), String> {
        let set = self.auth.set(authorization, Instant::now());
        set.map_err(|error| format!("the callback's answer is no good: {error}"))
    }

    /// The callback has answered while connected.
    pub(super) fn authorized(&mut self, result: Result<Authorization, String>) {
        let taken = result.and_then(|authorization| self.take_authorization(authorization));
        if let Err(error) = taken {
            let error = self.auth.hide(&error);
            log::warn!("no authorization, asking again: {}", shown(&error));
            self.auth.failed(Instant::now());
        }
    }

    /// Whether messages should wait for a new authorization, and why to call the callback now, if at all.
    pub(super) fn wants_authorization(&self, now: Instant) -> (bool, Option<AuthorizationNeed>) {
        if self.config.callback.is_none() || !self.may_send {
            return (false, None);
        }
        let need = match self.auth.need(now) {
            // Requested only when there is something to send.
            Some(AuthorizationNeed::Expired) if !self.outbox.has_queued() => None,
            need => need,
        };
        let hold = need == Some(AuthorizationNeed::Expired);
        (hold, need.filter(|_| self.auth.pause(now).is_none()))
    }

    /// Records a REAUTH for which there is no callback. True once per REAUTH.
    pub(super) fn take_unanswerable_reauth(&mut self) -> bool {
        self.config.callback.is_none() && self.auth.take_requested()
    }

    /// HELLO was refused. Returns whether to retry with a new authorization.
    pub(super) fn tries_again(&mut self, closed: &SessionClosed) -> bool {
        self.config.callback.is_some() && self.auth.refused(closed.clone())
    }
}

impl Client {
    /// Sets a new authorization; the server gets it at once, or when the client next connects.
    ///
    /// An expired one is never sent: it does not replace one that is still valid, and without an
    /// [`authorization`](super::ClientBuilder::authorization) callback the client emits
    /// [`ConnectionEvent::AuthorizationWanted`].
    pub fn set_authorization(&self, value: impl Into<String>, expires: Option<SystemTime>) {
        let authorization = Authorization {
            value: value.into(),
            expires,
        };
        let shared = self.shared();
        let wanted = shared.core().replace_authorization(authorization);
        if wanted {
            shared.event(ConnectionEvent::AuthorizationWanted);
        }
        shared.wake.notify_one();
    }
}

impl Core {
    /// Accepts what the application sets. True if the application should be notified that another one is needed.
    fn replace_authorization(&mut self, authorization: Authorization) -> bool {
        let was_expired = self.auth.is_expired();
        let asks_nobody = self.config.callback.is_none();
        match self.auth.set(authorization, Instant::now()) {
            Ok(()) => {
                if was_expired && asks_nobody {
                    // Connecting failed for lack of it, and need not back off any longer.
                    self.commands.push_back(Command::Reconnect);
                }
                false
            }
            Err(AlreadyExpired) => {
                log::warn!("an authorization value was set that has already expired");
                asks_nobody
            }
        }
    }
}
