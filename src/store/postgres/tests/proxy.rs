//! A line to the PostgreSQL of the tests that can be disturbed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::super::Postgres;
use super::{Schema, server};

/// Passes connections on, and does what it is told to them.
pub struct Proxy {
    address: SocketAddr,
    /// The next COMMIT reaches the server, but its answer not the client.
    pub lose_commit: Arc<AtomicBool>,
    /// Connections that are there, and those opened while this holds, pass nothing on any more, in neither direction, and
    /// stay open.
    pub swallow: Arc<AtomicBool>,
    /// No new connections.
    pub refuse: Arc<AtomicBool>,
    /// Bytes that the server has answered.
    pub answered: Arc<AtomicU64>,
}

impl Proxy {
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Proxy {
            address: listener.local_addr().expect("its address"),
            lose_commit: Arc::default(),
            swallow: Arc::default(),
            refuse: Arc::default(),
            answered: Arc::default(),
        };
        let (lose, refuse) = (proxy.lose_commit.clone(), proxy.refuse.clone());
        let swallow = proxy.swallow.clone();
        let answered = proxy.answered.clone();
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !refuse.load(Ordering::SeqCst) {
                    pass_on(client, &lose, &answered, &swallow);
                }
            }
        });
        proxy
    }

    /// The settings of a schema, through here.
    pub fn settings(&self, schema: &Schema) -> Postgres {
        let mut settings = schema.settings();
        let (from, to) = host_and_port();
        settings.url = settings.url.replacen(&from, &self.address.to_string(), 1);
        assert!(!settings.url.contains(&from), "not through {to}");
        settings
    }
}

/// The server's host and port, as its URL has them.
fn host_and_port() -> (String, SocketAddr) {
    let url = server();
    let rest = url.split("://").nth(1).expect("a URL");
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let address = host.to_socket_addrs().ok().and_then(|mut it| it.next());
    (
        host.to_owned(),
        address.unwrap_or_else(|| panic!("MATSSOCKET_TEST_POSTGRES must have host:port: {host:?}")),
    )
}

fn pass_on(
    client: TcpStream,
    lose: &Arc<AtomicBool>,
    answered: &Arc<AtomicU64>,
    swallow: &Arc<AtomicBool>,
) {
    // Once it swallows, a connection does so for good.
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = {
        let swallow = swallow.clone();
        move || {
            silent.load(Ordering::SeqCst) || {
                let swallows = swallow.load(Ordering::SeqCst);
                silent.fetch_or(swallows, Ordering::SeqCst);
                swallows
            }
        }
    };
    let answer_is_silent = is_silent.clone();
    let server = TcpStream::connect(host_and_port().1).expect("the test's PostgreSQL");
    let (mut from, mut to) = (
        client.try_clone().expect("a handle"),
        server.try_clone().expect("a handle"),
    );
    let (lose, answered) = (lose.clone(), answered.clone());
    thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let commits = bytes[..read].windows(7).any(|it| it == b"COMMIT\0");
            if commits && lose.swap(false, Ordering::SeqCst) {
                // The client hears no more; the server hears the COMMIT, and then that the client has gone.
                let _ = from.shutdown(Shutdown::Both);
            }
            if !is_silent() && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    thread::spawn(move || {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            answered.fetch_add(read as u64, Ordering::SeqCst);
            if !answer_is_silent() && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
