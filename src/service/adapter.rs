//! Replies on their way to a node that has their endpoint's reply adapter, the one where the service ran not having it.

use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::value::RawValue;

use super::reply::Reply;
use crate::endpoint::{Handler, RawOutcome};
use crate::store::operation::{Forwarded, NewForward};
use crate::wire::MessageType;

/// What the names of these services begin with; the endpoint follows. No application's service has such a name.
const PREFIX: &str = "MatsSocket.adapter/";

/// The built-in service, on each node that has this endpoint, to which replies go that its adapter is to turn into the
/// endpoint's.
pub(crate) fn adapter_service(endpoint: &str) -> String {
    format!("{PREFIX}{endpoint}")
}

/// Whether it is one of those services.
pub(crate) fn is_adapter(service: &str) -> bool {
    service.starts_with(PREFIX)
}

/// What such a service does: it replies with what it is given, which then passes through the adapter as any reply does.
pub(crate) fn pass_on() -> Handler {
    Arc::new(|call| {
        let kind = call.context.message_type();
        let payload = call.payload.unwrap_or_else(|| RawValue::NULL.to_owned());
        let passed = match kind {
            MessageType::RESOLVE => RawOutcome::Resolve(payload),
            _ => RawOutcome::Reject(payload),
        };
        async move { Ok(passed) }.boxed_local()
    })
}

/// The reply as work for a node that has the adapter.
pub(super) fn to_adapter(row: &Forwarded, reply: Reply) -> NewForward {
    NewForward {
        service: adapter_service(&row.work.endpoint),
        kind: reply.kind,
        msg: reply.payload,
        left: row.left(),
        here: false,
        ..(*row.work).clone()
    }
}
