//! One WebSocket, with pipelines in and out.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use matssocket::wire::{Envelope, MessageType, parse_pipeline, print_pipeline};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::data::user;
use crate::history::End;
use crate::node::PATH;

/// Longest time for TCP and upgrade.
const CONNECT: Duration = Duration::from_secs(3);

pub struct Line(WebSocketStream<TcpStream>);

/// What comes on a line.
pub enum Heard {
    Pipeline(Vec<Envelope>),
    /// It is alive.
    Nothing,
    /// Not what the protocol allows.
    Garbage(String),
    End(End, String),
}

/// What a client says first.
pub fn hello(client: usize, session: Option<String>) -> Envelope {
    let text = |text: &str| Some(text.to_owned());
    Envelope {
        clv: text("chaos/1"),
        an: text("chaos"),
        av: text("1"),
        tid: text("hello"),
        auth: Some(user(client)),
        sid: session,
        ..Envelope::new(MessageType::Hello)
    }
}

impl Line {
    pub async fn open(port: u16) -> Option<Line> {
        let opening = async {
            let stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let url = format!("ws://127.0.0.1:{port}{PATH}");
            let mut request = url.into_client_request().ok()?;
            let protocol = HeaderValue::from_static("matssocket");
            request
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", protocol);
            let (socket, _) = tokio_tungstenite::client_async(request, stream)
                .await
                .ok()?;
            Some(Line(socket))
        };
        timeout(CONNECT, opening).await.ok().flatten()
    }

    /// Whether it could be said. A node that does not read must not hold up the client for ever.
    pub async fn say(&mut self, envelopes: &[Envelope]) -> bool {
        let text = Message::text(print_pipeline(envelopes));
        matches!(timeout(CONNECT, self.0.send(text)).await, Ok(Ok(())))
    }

    pub async fn hear(&mut self) -> Heard {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => match parse_pipeline(&text) {
                Ok(pipeline) => Heard::Pipeline(pipeline),
                Err(why) => Heard::Garbage(format!("{why}: {text}")),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Nothing,
            Some(Ok(Message::Close(frame))) => {
                // Answers the Close.
                let _ = timeout(CONNECT, self.0.flush()).await;
                match frame {
                    Some(frame) => {
                        Heard::End(End::Closed(frame.code.into()), frame.reason.to_string())
                    }
                    None => Heard::End(End::Lost, "a Close without a code".to_owned()),
                }
            }
            Some(Ok(other)) => Heard::Garbage(format!("{other:?}")),
            Some(Err(why)) => Heard::End(End::Lost, why.to_string()),
            None => Heard::End(End::Lost, "the end of the stream".to_owned()),
        }
    }
}
