//! The actix-web edge: upgrade, payload guard, connection actor, and what stands beside the WebSocket.
//!
//! A request enters by `mount`, becomes a WebSocket in `upgrade`, and from then on
//!
//! - comes in: socket → actix-http → `guard` (judges frame headers by `frame`, holds back) → decoder → `connection`
//!   (joins fragments) → session;
//! - goes out: session → `connection` (makes frames by `frame`) → the queue in `state` → response body in `outgoing` →
//!   actix-http → socket.
//!
//! `socket` keeps a second handle of accepted sockets, so that TCP can be ended when the WebSocket is closed.
//! Everything of one WebSocket lives on the thread of the worker that accepted it. No actix `System` is needed.

mod connection;
mod frame;
mod guard;
mod mount;
mod outgoing;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod upgrade;

pub(crate) use mount::mount;
pub use mount::no_upgrade;
pub use socket::on_connect;

use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpRequest;

use crate::auth::{Authentication, Authenticator};
use crate::config::Config;
use crate::metrics::{Mailbox, Meter};
use crate::session::line::{Flow, FromLine, ToLine};

/// What the edge needs from the server behind it.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Every limit.
    fn config(&self) -> &Arc<Config>;
    /// The application's authentication.
    fn authentication(&self) -> &Arc<dyn Authentication>;
    /// The meter of the connection actors.
    fn meter(&self) -> &Arc<Meter>;
    /// Whether a page of this origin may connect.
    fn allows_origin(&self, origin: &str, request: &HttpRequest) -> bool {
        self.authentication().check_origin(origin, request)
    }
    /// Whether this node can serve; if not, why.
    fn ready(&self) -> Result<(), &'static str>;
    /// Starts a session actor on this thread for a new line.
    fn open(&self, line: NewLine) -> Mailbox<FromLine>;
    /// Closes a session from outside.
    fn close_session(&self, session_id: String);
}

/// A line just upgraded.
pub(crate) struct NewLine {
    /// Where the session sends.
    pub(crate) line: Mailbox<ToLine>,
    /// The line's flow.
    pub(crate) flow: Flow,
    /// The connection's authenticator.
    pub(crate) authenticator: Rc<dyn Authenticator>,
    /// The client's address, for introspection.
    pub(crate) remote: Option<String>,
}
