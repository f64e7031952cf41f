//! A proxy to a database that can fall silent, cut connections, lose an answer, or lead somewhere else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

/// Forwards connections until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    shared: Arc<Shared>,
}

struct State {
    target: SocketAddr,
    /// What happens to new connections.
    new_ones: NewOnes,
    pairs: Vec<Weak<Pair>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NewOnes {
    Work,
    /// They are accepted, but lead nowhere.
    AreSilent,
    AreRefused,
}

/// State shared by all connections.
#[derive(Default)]
struct Shared {
    /// The next COMMIT reaches the server, but its answer does not reach the client.
    loses_commit: AtomicBool,
    /// Bytes that the server has sent.
    answered: AtomicU64,
}

/// A client's connection, and the one to the server.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    silent: AtomicBool,
    shared: Arc<Shared>,
}

/// The host and port of a URL, as written.
fn host_of(url: &str) -> &str {
    let rest = url.split("://").nth(1).expect("a URL");
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.rsplit('@').next().unwrap_or_default()
}

impl Proxy {
    /// A proxy in front of the database at this URL.
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

    /// A URL of the database through this proxy.
    pub fn url(&self, url: &str) -> String {
        url.replacen(host_of(url), &self.address.to_string(), 1)
    }

    /// Existing connections forward nothing any more, but stay open. New ones work. (Those that were already silent are
    /// closed towards the database, as its own keep-alives would do.)
    pub fn silence(&self) {
        for pair in self.pairs() {
            if pair.silent.swap(true, Ordering::SeqCst) {
                let _ = pair.server.shutdown(Shutdown::Both);
            }
        }
    }

    /// Sets whether new connections are accepted but lead nowhere.
    pub fn silence_new(&self, silent: bool) {
        self.lock().new_ones = match silent {
            true => NewOnes::AreSilent,
            false => NewOnes::Work,
        };
    }

    /// Sets whether new connections are closed at once.
    pub fn refuse_new(&self, refused: bool) {
        self.lock().new_ones = match refused {
            true => NewOnes::AreRefused,
            false => NewOnes::Work,
        };
    }

    /// New connections lead there; existing ones are cut.
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

    /// The next COMMIT reaches the server, but its answer does not reach the client.
    pub fn lose_commit(&self) {
        self.shared.loses_commit.store(true, Ordering::SeqCst);
    }

    /// Whether that has not happened yet.
    pub fn loses_commit(&self) -> bool {
        self.shared.loses_commit.load(Ordering::SeqCst)
    }

    /// Bytes that the server has sent.
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
    /// Cuts all connections. (The listening thread ends with the process, or with the next connection.)
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
        // The other end first reads what was already sent. In a silent pair, neither end learns that the other has
        // closed.
        if !self.is_silent() {
            let _ = to.shutdown(Shutdown::Write);
            let _ = self.client.shutdown(Shutdown::Both);
        }
    }

    fn asks(&self, bytes: &[u8]) {
        let commits = bytes.windows(7).any(|it| it == b"COMMIT\0");
        if commits && self.shared.loses_commit.swap(false, Ordering::SeqCst) {
            // The client gets nothing more; the server gets the COMMIT, and then sees that the client has gone.
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
