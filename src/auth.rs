//! The authentication plugin: supplied by the application to identify its clients.

mod client;
mod token;

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;

pub use client::ClientInfo;
pub use token::token_auth;

use crate::wire::DebugOptions;

/// Who a client is.
#[derive(Clone)]
#[non_exhaustive]
pub struct Principal {
    /// The user id: a session belongs to one user for its whole life.
    pub user_id: String,
    /// Debug options this user may ask for.
    pub debug_options: DebugOptions,
    /// Application data, available to handlers.
    pub data: Arc<dyn Any + Send + Sync>,
    /// When the authorization expires: see [`expires_at`](Self::expires_at). `None`: not by itself.
    pub expires: Option<SystemTime>,
}

impl Principal {
    /// A user without application data and without debug options.
    pub fn user(user_id: impl Into<String>) -> Principal {
        Principal {
            user_id: user_id.into(),
            debug_options: DebugOptions::default(),
            data: Arc::new(()),
            expires: None,
        }
    }

    /// Attaches data that handlers retrieve by its type.
    #[must_use]
    pub fn with_data(mut self, data: impl Any + Send + Sync) -> Principal {
        self.data = Arc::new(data);
        self
    }

    /// The authorization ends at this time, by the server's clock. From then on the value counts as invalid, whatever
    /// [`reevaluate`](Authenticator::reevaluate) answers: the client is asked for another one, and until one is accepted,
    /// no messages are handled or delivered.
    ///
    /// A later value extends it only if the answer about that is [`Verdict::Authenticated`], with a new time.
    #[must_use]
    pub fn expires_at(mut self, time: SystemTime) -> Principal {
        self.expires = Some(time);
        self
    }

    /// Sets the debug options that this user may ask for.
    #[must_use]
    pub fn with_debug_options(mut self, options: DebugOptions) -> Principal {
        self.debug_options = options;
        self
    }
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal")
            .field("user_id", &self.user_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// An authenticator's answer about an authorization value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// Valid: the client is this principal.
    Authenticated(Principal),
    /// Still valid, for the current principal.
    StillValid,
    /// Not valid. The reason is sent to the client.
    Invalid(String),
}

/// The authenticator itself failed, for example because its database is unavailable: the connection is closed with 1012
/// and the session is kept, so the client tries again.
///
/// ```
/// # use matssocket::AuthError;
/// fn cache_size(setting: &str) -> Result<usize, AuthError> {
///     setting.parse().map_err(AuthError::new)
/// }
/// # assert!(cache_size("x").is_err());
/// let timeout = AuthError::new("the directory did not answer in time");
/// # drop(timeout);
/// ```
#[derive(Debug, thiserror::Error)]
#[error("authentication is not possible now: {0}")]
pub struct AuthError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl AuthError {
    /// A failure with this error or text as its cause, which is logged but not sent to the client.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AuthError {
        AuthError(cause.into())
    }
}

/// The HTTP upgrade was refused: the client gets 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// A refusal with this reason, which is logged but not sent to the client.
    pub fn new(reason: impl Into<String>) -> Refused {
        Refused(reason.into())
    }
}

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
    /// Whether a page from this origin may connect. It is not called when the request has no `Origin` header, or an
    /// opaque one (`null`), nor when [`allowed_origins`](crate::ServerBuilder::allowed_origins) decides. The default
    /// allows the host (and port) that the request was made to.
    fn check_origin(&self, origin: &str, request: &HttpRequest) -> bool {
        same_host(origin, request)
    }

    /// Looks at the upgrade request and makes the connection's authenticator. An `Err` refuses the upgrade with 403;
    /// its text is logged but not sent to the client.
    ///
    /// After [`authentication_timeout`](crate::Config::authentication_timeout) the upgrade is refused with 503. The
    /// future is then dropped, as it is when the client disconnects.
    async fn handshake(
        &self,
        request: &HttpRequest,
        response: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused>;
}

/// One connection's authenticator. Each call may take up to
/// [`Config::authentication_timeout`](crate::Config::authentication_timeout). An `Err` is a failure, not a refusal: the
/// connection is closed with 1012 and the session is kept.
///
/// A value that a client *offers* is judged by [`authenticate`](Self::authenticate) or
/// [`reauthenticate`](Self::reauthenticate). Handlers and the other methods see it only once one of these has accepted
/// it. A refused value is discarded and the previously accepted one is kept, but no messages are handled or delivered
/// until another value is accepted.
#[async_trait(?Send)]
pub trait Authenticator: 'static {
    /// The connection has its session, new or resumed, and WELCOME is about to be sent: called once per connection,
    /// after its first value was accepted. It must not block. The default does nothing.
    fn connected(&self, session_id: &str, client: &ClientInfo, current: &Principal) {
        let _ = (session_id, client, current);
    }

    /// The connection's first authorization value.
    async fn authenticate(&self, offered: &str) -> Result<Verdict, AuthError>;

    /// Another value, offered later on the same connection: `accepted` is the last one that was accepted, unless it has
    /// been [revoked](crate::MatsSocketServer::revoke). [`Verdict::StillValid`] accepts the new value for the current
    /// principal. The default treats it like a first value, by calling [`authenticate`](Self::authenticate).
    async fn reauthenticate(
        &self,
        offered: &str,
        accepted: Option<&str>,
        current: &Principal,
    ) -> Result<Verdict, AuthError> {
        let _ = (accepted, current);
        self.authenticate(offered).await
    }

    /// Called before messages are handled, with the accepted value and the current principal, for example to see
    /// whether the value has expired. The default answers that it is still valid.
    async fn reevaluate(&self, accepted: &str, current: &Principal) -> Result<Verdict, AuthError> {
        let _ = (accepted, current);
        Ok(Verdict::StillValid)
    }

    /// Called before messages and publications are delivered to the client, with the accepted value and the time at
    /// which it was last found valid. For publications, the answer is cached for
    /// [`Config::outgoing_check_interval`](crate::Config::outgoing_check_interval). The default calls
    /// [`reevaluate`](Self::reevaluate).
    async fn reevaluate_outgoing(
        &self,
        accepted: &str,
        current: &Principal,
        last_valid: SystemTime,
    ) -> Result<Verdict, AuthError> {
        let _ = last_valid;
        self.reevaluate(accepted, current).await
    }

    /// Whether this user may subscribe to a topic. It is called again when a new value is accepted, and every
    /// [`Config::topic_check_interval`](crate::Config::topic_check_interval): once the answer is no, the subscription
    /// ends. The default allows it.
    async fn authorize_topic(&self, topic: &str, current: &Principal) -> Result<bool, AuthError> {
        let _ = (topic, current);
        Ok(true)
    }
}

/// Whether an `Origin` header (`https://shop.example`) names the host that the request was made to, as browsers compare
/// them: letter case and default ports make no difference.
///
/// The scheme must match the request's as well, if that is known: on a TLS socket of this server, and behind [trusted
/// proxies](crate::ServerBuilder::trusted_proxies) that send `X-Forwarded-Proto`. Other proxies' headers are ignored,
/// except for the `Host` that they send.
pub fn same_host(origin: &str, request: &HttpRequest) -> bool {
    crate::request::same_host(origin, request)
}

/// An authentication made of one async function from authorization value to [`Verdict`], for applications that need not
/// look at the upgrade request.
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
