//! A line to a database that can be disturbed: it falls silent, is cut, or leads somewhere else.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

/// Passes connections on, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    target: SocketAddr,
    /// New connections are taken, and lead nowhere.
    silent: bool,
    pairs: Vec<Weak<Pair>>,
}

/// A connection, and the one that it is passed on by.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    silent: AtomicBool,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let state = Arc::new(Mutex::new(State {
            target,
            silent: false,
            pairs: Vec::new(),
        }));
        let proxy = Proxy {
            address: listener.local_addr().expect("its address"),
            state: state.clone(),
        };
        let state = Arc::downgrade(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                match state.upgrade() {
                    Some(state) => open(client, &state),
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
        let target = self.lock().target.to_string();
        assert!(url.contains(&target), "{url} does not lead to {target}");
        url.replacen(&target, &self.address.to_string(), 1)
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
        self.lock().silent = silent;
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
    fn drop(&mut self) {
        self.cut();
        // The thread that listens wakes up, and ends.
        let state = std::mem::replace(
            &mut self.state,
            Arc::new(Mutex::new(State {
                target: self.address,
                silent: false,
                pairs: Vec::new(),
            })),
        );
        drop(state);
        let _ = TcpStream::connect(self.address);
    }
}

fn open(client: TcpStream, state: &Arc<Mutex<State>>) {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    // The database may be down.
    let Ok(server) = TcpStream::connect(state.target) else {
        return;
    };
    let pair = Arc::new(Pair {
        client,
        server,
        silent: state.silent.into(),
    });
    state.pairs.push(Arc::downgrade(&pair));
    drop(state);
    let back = pair.clone();
    thread::spawn(move || pair.pass(&pair.client, &pair.server));
    thread::spawn(move || back.pass(&back.server, &back.client));
}

impl Pair {
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            let silent = self.silent.load(Ordering::SeqCst);
            if !silent && to.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        // Of a silent pair, neither end hears of the other's.
        if !self.silent.load(Ordering::SeqCst) {
            self.cut();
        }
    }

    fn cut(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
