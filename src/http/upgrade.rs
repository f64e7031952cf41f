//! The HTTP upgrade: who may open a WebSocket, and how it starts.

use std::rc::Rc;
use std::sync::Arc;

use actix_http::ws::Codec;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, ResponseError, rt, web};
use actix_web_actors::ws::{self, WebsocketContext};

use super::Backend;
use super::connection::Connection;
use super::guard::Guard;
use super::outgoing::{Outgoing, pump};
use super::socket::Socket;
use super::state::LineState;
use crate::auth::{Authenticator, ResponseHeaders};

/// The WebSocket sub-protocol.
const SUB_PROTOCOL: &str = "matssocket";

/// Whether these are the headers of a WebSocket upgrade, whatever else is among them.
pub(super) fn wants_websocket(headers: &HeaderMap) -> bool {
    tokens(headers, header::UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// The comma-separated values of a header that may come several times.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Answers an upgrade request.
pub(super) async fn upgrade(
    backend: Arc<dyn Backend>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    if let Err(why) = backend.ready() {
        return HttpResponse::ServiceUnavailable()
            .insert_header((header::RETRY_AFTER, "1"))
            .body(why);
    }
    let mut response = match ws::handshake_with_protocols(&request, &[SUB_PROTOCOL]) {
        Ok(response) => response,
        Err(error) => return error.error_response(),
    };
    if !tokens(request.headers(), header::SEC_WEBSOCKET_PROTOCOL).any(|p| p == SUB_PROTOCOL) {
        return HttpResponse::BadRequest().body(format!(
            "the WebSocket sub-protocol `{SUB_PROTOCOL}` must be offered"
        ));
    }
    let (authenticator, headers) = match admit(&*backend, &request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    for header in headers.0 {
        response.append_header(header);
    }
    response.streaming(start(backend, &request, payload, authenticator))
}

/// Asks the application's authentication.
async fn admit(
    backend: &dyn Backend,
    request: &HttpRequest,
) -> Result<(Rc<dyn Authenticator>, ResponseHeaders), HttpResponse> {
    let authentication = backend.authentication();
    if let Some(origin) = request.headers().get(header::ORIGIN) {
        let allowed = origin
            .to_str()
            .is_ok_and(|origin| backend.allows_origin(origin, request));
        if !allowed {
            log::info!("upgrade refused: origin {origin:?}");
            return Err(HttpResponse::Forbidden().body("this origin may not connect"));
        }
    }
    let mut headers = ResponseHeaders::default();
    match authentication.handshake(request, &mut headers).await {
        Ok(authenticator) => Ok((authenticator.into(), headers)),
        Err(refused) => {
            log::info!("upgrade refused: {refused}");
            Err(HttpResponse::Forbidden().finish())
        }
    }
}

/// Starts the connection actor and gives the response's body.
fn start(
    backend: Arc<dyn Backend>,
    request: &HttpRequest,
    payload: web::Payload,
    authenticator: Rc<dyn Authenticator>,
) -> Outgoing {
    let config = backend.config().clone();
    let largest = config.max_message.max(config.max_message_before_hello);
    let remote = request
        .connection_info()
        .realip_remote_addr()
        .map(str::to_owned);
    let state = LineState::new(config, request.conn_data::<Socket>().cloned());
    let actor = WebsocketContext::with_codec(
        Connection::new(state.clone(), backend, authenticator, remote),
        Guard::new(payload, state.clone()),
        Codec::new().max_size(largest),
    );
    rt::spawn(pump(actor, state.clone()));
    Outgoing::new(state)
}
