//! A server, and a client of raw frames.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Actor;
use actix_web::rt::net::TcpStream;
use actix_web::rt::time::timeout;
use actix_web::{App, HttpResponse, HttpServer, dev::ServerHandle, guard, web};
use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::session::{Event, Session};
use crate::auth::*;
use crate::config::Config;
use crate::error::NotReady;
use crate::http::{Access, Admission, Backend, mount, no_upgrade, on_connect};
use crate::mailbox::{Mailbox, Meter};
use crate::node::budget::NodeBudget;
use crate::node::{Closes, Gate};
use crate::session::connection::{FromConnection, NewConnection};

pub(super) struct Fake {
    config: Arc<Config>,
    authentication: Arc<dyn Authentication>,
    meter: Arc<Meter>,
    authentications: Arc<Gate>,
    admission: Admission,
    closes: Closes,
    pub(super) budget: Arc<NodeBudget>,
    pub(super) down: AtomicBool,
    /// How often those routes of the application were reached that no request in these tests may reach.
    pub(super) secrets: AtomicUsize,
    /// Handshakes begun, and handshakes ended in any way.
    pub(super) handshakes: Arc<(AtomicUsize, AtomicUsize)>,
    events: Mutex<mpsc::UnboundedSender<Event>>,
}

impl Backend for Fake {
    fn config(&self) -> &Arc<Config> {
        &self.config
    }
    fn authentication(&self) -> &Arc<dyn Authentication> {
        &self.authentication
    }
    fn authentications(&self) -> &Arc<Gate> {
        &self.authentications
    }
    fn closes(&self) -> &Closes {
        &self.closes
    }
    fn admission(&self) -> &Admission {
        &self.admission
    }
    fn budget(&self) -> &Arc<NodeBudget> {
        &self.budget
    }
    fn ready(&self) -> Result<(), NotReady> {
        match self.down.load(Ordering::SeqCst) {
            true => Err(NotReady::StoreAway),
            false => Ok(()),
        }
    }
    fn lets_in(&self) -> Result<(), NotReady> {
        self.ready()
    }
    fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
    fn open(&self, connection: NewConnection) -> Mailbox<FromConnection> {
        let events = self.events.lock().unwrap().clone();
        let session = Session::new(
            connection,
            self.config.max_unsent,
            self.budget.clone(),
            events,
        );
        Mailbox::new(&session.start(), &self.meter)
    }
    fn close_session(&self, session_id: String) {
        let _ = self
            .events
            .lock()
            .unwrap()
            .send(Event::CloseSession(session_id));
    }
}

struct Authenticates(Arc<(AtomicUsize, AtomicUsize)>);

/// Counts the end of a handshake, however it ends.
struct Ends(Arc<(AtomicUsize, AtomicUsize)>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.1.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait(?Send)]
impl Authentication for Authenticates {
    async fn handshake(
        &self,
        request: &actix_web::HttpRequest,
        response: &mut ResponseHeaders,
    ) -> Result<Box<dyn Authenticator>, Refused> {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        let _ends = Ends(self.0.clone());
        if request.query_string().contains("slow") {
            actix_web::rt::time::sleep(Duration::from_millis(300)).await;
        }
        if request.query_string().contains("hang") {
            std::future::pending::<()>().await;
        }
        if request.query_string().contains("refuse") {
            return Err(Refused::new("the query says so"));
        }
        response.add(
            "set-cookie".parse().unwrap(),
            "auth=; Max-Age=0".parse().unwrap(),
        );
        Ok(Box::new(Authenticates(self.0.clone())))
    }
}

#[async_trait(?Send)]
impl Authenticator for Authenticates {
    async fn authenticate(&self, _: &str) -> Result<Verdict, AuthError> {
        Ok(Verdict::StillValid)
    }
}

