//! Authorization values and where they come from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::error::SessionClosed;

/// An authorization value and how long it is valid.
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

    /// A value that is valid until then.
    pub fn expiring(value: impl Into<String>, expires: SystemTime) -> Authorization {
        Authorization {
            value: value.into(),
            expires: Some(expires),
        }
    }

    /// Whether it expires within this time: it must still be valid when the server checks it.
    pub(super) fn is_stale(&self, room: Duration) -> bool {
        self.expires
            .is_some_and(|expires| expires <= SystemTime::now() + room)
    }

    /// Whether it has expired. Such a value is never sent.
    pub(super) fn is_expired(&self) -> bool {
        self.is_stale(Duration::ZERO)
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

/// Why an authorization is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizationNeed {
    /// There is none yet.
    First,
    /// The last one has expired, or is about to.
    Expired,
    /// The server requests a new one (REAUTH).
    Requested,
    /// The server refused the last one when the client connected (1008 in answer to HELLO). The client retries once,
    /// with a different value; the same value again ends the session.
    Refused,
}

/// An error of the application's authorization callback.
///
/// The client logs its text, so keep authorization values out of it.
pub type AuthorizationError = Box<dyn std::error::Error + Send + Sync>;

pub(super) type AuthorizationCallback = Arc<
    dyn Fn(AuthorizationNeed) -> BoxFuture<'static, Result<Authorization, AuthorizationError>>
        + Send
        + Sync,
>;

/// A value had already expired when it was set or about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authorization value has already expired")]
pub(super) struct AlreadyExpired;

/// What the server refused when the client connected.
struct Refusal {
    value: Option<String>,
    closed: SessionClosed,
}

/// The state of a client's authorization.
#[derive(Default)]
pub(super) struct AuthState {
    current: Option<Authorization>,
    given: Option<Instant>,
    /// The current value is newer than the one the server has.
    unsent: bool,
    /// REAUTH has arrived and is not answered yet.
    requested: bool,
    /// The callback is not called before this, so that values which are never accepted cause no storm of calls.
    not_before: Option<Instant>,
    /// How often in a row the callback has failed while connected.
    failures: u32,
    /// The value that was last sent to the server.
    sent: Option<String>,
    /// HELLO was refused, and no other value was accepted in this session since.
    refusal: Option<Refusal>,
    /// The current value was refused: a new one is requested before the next HELLO.
    renew: bool,
    /// A refusal has led to a retry since the last WELCOME. The next one ends the session.
    tried_again: bool,
}

impl AuthState {
    /// For how long a value must still be valid to be worth sending.
    const ROOM: Duration = Duration::from_secs(10);
    const PAUSE: Duration = Duration::from_secs(1);
    /// Waits between calls of a callback that fails while connected.
    const FAILED: Backoff = Backoff {
        first: Self::PAUSE,
        longest: Duration::from_secs(30),
    };

    pub(super) fn new(current: Option<Authorization>) -> AuthState {
        AuthState {
            current,
            ..AuthState::default()
        }
    }

    /// Takes a new value.
    ///
    /// An expired value is kept only if there is no better one, to record that another is needed; it is never sent.
    pub(super) fn set(
        &mut self,
        authorization: Authorization,
        now: Instant,
    ) -> Result<(), AlreadyExpired> {
        if authorization.is_expired() {
            if self.current.is_none() || self.is_expired() {
                self.current = Some(authorization);
            }
            return Err(AlreadyExpired);
        }
        self.renew &= self.sent.as_ref() == Some(&authorization.value);
        self.current = Some(authorization);
        self.given = Some(now);
        self.unsent = true;
        self.failures = 0;
        if std::mem::take(&mut self.requested) {
            self.not_before = Some(now + Self::PAUSE);
        }
        Ok(())
    }

    /// The callback failed: it is called again later.
    pub(super) fn failed(&mut self, now: Instant) {
        self.not_before = Some(now + Self::FAILED.jittered(self.failures));
        self.failures = self.failures.saturating_add(1);
    }

    /// The server requests a new value.
    pub(super) fn request(&mut self) {
        self.requested = true;
    }

    pub(super) fn take_requested(&mut self) -> bool {
        std::mem::take(&mut self.requested)
    }

