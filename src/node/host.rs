//! The node, as handlers know it.

use std::sync::Arc;

use super::Node;
use crate::clock::Clock;
use crate::config::Config;
use crate::endpoint::{Data, Host};
use crate::error::SendError;

impl Host for Node {
    fn node_name(&self) -> Arc<str> {
        self.name()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn data(&self) -> &Data {
        &self.data
    }

    fn check_terminator(&self, id: &str) -> Result<(), SendError> {
        match self.endpoints.contains_key(id) {
            true => Ok(()),
            false => Err(SendError::Unknown(format!(
                "there is no reply terminator {id:?} on this server: register it by .terminator(…) before .start(), on \
                every server that sends such requests"
            ))),
        }
    }
}
