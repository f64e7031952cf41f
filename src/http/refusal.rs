//! Refused upgrades: answers after which no further request is served on the connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::rt::time::{Sleep, sleep};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;

use super::socket::Socket;

/// How long the answer has to leave actix-http's write buffer, which does not report it.
const FLUSH: Duration = Duration::from_millis(10);

/// How long a client that was refused for lack of room should wait before it retries, in seconds.
pub(super) const RETRY_AFTER_SECONDS: &str = "1";

/// Adds the headers that make our answer harmless wherever it is displayed.
pub(crate) fn safe(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ))
        .insert_header((header::CACHE_CONTROL, "no-store"))
}

/// The answer to a refused upgrade.
pub(super) fn refuse(
    request: &HttpRequest,
    status: StatusCode,
    text: &'static str,
) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    safe(&mut response)
        .force_close()
        .content_type("text/plain; charset=utf-8");
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        StatusCode::UPGRADE_REQUIRED => {
            response
                .insert_header((header::SEC_WEBSOCKET_VERSION, "13"))
                .insert_header((header::UPGRADE, "websocket"));
        }
        _ => {}
    }
    response.body(LastBody::new(request, text))
}

/// Whether actix-http treats everything after the request as its body, so that no other request can follow.
///
/// This is the same decision as in its decoder, where an exact `Upgrade: websocket` makes the body endless unless it is
/// chunked.
fn is_endless(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::TRANSFER_ENCODING)
        && headers.get_all(header::UPGRADE).any(|value| {
            value
                .to_str()
                .is_ok_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
        })
}

/// A text after which the connection ends.
///
/// `Connection: close` alone is not enough: actix-http continues to serve what it has read after the request. So if the
/// request's own body does not swallow that, ours ends with an error, upon which actix-http drops the connection.
struct LastBody {
    text: Option<Bytes>,
    length: u64,
    flush: Option<Pin<Box<Sleep>>>,
    socket: Option<Socket>,
    endless: bool,
}

impl LastBody {
    fn new(request: &HttpRequest, text: &'static str) -> LastBody {
        debug_assert!(!text.is_empty(), "an empty body is not asked for its end");
        LastBody {
            length: text.len() as u64,
            text: Some(Bytes::from_static(text.as_bytes())),
            flush: None,
            socket: request.conn_data::<Socket>().cloned(),
            endless: is_endless(request.headers()),
        }
    }
}

impl MessageBody for LastBody {
    type Error = EndOfConnection;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, EndOfConnection>>> {
        let this = self.get_mut();
        if let Some(text) = this.text.take() {
            return Poll::Ready(Some(Ok(text)));
        }
        let flush = this.flush.get_or_insert_with(|| Box::pin(sleep(FLUSH)));
        ready!(flush.as_mut().poll(context));
        if let Some(socket) = &this.socket {
            socket.end();
        }
        Poll::Ready((!this.endless).then_some(Err(EndOfConnection)))
    }
}

/// Ends a connection by what actix-http takes for an error, and logs.
#[derive(Debug)]
struct EndOfConnection;

impl fmt::Display for EndOfConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an upgrade was refused; ending TCP, so that nothing behind it is served (this is in order)")
    }
}

impl std::error::Error for EndOfConnection {}
