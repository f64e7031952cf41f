//! Works on one forwarded row: calls the service, and settles the row.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;

use super::giving_up::give_up;
use super::reply::{Reply, reply_effect, text};
use super::retry::{Unsettled, retry_until_stopped};
use super::transact::transact;
use crate::clock::jittered;
use crate::endpoint::{
    Call, Context, Handled, Handler, Origin, RawOutcome, ReplyToken, Run, Service, is_stand_in,
    panicked,
};
use crate::error::HandlerError;
use crate::logging;
use crate::node::Node;
use crate::store::operation::{
    Cause, Effect, Forwarded, NewForward, PostponeForwarded, Proof, ReadForwarded, Unit,
    UnitOutcome,
};
use crate::trace::{About, Trace};
use crate::wire::{DebugOptions, MessageType, shown};

/// An attempt that has failed, and why.
pub(super) struct Failed(pub(super) String);

/// When the row is due again, if it is not settled.
pub(super) type Again = Option<Duration>;

/// The span of the attempt that begins.
pub(super) fn trace(row: &Forwarded) -> Trace {
    let about = About {
        kind: row.work.kind,
        endpoint: Some(row.work.endpoint.as_str()).filter(|it| !it.is_empty()),
        session_id: &row.work.sid,
        user_id: &row.work.user_id,
        trace_id: &row.work.tid,
        message_id: row.work.cmid.as_deref(),
    };
    Trace::attempt(about, &row.work.service, row.attempts.saturating_add(1))
}

/// Works on a row. Returns when it is due again, if it is not settled.
pub(super) async fn work(node: &Arc<Node>, row: Forwarded) -> Again {
    let service = node.services.get(&row.work.service)?;
    let ended = match &service.run {
        Run::Async(handler) => attempt(node, service, handler, &row).await,
        Run::Transactional(handler) => transact(node, service, &row, handler).await,
    };
    let trace = Trace::current();
    match ended {
        Ok(again) => {
            trace.ended(if again.is_none() { "done" } else { "postponed" });
            again
        }
        Err(Failed(why)) => {
            trace.ended("failed");
            fail(node, service, &row, &why).await
        }
    }
}

/// Calls the service, and settles the row.
async fn attempt(
    node: &Arc<Node>,
    service: &Service,
    handler: &Handler,
    row: &Forwarded,
) -> Result<Again, Failed> {
    let context = Context::new(origin(node, row, row.work.kind, &row.work.service));
    let payload = Some(row.work.msg.clone());
    let call = handler(Call {
        context: context.clone(),
        payload,
    });
    let call = Trace::current().handler().run(call);
    let Some(handled) = within(service.time_limit, call).await else {
        return Err(timed_out(node, service, row));
    };
    let mut effects = node.effects_of(&context);
    let handled = handled.map_err(|error| {
        count_failure(node);
        Failed(error.to_string())
    })?;
    match handled {
        RawOutcome::Resolve(payload) => {
            settle(node, row, effects, Some(Reply::resolve(payload))).await
        }
        RawOutcome::Reject(payload) => {
            settle(node, row, effects, Some(Reply::reject(payload))).await
        }
        RawOutcome::Deny(why) => {
            let payload = text(&why.unwrap_or_else(|| "the service refused".into()));
            settle(node, row, effects, Some(Reply::reject(payload))).await
        }
        RawOutcome::Done => settle(node, row, effects, None).await,
        RawOutcome::Forward(forward) => {
            let onward =
                forward_on(node, row, forward).map_err(|error| Failed(error.to_string()))?;
            effects.push(Effect::Forward(Box::new(onward)));
            commit_settled(node, row, effects).await
        }
        RawOutcome::Later(timeout) => later(node, row, effects, timeout).await,
        RawOutcome::Retry(why) => Err(Failed(why.unwrap_or_else(|| "asked to retry".into()))),
    }
}

/// Runs a handler. `None`: it took longer than the limit, and was dropped.
pub(super) async fn within(
    limit: Duration,
    call: impl Future<Output = Handled>,
) -> Option<Handled> {
    let limited = async move { tokio::time::timeout(limit, call).await };
    // The values it holds may panic when they are dropped.
    match AssertUnwindSafe(limited).catch_unwind().await {
        Ok(ended) => ended.ok(),
        Err(panic) => Some(Err(panicked(panic))),
    }
}

