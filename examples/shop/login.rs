//! Tokens that expire.

use std::time::{Duration, SystemTime};

use actix_web::{HttpResponse, web};
use jsonwebtoken::errors::Error;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use matssocket::Principal;
use serde::{Deserialize, Serialize};

/// The same on all nodes. A real one is not in the source.
const SECRET: &[u8] = b"not a secret";

/// Short, so that one sees the page fetch another one.
pub const LIFETIME: Duration = Duration::from_secs(60);

#[derive(Deserialize, Serialize)]
struct Claims {
    sub: String,
    /// Seconds since the epoch.
    exp: u64,
}

#[derive(Deserialize)]
pub struct Login {
    user: String,
}

/// `POST /login`. A real shop checks a password here.
pub async fn log_in(login: web::Json<Login>) -> HttpResponse {
    match token(&login.user, LIFETIME) {
        Ok(token) => HttpResponse::Ok().json(token),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

pub fn token(user: &str, lifetime: Duration) -> Result<String, Error> {
    let expires = SystemTime::now() + lifetime;
    let exp = expires
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let claims = Claims {
        sub: user.to_owned(),
        exp,
    };
    encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET),
    )
}

/// Who it is, and until when.
pub fn read(token: &str) -> Result<(Principal, SystemTime), Error> {
    let key = DecodingKey::from_secret(SECRET);
    let claims = decode::<Claims>(token, &key, &Validation::default())?.claims;
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(claims.exp);
    Ok((Principal::user(claims.sub), expires))
}
