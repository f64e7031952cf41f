//! The HTTP upgrade: who may open a WebSocket, and how it starts.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_http::ws::Codec;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::rt::time::timeout;
use actix_web::{HttpRequest, HttpResponse, rt, web};
use actix_web_actors::ws::{self, WebsocketContext};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::{Either, select};

use super::Backend;
use super::admission::admits_page;
use super::before_hello::Place;
use super::connection::Connection;
use super::handshake::{self, SUB_PROTOCOL};
use super::outgoing::{Outgoing, pump};
use super::payload_guard::{Guard, PART};
use super::refusal::refuse;
use super::socket::Socket;
use super::state::ConnectionState;
use crate::auth::{Authenticator, ResponseHeaders};
use crate::logging;
use crate::wire::shown;

/// A connection that was admitted.
struct Admitted {
    authenticator: Rc<dyn Authenticator>,
    headers: ResponseHeaders,
    place: Place,
}

/// Answers a request for a WebSocket, valid or not.
pub(super) async fn upgrade(
    backend: Arc<dyn Backend>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let mut incoming = Incoming::new(payload);
    let admitted = match admit(&*backend, &request, &mut incoming).await {
        Ok(admitted) => admitted,
        Err((status, text)) => return refuse(&request, status, text),
    };
    let Ok(mut response) = ws::handshake_with_protocols(&request, &[SUB_PROTOCOL]) else {
        let text = "this is not a WebSocket upgrade";
        return refuse(&request, StatusCode::BAD_REQUEST, text);
    };
    for header in admitted.headers.0 {
        response.append_header(header);
    }
    let (authenticator, place) = (admitted.authenticator, admitted.place);
    response.streaming(start(backend, &request, incoming, authenticator, place))
}

/// Why an upgrade is refused: the status to answer, and the text for the client.
type Refusal = (StatusCode, &'static str);

/// Decides, with cheap checks first: what is refused early holds no resources.
async fn admit(
    backend: &dyn Backend,
    request: &HttpRequest,
    incoming: &mut Incoming,
) -> Result<Admitted, Refusal> {
    handshake::check(request)?;
    if let Err(why) = backend.admission().admits_host(request) {
        logging::debug!("upgrade refused: {why}");
        return Err((StatusCode::FORBIDDEN, "this host is not served"));
    }
    if let Err(why) = backend.lets_in() {
        return Err((StatusCode::SERVICE_UNAVAILABLE, why.reason()));
    }
    if admits_page(backend, request).is_err() {
        return Err((StatusCode::FORBIDDEN, "this origin may not connect"));
    }
    let place = backend
        .admission()
        .connection(request)
        .map_err(|setting| overloaded(backend, setting))?;
    let mut headers = ResponseHeaders::default();
    let authenticator = ask(backend, request, &mut headers, incoming).await?;
    Ok(Admitted {
        authenticator,
        headers,
        place,
    })
}

/// Asks the application's authentication, within its time limit and while the client is connected.
async fn ask(
    backend: &dyn Backend,
    request: &HttpRequest,
    headers: &mut ResponseHeaders,
    incoming: &mut Incoming,
) -> Result<Rc<dyn Authenticator>, Refusal> {
    let admission = backend.admission();
    let Some(_permit) = backend.authentications().enter() else {
        return Err(overloaded(backend, "max_authentications_pending"));
    };
    let limit = backend.config().authentication_timeout;
    let handshake = timeout(limit, backend.authentication().handshake(request, headers));
    let answer = match select(pin!(handshake), pin!(incoming.gone())).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => {
            logging::debug!("upgrade given up: the client left during the handshake");
            return Err((StatusCode::BAD_REQUEST, "the connection was closed"));
        }
    };
    match answer {
        Ok(Ok(authenticator)) => Ok(authenticator.into()),
        Ok(Err(refused)) => {
            let why = refused.to_string();
            let why = shown(&why);
            match admission.logs.refused_handshake.count() {
                Some(count) => logging::info!(
                    "handshakes refused since the last such line: {count}; this one: {why}"
                ),
                None => logging::debug!("handshake refused: {why}"),
            }
            Err((StatusCode::FORBIDDEN, "the upgrade was refused"))
        }
        Err(_) => {
            if let Some(count) = admission.logs.slow_handshake.count() {
                logging::warn!(
                    "upgrades refused since the last such line: {count}, because the authentication's handshake took \
                     longer than authentication_timeout, {limit:?}"
                );
            }
            let text = "authentication is not possible now";
            Err((StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

/// The refusal when a limit on connections before authentication is reached.
fn overloaded(backend: &dyn Backend, setting: &str) -> Refusal {
    if let Some(count) = backend.admission().logs.overload.count() {
        logging::warn!("upgrades refused since the last such line: {count}; this one by {setting}");
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "too many clients are connecting",
    )
}

/// The client's input. During the handshake, it is only watched for the end of the connection.
struct Incoming {
    /// What arrived during the handshake; the rest waits in the socket.
    early: Option<Bytes>,
    rest: web::Payload,
}

impl Incoming {
    fn new(rest: web::Payload) -> Incoming {
        Incoming { early: None, rest }
    }

    /// Resolves when the client has ended the connection, if that can be seen: frames that a client sends before it is
    /// answered hide the end behind them.
    async fn gone(&mut self) {
        poll_fn(|context| {
            if self.early.is_some() {
                return Poll::Pending;
            }
            match Pin::new(&mut self.rest).poll_next(context) {
                Poll::Ready(Some(Ok(early))) => {
                    self.early = Some(early);
                    Poll::Pending
                }
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let incoming = self.get_mut();
        match incoming.early.take() {
            Some(early) => Poll::Ready(Some(Ok(early))),
            None => Pin::new(&mut incoming.rest).poll_next(context),
        }
    }
}

/// Starts the connection actor and gives the response's body.
fn start(
    backend: Arc<dyn Backend>,
    request: &HttpRequest,
    incoming: Incoming,
    authenticator: Rc<dyn Authenticator>,
    place: Place,
) -> Outgoing {
    let config = backend.config().clone();
    let peer = backend.admission().peer(request);
    let remote = peer.address.map(|address| address.to_string());
    let socket = request.conn_data::<Socket>().cloned();
    let state = ConnectionState::new(config, backend.budget().clone(), socket);
    let actor = WebsocketContext::with_codec(
        Connection::new(state.clone(), backend, authenticator, remote, place),
        Guard::new(incoming, state.clone()),
        Codec::new().max_size(PART),
    );
    rt::spawn(pump(actor, state.clone()));
    Outgoing::new(state)
}