pub(super) fn count_failure(node: &Node) {
    let failures = &node.counters.handler_failures;
    failures.fetch_add(1, Ordering::Relaxed);
}

/// The attempt took too long and was dropped.
pub(super) fn timed_out(node: &Node, service: &Service, row: &Forwarded) -> Failed {
    service.counters.timed_out.fetch_add(1, Ordering::Relaxed);
    count_failure(node);
    let (name, limit) = (&row.work.service, service.time_limit);
    Failed(format!(
        "the service {name:?} took longer than its time limit of {limit:?}"
    ))
}

pub(super) fn origin(
    node: &Arc<Node>,
    row: &Forwarded,
    kind: MessageType,
    endpoint: &str,
) -> Origin {
    Origin {
        session_id: row.work.sid.clone(),
        user_id: row.work.user_id.clone(),
        trace_id: row.work.tid.clone(),
        message_id: row.work.cmid.clone(),
        debug: DebugOptions::from_bits(row.work.debug.as_ref().map_or(0, |debug| debug.resd)),
        attempt: row.attempts.saturating_add(1),
        forwarded: row.work.correlation.clone(),
        token: Some(ReplyToken {
            id: row.id,
            secret: row.secret.clone(),
        }),
        ..Origin::new(node.clone(), kind, endpoint.to_owned())
    }
}

pub(super) fn forward_on(
    node: &Node,
    row: &Forwarded,
    forward: crate::endpoint::Forward,
) -> Result<NewForward, HandlerError> {
    let forward = forward.checked()?;
    Ok(NewForward {
        begins: forward.begins,
        key: None,
        here: node.takes_at_once(&forward.service),
        service: forward.service,
        msg: forward.payload?,
        correlation: forward
            .correlation
            .transpose()?
            // Stand-ins for endpoints have a correlation of their own.
            .or_else(|| {
                row.work
                    .correlation
                    .clone()
                    .filter(|_| !is_stand_in(&row.work.service))
            }),
        left: row.left(),
        ..(*row.work).clone()
    })
}

/// Settles the row with a reply.
pub(super) async fn settle(
    node: &Arc<Node>,
    row: &Forwarded,
    mut effects: Vec<Effect>,
    reply: Option<Reply>,
) -> Result<Again, Failed> {
    let reply = reply_effect(node, row, reply, &mut effects).await;
    effects.extend(reply);
    commit_settled(node, row, effects).await
}

/// Settles the row together with these effects.
pub(super) async fn commit_settled(
    node: &Arc<Node>,
    row: &Forwarded,
    effects: Vec<Effect>,
) -> Result<Again, Failed> {
    let proof = Proof::Epoch(row.epoch);
    let cause = Cause::Forwarded { id: row.id, proof };
    match commit(node, row, Unit { cause, effects }).await? {
        Some(outcome) => back_with_room(node, row, &outcome).await,
        None => Ok(None),
    }
}

/// If the client is away and its outbox is full, the reply waits in the row, which does not count as an attempt.
pub(super) async fn back_with_room(
    node: &Arc<Node>,
    row: &Forwarded,
    outcome: &UnitOutcome,
) -> Result<Again, Failed> {
    Ok(match outcome {
        UnitOutcome::OutboxFull(_) => {
            postpone(node, row, row.attempts, node.config.sweep_interval).await
        }
        _ => None,
    })
}

/// An attempt has failed: schedules another one, or gives the row up.
async fn fail(node: &Arc<Node>, service: &Service, row: &Forwarded, why: &str) -> Again {
    let attempts = row.attempts.saturating_add(1);
    let name = &row.work.service;
    service.counters.failed.fetch_add(1, Ordering::Relaxed);
    // It may quote client input, or contain characters that a database cannot store.
    let why = shown(why);
    let what = format!(
        "service {name:?}, attempt {attempts} (trace id {}): {why}",
        shown(&row.work.tid),
    );
    node.failed(name, &what);
    let failing = row.failing_for().unwrap_or_default();
    match service.retry.next(attempts, failing, row.left(), jittered) {
        Some(delay) => postpone(node, row, attempts, delay).await,
        None => give_up(node, service, row, attempts, &why).await,
    }
}

