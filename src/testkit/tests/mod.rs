//! The kit itself and, through it, the server's guarantees to applications.

mod context;
mod handlers;
mod kit;
mod neighbours;
mod server;
mod transactional;

use std::sync::{Arc, Mutex};

use super::{TestClient, any_user};
use crate::server::{MatsSocketServer, ServerBuilder};
use crate::store::Store;

/// The minimal builder of a server.
fn builder() -> ServerBuilder {
    MatsSocketServer::builder("orders")
        .store(Store::sqlite_in_memory())
        .authentication(any_user())
}

async fn alice(server: &MatsSocketServer) -> TestClient {
    TestClient::connect(server, "alice").await.unwrap()
}

/// What handlers and listeners record.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, note: impl Into<String>) {
        self.0.lock().unwrap().push(note.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
