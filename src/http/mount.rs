//! Mounts the edge in an actix-web application.

use std::sync::Arc;

use actix_web::guard::{self, GuardContext};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{Error, HttpRequest, HttpResponse, web};

use super::Backend;
use super::admission::admits_page;
use super::handshake::wants_websocket;
use super::refusal::{RETRY_AFTER_SECONDS, safe};
use super::upgrade::upgrade;
use crate::wire::check_id;

/// A guard for the application's own routes on the mount path, that is, for its pre-connect step: true for requests
/// that do not mention a WebSocket in their `Upgrade` header. Those that do, validly or not, must be answered by the
/// server.
///
/// actix-web takes the first registered resource whose path and guards match. A `GET` on the mount path registered
/// *after* the server needs no guard; one registered *before* it would swallow the upgrades:
///
/// ```
/// use actix_web::{App, HttpResponse, guard, web};
/// App::new().route(
///     "/matssocket",
///     web::get().guard(guard::fn_guard(matssocket::no_upgrade)).to(HttpResponse::NoContent),
/// );
/// ```
pub fn no_upgrade(context: &GuardContext<'_>) -> bool {
    !wants_websocket(context.head().headers())
}

/// Configures the WebSocket at `path`; `close_session`, `ready` and, with that feature, the browser client below it.
pub(crate) fn mount(
    backend: Arc<dyn Backend>,
    path: &str,
) -> impl FnOnce(&mut web::ServiceConfig) + Clone + use<> {
    let path = format!("/{}", path.trim_matches('/'));
    move |config| {
        let below = path.trim_end_matches('/');
        if backend.config().close_session_out_of_band {
            config.service(close_session(backend.clone(), below));
        }
        config.service(ready(backend.clone(), below));
        #[cfg(feature = "browser-client")]
        for file in super::browser_client::browser_client(below) {
            config.service(file);
        }
        // The guard is on the resource, not on the route: a matching resource answers 405 itself instead of leaving the
        // request to the application's resource at the same path. It does not check the method: a POST that claims to
        // be an upgrade must not reach the application's route either.
        config.service(
            web::resource(path)
                .guard(guard::fn_guard(|context| !no_upgrade(context)))
                .to(move |request: HttpRequest, payload: web::Payload| {
                    upgrade(backend.clone(), request, payload)
                }),
        );
    }
}

/// Closes a session out of band. Always 204, so that nobody can find out which sessions exist.
fn close_session(backend: Arc<dyn Backend>, below: &str) -> actix_web::Resource {
    let close = move |request: HttpRequest, body: Result<web::Bytes, Error>| {
        if backend.admission().admits_host(&request).is_err() {
            return std::future::ready(foreign_host());
        }
        let id = session_id(&request, body.ok().as_deref());
        if let Some(id) = id.filter(|id| check_id("session id", id).is_ok())
            && admits_page(&*backend, &request).is_ok()
        {
            backend.close_session(id);
        }
        let mut response = HttpResponse::NoContent();
        std::future::ready(safe(&mut response).finish())
    };
    web::resource(format!("{below}/close_session"))
        .app_data(web::PayloadConfig::new(MAX_CLOSE_BODY))
        // The body of an upgrade request would have no end.
        .guard(guard::fn_guard(no_upgrade))
        .route(web::post().to(close))
        .default_service(other_method("POST"))
}

/// Most bytes of a body that names a session.
const MAX_CLOSE_BODY: usize = 1024;

/// The session that a request names: in its query or its body, as `session_id=…`, or by a body that consists of the id.
fn session_id(request: &HttpRequest, body: Option<&[u8]>) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Parameters {
        session_id: String,
    }
    let named = |parameters: &str| {
        let parameters = web::Query::<Parameters>::from_query(parameters).ok()?;
        Some(parameters.into_inner().session_id).filter(|id| !id.is_empty())
    };
    let body = body.and_then(|body| std::str::from_utf8(body).ok());
    let body = body.unwrap_or_default().trim();
    named(request.query_string())
        .or_else(|| named(body))
        .or_else(|| (!body.is_empty()).then(|| body.to_owned()))
}

/// Readiness, for load balancers.
fn ready(backend: Arc<dyn Backend>, below: &str) -> actix_web::Resource {
    // For any host: probes use an address as the host, and the answer reveals nothing.
    let ready = move || {
        let (mut response, answer) = match backend.ready() {
            Ok(()) => (HttpResponse::Ok(), serde_json::json!({"ready": true})),
            Err(why) => {
                let mut response = HttpResponse::ServiceUnavailable();
                response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
                let answer = serde_json::json!({"ready": false, "reason": why.reason()});
                (response, answer)
            }
        };
        std::future::ready(safe(&mut response).json(answer))
    };
    web::resource(format!("{below}/ready"))
        .route(web::get().to(ready))
        .default_service(other_method("GET"))
}

/// The answer to a request whose host is not allowed.
fn foreign_host() -> HttpResponse {
    safe(&mut HttpResponse::build(StatusCode::FORBIDDEN)).body("this host is not served")
}

/// The answer to other methods than those allowed.
pub(super) fn other_method(allowed: &'static str) -> actix_web::Route {
    web::to(move || {
        let mut response = HttpResponse::build(StatusCode::METHOD_NOT_ALLOWED);
        response.insert_header((ALLOW, allowed));
        std::future::ready(safe(&mut response).finish())
    })
}
