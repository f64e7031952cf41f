//! What the HTTP edge is given of the node.

use std::sync::Arc;

use super::budget::NodeBudget;
use super::{Gate, Node};
use crate::auth::Authentication;
use crate::config::Config;
use crate::http::{Admission, Backend, NewLine};
use crate::mailbox::{Mailbox, Meter};
use crate::session::Session;
use crate::session::line::FromLine;

/// The node as the edge sees it.
pub(crate) struct Edge(pub(crate) Arc<Node>);

impl Backend for Edge {
    fn config(&self) -> &Arc<Config> {
        &self.0.config
    }

    fn authentication(&self) -> &Arc<dyn Authentication> {
        &self.0.authentication
    }

    fn budget(&self) -> &Arc<NodeBudget> {
        &self.0.budget
    }

    fn meter(&self) -> &Arc<Meter> {
        &self.0.meters.connection
    }

    fn authentications(&self) -> &Arc<Gate> {
        &self.0.authentications
    }

    fn admission(&self) -> &Admission {
        &self.0.admission
    }

    fn ready(&self) -> Result<(), &'static str> {
        self.0.ready()
    }

    fn lets_in(&self) -> Result<(), &'static str> {
        self.0.lets_in()
    }

    fn open(&self, line: NewLine) -> Mailbox<FromLine> {
        Session::open(self.0.clone(), line)
    }

    fn close_session(&self, session_id: String) {
        let node = self.0.clone();
        actix_web::rt::spawn(async move {
            if let Err(error) = node.close_session_later(session_id).await {
                log::debug!("a session could not be closed out of band: {error}");
            }
        });
    }
}
