//! Authorization values and where they come from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// An authorization value and how long it is good.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    pub(super) value: String,
    pub(super) expires: Option<SystemTime>,
}

impl Authorization {
    /// A value that does not expire, as far as this client knows.
    pub fn new(value: impl Into<String>) -> Authorization {
        Authorization {
            value: value.into(),
            expires: None,
        }
    }

    /// A value that is good until then.
    pub fn expiring(value: impl Into<String>, expires: SystemTime) -> Authorization {
        Authorization {
            value: value.into(),
            expires: Some(expires),
        }
    }

    /// Whether it is expired in a moment: it must still be good when the server looks at it.
    pub(super) fn is_stale(&self, room: Duration) -> bool {
        self.expires
            .is_some_and(|expires| expires < SystemTime::now() + room)
    }
}

/// Hides the value.
impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("value", &"<hidden>")
            .field("expires", &self.expires)
            .finish()
    }
}

/// Why an authorization is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationNeed {
    /// There is none yet.
    First,
    /// The last one expires.
    Expired,
    /// The server wants a fresh one (REAUTH).
    Requested,
}

/// An error of the application's authorization callback.
pub type AuthorizationError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type AuthorizationCallback = Arc<
    dyn Fn(AuthorizationNeed) -> BoxFuture<'static, Result<Authorization, AuthorizationError>>
        + Send
        + Sync,
>;

/// Where the authorization of a client stands.
#[derive(Default)]
pub(super) struct AuthState {
    current: Option<Authorization>,
    given: Option<Instant>,
    /// It is newer than what the server has.
    unsent: bool,
    /// REAUTH came and is not answered yet.
    requested: bool,
    /// Nothing is asked for before this, so that a value which never pleases makes no storm.
    not_before: Option<Instant>,
}

impl AuthState {
    /// A value must be good for so long yet, to be worth sending.
    const ROOM: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_secs(1);

    pub(super) fn new(current: Option<Authorization>) -> AuthState {
        AuthState {
            current,
            ..AuthState::default()
        }
    }

    pub(super) fn value(&self) -> Option<String> {
        self.current.as_ref().map(|current| current.value.clone())
    }

    pub(super) fn set(&mut self, authorization: Authorization, now: Instant) {
        self.current = Some(authorization);
        self.given = Some(now);
        self.unsent = true;
        if std::mem::take(&mut self.requested) {
            self.not_before = Some(now + Self::PAUSE);
        }
    }

    /// The callback failed: ask again later.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + Self::PAUSE);
    }

    /// The server wants a fresh value.
    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    pub(super) fn take_requested(&mut self) -> bool {
        std::mem::take(&mut self.requested)
    }

    pub(super) fn sent_with_hello(&mut self) {
        (self.unsent, self.requested) = (false, false);
    }

    pub(super) fn is_unsent(&self) -> bool {
        self.unsent
    }

    pub(super) fn take_unsent(&mut self) -> bool {
        std::mem::take(&mut self.unsent)
    }

    /// Until when nothing is to be asked for, if that lies ahead.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|then| *then > now)
    }

    /// What a new value is needed for, whether or not it may be asked for already.
    pub(super) fn need(&self, now: Instant) -> Option<AuthorizationNeed> {
        let Some(current) = &self.current else {
            return Some(AuthorizationNeed::First);
        };
        if self.requested {
            return Some(AuthorizationNeed::Requested);
        }
        // A value that was given a moment ago is used, however short it lasts.
        let given_now = self.given.is_some_and(|given| now < given + Self::PAUSE);
        (!given_now && current.is_stale(Self::ROOM)).then_some(AuthorizationNeed::Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_needed_first_when_expired_and_when_requested() {
        let now = Instant::now();
        let mut auth = AuthState::default();
        assert_eq!(auth.need(now), Some(AuthorizationNeed::First));
        auth.set(Authorization::expiring("a", SystemTime::now()), now);
        assert_eq!(auth.need(now), None, "given a moment ago");
        let later = now + Duration::from_secs(2);
        assert_eq!(auth.need(later), Some(AuthorizationNeed::Expired));
        auth.set(Authorization::new("b"), later);
        assert_eq!((auth.need(later), auth.pause(later)), (None, None));
        auth.request();
        assert_eq!(auth.need(later), Some(AuthorizationNeed::Requested));
        auth.set(Authorization::new("c"), later);
        assert!(
            auth.pause(later).is_some(),
            "an answered REAUTH is not answered again at once"
        );
    }

    #[test]
    fn debug_hides_the_value() {
        assert!(!format!("{:?}", Authorization::new("secret")).contains("secret"));
    }
}
