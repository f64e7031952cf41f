//! Runs a program, with plain HTTP requests to it and clients for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use matssocket_client::{Client, ClientBuilder, Message};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Long enough for a busy machine; only reached if something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program, killed at the end of its test.
pub struct Program {
    child: Option<Child>,
    pid: u32,
    lines: BufReader<ChildStdout>,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let stdout = child.stdout.take().expect("piped");
        Program {
            pid: child.id(),
            child: Some(child),
            lines: BufReader::new(stdout),
        }
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        assert!(!line.is_empty(), "the program ended early");
        line.trim_end().to_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.pid.to_string()])
            .status();
        assert!(status.expect("kill is there").success());
    }

    /// Sends a signal (`TERM`, `INT`), and waits for the program to end.
    pub fn end(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().expect("ended once");
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(child.wait()));
        match ended.recv_timeout(PATIENCE) {
            Ok(status) => status.expect("a child of ours"),
            Err(_) => {
                let _ = Command::new("kill")
                    .args(["-KILL", &self.pid.to_string()])
                    .status();
                panic!("the program did not end on SIG{signal} within {PATIENCE:?}");
            }
        }
    }
}

impl Program {
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .expect("the program was built")
}

/// Fails unless the program refused to start: exit code 2, and one line that contains all of these.
pub fn assert_refused(output: &Output, contains: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    for text in contains {
        assert!(stderr.contains(text), "{text:?} is not in: {stderr}");
    }
}

/// The example, which `cargo test` builds along with the tests.
pub fn conformance() -> Command {
    let mut path: PathBuf = std::env::current_exe().expect("known");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("examples/conformance");
    assert!(
        path.exists(),
        "{} is not there: run `cargo build --example conformance`",
        path.display()
    );
    Command::new(path)
}

/// A conformance server of two nodes on free ports.
pub struct Server {
    pub program: Program,
    pub ports: [u16; 2],
    pub nodes: [String; 2],
    /// The directory of its temporary database: the server is killed before it can clean up.
    _directory: TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// With more arguments.
    pub fn start_with(more: &[&str]) -> Server {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = conformance();
        command
            .args(["--ports", "0,0"])
            .args(more)
            .env("TMPDIR", directory.path());
        let mut program = Program::start(&mut command);
        let (first, second) = (ready(&program.line()), ready(&program.line()));
        Server {
            program,
            ports: [first.0, second.0],
            nodes: [first.1, second.1],
            _directory: directory,
        }
    }

    pub fn urls(&self) -> [String; 2] {
        self.ports
            .map(|port| format!("ws://127.0.0.1:{port}/matssocket"))
    }

    /// A client of this user, which has not connected yet, so that handlers can be added.
    pub fn client(&self, user: &str) -> Client {
        self.builder()
            .authorization_value(format!("DummyAuth:{user}:-1"))
            .build()
            .expect("URLs are fine")
    }

    pub fn builder(&self) -> ClientBuilder {
        Client::builder("Tests", "1")
            .urls(self.urls())
            .shuffle(false)
    }
}

/// Port and node of a line `ready ws://127.0.0.1:8080/matssocket node=<name>`.
fn ready(line: &str) -> (u16, String) {
    let parsed = line.strip_prefix("ready ws://127.0.0.1:").and_then(|rest| {
        let (port, node) = rest.split_once("/matssocket node=")?;
        Some((port.parse().ok()?, node.to_owned()))
    });
    parsed.unwrap_or_else(|| panic!("not a ready line: {line:?}"))
}

/// Everything that arrives at a terminator, in order.
pub fn collect(client: &Client, terminator: &str) -> UnboundedReceiver<Message<Value>> {
    let (sender, receiver) = unbounded_channel();
    client.terminator(terminator, move |message: Message<Value>| {
        let _ = sender.send(message);
        std::future::ready(())
    });
    receiver
}

/// The next message.
pub async fn next(messages: &mut UnboundedReceiver<Message<Value>>) -> Message<Value> {
    within("a message", messages.recv())
        .await
        .expect("the client is there")
}

/// Waits, but with a time limit.
pub async fn within<F: IntoFuture>(what: &str, future: F) -> F::Output {
    let waiting = tokio::time::timeout(PATIENCE, future.into_future());
    waiting
        .await
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// An HTTP response.
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }
}

/// One HTTP request, such as `http(8080, "GET /", &["Origin: http://localhost"])`.
pub fn http(port: u16, request: &str, headers: &[&str]) -> Response {
    let mut text = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    exchange(port, &mut text, headers)
}

/// Attempts to upgrade to a WebSocket; returns when the response's head has arrived.
pub fn upgrade(port: u16, path: &str, headers: &[&str]) -> Response {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: matssocket\r\n"
    );
    exchange(port, &mut text, headers)
}

fn exchange(port: u16, text: &mut String, headers: &[&str]) -> Response {
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    for line in reader.by_ref().lines() {
        let line = line.expect("it answers");
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let status = head[0]
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    let pair = |line: &String| {
        let (name, value) = line.split_once(':').expect("a header");
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    let headers: Vec<_> = head[1..].iter().map(pair).collect();
    let mut body = String::new();
    if status != 101 {
        reader
            .read_to_string(&mut body)
            .expect("text, and then the end");
    }
    Response {
        status,
        headers,
        body,
    }
}
