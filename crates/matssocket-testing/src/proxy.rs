//! A line to a database that can be disturbed: it falls silent, is cut, loses an answer, or leads somewhere else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

/// Passes connections on, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    shared: Arc<Shared>,
}

struct State {
    target: SocketAddr,
    /// What becomes of new connections.
    new_ones: NewOnes,
    pairs: Vec<Weak<Pair>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NewOnes {
    Work,
    /// They are taken, and lead nowhere.
    AreSilent,
    AreRefused,
}

/// What all connections share.
#[derive(Default)]
struct Shared {
    /// The next COMMIT reaches the server, but its answer not the client.
    loses_commit: AtomicBool,
    /// Bytes that the server has answered.
    answered: AtomicU64,
}

/// A connection, and the one that it is passed on by.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    silent: AtomicBool,
    shared: Arc<Shared>,
}

/// The host and the port of a URL, as it has them.
fn host_of(url: &str) -> &str {
    let rest = url.split("://").nth(1).expect("a URL");
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default()
}

impl Proxy {
    /// A way to the database at a URL.
    pub fn before(url: &str) -> Proxy {
        let address = host_of(url).to_socket_addrs().ok();
        let address = address.and_then(|mut all| all.next());
        Proxy::to(address.unwrap_or_else(|| panic!("{url} must have host:port")))
    }

    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = Proxy {
            address: listener.local_addr().expect("its address"),
            state: Arc::new(Mutex::new(State {
                target,
                new_ones: NewOnes::Work,
                pairs: Vec::new(),
            })),
            shared: Arc::default(),
        };
        let (state, shared) = (Arc::downgrade(&proxy.state), proxy.shared.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                match state.upgrade() {
                    Some(state) => open(client, &state, &shared),
                    None => return,
                }
            }
        });
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL of the database, through here.
    pub fn url(&self, url: &str) -> String {
        url.replacen(host_of(url), &self.address.to_string(), 1)
    }

    /// The connections that are there pass nothing on any more, and stay open. New ones work. (Of those that were silent
    /// before, the database is told that they are gone, as its own keep-alives would tell it.)
    pub fn silence(&self) {
        for pair in self.pairs() {
            if pair.silent.swap(true, Ordering::SeqCst) {
                let _ = pair.server.shutdown(Shutdown::Both);
            }
        }
    }

    /// Whether new connections are taken and lead nowhere.
    pub fn silence_new(&self, silent: bool) {
        self.lock().new_ones = match silent {
            true => NewOnes::AreSilent,
            false => NewOnes::Work,
        };
    }

    /// Whether new connections are closed at once.
    pub fn refuse_new(&self, refused: bool) {
        self.lock().new_ones = match refused {
            true => NewOnes::AreRefused,
            false => NewOnes::Work,
        };
    }

    /// New connections lead there; those that are there are cut.
    pub fn lead_to(&self, target: SocketAddr) {
        self.lock().target = target;
        self.cut();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for pair in self.pairs() {
            pair.cut();
        }
    }

    /// The next COMMIT reaches the server, but its answer not the client.
    pub fn lose_commit(&self) {
        self.shared.loses_commit.store(true, Ordering::SeqCst);
    }

    /// Whether that has not happened yet.
    pub fn loses_commit(&self) -> bool {
        self.shared.loses_commit.load(Ordering::SeqCst)
    }

    /// Bytes that the server has answered.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::SeqCst)
    }

    fn pairs(&self) -> Vec<Arc<Pair>> {
        let mut state = self.lock();
        state.pairs.retain(|pair| pair.strong_count() > 0);
        state.pairs.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    /// What is passed on is cut. (The thread that listens ends with the process, or with the next connection.)
    fn drop(&mut self) {
        self.refuse_new(true);
        self.cut();
    }
}

fn open(client: TcpStream, state: &Mutex<State>, shared: &Arc<Shared>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.new_ones == NewOnes::AreRefused {
        return;
    }
    // The database may be down.
    let Ok(server) = TcpStream::connect(state.target) else {
        return;
    };
    let pair = Arc::new(Pair {
        client,
        server,
        silent: (state.new_ones == NewOnes::AreSilent).into(),
        shared: shared.clone(),
    });
    state.pairs.push(Arc::downgrade(&pair));
    drop(state);
    let back = pair.clone();
    thread::spawn(move || pair.pass(&pair.client, &pair.server, |bytes| pair.asks(bytes)));
    thread::spawn(move || back.pass(&back.server, &back.client, |bytes| back.answers(bytes)));
}

impl Pair {
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream, see: impl Fn(&[u8])) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let bytes = &bytes[..read];
            see(bytes);
            if !self.is_silent() && to.write_all(bytes).is_err() {
                break;
            }
        }
        // Whoever is at the other end reads what was sent first. Of a silent pair, neither end hears of the other's.
        if !self.is_silent() {
            let _ = to.shutdown(Shutdown::Write);
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }

    fn asks(&self, bytes: &[u8]) {
        let commits = bytes.windows(7).any(|it| it == b"COMMIT\0");
        if commits && self.shared.loses_commit.swap(false, Ordering::SeqCst) {
            // The client hears no more; the server hears the COMMIT, and then that the client has gone.
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }

    fn answers(&self, bytes: &[u8]) {
        let more = bytes.len() as u64;
        self.shared.answered.fetch_add(more, Ordering::SeqCst);
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
