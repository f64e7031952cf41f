//! Services that stand in for endpoints: nodes that have a certain endpoint use them to do work for nodes that lack it.
//! Each is a built-in service, named after the endpoint, on the nodes that have it.
//!
//! A service's reply goes to its endpoint's reply adapter; a client's reply goes to its reply terminator. In a rolling
//! deploy, the node where the reply arrives may have neither.

use std::sync::Arc;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{Call, Endpoint, Handler, RawOutcome, Run, take_effects};
use crate::seldom::log_seldom;
use crate::store::operation::{Correlation, Forwarded, NewForward};
use crate::wire::{MessageType, Payload};

/// The prefix of these services' names; the endpoint follows. No application's service has such a name.
const ADAPTER: &str = "MatsSocket.adapter/";
const TERMINATOR: &str = "MatsSocket.terminator/";

/// Whether it is one of these services.
pub(crate) fn is_stand_in(service: &str) -> bool {
    service.starts_with(ADAPTER) || service.starts_with(TERMINATOR)
}

/// The built-in services of a node that has this endpoint.
pub(crate) fn stand_ins_of(id: &str, endpoint: &Endpoint) -> Vec<(String, Handler)> {
    let mut services = Vec::new();
    // All nodes have the built-in endpoints.
    if id.starts_with("MatsSocket.") {
        return services;
    }
    if endpoint.adapter.is_some() {
        services.push((format!("{ADAPTER}{id}"), pass_on()));
    }
    let terminator = match &endpoint.run {
        Run::Async(handler) => hear(id, handler.clone()),
        Run::Transactional(_) => drop_reply(id),
    };
    services.push((format!("{TERMINATOR}{id}"), terminator));
    services
}

/// Replies with its payload, which then passes through the adapter like any reply.
fn pass_on() -> Handler {
    Arc::new(|call| {
        let kind = call.context.message_type();
        let payload = call.payload.unwrap_or_else(|| RawValue::NULL.to_owned());
        let passed = match kind {
            MessageType::Resolve => RawOutcome::Resolve(payload),
            _ => RawOutcome::Reject(payload),
        };
        async move { Ok(passed) }.boxed_local()
    })
}

/// The reply as work for a node that has the adapter.
pub(crate) fn to_adapter(row: &Forwarded, kind: MessageType, payload: Payload) -> NewForward {
    NewForward {
        service: format!("{ADAPTER}{}", row.work.endpoint),
        kind,
        msg: payload,
        left: row.left(),
        here: false,
        ..(*row.work).clone()
    }
}

/// What a reply terminator receives in addition to the reply.
#[derive(Serialize, Deserialize)]
struct Beside {
    string: Option<String>,
    bytes: Option<Vec<u8>>,
}

/// A client's reply as work for a node that has its terminator. `work` describes where it comes from.
pub(crate) fn to_terminator(correlation: Correlation, work: NewForward) -> NewForward {
    let beside = Beside {
        string: correlation.string,
        bytes: correlation.bytes,
    };
    NewForward {
        service: format!("{TERMINATOR}{}", correlation.terminator),
        endpoint: correlation.terminator,
        correlation: Some(to_raw_value(&beside).expect("strings and numbers are JSON")),
        here: false,
        ..work
    }
}

/// A transactional terminator needs the connection of a client's message, and a service has none.
fn drop_reply(id: &str) -> Handler {
    let id = id.to_owned();
    Arc::new(move |_| {
        log_seldom!(
            warn,
            "the transactional reply terminator {id:?} is not called for a reply that arrived at a node without it"
        );
        async { Ok(RawOutcome::Done) }.boxed_local()
    })
}

/// Calls the terminator as if the reply had arrived at this node, except that there is no connection.
fn hear(id: &str, terminator: Handler) -> Handler {
    let id = id.to_owned();
    Arc::new(move |Call { context, payload }| {
        let (id, terminator) = (id.clone(), terminator.clone());
        async move {
            let beside = context.correlation()?;
            let Beside { string, bytes } = beside.unwrap_or(Beside {
                string: None,
                bytes: None,
            });
            let reply = context.as_reply_to(id, string, bytes);
            let call = Call {
                context: reply.clone(),
                payload,
            };
            let outcome = terminator(call).await?;
            context.take_over(take_effects(&reply));
            Ok(match outcome {
                RawOutcome::Retry(_) | RawOutcome::Forward(_) => outcome,
                // There is no one to reply to.
                RawOutcome::Done
                | RawOutcome::Deny(_)
                | RawOutcome::Resolve(_)
                | RawOutcome::Reject(_)
                | RawOutcome::Later(_) => RawOutcome::Done,
            })
        }
        .boxed_local()
    })
}
