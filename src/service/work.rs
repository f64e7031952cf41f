//! Works on one forwarded row: calls the service, runs the reply adapter, settles.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::endpoint::{
    Call, Context, Handled, Handler, Incoming, Origin, Outcome, RawOutcome, ReplyToken,
    async_handler, take_effects,
};
use crate::error::{HandlerError, SendError};
use crate::node::Node;
use crate::store::StoreError;
use crate::store::operation::{
    BuryForwarded, Cause, Effect, EffectOutcome, Forwarded, NewForward, NewMessage,
    PostponeForwarded, Proof, ReadForwarded, Unit, UnitOutcome,
};
use crate::wire::{DebugOptions, MessageType, Payload, shown};

/// What the built-in pings take and give.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ping {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<f64>,
}

/// The service behind `MatsSocket.matsPing`: number × π.
pub(crate) fn ping() -> Handler {
    async_handler(|incoming: Incoming<Option<Ping>>| async move {
        let (ping, _) = incoming.into_parts();
        let ping = ping.unwrap_or_default();
        let number = ping.number.map(|number| number * std::f64::consts::PI);
        Ok(Outcome::resolve(Ping { number, ..ping }))
    })
}

/// How a row is settled.
struct Reply {
    kind: MessageType,
    payload: Payload,
}

