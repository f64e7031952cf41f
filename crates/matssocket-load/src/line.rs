//! One WebSocket.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Longest time to connect, including the upgrade.
const PATIENCE: Duration = Duration::from_secs(30);
/// There are many connections: each buffers little.
const READ_BUFFER: usize = 4 * 1024;

/// A WebSocket for text messages.
pub struct Line(WebSocketStream<TcpStream>);

impl Line {
    /// Connects, with this sub-protocol if any.
    pub async fn open(url: &Uri, protocol: Option<&'static str>) -> Result<Line, String> {
        let opened = timeout(PATIENCE, connect(url, protocol)).await;
        opened
            .unwrap_or_else(|_| Err(format!("not let in within {PATIENCE:?}")))
            .map_err(|why| format!("{url}: {why}"))
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    pub async fn send(&mut self, text: String) -> Result<(), String> {
        let sent = self.0.send(Message::text(text)).await;
        sent.map_err(|why| format!("the line broke: {why}"))
    }

    /// The next text. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Utf8Bytes, String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(Some(close)))) => {
                    let code = u16::from(close.code);
                    return Err(format!("closed by the server: {code} {}", close.reason));
                }
                // The next poll answers a ping.
                Some(Ok(_)) => {}
                Some(Err(why)) => return Err(format!("the line broke: {why}")),
                None => return Err("the line ended".to_owned()),
            }
        }
    }

    /// Closes with this code, and waits for the answer.
    pub async fn close(&mut self, code: u16) -> Result<(), String> {
        let close = CloseFrame {
            code: code.into(),
            reason: Utf8Bytes::default(),
        };
        let closed = self.0.close(Some(close)).await;
        closed.map_err(|why| why.to_string())?;
        while self.next().await.is_ok() {}
        Ok(())
    }
}

async fn connect(url: &Uri, protocol: Option<&'static str>) -> Result<Line, String> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|why| why.to_string())?;
    stream.set_nodelay(true).map_err(|why| why.to_string())?;
    let mut request = url.into_client_request().map_err(|why| why.to_string())?;
    if let Some(protocol) = protocol {
        let header = HeaderValue::from_static(protocol);
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", header);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0);
    let opened = client_async_with_config(request, stream, Some(config)).await;
    let (socket, _) = opened.map_err(|why| why.to_string())?;
    Ok(Line(socket))
}
