//! The server, as handlers get it.

use std::any::Any;
use std::sync::Arc;

use super::{Beside, Edge, MatsSocketServer};
use crate::endpoint::Context;
use crate::node::Node;

impl Context {
    /// The server that runs this handler: its handle, as returned by [`start`](crate::ServerBuilder::start). What is sent
    /// through it is stored at once, whatever becomes of the handler; the methods of the context store it together with
    /// the handler's outcome.
    ///
    /// ```
    /// use matssocket::{HandlerError, Incoming, Outcome};
    ///
    /// async fn count(of: Incoming<()>) -> Result<Outcome<u64>, HandlerError> {
    ///     let server = of.context.server();
    ///     Ok(Outcome::resolve(server.count_sessions(Default::default()).await?))
    /// }
    /// # drop(count);
    /// ```
    ///
    /// # Panics
    /// In a test that has made the context without a server.
    pub fn server(&self) -> MatsSocketServer {
        let host: Arc<dyn Any + Send + Sync> = self.host().clone();
        let server = host.downcast().ok().and_then(MatsSocketServer::of);
        server.expect("this context was made by a test, without a server")
    }
}

impl MatsSocketServer {
    /// The handle of a node.
    pub(super) fn of(node: Arc<Node>) -> Option<MatsSocketServer> {
        let beside: Arc<Beside> = node.beside.clone().downcast().ok()?;
        Some(MatsSocketServer {
            edge: Arc::new(Edge::new(node.clone(), beside.clone())),
            node,
            beside,
        })
    }
}
