//! The authentication plugin: what the application supplies to say who a client is.

use std::any::Any;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;

use crate::wire::DebugOptions;

/// Who a client is.
#[derive(Clone)]
pub struct Principal {
    /// The user id: a session belongs to one user for its whole life.
    pub user_id: String,
    /// Debug options this user may ask for.
    pub debug_options: DebugOptions,
    /// Whatever the application wants to find again in its handlers.
    pub data: Arc<dyn Any + Send + Sync>,
}

impl Principal {
    /// A user without application data and without debug options.
    pub fn user(user_id: impl Into<String>) -> Principal {
        Principal {
            user_id: user_id.into(),
            debug_options: DebugOptions::default(),
            data: Arc::new(()),
        }
    }

    /// With data that handlers find again by its type.
    pub fn with_data(mut self, data: impl Any + Send + Sync) -> Principal {
        self.data = Arc::new(data);
        self
    }

    /// With debug options that this user may ask for.
    pub fn with_debug_options(mut self, options: DebugOptions) -> Principal {
        self.debug_options = options;
        self
    }
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

/// What an authenticator says of an authorization value.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Authenticated (anew).
    Authenticated(Principal),
    /// Still who it was.
    StillValid,
    /// Not valid; the reason is told to the client.
    Invalid(String),
}

/// The authenticator itself failed (its database is away, say): the client is sent away with its session kept.
#[derive(Debug, thiserror::Error)]
#[error("authentication is not possible now: {0}")]
pub struct AuthError(pub String);

/// The HTTP upgrade was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Headers that a handshake adds to its response.
#[derive(Debug, Default)]
pub struct ResponseHeaders(pub(crate) Vec<(HeaderName, HeaderValue)>);

impl ResponseHeaders {
    /// Adds a header to the upgrade's response, for example to clear a cookie.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }
}

/// The application's authentication: one per server, shared by all threads.
#[async_trait(?Send)]
pub trait Authentication: Send + Sync + 'static {
    /// Whether a page of this origin may connect. Not asked when the request has no `Origin` header, or an opaque one
    /// (`null`), nor when [`allowed_origins`](crate::ServerBuilder::allowed_origins) decides.
    /// The default allows the same host (and port) as the request was made to.
    fn check_origin(&self, origin: &str, request: &HttpRequest) -> bool {
        same_host(origin, request)
    }

    /// Looks at the upgrade request and makes the connection's authenticator. An `Err` refuses the upgrade with 403;
    /// its text goes to the log, not to the client.
    ///
    /// It has [`authentication_timeout`](crate::Config::authentication_timeout) to answer, after which the upgrade is
    /// refused with 503. It is cancelled then, and when the client leaves meanwhile: it is dropped at an `await`.
    async fn handshake(
        &self,
        request: &HttpRequest,
        response: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused>;
}

/// One connection's authenticator. Every step may take its time, up to
/// [`Config::authentication_timeout`](crate::Config::authentication_timeout). An `Err` is not a refusal but a failure:
/// the connection is closed with 1012, the session kept.
///
/// A value that a client *offers* is judged by [`authenticate`](Self::authenticate) or
/// [`reauthenticate`](Self::reauthenticate). Only when one of them has accepted it do handlers and the other steps see
/// it; a value that was refused is never seen again, and the one accepted before stays. While a refusal stands, nothing
/// goes in or out until another value is accepted.
#[async_trait(?Send)]
pub trait Authenticator: 'static {
    /// The connection's first authorization value.
    async fn authenticate(&self, offered: &str) -> Result<Verdict, AuthError>;

    /// Another value, offered later on the same connection: `accepted` is the last one that was accepted, unless it has
    /// been [revoked](crate::MatsSocketServer::revoke). [`Verdict::StillValid`] accepts the new value for the current
    /// principal. The default [authenticates](Self::authenticate) it like a first one.
    async fn reauthenticate(
        &self,
        offered: &str,
        accepted: Option<&str>,
        current: &Principal,
    ) -> Result<Verdict, AuthError> {
        let _ = (accepted, current);
        self.authenticate(offered).await
    }

    /// Asked before messages are handled, with the accepted value and the current principal: whether it has expired,
    /// say. The default says that it is still valid.
    async fn reevaluate(&self, accepted: &str, current: &Principal) -> Result<Verdict, AuthError> {
        let _ = (accepted, current);
        Ok(Verdict::StillValid)
    }

    /// Asked before messages and publications are delivered to the client, with the accepted value and the time (ms since
    /// the epoch) at which it was last found valid. For publications the answer holds for
    /// [`Config::outgoing_check_interval`](crate::Config::outgoing_check_interval). The default asks
    /// [`reevaluate`](Self::reevaluate).
    async fn reevaluate_outgoing(
        &self,
        accepted: &str,
        current: &Principal,
        last_valid: i64,
    ) -> Result<Verdict, AuthError> {
        let _ = last_valid;
        self.reevaluate(accepted, current).await
    }

    /// Whether this user may subscribe to a topic. Asked again when a new value is accepted, and at an interval
    /// ([`Config::topic_check_interval`](crate::Config::topic_check_interval)): a right that was withdrawn ends the
    /// subscription. The default says yes.
    async fn authorize_topic(&self, topic: &str, current: &Principal) -> Result<bool, AuthError> {
        let _ = (topic, current);
        Ok(true)
    }
}

/// Whether an `Origin` header (`https://shop.example`) names the host that the request was made to, as browsers compare
/// them: letter case and default ports make no difference.
///
/// The scheme must be the request's, too, if that is known, which it is on a TLS socket of this server and behind
/// [trusted proxies](crate::ServerBuilder::trusted_proxies) that send `X-Forwarded-Proto`. Other proxies' headers are
/// not believed: what they name as the host is the `Host` that they send.
pub fn same_host(origin: &str, request: &HttpRequest) -> bool {
    crate::request::same_host(origin, request)
}

/// An authentication out of one async function from authorization value to [`Verdict`]: for applications whose
/// handshake needs no look.
///
/// ```
/// use matssocket::{auth_fn, Principal, Verdict};
/// let authentication = auth_fn(|value: String| async move {
///     Ok(match value.strip_prefix("Token:") {
///         Some(user) => Verdict::Authenticated(Principal::user(user)),
///         None => Verdict::Invalid("expected Token:<user>".into()),
///     })
/// });
/// # let _ = authentication;
/// ```
pub fn auth_fn<F, Fut>(authenticate: F) -> impl Authentication
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, AuthError>> + 'static,
{
    AuthFn(Arc::new(authenticate))
}

struct AuthFn<F>(Arc<F>);

#[async_trait(?Send)]
impl<F, Fut> Authentication for AuthFn<F>
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, AuthError>> + 'static,
{
    async fn handshake(
        &self,
        _request: &HttpRequest,
        _response: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        Ok(Box::new(AuthFn(self.0.clone())))
    }
}

#[async_trait(?Send)]
impl<F, Fut> Authenticator for AuthFn<F>
where
    F: Fn(String) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Verdict, AuthError>> + 'static,
{
    async fn authenticate(&self, authorization: &str) -> Result<Verdict, AuthError> {
        (self.0)(authorization.to_owned()).await
    }
}
