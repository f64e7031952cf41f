//! A server that does exactly what the test says.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use matssocket_wire::{Envelope, MessageType, parse_pipeline};

/// A test must not wait forever.
pub(super) async fn in_time<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("in time")
}

pub(super) struct Mock {
    listener: TcpListener,
    pub(super) url: String,
}

impl Mock {
    pub(super) async fn start() -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/matssocket", listener.local_addr().unwrap());
        Mock { listener, url }
    }

    /// Waits for a WebSocket.
    pub(super) async fn accept(&self) -> Line {
        let (tcp, _) = in_time(self.listener.accept()).await.unwrap();
        let mut headers = HeaderMap::new();
        #[allow(clippy::result_large_err)] // the callback's type is the library's
        let upgrade = |request: &Request, mut response: Response| {
            headers = request.headers().clone();
            assert_eq!(headers["sec-websocket-protocol"], "matssocket");
            response.headers_mut().insert(
                "sec-websocket-protocol",
                HeaderValue::from_static("matssocket"),
            );
            Ok(response)
        };
        let ws = in_time(tokio_tungstenite::accept_hdr_async(tcp, upgrade))
            .await
            .unwrap();
        Line {
            ws,
            headers,
            envelopes: VecDeque::new(),
        }
    }
}

/// One WebSocket, seen from the server.
pub(super) struct Line {
    ws: WebSocketStream<TcpStream>,
    headers: HeaderMap,
    envelopes: VecDeque<Envelope>,
}

impl Line {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The next WebSocket message.
    pub(super) async fn text(&mut self) -> String {
        in_time(self.ws.next())
            .await
            .expect("open")
            .unwrap()
            .into_text()
            .unwrap()
            .to_string()
    }

    pub(super) async fn pipeline(&mut self) -> Vec<Envelope> {
        parse_pipeline(&self.text().await).unwrap()
    }

    /// The next pipeline, unless the line is lost.
    pub(super) async fn try_pipeline(&mut self) -> Option<Vec<Envelope>> {
        let message = in_time(self.ws.next()).await?.ok()?;
        Some(parse_pipeline(message.into_text().unwrap().as_str()).unwrap())
    }

    /// The next envelope of this type; others are skipped.
    pub(super) async fn next(&mut self, t: MessageType) -> Envelope {
        self.next_of(&[t]).await
    }

    pub(super) async fn next_of(&mut self, types: &[MessageType]) -> Envelope {
        loop {
            while let Some(envelope) = self.envelopes.pop_front() {
                if types.contains(&envelope.t) {
                    return envelope;
                }
            }
            let pipeline = self.pipeline().await;
            self.envelopes.extend(pipeline);
        }
    }

    pub(super) async fn send(&mut self, pipeline: &str) {
        in_time(self.ws.send(Message::text(pipeline)))
            .await
            .unwrap();
    }

    /// Waits for HELLO and sends WELCOME. Returns the HELLO.
    pub(super) async fn welcome(&mut self, session_id: &str) -> Envelope {
        let hello = self.next(MessageType::Hello).await;
        self.send(&format!(r#"[{{"t":"WELCOME","sid":"{session_id}"}}]"#))
            .await;
        hello
    }

    /// Closes, and waits for the client's answer.
    pub(super) async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        in_time(self.ws.send(Message::Close(Some(frame))))
            .await
            .unwrap();
        assert_eq!(self.close_code().await.0, code);
    }

    /// Waits for the client's close frame.
    pub(super) async fn close_code(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(frame)) = in_time(self.ws.next())
                .await
                .expect("a close frame")
                .unwrap()
            {
                // Sends the answer.
                let _ = self.ws.flush().await;
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}
