//! Authorization values of the form `DummyAuth:<userId>:<expires>`, with words in them that make each step fail.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::HttpRequest;
use actix_web::cookie::Cookie;
use actix_web::cookie::time::Duration;
use actix_web::http::header::{HeaderValue, SET_COOKIE};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use matssocket::{
    AuthError, Authentication, Authenticator, DebugOptions, Principal, Refused, ResponseHeaders,
    Verdict,
};

/// The cookie that carries authorization from the pre-connect request to the handshake.
pub const COOKIE: &str = "MatsSocketAuthCookie";

/// The application's data of a principal: the authorization that the handshake's cookie carried.
pub struct CookieAuthorization(pub Option<String>);

/// A cookie that lives for so long; zero clears it.
pub fn cookie(value: String, age: Duration) -> Cookie<'static> {
    Cookie::build(COOKIE, value)
        .path(crate::PATH)
        .http_only(true)
        .max_age(age)
        .finish()
}

/// Whether an origin is on this machine, whatever its port.
pub fn is_local(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// One per node.
pub struct DummyAuthentication;

#[async_trait(?Send)]
impl Authentication for DummyAuthentication {
    fn check_origin(&self, origin: &str, _request: &HttpRequest) -> bool {
        is_local(origin)
    }

    async fn handshake(
        &self,
        request: &HttpRequest,
        response: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        let preconnect = request
            .query_string()
            .split('&')
            .any(|pair| pair == "preconnect=true");
        let mut cookie_value = None;
        if preconnect && let Some(found) = request.cookie(COOKIE) {
            let cleared = cookie(String::new(), Duration::ZERO).to_string();
            response.add(
                SET_COOKIE,
                HeaderValue::from_str(&cleared).map_err(|why| Refused::new(why.to_string()))?,
            );
            let value = STANDARD
                .decode(found.value())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let value = value.ok_or_else(|| {
                Refused::new(format!("the cookie {COOKIE} is not base64 of a text"))
            })?;
            if value.contains(":fail_checkHandshake:") {
                return Err(Refused::new("asked to fail the handshake"));
            }
            cookie_value = Some(value);
        }
        Ok(Box::new(DummyAuthenticator {
            cookie: cookie_value,
            accepted: RefCell::default(),
        }))
    }
}

/// One per connection.
struct DummyAuthenticator {
    cookie: Option<String>,
    /// The value that was authenticated last.
    accepted: RefCell<String>,
}

impl DummyAuthenticator {
    /// Authenticates a value afresh; `user` is who the connection already belongs to.
    fn check(&self, authorization: &str, user: Option<&str>) -> Verdict {
        let (user_id, expires) = match parts(authorization) {
            Ok(parts) => parts,
            Err(reason) => return Verdict::Invalid(reason.into()),
        };
        if is_expired(expires) {
            return Verdict::Invalid("the authorization is expired".into());
        }
        if user_id.contains("fail_initialAuthentication") {
            return Verdict::Invalid("asked to fail the initial authentication".into());
        }
        *self.accepted.borrow_mut() = authorization.to_owned();
        let user = user.unwrap_or(user_id);
        let options = if user == "enableAllDebugOptions" {
            DebugOptions::ALL
        } else {
            DebugOptions::default()
        };
        Verdict::Authenticated(
            Principal::user(user)
                .with_data(CookieAuthorization(self.cookie.clone()))
                .with_debug_options(options),
        )
    }

    fn check_again(&self, authorization: &str, current: &Principal) -> Verdict {
        if authorization.contains(":fail_reevaluateAuthentication:") {
            return Verdict::Invalid("asked to fail the re-evaluation".into());
        }
        if *self.accepted.borrow() != authorization {
            return self.check(authorization, Some(&current.user_id));
        }
        match parts(authorization) {
            Ok((_, expires)) if !is_expired(expires) => Verdict::StillValid,
            _ => Verdict::Invalid("the authorization is expired".into()),
        }
    }
}

#[async_trait(?Send)]
impl Authenticator for DummyAuthenticator {
    async fn authenticate(&self, authorization: &str) -> Result<Verdict, AuthError> {
        Ok(self.check(authorization, None))
    }

    async fn reauthenticate(
        &self,
        offered: &str,
        _accepted: Option<&str>,
        current: &Principal,
    ) -> Result<Verdict, AuthError> {
        Ok(self.check_again(offered, current))
    }

    async fn reevaluate(
        &self,
        authorization: &str,
        current: &Principal,
    ) -> Result<Verdict, AuthError> {
        Ok(self.check_again(authorization, current))
    }

    async fn reevaluate_outgoing(
        &self,
        authorization: &str,
        current: &Principal,
        _last_valid: SystemTime,
    ) -> Result<Verdict, AuthError> {
        if authorization.contains(":fail_reevaluateAuthenticationForOutgoingMessage:") {
            return Ok(Verdict::Invalid(
                "asked to fail the re-evaluation for outgoing messages".into(),
            ));
        }
        Ok(self.check_again(authorization, current))
    }
}

/// User id and expiry, in ms since the epoch or -1.
fn parts(authorization: &str) -> Result<(&str, i64), &'static str> {
    let parts: Vec<&str> = authorization.split(':').collect();
    match parts[..] {
        ["DummyAuth", user_id, expires] => {
            let expires = expires
                .parse()
                .map_err(|_| "the third part of the authorization is not a number")?;
            Ok((user_id, expires))
        }
        [_, _, _] => Err("the authorization does not start with DummyAuth"),
        _ => Err("the authorization does not have three parts"),
    }
}

fn is_expired(expires: i64) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    expires != -1 && i128::from(expires) < now.as_millis() as i128
}