/// A running server and what its sessions received.
pub(super) struct Server {
    pub(super) fake: Arc<Fake>,
    pub(super) address: std::net::SocketAddr,
    handle: ServerHandle,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Server {
    pub(super) fn start(config: Config) -> Server {
        Server::start_with(config, true)
    }

    /// Starts a server with these access settings.
    pub(super) fn start_for(config: Config, access: Access) -> Server {
        Server::start_all(config, access, true)
    }

    /// With or without [`on_connect`].
    pub(super) fn start_with(config: Config, hooked: bool) -> Server {
        Server::start_all(config, Access::default(), hooked)
    }

    fn start_all(config: Config, access: Access, hooked: bool) -> Server {
        let (sender, events) = mpsc::unbounded_channel();
        let handshakes = Arc::default();
        let fake = Arc::new(Fake {
            admission: Admission::new(access, &config),
            closes: Closes::default(),
            budget: NodeBudget::new(&config),
            authentications: Gate::new(config.max_authentications_pending),
            secrets: AtomicUsize::new(0),
            authentication: Arc::new(Authenticates(Arc::clone(&handshakes))),
            handshakes,
            config: Arc::new(config),
            meter: Arc::default(),
            down: AtomicBool::new(false),
            events: Mutex::new(sender),
        });
        let backend = fake.clone();
        let server = HttpServer::new(move || {
            let counted = backend.clone();
            let secret = move || {
                counted.secrets.fetch_add(1, Ordering::SeqCst);
                std::future::ready("secret")
            };
            let before = web::get().guard(guard::fn_guard(no_upgrade));
            App::new()
                .route("/secret", web::to(secret.clone()))
                .route("/before", before.to(|| async { "pre-connect" }))
                .configure(mount(backend.clone(), "/before"))
                .configure(mount(backend.clone(), "matssocket/"))
                .route("/matssocket", web::get().to(|| async { "pre-connect" }))
                .route("/matssocket", web::post().to(secret))
                .route(
                    "/matssocket",
                    web::method(actix_web::http::Method::OPTIONS).to(HttpResponse::NoContent),
                )
        })
        .on_connect(move |connection, extensions| {
            if hooked {
                on_connect(connection, extensions);
            }
        })
        .disable_signals()
        .workers(1)
        .shutdown_timeout(0)
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Server {
            fake,
            address,
            handle,
            events,
        }
    }

    pub(super) async fn event(&mut self) -> Event {
        within(self.events.recv()).await.expect("the server lives")
    }

    pub(super) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event that is not a text.
    pub(super) async fn end(&mut self) -> Event {
        loop {
            match self.event().await {
                Event::Text(_) => {}
                event => return event,
            }
        }
    }

    pub(super) async fn socket(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    /// Sends a request and returns the response's head and body. The body is read to the end.
    pub(super) async fn request(&self, request: &str) -> String {
        let mut client = self.socket().await;
        client
            .write(
                format!(
                    "{request}\r\nhost: {}\r\nconnection: close\r\n\r\n",
                    self.address
                )
                .as_bytes(),
            )
            .await;
        let mut response = String::new();
        within(client.stream.read_to_string(&mut response))
            .await
            .unwrap();
        response
    }

    /// Sends these bytes, piece by piece, and returns everything received until the connection ends. A reset counts as
    /// the end.
    pub(super) async fn raw(&self, pieces: &[&str]) -> String {
        let mut client = self.socket().await;
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                actix_web::rt::time::sleep(Duration::from_millis(50)).await;
            }
            // The server may have ended the connection already.
            let _ = within(client.stream.write_all(piece.as_bytes())).await;
        }
        let mut response = Vec::new();
        let _ = within(client.stream.read_to_end(&mut response)).await;
        String::from_utf8(response).unwrap()
    }

    /// How often the forbidden routes were reached.
    pub(super) fn secrets(&self) -> usize {
        self.fake.secrets.load(Ordering::SeqCst)
    }

    /// Requests an upgrade and returns the response's head.
    pub(super) async fn upgrade(&self, path: &str, headers: &str) -> (Client, String) {
        let mut client = self.socket().await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
            self.address
        );
        client.write(request.as_bytes()).await;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(client.stream.read_u8()).await.unwrap());
        }
        (client, String::from_utf8(head).unwrap())
    }

    pub(super) async fn connect(&self) -> Client {
        let (client, head) = self
            .upgrade("/matssocket", "sec-websocket-protocol: matssocket\r\n")
            .await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Sends the command without waiting for the end.
        drop(self.handle.stop(false));
    }
}

/// A client of raw frames.
pub(super) struct Client {
    pub(super) stream: TcpStream,
}

impl Client {
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    pub(super) async fn text(&mut self, text: &str) {
        self.write(&frame(0x81, text.as_bytes())).await;
    }

    /// The next frame: first byte and payload.
    pub(super) async fn read_frame(&mut self) -> (u8, Vec<u8>) {
        within(async {
            let first = self.stream.read_u8().await?;
            let length = match self.stream.read_u8().await? {
                126 => self.stream.read_u16().await?.into(),
                127 => self.stream.read_u64().await? as usize,
                short => short.into(),
            };
            let mut payload = vec![0; length];
            self.stream.read_exact(&mut payload).await?;
            Ok::<_, std::io::Error>((first, payload))
        })
        .await
        .unwrap()
    }

    /// The next text; pings are skipped.
    pub(super) async fn read_text(&mut self) -> String {
        let (mut first, mut payload) = self.read_frame().await;
        while first == 0x89 {
            (first, payload) = self.read_frame().await;
        }
        assert_eq!(first, 0x81, "{:?}", String::from_utf8_lossy(&payload));
        String::from_utf8(payload).unwrap()
    }

    /// Reads up to the Close: its code and reason.
    pub(super) async fn read_close(&mut self) -> (u16, String) {
        loop {
            let (first, payload) = self.read_frame().await;
            if first == 0x88 {
                let code = u16::from_be_bytes(*payload.first_chunk().unwrap());
                return (code, String::from_utf8(payload[2..].to_vec()).unwrap());
            }
        }
    }

    /// TCP ends within 200 ms.
    pub(super) async fn assert_ends(&mut self) {
        let mut rest = [0; 16];
        let read = timeout(Duration::from_millis(200), self.stream.read(&mut rest)).await;
        assert!(matches!(read, Ok(Ok(0))), "{read:?}");
    }

    /// Answers the server's Close, upon which TCP ends at once.
    pub(super) async fn finish(&mut self, code: u16) {
        self.write(&frame(0x88, &code.to_be_bytes())).await;
        self.assert_ends().await;
    }
}

/// A client frame.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(p, m)| p ^ m));
    frame
}

/// Fails instead of hanging.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future)
        .await
        .expect("done within 10 s")
}