/// Works on a row. Returned is when it is due again, if it is not settled.
pub(super) async fn work(node: &Arc<Node>, row: Forwarded) -> Option<Duration> {
    let Some(service) = node.services.get(&row.work.service) else {
        return fail(node, row, "there is no such service on this node").await;
    };
    let context = Context::new(origin(node, &row, row.work.kind, &row.work.service));
    let payload = Some(row.work.msg.clone());
    let handled = service(Call {
        context: context.clone(),
        payload,
    })
    .await;
    let mut effects = take_effects(&context);
    match handled {
        Ok(RawOutcome::Resolve(payload)) => {
            settle(
                node,
                &row,
                effects,
                Some(Reply {
                    kind: MessageType::RESOLVE,
                    payload,
                }),
            )
            .await
        }
        Ok(RawOutcome::Reject(payload)) => {
            settle(
                node,
                &row,
                effects,
                Some(Reply {
                    kind: MessageType::REJECT,
                    payload,
                }),
            )
            .await
        }
        Ok(RawOutcome::Deny(why)) => {
            let payload = text(&why.unwrap_or_else(|| "the service refused".into()));
            settle(
                node,
                &row,
                effects,
                Some(Reply {
                    kind: MessageType::REJECT,
                    payload,
                }),
            )
            .await
        }
        Ok(RawOutcome::Done) => settle(node, &row, effects, None).await,
        Ok(RawOutcome::Forward(forward)) => match forward_on(&row, forward) {
            Ok(onward) => {
                effects.push(Effect::Forward(Box::new(onward)));
                let proof = Proof::Epoch(row.epoch);
                commit(
                    node,
                    Unit {
                        cause: Cause::Forwarded { id: row.id, proof },
                        effects,
                    },
                )
                .await;
                None
            }
            Err(error) => fail(node, row, error.text()).await,
        },
        Ok(RawOutcome::Later(timeout)) => later(node, &row, effects, timeout).await,
        Ok(RawOutcome::Retry(why)) => {
            fail(node, row, why.as_deref().unwrap_or("asked to retry")).await
        }
        Err(error) => {
            node.counters
                .handler_failures
                .fetch_add(1, Ordering::Relaxed);
            fail(node, row, error.text()).await
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
    effects.extend(reply_effect(node, &row, Some(Reply { kind, payload }), &mut Vec::new()).await);
    let cause = Cause::Forwarded {
        id: row.id,
        proof: Proof::Token(row.secret.clone()),
    };
    match node.store.run(Unit { cause, effects }).await? {
        UnitOutcome::Committed(_) => Ok(()),
        UnitOutcome::OutboxFull(sid) => Err(SendError::OutboxFull(sid)),
        UnitOutcome::AlreadySettled
        | UnitOutcome::Duplicate(_)
        | UnitOutcome::FencedOff
        | UnitOutcome::Repeated => Err(SendError::AlreadyReplied),
    }
}

fn origin(node: &Node, row: &Forwarded, kind: MessageType, endpoint: &str) -> Origin {
    Origin {
        node: node.name(),
        clock: node.clock.clone(),
        request_timeout: node.config.request_timeout,
        session_id: row.work.sid.clone(),
        user_id: row.work.user_id.clone(),
        principal: None,
        authorization: None,
        trace_id: row.work.tid.clone(),
        endpoint: endpoint.to_owned(),
        kind,
        debug: DebugOptions(row.work.debug.as_ref().map_or(0, |debug| debug.resd)),
        correlation_string: None,
        correlation_bytes: None,
        forwarded: row.work.correlation.clone(),
        ended: None,
        token: Some(ReplyToken {
            id: row.id,
            secret: row.secret.clone(),
        }),
    }
}

fn forward_on(
    row: &Forwarded,
    forward: crate::endpoint::Forward,
) -> Result<NewForward, HandlerError> {
    Ok(NewForward {
        service: forward.service,
        msg: forward.payload?,
        correlation: forward
            .correlation
            .transpose()?
            .or_else(|| row.work.correlation.clone()),
        ..(*row.work).clone()
    })
}

async fn settle(
    node: &Arc<Node>,
    row: &Forwarded,
    mut effects: Vec<Effect>,
    reply: Option<Reply>,
) -> Option<Duration> {
    let reply = reply_effect(node, row, reply, &mut effects).await;
    effects.extend(reply);
    let proof = Proof::Epoch(row.epoch);
    match commit(
        node,
        Unit {
            cause: Cause::Forwarded { id: row.id, proof },
            effects,
        },
    )
    .await
    {
        // The client is away with a full outbox: its reply waits in the row, not counted as an attempt.
        Some(UnitOutcome::OutboxFull(_)) => {
            postpone(node, row, row.attempts, node.config.sweep_interval).await
        }
        _ => None,
    }
}

/// The message that answers the client's REQUEST, through the endpoint's reply adapter. A SEND has none.
async fn reply_effect(
    node: &Arc<Node>,
    row: &Forwarded,
    reply: Option<Reply>,
    effects: &mut Vec<Effect>,
) -> Option<Effect> {
    let cmid = row.work.cmid.clone()?;
    let reply = reply.unwrap_or_else(|| Reply {
        kind: MessageType::REJECT,
        payload: text("the service ended without a reply"),
    });
    let now = node.clock.now();
    let reply = match node
        .endpoints
        .get(&row.work.endpoint)
        .and_then(|endpoint| endpoint.adapter.as_ref())
    {
        Some(adapter) => {
            let context = Context::new(origin(node, row, reply.kind, &row.work.endpoint));
            let adapted = adapter(Call {
                context: context.clone(),
                payload: Some(reply.payload),
            })
            .await;
            let more = take_effects(&context);
            adapt(node, row, adapted).inspect_kept(more, effects)
        }
        None => reply,
    };
    let debug = row.work.debug.clone().map(|debug| crate::wire::Debug {
        mmrrts: Some(now),
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
        },
    })
}

/// What an adapter made of a reply.
enum Adapted {
    /// It decided: what it sent goes along.
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
    let reject = |why: &str| {
        Adapted::Not(Reply {
            kind: MessageType::REJECT,
            payload: text(why),
        })
    };
    match adapted {
        Ok(RawOutcome::Resolve(payload)) => Adapted::Decided(Reply {
            kind: MessageType::RESOLVE,
            payload,
        }),
        Ok(RawOutcome::Reject(payload)) => Adapted::Decided(Reply {
            kind: MessageType::REJECT,
            payload,
        }),
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
            log::warn!(
                "the reply adapter of {:?} failed (trace id {}): {}",
                row.work.endpoint,
                shown(&row.work.tid),
                shown(error.text())
            );
            reject(&shown(error.for_client(node.config.reveal_errors)))
        }
    }
}

