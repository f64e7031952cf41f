//! Who may administer: the application's guard and its answers.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::call::refused;
use crate::request::only_value;
use crate::wire::shown;

/// What the guard of the dashboard or of the admin API decides about a request: who is asking and what they may do, or
/// how they are refused.
///
/// ```
/// use actix_web::{HttpRequest, HttpResponse};
/// use matssocket::AdminAccess;
///
/// /// The user of this request and whether they are on call, by whatever the application uses for logins.
/// fn login(_: &HttpRequest) -> Option<(String, bool)> {
///     # None
///     // …
/// }
///
/// async fn guard(request: &HttpRequest) -> AdminAccess {
///     match login(request) {
///         Some((name, true)) => AdminAccess::allow(name),
///         Some((name, false)) => AdminAccess::allow(name).read_only(),
///         None => AdminAccess::answer(HttpResponse::Found().insert_header(("location", "/login")).finish()),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct AdminAccess(Decision);

/// What a guard decided.
#[derive(Debug)]
pub(super) enum Decision {
    Allowed(Operator),
    Refused(HttpResponse),
}

/// Who administers.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// For the log; safe to show.
    pub(super) name: String,
    pub(super) read_only: bool,
}

impl AdminAccess {
    /// Lets this operator do everything. The name appears in the log with each change that the operator makes.
    pub fn allow(operator: impl AsRef<str>) -> AdminAccess {
        AdminAccess(Decision::Allowed(Operator {
            name: shown(operator.as_ref()).into_owned(),
            read_only: false,
        }))
    }

    /// Lets an operator who was allowed see everything, and change nothing. A refusal stays one.
    #[must_use]
    pub fn read_only(self) -> AdminAccess {
        AdminAccess(match self.0 {
            Decision::Allowed(operator) => Decision::Allowed(Operator {
                read_only: true,
                ..operator
            }),
            refused => refused,
        })
    }

    /// Refuses with 403.
    pub fn deny() -> AdminAccess {
        AdminAccess(Decision::Refused(
            refused(403, "you may not administer this server").respond(),
        ))
    }

    /// Refuses with an answer of your own, such as a redirection to a login.
    pub fn answer(response: HttpResponse) -> AdminAccess {
        AdminAccess(Decision::Refused(response))
    }

    /// Allows requests with this token, and refuses all others with 401. The token is sent as `Authorization: Bearer
    /// <token>` by programs, and as the password of HTTP's Basic authentication by browsers, which then ask for it; the user
    /// name may be anything, and is how the log names the operator. Use a long random token, such as that of
    /// `openssl rand -hex 32`, and TLS: both ways send the token with each request. An empty token is never right.
    pub fn by_token(request: &HttpRequest, token: &str) -> AdminAccess {
        let given = only_value(request.headers(), AUTHORIZATION).and_then(Given::read);
        match given {
            Some(given) if !token.is_empty() && is_same(&given.token, token) => {
                AdminAccess::allow(given.name)
            }
            _ => {
                let mut response = refused(401, "the token is missing or wrong").respond();
                response.headers_mut().insert(
                    WWW_AUTHENTICATE,
                    actix_web::http::header::HeaderValue::from_static(
                        r#"Basic realm="matssocket", charset="UTF-8""#,
                    ),
                );
                AdminAccess::answer(response)
            }
        }
    }

    /// What the guard decided.
    pub(super) fn decided(self) -> Decision {
        self.0
    }
}

/// A token as given by a request.
struct Given {
    name: String,
    token: String,
}

impl Given {
    /// Reads the value of `Authorization`.
    fn read(value: &str) -> Option<Given> {
        let (scheme, rest) = value.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Given {
                name: "the token's holder".into(),
                token: rest.into(),
            });
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64_STANDARD.decode(rest).ok()?).ok()?;
        let (name, token) = decoded.split_once(':')?;
        Some(Given {
            name: match name {
                "" => "the token's holder".into(),
                name => name.into(),
            },
            token: token.into(),
        })
    }
}

/// Whether two tokens are the same. The time that it takes says nothing about where they differ.
fn is_same(given: &str, token: &str) -> bool {
    let (given, token) = (given.as_bytes(), token.as_bytes());
    let pairs = given.iter().zip(token);
    let differences = pairs.fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
    given.len() == token.len() && differences == 0
}

type Deciding = Pin<Box<dyn Future<Output = AdminAccess>>>;

/// The application's guard.
#[derive(Clone)]
pub(super) struct Guard(Arc<dyn Fn(HttpRequest) -> Deciding + Send + Sync>);

impl Guard {
    pub(super) fn new<G>(guard: G) -> Guard
    where
        G: AsyncFn(&HttpRequest) -> AdminAccess + Send + Sync + 'static,
    {
        let guard = Arc::new(guard);
        Guard(Arc::new(move |request| {
            let guard = guard.clone();
            Box::pin(async move { guard(&request).await })
        }))
    }

    pub(super) async fn ask(&self, request: HttpRequest) -> AdminAccess {
        self.0(request).await
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}
