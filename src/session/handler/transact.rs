//! Runs a transactional handler, inside the transaction of its message.

use std::sync::Arc;
use std::time::Instant;

use super::ended::End;
use super::run::{Job, commit, end, retry};
use super::running::Running;
use super::unit::unit;
use crate::endpoint::{
    Call, Context, Endpoint, Handled, RawOutcome, TransactionalHandler, panicked,
};
use crate::error::HandlerError;
use crate::store::StoreError;
use crate::store::operation::{
    ForwardLimit, Handles, Transact, TransactBody, Transacted, UnitOutcome,
};
use crate::trace::Trace;
use crate::wire::{Envelope, MessageType};

/// Runs a transactional handler inside the transaction of its message.
pub(super) async fn transact(
    job: &Job,
    running: &mut Running,
    context: Context,
    endpoint: &Endpoint,
    handler: TransactionalHandler,
) -> End {
    let counters = endpoint.counters.clone();
    let holder = running.holder().unwrap_or(job.holder);
    let cmid = job.envelope.cmid.clone().unwrap_or_default();
    let name = context.endpoint().to_owned();
    let shared = Arc::new(job.clone_for_store(holder));
    let inside = shared.clone();
    let (answers, answered) = std::sync::mpsc::channel();
    let trace = Trace::current();
    let run: TransactBody = Box::new(move |connection| {
        let call = Call {
            context: context.clone(),
            payload: inside.envelope.msg.clone(),
        };
        let begun = Instant::now();
        let handled = trace.handler().enter(|| handler(connection, call));
        counters.ended(begun, &handled);
        if matches!(handled, Ok(RawOutcome::Reject(_)) | Err(_)) {
            return Err(Box::new(Undone::Answered(handled)));
        }
        match unit(&inside, handled, inside.node.effects_of(&context)) {
            Ok((unit, answer)) if refused(&answer) => {
                let why = answer.desc.unwrap_or_default();
                drop(unit);
                let refused = HandlerError::public(why);
                Err(Box::new(Undone::Answered(Err(refused))))
            }
            Ok((unit, answer)) => {
                let _ = answers.send(answer);
                Ok(unit)
            }
            Err(why) => Err(Box::new(Undone::Retry(why))),
        }
    });
    let transact = Transact {
        handles: Handles::Message { holder, cmid },
        limit: job.node.config.transaction_limit,
        run,
    };
    let transacted = job.node.store.run_for(job.share(), transact);
    let handled = match Trace::current().commit().run(transacted).await {
        Ok(Transacted::Unit(UnitOutcome::TooMuchForwarded(limit @ ForwardLimit::OneMessage))) => {
            Err(HandlerError::internal(limit.to_string()))
        }
        Ok(Transacted::Unit(outcome)) => {
            // `None`: refused before the handler ran.
            let answer = answered.try_recv();
            let answer = answer.unwrap_or_else(|_| Box::new(Envelope::new(MessageType::Ack)));
            return end(job, holder, outcome, answer);
        }
        Ok(Transacted::RolledBack(what)) => match what.downcast::<Undone>().map(|it| *it) {
            Ok(Undone::Retry(why)) => return End::Retry(why),
            Ok(Undone::Answered(handled)) => handled,
            Err(what) => Err(panicked(what)),
        },
        Ok(Transacted::Spoilt(why)) => Err(HandlerError::internal(format!(
            "the transactional handler {name:?} succeeded, but its transaction cannot be committed: {why}"
        ))),
        Ok(Transacted::Panicked(text)) => {
            endpoint.counters.panicked();
            Err(HandlerError::internal(format!("panic: {text}")))
        }
        Ok(Transacted::TimedOut(took)) => {
            let limit = job.node.config.transaction_limit;
            Err(HandlerError::public(format!(
                "the transactional handler {name:?} took {took:.1?}, its limit is {limit:?}: nothing was kept"
            )))
        }
        Err(StoreError::Refused(why)) => Err(HandlerError::internal(format!(
            "the database refused the outcome of the transactional handler {name:?}: {why}"
        ))),
        Err(error) => return retry(&error),
    };
    // The application's rows were rolled back: the answer is committed by itself.
    commit(job, running, handled, Vec::new()).await
}

/// What remains of a transactional handler that was rolled back.
enum Undone {
    /// It rejected, refused or failed: the answer for the client.
    Answered(Handled),
    /// The client is to retry.
    Retry(Option<String>),
}

/// Whether an answer is a NACK, in which case the application's rows must not be kept.
fn refused(answer: &Envelope) -> bool {
    answer.t == MessageType::Nack
}
