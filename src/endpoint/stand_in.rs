//! Services that stand in for endpoints: nodes that have a certain endpoint use them to do work for nodes that lack it.
//! Each is a built-in service, named after the endpoint, on the nodes that have it.
//!
//! A service's reply goes to its endpoint's reply adapter; a client's reply goes to its reply terminator. In a rolling
//! deploy, the node where the reply arrives may have neither.

use std::sync::Arc;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    Call, Context, Endpoint, Handler, RawOutcome, Run, TransactionalHandler, take_effects,
};
use crate::error::HandlerError;
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
pub(crate) fn stand_ins_of(id: &str, endpoint: &Endpoint) -> Vec<(String, Run)> {
    let mut services = Vec::new();
    // All nodes have the built-in endpoints.
    if id.starts_with("MatsSocket.") {
        return services;
    }
    if endpoint.adapter.is_some() {
        services.push((format!("{ADAPTER}{id}"), Run::Async(pass_on())));
    }
    let terminator = match &endpoint.run {
        Run::Async(handler) => Run::Async(hear(id, handler.clone())),
        Run::Transactional(handler) => Run::Transactional(hear_in_transaction(id, handler.clone())),
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

/// Calls the terminator as if the reply had arrived at this node, except that there is no connection.
fn hear(id: &str, terminator: Handler) -> Handler {
    let id = id.to_owned();
    Arc::new(move |call| {
        let (id, terminator) = (id.clone(), terminator.clone());
        async move {
            let (context, reply) = as_reply(call, id)?;
            let sent = reply.context.clone();
            let outcome = terminator(reply).await?;
            context.take_over(take_effects(&sent));
            Ok(match outcome {
                // There is no one to refuse.
                RawOutcome::Deny(_) => RawOutcome::Done,
                outcome => heard(outcome),
            })
        }
        .boxed_local()
    })
}

/// The same for a transactional terminator, in the transaction of the service that stands in for it.
fn hear_in_transaction(id: &str, terminator: TransactionalHandler) -> TransactionalHandler {
    let id = id.to_owned();
    Arc::new(move |connection, call| {
        let (context, reply) = as_reply(call, id.clone())?;
        let sent = reply.context.clone();
        let outcome = terminator(connection, reply)?;
        context.take_over(take_effects(&sent));
        Ok(heard(outcome))
    })
}

/// The context of the service, and the call of the terminator.
fn as_reply(call: Call, id: String) -> Result<(Context, Call), HandlerError> {
    let Call { context, payload } = call;
    let beside = context.correlation()?;
    let Beside { string, bytes } = beside.unwrap_or(Beside {
        string: None,
        bytes: None,
    });
    let reply = Call {
        context: context.as_reply_to(id, string, bytes),
        payload,
    };
    Ok((context, reply))
}

/// What a terminator's outcome is for the service that stands in for it: there is no one to reply to.
fn heard(outcome: RawOutcome) -> RawOutcome {
    match outcome {
        RawOutcome::Retry(_) | RawOutcome::Forward(_) | RawOutcome::Deny(_) => outcome,
        RawOutcome::Done
        | RawOutcome::Resolve(_)
        | RawOutcome::Reject(_)
        | RawOutcome::Later(_) => RawOutcome::Done,
    }
}
