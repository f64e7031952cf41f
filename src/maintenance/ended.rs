//! Server requests that ended without a reply: their reply terminators get a REJECT with the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::endpoint::{Call, Context, Handler, Origin, RawOutcome, Run, TransactionalHandler};
use crate::node::Node;
use crate::seldom::log_seldom;
use crate::store::operation::{
    Cause, ClaimEndedCorrelations, ClaimedCorrelations, Effect, EndedCorrelation, Handles,
    Transact, TransactBody, Transacted, Unit, UnitOutcome,
};
use crate::store::{Share, StoreError};
use crate::wire::shown;

/// Requests processed per run.
const PART: u32 = 100;
/// If this node fails while processing a request, another node processes it after this time.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

pub(super) async fn requests(node: &Arc<Node>) -> Result<(), StoreError> {
    loop {
        let begun = Instant::now();
        let claim = ClaimEndedCorrelations {
            limit: PART,
            again: AGAIN,
            since: node.ended_looks().begin(begun),
        };
        let ClaimedCorrelations { ended, since } = node.store.run(claim).await?;
        let now = Instant::now();
        node.ended_looks().end(since, now - begun, now);
        if ended.is_empty() {
            return Ok(());
        }
        // Concurrently, so that a slow terminator does not delay others.
        let told = ended.into_iter().map(|ended| tell(node, ended));
        for told in futures_util::future::join_all(told).await {
            told?;
        }
    }
}

async fn tell(node: &Arc<Node>, ended: EndedCorrelation) -> Result<(), StoreError> {
    let terminator = &ended.correlation.terminator;
    let Some(endpoint) = node.endpoints.get(terminator) else {
        // Another version of the application may have it: left for a node that does, and tried again later.
        log_seldom!(
            warn,
            "a request has ended, but this node lacks its reply terminator {:?}: left for a node that has it",
            shown(terminator)
        );
        return Ok(());
    };
    let told = match &endpoint.run {
        Run::Async(handler) => call(node, handler, &ended).await,
        Run::Transactional(handler) => call_in_transaction(node, handler.clone(), &ended).await?,
    };
    let effects = match told {
        // It becomes due again by itself.
        Told::Again | Told::Committed => return Ok(()),
        Told::Decided(effects) => effects,
        Told::Failed(why) => {
            node.counters
                .handler_failures
                .fetch_add(1, Ordering::Relaxed);
            let why = format!(
                "the reply terminator {terminator:?} failed for a request that ended ({}): {}",
                shown(&ended.reason),
                shown(&why)
            );
            node.failed(terminator, &why);
            Vec::new()
        }
    };
    let committed = match end(node, &ended, effects).await {
        // It would be refused again each time the terminator is called.
        Err(StoreError::Refused(why)) => {
            let what = format!(
                "the effects of the reply terminator {terminator:?} for a request that ended are dropped because the store refuses them: {}",
                shown(&why)
            );
            node.failed(terminator, &what);
            end(node, &ended, Vec::new()).await?
        }
        ended => ended?,
    };
    if let UnitOutcome::Committed(effects) = committed {
        node.count_dropped(&effects);
    }
    Ok(())
}

/// What became of a terminator's call.
enum Told {
    /// To be committed: what it sent.
    Decided(Vec<Effect>),
    /// The commit is done.
    Committed,
    Failed(String),
    /// It asked to be called again, or was cut off.
    Again,
}

/// Calls a terminator.
async fn call(node: &Arc<Node>, terminator: &Handler, ended: &EndedCorrelation) -> Told {
    let context = Context::new(Origin::of_ended(ended, node.clone()));
    let call = terminator(Call {
        context: context.clone(),
        payload: None,
    });
    match tokio::time::timeout(AGAIN, call).await {
        Err(_) | Ok(Ok(RawOutcome::Retry(_))) => Told::Again,
        Ok(Ok(_)) => Told::Decided(node.effects_of(&context)),
        Ok(Err(error)) => Told::Failed(error.to_string()),
    }
}

/// Calls a transactional terminator, in the transaction that ends the request.
async fn call_in_transaction(
    node: &Arc<Node>,
    terminator: TransactionalHandler,
    ended: &EndedCorrelation,
) -> Result<Told, StoreError> {
    let (session, seq) = (ended.session, ended.seq);
    let context = Context::new(Origin::of_ended(ended, node.clone()));
    let inside = node.clone();
    let run: TransactBody = Box::new(move |connection| {
        let call = Call {
            context: context.clone(),
            payload: None,
        };
        let told = match terminator(connection, call) {
            Ok(RawOutcome::Retry(_)) => Told::Again,
            // Its rows are not kept, and there is no one to refuse.
            Ok(RawOutcome::Reject(_) | RawOutcome::Deny(_)) => Told::Decided(Vec::new()),
            Ok(_) => {
                return Ok(Unit {
                    cause: Cause::EndedCorrelation { session, seq },
                    effects: inside.effects_of(&context),
                });
            }
            Err(error) => Told::Failed(error.to_string()),
        };
        Err(Box::new(told))
    });
    let limit = node.config.transaction_limit;
    let transact = Transact {
        handles: Handles::Ended { session, seq },
        limit,
        run,
    };
    let share = Share::of(&ended.user_id, session);
    Ok(match node.store.run_for(share, transact).await? {
        Transacted::Unit(UnitOutcome::Committed(effects)) => {
            node.count_dropped(&effects);
            Told::Committed
        }
        // An outbox is full, so that it is to be tried again; or another node was faster.
        Transacted::Unit(_) => Told::Again,
        Transacted::RolledBack(told) => match told.downcast::<Told>() {
            Ok(told) => *told,
            Err(_) => Told::Again,
        },
        Transacted::Panicked(text) => Told::Failed(format!("panic: {text}")),
        Transacted::Spoilt(why) => Told::Failed(format!(
            "it succeeded, but its transaction cannot be committed: {why}"
        )),
        Transacted::TimedOut(took) => {
            Told::Failed(format!("it took {took:.1?}, its limit is {limit:?}"))
        }
    })
}

/// The terminator was called, with these effects.
async fn end(
    node: &Node,
    ended: &EndedCorrelation,
    effects: Vec<Effect>,
) -> Result<UnitOutcome, StoreError> {
    let cause = Cause::EndedCorrelation {
        session: ended.session,
        seq: ended.seq,
    };
    let share = Share::of(&ended.user_id, ended.session);
    node.store.run_for(share, Unit { cause, effects }).await
}
