//! The admin API and the files of the dashboard, over real sockets.

mod dead_letters;
mod gate;
mod pages;
mod sessions;

use std::net::SocketAddr;

use actix_web::web::ServiceConfig;
use actix_web::{App, HttpRequest, HttpServer};
use matssocket::{AdminAccess, MatsSocketServer};
use matssocket_testing::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The admin API and the dashboard of a server, on a port of its own.
struct Admin {
    address: SocketAddr,
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }

    /// What it says that was wrong.
    #[track_caller]
    fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }
}

const JSON: &str = "\r\nContent-Type: application/json";

impl Admin {
    /// Anybody may do everything.
    fn open(server: &MatsSocketServer) -> Admin {
        Admin::guarded(server, async |_: &HttpRequest| AdminAccess::allow("tests"))
    }

    fn guarded<G>(server: &MatsSocketServer, guard: G) -> Admin
    where
        G: AsyncFn(&HttpRequest) -> AdminAccess + Send + Sync + 'static,
    {
        Admin::serve(server.dashboard("/ops/admin/", guard))
    }

    fn serve(configure: impl FnOnce(&mut ServiceConfig) + Clone + Send + 'static) -> Admin {
        let http = HttpServer::new(move || App::new().configure(configure.clone()))
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .expect("a free port");
        let address = http.addrs()[0];
        actix_web::rt::spawn(http.run());
        Admin { address }
    }

    /// Sends a request: its method, its path below that of the mount, more header lines, its body.
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let address = self.address;
        let length = body.len();
        let request = format!(
            "{method} /ops/admin{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Length: {length}{headers}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut response = String::new();
        within("the response", stream.read_to_string(&mut response))
            .await
            .expect("it answers");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Response {
            status: status.expect("a status"),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, name: &str) -> Response {
        self.send("GET", &format!("/api/{name}"), "", "").await
    }

    async fn post(&self, name: &str, body: Value) -> Response {
        let path = format!("/api/{name}");
        self.send("POST", &path, JSON, &body.to_string()).await
    }

    /// What a call answers that succeeds.
    async fn read(&self, name: &str) -> Value {
        let response = self.get(name).await;
        assert_eq!(response.status, 200, "{name}: {}", response.body);
        response.json()
    }

    /// The same, of a call that changes something.
    async fn change(&self, name: &str, body: Value) -> Value {
        let response = self.post(name, body).await;
        assert_eq!(response.status, 200, "{name}: {}", response.body);
        response.json()
    }
}
