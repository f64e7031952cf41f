//! A raw client of the protocol: sends what it is given, and returns what arrives, envelope by envelope.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{self, Message};

use super::PATIENCE;

/// What outlives a line: who the client is, its session, and its message ids.
#[derive(Clone, Debug)]
pub struct Client {
    pub auth: String,
    pub session: String,
    cmids: u64,
}

/// One WebSocket.
pub struct Line {
    pub client: Client,
    pub socket: WebSocketStream<TcpStream>,
    /// Envelopes that have arrived and were not returned yet. ACK, NACK and ACK2 are split into one per id, which is in
    /// `id`.
    pub received: VecDeque<Value>,
    /// Every WebSocket message that has arrived, unchanged.
    pub pipelines: Vec<Vec<Value>>,
    closed: Option<(u16, String)>,
}

impl Client {
    pub fn new(user: &str) -> Client {
        Client::with_auth(&format!("{user}:valid"))
    }

    pub fn with_auth(auth: &str) -> Client {
        Client {
            auth: auth.to_owned(),
            session: String::new(),
            cmids: 0,
        }
    }

    /// A line without HELLO.
    pub async fn connect(self, url: &str) -> Line {
        match Line::try_connect(url, &[]).await {
            Ok(line) => Line {
                client: self,
                ..line
            },
            Err(error) => panic!("no connection to {url}: {error}"),
        }
    }

    /// The HELLO that this client sends.
    pub fn hello(&self) -> Value {
        let mut hello = json!({
            "t": "HELLO", "clv": "test/1; rust", "an": "TestApp", "av": "1.2.3", "tid": "hello",
            "ts": 1, "cid": "unknown fields are ignored", "auth": self.auth
        });
        if !self.session.is_empty() {
            hello["sid"] = json!(self.session);
        }
        hello
    }

    /// A line after HELLO and WELCOME: a new session, or this client's existing one.
    pub async fn welcome(self, url: &str) -> Line {
        let mut line = self.connect(url).await;
        line.hello().await;
        line
    }
}

impl Line {
    /// Opens a session for a user.
    pub async fn open(url: &str, user: &str) -> Line {
        Client::new(user).welcome(url).await
    }

    /// A bare line without HELLO.
    pub async fn bare(url: &str) -> Line {
        Client::new("nobody").connect(url).await
    }

    pub async fn try_connect(
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Line, tungstenite::Error> {
        let mut request = url.into_client_request()?;
        let host = request
            .uri()
            .authority()
            .expect("a test URL has host and port")
            .as_str()
            .to_owned();
        let map = request.headers_mut();
        map.insert(
            "Sec-WebSocket-Protocol",
            HeaderValue::from_static("matssocket"),
        );
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a test's header name");
            map.insert(name, value.parse().expect("a test's header value"));
        }
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        assert_eq!(response.headers()["sec-websocket-protocol"], "matssocket");
        Ok(Line {
            client: Client::new("nobody"),
            socket,
            received: VecDeque::new(),
            pipelines: Vec::new(),
            closed: None,
        })
    }

    pub fn session(&self) -> &str {
        &self.client.session
    }

    // ---- sending ----

    /// Sends HELLO, whatever the result.
    pub async fn say_hello(&mut self) {
        let hello = self.client.hello();
        self.send(json!([hello])).await;
    }

    /// Sends HELLO and waits for WELCOME.
    pub async fn hello(&mut self) {
        self.say_hello().await;
        let welcome = self.expect("WELCOME").await;
        self.client.session = welcome["sid"].as_str().expect("WELCOME has sid").to_owned();
    }

    pub async fn text(&mut self, text: &str) {
        if let Err(error) = self.socket.send(Message::text(text)).await {
            panic!("cannot send {}: {error}", &text[..text.len().min(200)]);
        }
    }

    pub async fn send(&mut self, pipeline: Value) {
        self.text(&pipeline.to_string()).await;
    }

    pub async fn message(&mut self, message: Message) {
        self.socket
            .send(message)
            .await
            .expect("the line takes a message");
    }

    pub fn next_cmid(&mut self) -> String {
        self.client.cmids += 1;
        self.client.cmids.to_string()
    }

    /// The trace id of the message with this id.
    pub fn tid(&self, cmid: &str) -> String {
        let session = &self.client.session;
        format!("{}-{cmid}", &session[..session.len().min(8)])
    }

