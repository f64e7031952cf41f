//! Runs a transactional service: inside the transaction that settles its row.

use std::sync::Arc;

use super::reply::{Reply, answer_in_transaction, text};
use super::retry::retry_until_stopped;
use super::work::{
    Again, Failed, back_with_room, count_failure, forward_on, origin, settle, timed_out,
    unless_stopped,
};
use crate::endpoint::{Call, Context, Handled, RawOutcome, Service, TransactionalHandler};
use crate::node::Node;
use crate::store::operation::{
    Cause, Effect, Forwarded, Handles, Proof, Transact, TransactBody, Transacted, Unit, UnitOutcome,
};
use crate::trace::Trace;

/// Calls the service inside the transaction that settles the row. If the store fails, the call is repeated: nothing was
/// kept, or the row is settled.
pub(super) async fn transact(
    node: &Arc<Node>,
    service: &Service,
    row: &Forwarded,
    handler: &TransactionalHandler,
) -> Result<Again, Failed> {
    let hands_on = node.hands_on().await;
    let trace = Trace::current();
    let transacted = retry_until_stopped(node, || {
        let transact = Transact {
            handles: Handles::Work {
                id: row.id,
                epoch: row.epoch,
            },
            limit: service.time_limit,
            run: body(
                node.clone(),
                row.clone(),
                handler.clone(),
                hands_on,
                trace.clone(),
            ),
        };
        node.store.run_for(row.work.share(), transact)
    });
    let transacted = trace.commit().run(transacted).await;
    let Some(transacted) = unless_stopped(transacted)? else {
        return Ok(None);
    };
    match transacted {
        Transacted::Unit(outcome) => {
            if let UnitOutcome::Committed(effects) = &outcome {
                node.count_dropped(effects);
            }
            back_with_room(node, row, &outcome).await
        }
        Transacted::RolledBack(what) => match what.downcast::<Undone>().map(|it| *it) {
            Ok(Undone::Replied(reply)) => settle(node, row, Vec::new(), Some(reply)).await,
            Ok(Undone::Failed(why)) => Err(Failed(why)),
            Err(_) => Err(Failed("rolled back".to_owned())),
        },
        Transacted::Panicked(text) => {
            count_failure(node);
            Err(Failed(format!("panic: {text}")))
        }
        Transacted::Spoilt(why) => Err(Failed(format!(
            "it succeeded, but its transaction cannot be committed: {why}"
        ))),
        Transacted::TimedOut(_) => Err(timed_out(node, service, row)),
    }
}

/// What remains of a call that was rolled back.
enum Undone {
    /// It rejected or denied.
    Replied(Reply),
    Failed(String),
}

/// One call of the service.
fn body(
    node: Arc<Node>,
    row: Forwarded,
    handler: TransactionalHandler,
    hands_on: bool,
    trace: Trace,
) -> TransactBody {
    Box::new(move |connection| {
        let context = Context::new(origin(&node, &row, row.work.kind, &row.work.service));
        let call = Call {
            context: context.clone(),
            payload: Some(row.work.msg.clone()),
        };
        let handled = trace.handler().enter(|| handler(connection, call));
        let mut effects = node.effects_of(&context);
        match last_effect(&node, &row, handled, hands_on) {
            Ok(last) => effects.extend(last),
            Err(undone) => return Err(Box::new(undone)),
        }
        let proof = Proof::Epoch(row.epoch);
        let cause = Cause::Forwarded { id: row.id, proof };
        Ok(Unit { cause, effects })
    })
}

/// What the outcome adds to what was sent.
fn last_effect(
    node: &Arc<Node>,
    row: &Forwarded,
    handled: Handled,
    hands_on: bool,
) -> Result<Option<Effect>, Undone> {
    let replied = |reply| Err(Undone::Replied(reply));
    let failed = |why: &str| Err(Undone::Failed(why.to_owned()));
    let answer = |reply| answer_in_transaction(node, row, reply, hands_on);
    match handled {
        Ok(RawOutcome::Resolve(payload)) => Ok(answer(Some(Reply::resolve(payload)))),
        Ok(RawOutcome::Done) => Ok(answer(None)),
        Ok(RawOutcome::Forward(forward)) => match forward_on(node, row, forward) {
            Ok(onward) => Ok(Some(Effect::Forward(Box::new(onward)))),
            Err(error) => failed(&error.to_string()),
        },
        Ok(RawOutcome::Reject(payload)) => replied(Reply::reject(payload)),
        Ok(RawOutcome::Deny(why)) => {
            let why = why.unwrap_or_else(|| "the service refused".into());
            replied(Reply::reject(text(&why)))
        }
        Ok(RawOutcome::Retry(why)) => failed(&why.unwrap_or_else(|| "asked to retry".into())),
        Ok(RawOutcome::Later(_)) => {
            failed("it returned \"later\", which a transactional service may not do")
        }
        Err(error) => {
            count_failure(node);
            failed(&error.to_string())
        }
    }
}
