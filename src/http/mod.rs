//! The actix-web edge: upgrade, payload guard, connection actor, and the HTTP resources below the WebSocket's path.
//!
//! A request enters through `mount`. `upgrade` admits it if it is valid (`handshake`), its peer and origin are allowed
//! (`admission`, see [`request`](crate::request)), and there is room (`before_hello`). A refusal also ends the TCP
//! connection (`refusal`). An admitted request becomes a WebSocket, and from then on data
//!
//! - comes in: socket → actix-http → `payload_guard` (judges frame headers with `frame`, waits for its `turn`, reserves
//!   room with `receiving`, applies backpressure) → decoder → `connection` (joins fragments) → session;
//! - goes out: session → frames built by `frame` → the queue in `state` → response body in `outgoing` → actix-http →
//!   socket. Everything except texts and pings passes through `connection`.
//!
//! `socket` keeps a handle to accepted sockets, so that TCP can be ended when the WebSocket is closed. Everything of
//! one WebSocket lives on the thread of the worker that accepted it. No actix `System` is needed.

mod admission;
mod before_hello;
#[cfg(feature = "browser-client")]
mod browser_client;
#[cfg(any(feature = "browser-client", feature = "dashboard"))]
mod cached;
mod connection;
mod frame;
mod handshake;
mod mount;
mod outgoing;
mod payload_guard;
mod receiving;
mod refusal;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod turn;
mod upgrade;

pub(crate) use admission::{Access, Admission, admits_page};
#[cfg(feature = "browser-client")]
pub use browser_client::BROWSER_CLIENT;
#[cfg(any(feature = "browser-client", feature = "dashboard"))]
pub(crate) use cached::{is_current, tag};
pub(crate) use mount::mount;
pub use mount::no_upgrade;
#[cfg(feature = "dashboard")]
pub(crate) use refusal::safe;
pub use socket::{listen, on_connect};

use std::sync::Arc;

use crate::auth::Authentication;
use crate::config::Config;
use crate::error::NotReady;
use crate::mailbox::{Mailbox, Meter};
use crate::node::Gate;
use crate::node::budget::NodeBudget;
use crate::session::connection::{FromConnection, NewConnection};

/// What the edge needs from the server.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Every limit.
    fn config(&self) -> &Arc<Config>;
    /// The application's authentication.
    fn authentication(&self) -> &Arc<dyn Authentication>;
    /// What the connections of this node may hold.
    fn budget(&self) -> &Arc<NodeBudget>;
    /// The meter of the connection actors.
    fn meter(&self) -> &Arc<Meter>;
    /// Bounds this node's handshakes and first authentications in progress.
    fn authentications(&self) -> &Arc<Gate>;
    /// Whom this node admits.
    fn admission(&self) -> &Admission;
    /// Whether this node can serve its users fully; if not, why.
    fn ready(&self) -> Result<(), NotReady>;
    /// Whether new clients are admitted; if not, why.
    fn lets_in(&self) -> Result<(), NotReady>;
    /// Starts a session actor on this thread for a new connection.
    fn open(&self, connection: NewConnection) -> Mailbox<FromConnection>;
    /// Closes a session out of band.
    fn close_session(&self, session_id: String);
}