    /// Whether there is a value, but it has expired.
    pub(super) fn is_expired(&self) -> bool {
        self.current.as_ref().is_some_and(Authorization::is_expired)
    }

    fn living_value(&self) -> Result<Option<String>, AlreadyExpired> {
        if self.is_expired() {
            return Err(AlreadyExpired);
        }
        Ok(self.current.as_ref().map(|current| current.value.clone()))
    }

    /// The value to send with HELLO, if there is one.
    pub(super) fn for_hello(&mut self) -> Result<Option<String>, AlreadyExpired> {
        self.sent = self.living_value()?;
        (self.unsent, self.requested, self.renew) = (false, false, false);
        Ok(self.sent.clone())
    }

    /// The value to send as AUTH, unless the server already has it.
    pub(super) fn for_auth(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.unsent) {
            return None;
        }
        match self.living_value() {
            Ok(value) => self.sent = value,
            Err(AlreadyExpired) => {
                // The server is still waiting for one.
                self.requested = true;
                return None;
            }
        }
        self.sent.clone()
    }

    /// HELLO was refused. Returns whether to retry: once until the next WELCOME.
    pub(super) fn refused(&mut self, closed: SessionClosed) -> bool {
        let current = self.current.as_ref().map(|current| &current.value);
        // The application may have set a new value in the meantime.
        self.renew = current == self.sent.as_ref();
        let value = self.sent.clone();
        self.refusal = Some(Refusal { value, closed });
        !std::mem::replace(&mut self.tried_again, true)
    }

    /// How the session ends if this is the value that was refused.
    pub(super) fn refused_again(&self, authorization: &Authorization) -> Option<SessionClosed> {
        let refusal = self.refusal.as_ref()?;
        let same = refusal.value.as_ref() == Some(&authorization.value);
        (self.renew && same).then(|| refusal.closed.clone())
    }

    /// WELCOME has arrived.
    pub(super) fn accepted(&mut self) {
        self.refusal = None;
        (self.renew, self.tried_again) = (false, false);
    }

    /// The session has ended. A value refused for it may be accepted for the next one, but a new value is requested
    /// first.
    pub(super) fn session_ended(&mut self) {
        self.refusal = None;
    }

    /// Until when the callback must not be called, if that is in the future.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|then| *then > now)
    }

    /// Why a new value is needed, if one is, whether or not it may already be requested.
    pub(super) fn need(&self, now: Instant) -> Option<AuthorizationNeed> {
        if self.renew {
            return Some(AuthorizationNeed::Refused);
        }
        let Some(current) = &self.current else {
            return Some(AuthorizationNeed::First);
        };
        if self.requested {
            return Some(AuthorizationNeed::Requested);
        }
        // A value that was just provided is used, however soon it expires.
        let given_now = self.given.is_some_and(|given| now < given + Self::PAUSE);
        let room = if given_now {
            Duration::ZERO
        } else {
            Self::ROOM
        };
        current.is_stale(room).then_some(AuthorizationNeed::Expired)
    }

    const LEAST_HIDDEN: usize = 4;

    /// The text without the authorization values that this client knows: a server, a library or the
    /// application's callback may have quoted one.
    pub(super) fn hide(&self, text: &str) -> String {
        let current = self.current.as_ref().map(|current| &current.value);
        let refused = self
            .refusal
            .as_ref()
            .and_then(|refusal| refusal.value.as_ref());
        let mut known: Vec<&String> = [current, self.sent.as_ref(), refused]
            .into_iter()
            .flatten()
            // Shorter values are no secrets, and occur in many words.
            .filter(|value| value.len() >= Self::LEAST_HIDDEN)
            .collect();
        // Longer ones first, since one may be part of another.
        known.sort_by_key(|value| std::cmp::Reverse(value.len()));
        known.into_iter().fold(text.to_owned(), |text, value| {
            let escaped = value.escape_debug().to_string();
            text.replace(value.as_str(), "<hidden>")
                .replace(&escaped, "<hidden>")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiring(life: Duration) -> Authorization {
        Authorization::expiring("a", SystemTime::now() + life)
    }

    fn refusal() -> SessionClosed {
        SessionClosed {
            code: Some(1008),
            reason: "stale".into(),
        }
    }

    #[test]
    fn a_value_is_needed_first_when_expired_and_when_requested() {
        let now = Instant::now();
        let mut auth = AuthState::default();
        assert_eq!(auth.need(now), Some(AuthorizationNeed::First));
        auth.set(expiring(Duration::from_secs(5)), now).unwrap();
        assert_eq!(auth.need(now), None, "given a moment ago");
        let later = now + Duration::from_secs(2);
        assert_eq!(auth.need(later), Some(AuthorizationNeed::Expired));
        auth.set(Authorization::new("b"), later).unwrap();
        assert_eq!((auth.need(later), auth.pause(later)), (None, None));
        auth.request();
        assert_eq!(auth.need(later), Some(AuthorizationNeed::Requested));
        auth.set(Authorization::new("c"), later).unwrap();
        assert!(
            auth.pause(later).is_some(),
            "an answered REAUTH is not answered again at once"
        );
    }

    #[test]
    fn debug_hides_the_value() {
        assert!(!format!("{:?}", Authorization::new("secret")).contains("secret"));
    }

    #[test]
    fn a_value_whose_life_is_over_is_not_sent() {
        let now = Instant::now();
        let mut auth = AuthState::new(Some(Authorization::new("good")));
        let expired = expiring(Duration::ZERO);
        assert_eq!(auth.set(expired.clone(), now), Err(AlreadyExpired));
        assert_eq!(auth.for_hello(), Ok(Some("good".into())), "it is kept");

        let mut auth = AuthState::default();
        assert_eq!(auth.set(expired, now), Err(AlreadyExpired));
        assert_eq!(auth.for_hello(), Err(AlreadyExpired));
        assert_eq!(auth.for_auth(), None);
        assert_eq!(auth.need(now), Some(AuthorizationNeed::Expired));

        auth.set(expiring(Duration::from_secs(5)), now).unwrap();
        auth.current = Some(expiring(Duration::ZERO));
        assert_eq!(auth.need(now), Some(AuthorizationNeed::Expired));
        assert_eq!(auth.for_auth(), None);
        assert_eq!(auth.need(now), Some(AuthorizationNeed::Requested));
    }

    #[test]
    fn a_refused_value_is_replaced_once_until_welcome() {
        let now = Instant::now();
        let mut auth = AuthState::new(Some(Authorization::new("a")));
        auth.for_hello().unwrap();
        assert!(auth.refused(refusal()));
        assert_eq!(auth.need(now), Some(AuthorizationNeed::Refused));
        let again = auth.refused_again(&Authorization::new("a"));
        assert_eq!(again, Some(refusal()));
        assert_eq!(auth.refused_again(&Authorization::new("b")), None);
        auth.set(Authorization::new("b"), now).unwrap();
        assert_eq!(auth.need(now), None);
        auth.for_hello().unwrap();
        assert!(!auth.refused(refusal()));

        // The application connects again: a new value is requested first, and the same one may be accepted now.
        auth.session_ended();
        assert_eq!(auth.need(now), Some(AuthorizationNeed::Refused));
        assert_eq!(auth.refused_again(&Authorization::new("b")), None);
        auth.set(Authorization::new("c"), now).unwrap();
        auth.for_hello().unwrap();
        assert!(!auth.refused(refusal()));
        auth.accepted();
        assert_eq!(auth.need(now), None);
        assert!(auth.refused(refusal()));
    }

    #[test]
    fn a_value_set_while_hello_was_out_is_tried_without_asking() {
        let now = Instant::now();
        let mut auth = AuthState::new(Some(Authorization::new("a")));
        auth.for_hello().unwrap();
        auth.set(Authorization::new("b"), now).unwrap();
        assert!(auth.refused(refusal()));
        assert_eq!(auth.need(now), None);
    }

    #[test]
    fn known_values_are_hidden_in_foreign_texts() {
        let mut auth = AuthState::new(Some(Authorization::new("se\"cret")));
        auth.for_hello().unwrap();
        auth.set(Authorization::new("se\"cret2"), Instant::now())
            .unwrap();
        let text = r#"not se"cret2, nor "se\"cret", is good"#;
        assert_eq!(auth.hide(text), r#"not <hidden>, nor "<hidden>", is good"#);
        assert_eq!(AuthState::default().hide("text"), "text");
    }
}
