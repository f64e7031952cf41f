//! The underlying WebSocket: opening it, and reading and writing at the same time.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest, http::HeaderValue};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::builder::Config;

pub(super) type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket.
pub(super) async fn open(config: &Config, url: &str) -> Result<WebSocket, String> {
    #[cfg(feature = "tls")]
    if url.starts_with("wss:") {
        // An error means that the application has chosen one itself.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let wrong = |error: tungstenite::Error| error.to_string();
    let mut request = url.into_client_request().map_err(wrong)?;
    let headers = request.headers_mut();
    headers.insert(
        "Sec-WebSocket-Protocol",
        HeaderValue::from_static("matssocket"),
    );
    for (name, value) in &config.headers {
        headers.append(name, value.clone());
    }
    let limits = WebSocketConfig::default()
        .read_buffer_size(32 << 10)
        .max_message_size(Some(64 << 20))
        .max_frame_size(Some(64 << 20));
    let connect = tokio_tungstenite::connect_async_with_config(request, Some(limits), true);
    match timeout(config.connect_timeout, connect).await {
        Ok(result) => result.map(|(ws, _)| ws).map_err(wrong),
        Err(_) => Err(format!("no connection within {:?}", config.connect_timeout)),
    }
}

/// What happened on the connection.
pub(super) enum Step {
    Flushed,
    Read(Message),
    Ended(String),
}

/// Waits until something was read or, if `flushing`, everything is written. Both happen in one poll: a server that does
/// not read because we do not read must not block us as well.
pub(super) async fn step(ws: &mut WebSocket, flushing: bool, reading: bool) -> Step {
    poll_fn(|cx| {
        if flushing && let Poll::Ready(flushed) = ws.poll_flush_unpin(cx) {
            return Poll::Ready(match flushed {
                Ok(()) => Step::Flushed,
                Err(error) => Step::Ended(error.to_string()),
            });
        }
        if !reading {
            return Poll::Pending;
        }
        ws.poll_next_unpin(cx).map(|read| match read {
            Some(Ok(message)) => Step::Read(message),
            Some(Err(error)) => Step::Ended(error.to_string()),
            None => Step::Ended("the line was closed".into()),
        })
    })
    .await
}
