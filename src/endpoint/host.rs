//! What runs handlers, as they know it: it makes their messages, and holds the application's state.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::SendError;
use crate::message::{self, Destination, Maker, Recipient, ReplyTo, Topic};
use crate::store::operation::Effect;

/// What runs handlers: the node, or a test. (Handlers are below the node in the layers, so they know it only as this.)
pub(crate) trait Host: Any + Send + Sync {
    /// The node's name, for debug information.
    fn node_name(&self) -> Arc<str>;

    fn clock(&self) -> &Clock;

    fn config(&self) -> &Config;

    /// The application's state.
    fn data(&self) -> &Data;

    /// # Errors
    /// There is no such terminator here.
    fn check_terminator(&self, id: &str) -> Result<(), SendError>;
}

/// Messages for clients, whoever sends them: a handler through its context, or the application through the server.
impl dyn Host {
    pub(crate) fn send<T: Serialize + ?Sized>(
        &self,
        recipient: Recipient<'_>,
        trace_id: &str,
        terminator: Destination,
        payload: &T,
    ) -> Result<Effect, SendError> {
        self.maker().send(recipient, trace_id, terminator, payload)
    }

    pub(crate) fn request<T: Serialize + ?Sized>(
        &self,
        recipient: Recipient<'_>,
        trace_id: &str,
        endpoint: Destination,
        payload: &T,
        reply_to: ReplyTo,
    ) -> Result<Effect, SendError> {
        self.check_terminator(&reply_to.terminator)?;
        let timeout = self.config().request_timeout;
        self.maker()
            .request(recipient, trace_id, endpoint, payload, reply_to, timeout)
    }

    pub(crate) fn publish<T: Serialize + ?Sized>(
        &self,
        topic: Topic,
        trace_id: &str,
        payload: &T,
    ) -> Result<Effect, SendError> {
        message::publish(topic, trace_id, payload, self.config().max_topic_length)
    }

    fn maker(&self) -> Maker {
        Maker {
            node: self.node_name(),
            now: self.clock().now_ms(),
        }
    }
}

/// The application's state, one value of each type.
#[derive(Default)]
pub(crate) struct Data(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl Data {
    /// False: there is a value of this type already, which is kept.
    pub(crate) fn add<T: Send + Sync + 'static>(&mut self, value: T) -> bool {
        match self.0.entry(TypeId::of::<T>()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Box::new(value));
                true
            }
        }
    }

    pub(super) fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data of {} types", self.0.len())
    }
}
