//! Works on one forwarded row: calls the service, and settles.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use super::reply::{Reply, reply_effect, text};
use crate::clock::jittered;
use crate::endpoint::{
    Call, Context, Handled, Handler, Incoming, Origin, Outcome, RawOutcome, ReplyToken, Service,
    async_handler, panicked, take_effects,
};
use crate::error::HandlerError;
use crate::node::Node;
use crate::seldom::log_seldom;
use crate::store::StoreError;
use crate::store::operation::{
    BuryForwarded, Cause, Effect, EffectOutcome, Forwarded, NewForward, PostponeForwarded, Proof,
    ReadForwarded, Unit, UnitOutcome,
};
use crate::wire::{DebugOptions, MessageType, shown};

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

/// Works on a row. Returned is when it is due again, if it is not settled.
pub(super) async fn work(node: &Arc<Node>, row: Forwarded) -> Option<Duration> {
    let Some(service) = node.services.get(&row.work.service) else {
        return fail(node, row, "there is no such service on this node").await;
    };
    let context = Context::new(origin(node, &row, row.work.kind, &row.work.service));
    let payload = Some(row.work.msg.clone());
    let call = (service.handler)(Call {
        context: context.clone(),
        payload,
    });
    let Some(handled) = within(service.time_limit, call).await else {
        return time_out(node, service, row).await;
    };
    let mut effects = take_effects(&context);
    match handled {
        Ok(RawOutcome::Resolve(payload)) => {
            settle(node, &row, effects, Some(Reply::resolve(payload))).await
        }
        Ok(RawOutcome::Reject(payload)) => {
            settle(node, &row, effects, Some(Reply::reject(payload))).await
        }
        Ok(RawOutcome::Deny(why)) => {
            let payload = text(&why.unwrap_or_else(|| "the service refused".into()));
            settle(node, &row, effects, Some(Reply::reject(payload))).await
        }
        Ok(RawOutcome::Done) => settle(node, &row, effects, None).await,
        Ok(RawOutcome::Forward(forward)) => match forward_on(&row, forward) {
            Ok(onward) => {
                effects.push(Effect::Forward(Box::new(onward)));
                let proof = Proof::Epoch(row.epoch);
                commit(
                    node,
                    &row,
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

/// What a handler comes to; `None`: it took longer than the limit, and was dropped.
pub(super) async fn within(
    limit: Duration,
    call: impl Future<Output = Handled>,
) -> Option<Handled> {
    let limited = async move { tokio::time::timeout(limit, call).await };
    // What it holds may panic when it is dropped.
    match AssertUnwindSafe(limited).catch_unwind().await {
        Ok(ended) => ended.ok(),
        Err(panic) => Some(Err(panicked(panic))),
    }
}

/// The attempt was dropped: it is not known what it would have come to.
async fn time_out(node: &Arc<Node>, service: &Service, row: Forwarded) -> Option<Duration> {
    service.counters.timed_out.fetch_add(1, Ordering::Relaxed);
    node.counters
        .handler_failures
        .fetch_add(1, Ordering::Relaxed);
    let (name, limit) = (&row.work.service, service.time_limit);
    let why = format!("the service {name:?} took longer than its time limit of {limit:?}");
    fail(node, row, &why).await
}

pub(super) fn origin(node: &Node, row: &Forwarded, kind: MessageType, endpoint: &str) -> Origin {
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
        row,
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

async fn fail(node: &Arc<Node>, row: Forwarded, why: &str) -> Option<Duration> {
    let attempts = row.attempts + 1;
    let service = &row.work.service;
    if let Some(known) = node.services.get(service) {
        known.counters.failed.fetch_add(1, Ordering::Relaxed);
    }
    // It may have the client's own words in it, or what a database cannot store.
    let why = shown(why);
    let what = format!(
        "service {service:?}, attempt {attempts} (trace id {}): {}",
        shown(&row.work.tid),
        why
    );
    node.failed(service, &what);
    if attempts < node.config.service_attempts {
        let delay = node
            .config
            .service_backoff
            .saturating_mul(1 << (attempts - 1).min(16));
        return postpone(node, &row, attempts, delay).await;
    }
    if row.work.cmid.is_some() {
        let payload = text(&format!("the service {service:?} failed {attempts} times"));
        return settle(node, &row, Vec::new(), Some(Reply::reject(payload))).await;
    }
    let bury = BuryForwarded {
        id: row.id,
        epoch: row.epoch,
        reason: format!("{service}: {why}"),
    };
    if insist(node, || node.store.run_for(row.work.share(), bury.clone())).await == Some(true) {
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
    match commit(node, row, unit).await? {
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
            if insist(node, || node.store.run_for(row.work.share(), read.clone()))
                .await?
                .is_none()
            {
                let cause = Cause::Call {
                    idempotency_key: None,
                };
                commit(node, row, Unit { cause, effects }).await;
            }
            None
        }
        UnitOutcome::Committed(_)
        | UnitOutcome::Duplicate(_)
        | UnitOutcome::FencedOff
        | UnitOutcome::TooMuchForwarded(_)
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
    insist(node, || {
        node.store.run_for(row.work.share(), postpone.clone())
    })
    .await;
    Some(delay)
}

async fn commit(node: &Arc<Node>, row: &Forwarded, unit: Unit) -> Option<UnitOutcome> {
    let outcome = insist(node, || {
        let unit = Unit {
            cause: unit.cause.clone(),
            effects: unit.effects.clone(),
        };
        node.store.run_for(row.work.share(), unit)
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
                log_seldom!(
                    warn,
                    "a forwarded message could not be settled, trying again in {delay:?}: {error}"
                );
                if node.stopped() {
                    return None;
                }
            }
        }
        tokio::time::sleep(jittered(delay)).await;
        delay = (delay * 2).min(Duration::from_secs(5));
    }
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