/// The reply will come by token. What the service has sent is committed together with the postponement.
async fn later(
    node: &Arc<Node>,
    row: &Forwarded,
    effects: Vec<Effect>,
    timeout: Duration,
) -> Result<Again, Failed> {
    let back = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts: row.attempts,
        delay: timeout,
    };
    // If nothing is sent, nothing can be sent twice.
    let idempotency_key = (!effects.is_empty()).then(|| key_of(row));
    let unit = Unit {
        cause: Cause::Postponed {
            back,
            idempotency_key,
        },
        effects: effects.clone(),
    };
    Ok(match commit(node, row, unit).await? {
        None => None,
        Some(UnitOutcome::OutboxFull(_)) => {
            postpone(node, row, row.attempts, node.config.sweep_interval).await
        }
        Some(UnitOutcome::AlreadySettled) => {
            send_all_the_same(node, row, effects).await?;
            None
        }
        Some(
            UnitOutcome::Committed(_)
            | UnitOutcome::Duplicate(_)
            | UnitOutcome::FencedOff
            | UnitOutcome::TooMuchForwarded(_)
            | UnitOutcome::Repeated,
        ) => Some(timeout),
    })
}

/// The idempotency key under which an attempt's messages are sent once, whichever commit contains them and whether or
/// not its result is known. Callers cannot have used it: nobody else knows the secret.
fn key_of(row: &Forwarded) -> String {
    format!("MatsSocket.later/{}/{}/{}", row.id, row.epoch, row.secret)
}

/// The reply arrived before this commit: what the service sent is stored all the same, unless it already was. (If
/// another node has claimed the row, its service sends it.)
async fn send_all_the_same(
    node: &Arc<Node>,
    row: &Forwarded,
    effects: Vec<Effect>,
) -> Result<(), Failed> {
    if effects.is_empty() {
        return Ok(());
    }
    let read = ReadForwarded {
        id: row.id,
        secret: row.secret.clone(),
    };
    let left =
        retry_until_stopped(node, || node.store.run_for(row.work.share(), read.clone())).await;
    if let Some(None) = unless_stopped(left)? {
        let cause = Cause::Call {
            idempotency_key: Some(key_of(row)),
        };
        commit(node, row, Unit { cause, effects }).await?;
    }
    Ok(())
}

pub(super) async fn postpone(
    node: &Arc<Node>,
    row: &Forwarded,
    attempts: u32,
    delay: Duration,
) -> Again {
    let postpone = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts,
        delay,
    };
    let postponed = retry_until_stopped(node, || {
        node.store.run_for(row.work.share(), postpone.clone())
    });
    if let Err(Unsettled::Refused(why)) = postponed.await {
        // The row no longer has a place here. This node claims it again when it finds a claim of its own that it does
        // not know.
        let (service, trace_id) = (&row.work.service, shown(&row.work.tid));
        let why = shown(&why);
        logging::error!(
            trace_id = trace_id, service = service;
            "work for the service {service:?} could not be put back (trace id {trace_id}): {why}"
        );
    }
    Some(delay)
}

/// The result of the unit. `None`: the node has stopped.
async fn commit(
    node: &Arc<Node>,
    row: &Forwarded,
    unit: Unit,
) -> Result<Option<UnitOutcome>, Failed> {
    let outcome = retry_until_stopped(node, || {
        let unit = Unit {
            cause: unit.cause.clone(),
            effects: unit.effects.clone(),
        };
        node.store.run_for(row.work.share(), unit)
    });
    let outcome = Trace::current().commit().run(outcome).await;
    let outcome = unless_stopped(outcome)?;
    if let Some(UnitOutcome::Committed(effects)) = &outcome {
        node.count_dropped(effects);
    }
    Ok(outcome)
}

/// A refusal by the store counts as a failed attempt.
pub(super) fn unless_stopped<T>(told: Result<T, Unsettled>) -> Result<Option<T>, Failed> {
    match told {
        Ok(outcome) => Ok(Some(outcome)),
        Err(Unsettled::Stopped) => Ok(None),
        Err(Unsettled::Refused(why)) => Err(Failed(format!("the store refuses its result: {why}"))),
    }
}