    /// An information-bearing envelope for an endpoint.
    pub fn envelope(&self, t: &str, cmid: &str, eid: &str, msg: Value) -> Value {
        json!({"t": t, "cmid": cmid, "tid": self.tid(cmid), "eid": eid, "msg": msg})
    }

    /// Sends a SEND; returns its id.
    pub async fn send_to(&mut self, eid: &str, msg: Value) -> String {
        self.say("SEND", eid, msg).await
    }

    /// Sends a REQUEST; returns its id.
    pub async fn request(&mut self, eid: &str, msg: Value) -> String {
        self.say("REQUEST", eid, msg).await
    }

    async fn say(&mut self, t: &str, eid: &str, msg: Value) -> String {
        let cmid = self.next_cmid();
        let envelope = self.envelope(t, &cmid, eid, msg);
        self.send(json!([envelope])).await;
        cmid
    }

    /// Answers a request from the server; returns the answer's own id.
    pub async fn reply(&mut self, t: &str, request: &Value, msg: Value) -> String {
        let cmid = self.next_cmid();
        let answer = json!({"t": t, "cmid": cmid, "smid": request["smid"], "tid": request["tid"], "msg": msg});
        self.send(json!([answer])).await;
        cmid
    }

    /// Acknowledges a message from the server and waits until that is done.
    pub async fn ack(&mut self, envelope: &Value) {
        self.ack_all(std::slice::from_ref(envelope)).await;
    }

    pub async fn ack_all(&mut self, envelopes: &[Value]) {
        let ids: Vec<&Value> = envelopes.iter().map(|envelope| &envelope["smid"]).collect();
        self.send(json!([{"t": "ACK", "ids": ids}])).await;
        for id in ids {
            self.expect_id("ACK2", id.as_str().expect("smid is a string"))
                .await;
        }
    }

    // ---- receiving ----

    /// The first envelope of this type that has arrived or arrives; others are kept for later calls.
    pub async fn expect(&mut self, t: &str) -> Value {
        self.expect_where(t, |envelope| envelope["t"] == t).await
    }

    /// The ACK, NACK or ACK2 of this id, or the RESOLVE, REJECT or RETRY with this cmid.
    pub async fn expect_id(&mut self, t: &str, id: &str) -> Value {
        let about = |envelope: &Value| envelope["id"] == id || envelope["cmid"] == id;
        self.expect_where(&format!("{t} of {id}"), |envelope| {
            envelope["t"] == t && about(envelope)
        })
        .await
    }

    /// Any envelope about this cmid.
    pub async fn answer(&mut self, cmid: &str) -> Value {
        self.expect_where(&format!("an answer to {cmid}"), |e| {
            e["id"] == cmid || e["cmid"] == cmid
        })
        .await
    }

