//! HTTP beside the WebSocket: the pre-connect request, which moves authorization into a cookie; publishing; and the
//! server's metrics, for those who measure it.

use actix_web::cookie::time::Duration;
use actix_web::guard::{self, Guard, GuardContext};
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use matssocket::MatsSocketServer;
use serde::Deserialize;

use crate::auth::{cookie, is_local};
use crate::endpoints::published;

/// Adds the routes. Upgrades pass by, to where the WebSocket is mounted.
pub fn routes(server: MatsSocketServer) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        config
            .service(
                web::resource(crate::PATH)
                    .guard(guard::fn_guard(|context| {
                        !is_upgrade(context)
                            && (guard::Get().check(context) || guard::Options().check(context))
                    }))
                    .route(web::get().to(preconnect))
                    .route(web::route().guard(guard::Options()).to(preflight)),
            )
            .service(
                web::resource(format!("{}/sendMessageOnTestTopic", crate::PATH))
                    .app_data(web::Data::new(server.clone()))
                    .route(web::get().to(publish))
                    .route(web::route().guard(guard::Options()).to(preflight)),
            )
            .service(
                web::resource(format!("{}/metrics", crate::PATH))
                    .app_data(web::Data::new(server))
                    .route(web::get().to(metrics)),
            );
    }
}

/// Some clients send an `Authorization` header on the upgrade too, so only this header tells the two apart.
fn is_upgrade(context: &GuardContext<'_>) -> bool {
    let upgrade = context.head().headers().get(header::UPGRADE);
    upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Moves the `Authorization` header into a cookie that the handshake shows.
async fn preconnect(request: HttpRequest) -> HttpResponse {
    let Some(authorization) = request.headers().get(header::AUTHORIZATION) else {
        return with_cors(&request, HttpResponse::BadRequest())
            .body("the Authorization header is missing");
    };
    let value = authorization.as_bytes();
    if String::from_utf8_lossy(value).contains(":fail_preConnectOperationServlet:") {
        return with_cors(&request, HttpResponse::Unauthorized()).finish();
    }
    let cookie = cookie(STANDARD.encode(value), Duration::seconds(30));
    with_cors(&request, HttpResponse::NoContent())
        .cookie(cookie)
        .finish()
}

async fn preflight(request: HttpRequest) -> HttpResponse {
    with_cors(&request, HttpResponse::NoContent()).finish()
}

#[derive(Deserialize)]
struct Topic {
    topic: String,
}

async fn publish(
    request: HttpRequest,
    server: web::Data<MatsSocketServer>,
    query: web::Query<Topic>,
) -> HttpResponse {
    match server
        .publish(&query.topic, "sendMessageOnTestTopic", &published())
        .await
    {
        Ok(()) => with_cors(&request, HttpResponse::NoContent()).finish(),
        Err(why) => with_cors(&request, HttpResponse::InternalServerError()).body(why.to_string()),
    }
}

async fn metrics(server: web::Data<MatsSocketServer>) -> HttpResponse {
    HttpResponse::Ok().json(server.metrics())
}

fn with_cors(request: &HttpRequest, mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    let origin = request.headers().get(header::ORIGIN);
    let local = |origin: &&HeaderValue| origin.to_str().is_ok_and(is_local);
    if let Some(origin) = origin.filter(local) {
        response
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
            .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, "GET, OPTIONS"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization"))
            .insert_header((header::VARY, "Origin"));
    }
    response
}
