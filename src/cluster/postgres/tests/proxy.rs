//! A proxy to PostgreSQL that can hold bytes back.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use diesel::prelude::*;
use diesel::sql_types::Text;

use super::{connection, url};

/// Forwards connections. It ends with the test's process.
pub(super) struct Proxy {
    port: u16,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    /// Connections with a lower number are held.
    held: usize,
}

impl Gate {
    fn enter(&self) -> usize {
        let mut state = self.state.lock().expect("no panic holds it");
        state.connections += 1;
        state.connections - 1
    }

    fn hold(&self, held: impl FnOnce(&State) -> usize) {
        let mut state = self.state.lock().expect("no panic holds it");
        state.held = held(&state);
        self.changed.notify_all();
    }

    fn pass(&self, number: usize) {
        let state = self.state.lock().expect("no panic holds it");
        let _open = self
            .changed
            .wait_while(state, |state| number < state.held)
            .expect("no panic holds it");
    }
}

impl Proxy {
    pub(super) fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let gate = Arc::<Gate>::default();
        let (server, passing) = (server(), gate.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&server).expect("the tests' PostgreSQL");
                let number = passing.enter();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let copy = |it: &TcpStream| it.try_clone().expect("a handle");
                    let (from, to, gate) = (copy(from), copy(to), passing.clone());
                    std::thread::spawn(move || pump(from, to, &gate, number));
                }
            }
        });
        Proxy { port, gate }
    }

    pub(super) fn url(&self) -> String {
        url(&[("host", "127.0.0.1"), ("port", &self.port.to_string())])
    }

    /// Nothing passes.
    pub(super) fn hold(&self) {
        self.gate.hold(|_| usize::MAX);
    }

    /// Nothing passes on the existing connections.
    pub(super) fn strand(&self) {
        self.gate.hold(|state| state.connections);
    }

    /// Everything passes.
    pub(super) fn release(&self) {
        self.gate.hold(|_| 0);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, gate: &Gate, number: usize) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        gate.pass(number);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The server's address.
fn server() -> String {
    #[derive(QueryableByName)]
    struct Address {
        #[diesel(sql_type = Text)]
        address: String,
    }
    let query = "SELECT host(inet_server_addr()) || ':' || inet_server_port() AS address";
    let address = diesel::sql_query(query).get_result::<Address>(&mut connection());
    address
        .expect("MATSSOCKET_TEST_POSTGRES must lead to a TCP port")
        .address
}