    pub async fn expect_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.received.iter().position(&wanted) {
                return self.received.remove(at).expect("just found");
            }
            match timeout_at(deadline, self.read()).await {
                Ok(Ok(())) => {}
                Ok(Err(end)) => panic!(
                    "waited for {what}, but {end}; received besides: {:?}",
                    self.received
                ),
                Err(_) => panic!(
                    "waited {PATIENCE:?} in vain for {what}; received besides: {:?}",
                    self.received
                ),
            }
        }
    }

    /// Waits for this close code; returns the reason.
    pub async fn expect_close(&mut self, code: u16) -> String {
        let (came, reason) = self.close().await;
        assert_eq!(
            came, code,
            "closed with {came} {reason:?} instead of {code}; received: {:?}",
            self.received
        );
        reason
    }

    /// Waits for the server to close. Returns code and reason.
    pub async fn close(&mut self) -> (u16, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(closed) = self.closed.clone() {
                return closed;
            }
            match timeout_at(deadline, self.read()).await {
                Ok(Ok(())) => {}
                Ok(Err(end)) if self.closed.is_none() => panic!("waited for a Close, but {end}"),
                Ok(Err(_)) => {}
                Err(_) => panic!(
                    "waited {PATIENCE:?} in vain for a Close; received: {:?}",
                    self.received
                ),
            }
        }
    }

    /// Waits until the server has ended TCP. Returns how long that took.
    pub async fn end_of_tcp(&mut self) -> Duration {
        let from = Instant::now();
        let end = async { while self.read().await.is_ok() {} };
        timeout(PATIENCE, end)
            .await
            .expect("the server ends TCP after the closing handshake");
        from.elapsed()
    }

    /// PING and PONG: the session has received everything sent before, though perhaps not answered it yet.
    pub async fn barrier(&mut self) {
        let x = format!("barrier-{}", self.next_cmid());
        self.send(json!([{"t": "PING", "x": x}])).await;
        self.expect_where("PONG", |envelope| {
            envelope["t"] == "PONG" && envelope["x"] == x
        })
        .await;
    }

    /// How many envelopes of this type have arrived and were not returned yet.
    pub fn waiting(&self, t: &str) -> usize {
        self.received
            .iter()
            .filter(|envelope| envelope["t"] == t)
            .count()
    }

    /// Checks that nothing of this type has arrived, after a round trip.
    pub async fn none(&mut self, t: &str) {
        self.barrier().await;
        assert_eq!(
            self.waiting(t),
            0,
            "{t} is not expected, but received: {:?}",
            self.received
        );
    }

    /// Reads one WebSocket message. `Err`: the line has ended, and how.
    pub async fn read(&mut self) -> Result<(), String> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let pipeline: Value = serde_json::from_str(&text).expect("the server sends JSON");
                let Value::Array(pipeline) = pipeline else {
                    panic!("not a pipeline: {text}")
                };
                assert!(!pipeline.is_empty(), "an empty pipeline");
                for envelope in &pipeline {
                    self.take(envelope);
                }
                self.pipelines.push(pipeline);
                Ok(())
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                self.closed
                    .get_or_insert(frame.unwrap_or((1005, String::new())));
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(other)) => panic!("the server sent {other:?}"),
            Some(Err(error)) => Err(format!(
                "the line broke: {error} (closed: {:?})",
                self.closed
            )),
            None => Err(format!("the line ended (closed: {:?})", self.closed)),
        }
    }

    fn take(&mut self, envelope: &Value) {
        let object = envelope.as_object().expect("an envelope is an object");
        for (key, value) in object {
            assert!(
                key == "msg" || !value.is_null(),
                "{key} is null in {envelope}"
            );
        }
        let t = envelope["t"].as_str().expect("t is a string");
        if !matches!(t, "ACK" | "NACK" | "ACK2") {
            self.received.push_back(envelope.clone());
            return;
        }
        let mut ids: Vec<Value> = envelope["ids"].as_array().cloned().unwrap_or_default();
        ids.extend(
            ["cmid", "smid"]
                .iter()
                .filter_map(|key| envelope.get(key))
                .cloned(),
        );
        assert!(!ids.is_empty(), "{envelope} has no id");
        for id in ids {
            assert!(
                id.is_string(),
                "the server sends ids as strings: {envelope}"
            );
            let mut single = envelope.clone();
            single["id"] = id;
            self.received.push_back(single);
        }
    }

    // ---- ending ----

    /// Drops TCP without a Close.
    pub fn cut(self) -> Client {
        self.client
    }

    /// Drops TCP by a reset.
    pub fn reset(self) -> Client {
        let _ = socket2::SockRef::from(self.socket.get_ref()).set_linger(Some(Duration::ZERO));
        self.client
    }

    /// Sends a Close; returns the server's answer.
    pub async fn leave(&mut self, code: u16) -> (u16, String) {
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "leaving".into(),
        };
        self.socket
            .close(Some(frame))
            .await
            .expect("the line takes a Close");
        self.close().await
    }
}

/// Tries to open a line that must be refused. Returns the HTTP status of the refusal.
pub async fn refused(url: &str, headers: &[(&str, &str)]) -> u16 {
    match Line::try_connect(url, headers).await {
        Ok(_) => panic!("the upgrade was not refused"),
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("refused in another way: {error}"),
    }
}

/// A plain HTTP/1.1 exchange: status and the whole response.
pub async fn http(address: SocketAddr, head: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(address).await.expect("HTTP connection");
    let request =
        format!("{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("HTTP request");
    let mut response = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut response))
        .await
        .expect("HTTP in time")
        .expect("HTTP response");
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("HTTP status");
    (status, response)
}