async fn fail(node: &Arc<Node>, row: Forwarded, why: &str) -> Option<Duration> {
    let attempts = row.attempts + 1;
    let service = &row.work.service;
    // It may have the client's own words in it, or what a database cannot store.
    let why = shown(why);
    log::warn!(
        "service {service:?}, attempt {attempts} (trace id {}): {why}",
        shown(&row.work.tid)
    );
    if attempts < node.config.service_attempts {
        let delay = node
            .config
            .service_backoff
            .saturating_mul(1 << (attempts - 1).min(16));
        return postpone(node, &row, attempts, delay).await;
    }
    if row.work.cmid.is_some() {
        let payload = text(&format!("the service {service:?} failed {attempts} times"));
        return settle(
            node,
            &row,
            Vec::new(),
            Some(Reply {
                kind: MessageType::REJECT,
                payload,
            }),
        )
        .await;
    }
    let bury = BuryForwarded {
        id: row.id,
        epoch: row.epoch,
        reason: format!("{service}: {why}"),
    };
    if insist(node, || node.store.run(bury.clone())).await == Some(true) {
        node.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
    }
    None
}

/// The reply comes by token. What the service has sent is committed together with the postponement.
async fn later(
    node: &Arc<Node>,
    row: &Forwarded,
    effects: Vec<Effect>,
    timeout: Duration,
) -> Option<Duration> {
    let back = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts: row.attempts,
        delay: timeout,
    };
    let unit = Unit {
        cause: Cause::Postponed(back),
        effects: effects.clone(),
    };
    match commit(node, unit).await? {
        UnitOutcome::OutboxFull(_) => {
            postpone(node, row, row.attempts, node.config.sweep_interval).await
        }
        UnitOutcome::AlreadySettled => {
            let read = ReadForwarded {
                id: row.id,
                secret: row.secret.clone(),
            };
            // The reply was quicker than we: what was sent beside it goes out all the same. (If another node has
            // claimed the row, its service sends it.)
            if insist(node, || node.store.run(read.clone()))
                .await?
                .is_none()
            {
                let cause = Cause::Call {
                    idempotency_key: None,
                };
                commit(node, Unit { cause, effects }).await;
            }
            None
        }
        UnitOutcome::Committed(_)
        | UnitOutcome::Duplicate(_)
        | UnitOutcome::FencedOff
        | UnitOutcome::Repeated => Some(timeout),
    }
}

async fn postpone(
    node: &Arc<Node>,
    row: &Forwarded,
    attempts: u32,
    delay: Duration,
) -> Option<Duration> {
    let postpone = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts,
        delay,
    };
    insist(node, || node.store.run(postpone.clone())).await;
    Some(delay)
}

async fn commit(node: &Arc<Node>, unit: Unit) -> Option<UnitOutcome> {
    let outcome = insist(node, || {
        node.store.run(Unit {
            cause: unit.cause.clone(),
            effects: unit.effects.clone(),
        })
    })
    .await;
    if let Some(UnitOutcome::Committed(effects)) = &outcome {
        node.count_dropped(effects);
    }
    outcome
}

/// A row claimed by this node would stay so while the node lives: what must be told the store is told again until it
/// listens, or the node stops.
async fn insist<T, F>(node: &Node, operation: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut delay = Duration::from_millis(100);
    loop {
        match operation().await {
            Ok(outcome) => return Some(outcome),
            Err(StoreError::Stopped) => return None,
            Err(error) => {
                log::warn!(
                    "a forwarded message could not be settled, trying again in {delay:?}: {error}"
                );
                if node.stopped() {
                    return None;
                }
            }
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
}

fn text(text: &str) -> Payload {
    to_raw_value(text).expect("a string is JSON")
}

impl Node {
    pub(crate) fn count_dropped(&self, effects: &[EffectOutcome]) {
        let dropped = effects
            .iter()
            .filter(|effect| **effect == EffectOutcome::NoSession)
            .count() as u64;
        if dropped > 0 {
            self.counters
                .messages_without_session
                .fetch_add(dropped, Ordering::Relaxed);
        }
    }
}
