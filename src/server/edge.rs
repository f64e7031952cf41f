//! The node, as the HTTP edge sees it.

use std::sync::Arc;

use crate::auth::Authentication;
use crate::config::Config;
use crate::error::NotReady;
use crate::http::{Admission, Backend};
use crate::mailbox::{Mailbox, Meter};
use crate::node::budget::NodeBudget;
use crate::node::{Gate, Node};
use crate::session::line::{FromLine, NewLine};
use crate::session::{RunningHandlers, Session};

/// A node, with the state shared by its edge and its sessions.
pub(crate) struct Edge {
    pub(crate) node: Arc<Node>,
    admission: Admission,
    pub(crate) running: Arc<RunningHandlers>,
}

impl Edge {
    pub(super) fn new(node: Arc<Node>, admission: Admission) -> Edge {
        Edge {
            node,
            admission,
            running: Arc::default(),
        }
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

    fn admission(&self) -> &Admission {
        &self.admission
    }

    fn ready(&self) -> Result<(), NotReady> {
        self.node.ready()
    }

    fn lets_in(&self) -> Result<(), NotReady> {
        self.node.lets_in()
    }

    fn open(&self, line: NewLine) -> Mailbox<FromLine> {
        Session::open(self.node.clone(), self.running.clone(), line)
    }

    fn close_session(&self, session_id: String) {
        let node = self.node.clone();
        actix_web::rt::spawn(async move {
            if let Err(error) = node.close_session_later(session_id).await {
                log::debug!("a session could not be closed out of band: {error}");
            }
        });
    }
}
