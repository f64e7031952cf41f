//! Where the edge is mounted in an actix-web application.

use std::sync::Arc;

use actix_web::guard::{self, GuardContext};
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpRequest, HttpResponse, web};

use super::Backend;
use super::upgrade::{upgrade, wants_websocket};

/// A guard for the application's own routes on the mount path, that is, for its pre-connect step: true for requests
/// that do not ask for a WebSocket.
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

/// Configures the WebSocket at `path`, and `close_session` and `ready` below it.
pub(crate) fn mount(
    backend: Arc<dyn Backend>,
    path: &str,
) -> impl FnOnce(&mut web::ServiceConfig) + Clone + use<> {
    let path = format!("/{}", path.trim_matches('/'));
    move |config| {
        let below = path.trim_end_matches('/');
        config.service(close_session(backend.clone(), below));
        config.service(ready(backend.clone(), below));
        // The guard is the resource's, not the route's: a resource that matches answers 405 itself instead of
        // leaving the request to the application's resource of the same path.
        config.service(
            web::resource(path)
                .guard(guard::fn_guard(|context| {
                    context.head().method == actix_web::http::Method::GET && !no_upgrade(context)
                }))
                .to(move |request: HttpRequest, payload: web::Payload| {
                    upgrade(backend.clone(), request, payload)
                }),
        );
    }
}

/// Closes a session out of band. Always 204: nobody learns here which sessions exist.
fn close_session(backend: Arc<dyn Backend>, below: &str) -> actix_web::Resource {
    #[derive(serde::Deserialize)]
    struct Parameters {
        session_id: String,
    }
    web::resource(format!("{below}/close_session")).route(web::post().to(
        move |request: HttpRequest| {
            let parameters = web::Query::<Parameters>::from_query(request.query_string());
            if let Ok(parameters) = parameters {
                backend.close_session(parameters.into_inner().session_id);
            }
            std::future::ready(HttpResponse::NoContent().finish())
        },
    ))
}

/// Readiness, for load balancers.
fn ready(backend: Arc<dyn Backend>, below: &str) -> actix_web::Resource {
    web::resource(format!("{below}/ready")).route(web::get().to(move || {
        let response = match backend.ready() {
            Ok(()) => HttpResponse::Ok().json(serde_json::json!({"ready": true})),
            Err(reason) => HttpResponse::ServiceUnavailable()
                .insert_header((RETRY_AFTER, "1"))
                .json(serde_json::json!({"ready": false, "reason": reason})),
        };
        std::future::ready(response)
    }))
}
