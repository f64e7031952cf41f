//! Where a message comes from.

use std::fmt;
use std::sync::Arc;

use super::{Host, ReplyToken};
use crate::auth::{ClientInfo, Principal};
use crate::store::operation::EndedCorrelation;
use crate::wire::{DebugOptions, MessageType, Payload};

/// Where a message comes from.
pub(crate) struct Origin {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) session_id: String,
    pub(crate) user_id: String,
    /// `None`, like the next three: there is no connection.
    pub(crate) principal: Option<Principal>,
    pub(crate) authorization: Option<Authorization>,
    /// When the authorization was last found valid, ms since the epoch.
    pub(crate) authenticated: Option<i64>,
    pub(crate) client: Option<Arc<ClientInfo>>,
    pub(crate) trace_id: String,
    /// The client's id of its message.
    pub(crate) message_id: Option<String>,
    pub(crate) endpoint: String,
    pub(crate) kind: MessageType,
    pub(crate) debug: DebugOptions,
    /// 1 for the first.
    pub(crate) attempt: u32,
    pub(crate) correlation_string: Option<String>,
    pub(crate) correlation_bytes: Option<Vec<u8>>,
    pub(crate) forwarded: Option<Payload>,
    pub(crate) ended: Option<String>,
    pub(crate) token: Option<ReplyToken>,
}

/// An authorization value, kept out of `Debug` output.
#[derive(Clone)]
pub(crate) struct Authorization(pub(crate) String);

impl Origin {
    /// An origin of which nothing is known yet: a message of this type for this endpoint.
    pub(crate) fn new(host: Arc<dyn Host>, kind: MessageType, endpoint: String) -> Origin {
        Origin {
            host,
            session_id: String::new(),
            user_id: String::new(),
            principal: None,
            authorization: None,
            authenticated: None,
            client: None,
            trace_id: String::new(),
            message_id: None,
            endpoint,
            kind,
            debug: DebugOptions::default(),
            attempt: 1,
            correlation_string: None,
            correlation_bytes: None,
            forwarded: None,
            ended: None,
            token: None,
        }
    }

    /// The origin of a reply terminator's call for a request that ended without a reply.
    pub(crate) fn of_ended(ended: &EndedCorrelation, host: Arc<dyn Host>) -> Origin {
        let terminator = ended.correlation.terminator.clone();
        Origin {
            session_id: ended.sid.clone(),
            user_id: ended.user_id.clone(),
            trace_id: ended.tid.clone(),
            correlation_string: ended.correlation.string.clone(),
            correlation_bytes: ended.correlation.bytes.clone(),
            ended: Some(ended.reason.clone()),
            ..Origin::new(host, MessageType::Reject, terminator)
        }
    }
}

/// Without authorization and payloads.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("session_id", &self.session_id)
            .field("user_id", &self.user_id)
            .field("client", &self.client)
            .field("trace_id", &self.trace_id)
            .field("message_id", &self.message_id)
            .field("endpoint", &self.endpoint)
            .field("kind", &self.kind)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
