//! Authentication by tokens that expire.

use std::fmt::Display;
use std::future::ready;
use std::time::SystemTime;

use super::{Authentication, Principal, Verdict, auth_fn};

/// An authentication by tokens that expire, such as JSON Web Tokens: made of one function, which checks a token's
/// signature and returns who it is for and [when it expires](Principal::expires_at). The text of its error is sent to
/// the client.
///
/// A token is read once, when the client offers it. When it has expired, the client is asked for another one, and what
/// it sends meanwhile is held.
///
/// With the crate `jsonwebtoken`, the function `verify` of this example would be
/// `decode::<Claims>(token, &key, &validation).map(|token| token.claims)`:
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use matssocket::{Authentication, Principal, token_auth};
///
/// /// The claims of a JSON Web Token that are used here.
/// struct Claims {
///     sub: String,
///     /// Seconds since the epoch.
///     exp: u64,
/// }
///
/// fn authentication<E: std::fmt::Display + 'static>(
///     verify: impl Fn(&str) -> Result<Claims, E> + Send + Sync + 'static,
/// ) -> impl Authentication {
///     token_auth(move |value| {
///         let claims = verify(value.strip_prefix("Bearer ").unwrap_or(value))?;
///         let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(claims.exp);
///         Ok::<_, E>((Principal::user(claims.sub), expires))
///     })
/// }
/// # drop(authentication(|_| Err("not a token")));
/// ```
pub fn token_auth<F, E>(read: F) -> impl Authentication
where
    F: Fn(&str) -> Result<(Principal, SystemTime), E> + Send + Sync + 'static,
    E: Display + 'static,
{
    auth_fn(move |value: String| {
        ready(Ok(match read(&value) {
            Ok((principal, expires)) => Verdict::Authenticated(principal.expires_at(expires)),
            Err(why) => Verdict::Invalid(why.to_string()),
        }))
    })
}
