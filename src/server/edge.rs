//! The node, as the HTTP edge sees it.

use std::sync::Arc;

#[cfg(feature = "schema")]
use super::schema::ApiDocument;
use crate::auth::Authentication;
use crate::config::Config;
use crate::error::NotReady;
use crate::http::{Admission, Backend};
use crate::logging;
use crate::mailbox::{Mailbox, Meter};
use crate::maintenance::MaintenanceCounters;
use crate::node::budget::NodeBudget;
use crate::node::{Closes, Gate, Node};
use crate::session::connection::{FromConnection, NewConnection};
use crate::session::{RunningHandlers, Session};

/// A node, with the state shared by its edge and its sessions.
pub(crate) struct Edge {
    pub(crate) node: Arc<Node>,
    beside: Arc<Beside>,
}

/// What a server has beside its node. The node carries it without knowing it, so that a handler can be given the server;
/// it must not hold the node, which would then never be dropped.
pub(super) struct Beside {
    pub(super) admission: Admission,
    pub(super) running: Arc<RunningHandlers>,
    pub(super) maintenance: Arc<MaintenanceCounters>,
    #[cfg(feature = "schema")]
    pub(super) schema: ApiDocument,
}

impl Edge {
    pub(super) fn new(node: Arc<Node>, beside: Arc<Beside>) -> Edge {
        Edge { node, beside }
    }

    /// The handlers running on this node.
    pub(crate) fn running(&self) -> &Arc<RunningHandlers> {
        &self.beside.running
    }
}

impl Backend for Edge {
    fn config(&self) -> &Arc<Config> {
        &self.node.config
    }

    fn authentication(&self) -> &Arc<dyn Authentication> {
        &self.node.authentication
    }

    fn budget(&self) -> &Arc<NodeBudget> {
        &self.node.budget
    }

    fn meter(&self) -> &Arc<Meter> {
        &self.node.meters.connection
    }

    fn authentications(&self) -> &Arc<Gate> {
        &self.node.authentications
    }

    fn closes(&self) -> &Closes {
        &self.node.counters.closes
    }

    fn admission(&self) -> &Admission {
        &self.beside.admission
    }

    fn ready(&self) -> Result<(), NotReady> {
        self.node.ready()
    }

    fn lets_in(&self) -> Result<(), NotReady> {
        self.node.lets_in()
    }

    fn open(&self, connection: NewConnection) -> Mailbox<FromConnection> {
        Session::open(self.node.clone(), self.running().clone(), connection)
    }

    fn close_session(&self, session_id: String) {
        let node = self.node.clone();
        actix_web::rt::spawn(async move {
            if let Err(error) = node.close_session_later(session_id).await {
                logging::debug!("a session could not be closed out of band: {error}");
            }
        });
    }
}
