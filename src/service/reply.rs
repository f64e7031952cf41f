//! The path of a service's reply: through the endpoint's adapter, to the client.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::value::to_raw_value;

use super::work::{origin, within};
use crate::endpoint::{Call, Context, Handled, RawOutcome, ReplyToken, to_adapter};
use crate::error::{HandlerError, SendError};
use crate::node::Node;
use crate::store::operation::{
    Cause, Effect, Forwarded, NewMessage, Proof, ReadForwarded, Unit, UnitOutcome,
};
use crate::wire::{MessageType, Payload, shown};

/// How a row is settled.
pub(super) struct Reply {
    pub(super) kind: MessageType,
    pub(super) payload: Payload,
}

impl Reply {
    pub(super) fn resolve(payload: Payload) -> Reply {
        Reply {
            kind: MessageType::Resolve,
            payload,
        }
    }

    /// The service is done and has not replied.
    fn none() -> Reply {
        Reply::reject(text("the service ended without a reply"))
    }

    pub(super) fn reject(payload: Payload) -> Reply {
        Reply {
            kind: MessageType::Reject,
            payload,
        }
    }
}

/// Settles a row by its reply token, from anywhere.
pub(crate) async fn reply_by_token(
    node: &Arc<Node>,
    token: &ReplyToken,
    kind: MessageType,
    payload: Payload,
) -> Result<(), SendError> {
    let read = ReadForwarded {
        id: token.id,
        secret: token.secret.clone(),
    };
    let row = node
        .store
        .run(read)
        .await?
        .ok_or(SendError::AlreadyReplied)?;
    let mut effects = Vec::new();
    let reply = reply_effect(node, &row, Some(Reply { kind, payload }), &mut effects).await;
    effects.extend(reply);
    let share = row.work.share();
    let cause = Cause::Forwarded {
        id: row.id,
        proof: Proof::Token(row.secret.clone()),
    };
    match node.store.run_for(share, Unit { cause, effects }).await? {
        UnitOutcome::Committed(_) => Ok(()),
        UnitOutcome::OutboxFull(full) => Err(SendError::OutboxFull(full)),
        UnitOutcome::AlreadySettled
        | UnitOutcome::Duplicate(_)
        | UnitOutcome::FencedOff
        | UnitOutcome::TooMuchForwarded(_)
        | UnitOutcome::Repeated => Err(SendError::AlreadyReplied),
    }
}

/// The effect that answers the client's REQUEST through the endpoint's reply adapter: a message for the client, or, if
/// this node lacks the adapter, work for a node that has it. A SEND has none.
pub(super) async fn reply_effect(
    node: &Arc<Node>,
    row: &Forwarded,
    reply: Option<Reply>,
    effects: &mut Vec<Effect>,
) -> Option<Effect> {
    row.work.cmid.as_ref()?;
    let reply = reply.unwrap_or_else(Reply::none);
    let endpoint = node.endpoints.get(&row.work.endpoint);
    if endpoint.is_none() && row.work.adapted == Some(true) && node.hands_on().await {
        let work = to_adapter(row, reply.kind, reply.payload);
        return Some(Effect::Forward(Box::new(work)));
    }
    let reply = match endpoint.and_then(|endpoint| endpoint.adapter.as_ref()) {
        Some(adapter) => {
            let context = Context::new(origin(node, row, reply.kind, &row.work.endpoint));
            let adapting = adapter(Call {
                context: context.clone(),
                payload: Some(reply.payload),
            });
            let limit = node.config.service_time_limit;
            let adapted = within(limit, adapting).await;
            let more = node.effects_of(&context);
            let adapted = adapted.unwrap_or_else(|| {
                let why = format!("it took longer than the time limit of services, {limit:?}");
                Err(HandlerError::internal(why))
            });
            adapt(node, row, adapted).inspect_kept(more, effects)
        }
        None => reply,
    };
    plain_reply(node, row, reply)
}

/// The same inside a transaction, where no adapter can run: the reply is work for a node that has the adapter, such as this
/// one. `hands_on`: all nodes know such work.
pub(super) fn answer_in_transaction(
    node: &Node,
    row: &Forwarded,
    reply: Option<Reply>,
    hands_on: bool,
) -> Option<Effect> {
    row.work.cmid.as_ref()?;
    let reply = reply.unwrap_or_else(Reply::none);
    let adapts = match node.endpoints.get(&row.work.endpoint) {
        Some(endpoint) => endpoint.adapter.is_some(),
        None => row.work.adapted == Some(true) && hands_on,
    };
    match adapts {
        true => {
            let work = to_adapter(row, reply.kind, reply.payload);
            Some(Effect::Forward(Box::new(work)))
        }
        false => plain_reply(node, row, reply),
    }
}

/// The message that answers the client's REQUEST, without an adapter. A SEND has none.
pub(super) fn plain_reply(node: &Node, row: &Forwarded, reply: Reply) -> Option<Effect> {
    let cmid = row.work.cmid.clone()?;
    let debug = row.work.debug.clone().map(|debug| crate::wire::Debug {
        mmrrts: Some(node.clock.now_ms()),
        mmrrnn: Some(node.name().to_string()),
        ..debug
    });
    Some(Effect::Message {
        sid: row.work.sid.clone(),
        message: NewMessage {
            kind: reply.kind,
            eid: None,
            cmid: Some(cmid),
            tid: row.work.tid.clone(),
            msg: Some(reply.payload),
            debug,
            correlation: None,
            time_to_live: None,
        },
    })
}

/// The result of an adapter.
enum Adapted {
    /// It decided: what it sent is included.
    Decided(Reply),
    /// It failed or decided nothing: what it sent is dropped.
    Not(Reply),
}

impl Adapted {
    fn inspect_kept(self, more: Vec<Effect>, effects: &mut Vec<Effect>) -> Reply {
        match self {
            Adapted::Decided(reply) => {
                effects.extend(more);
                reply
            }
            Adapted::Not(reply) => reply,
        }
    }
}

fn adapt(node: &Node, row: &Forwarded, adapted: Handled) -> Adapted {
    let reject = |why: &str| Adapted::Not(Reply::reject(text(why)));
    match adapted {
        Ok(RawOutcome::Resolve(payload)) => Adapted::Decided(Reply::resolve(payload)),
        Ok(RawOutcome::Reject(payload)) => Adapted::Decided(Reply::reject(payload)),
        Ok(
            RawOutcome::Done
            | RawOutcome::Deny(_)
            | RawOutcome::Forward(_)
            | RawOutcome::Retry(_)
            | RawOutcome::Later(_),
        ) => reject("the reply adapter neither resolved nor rejected"),
        Err(error) => {
            node.counters
                .handler_failures
                .fetch_add(1, Ordering::Relaxed);
            let what = format!(
                "the reply adapter of {:?} failed (trace id {}): {}",
                row.work.endpoint,
                shown(&row.work.tid),
                shown(&error.to_string())
            );
            node.failed(&row.work.endpoint, &what);
            reject(&shown(&error.for_client(node.config.reveal_errors)))
        }
    }
}

pub(super) fn text(text: &str) -> Payload {
    to_raw_value(text).expect("a string is JSON")
}
