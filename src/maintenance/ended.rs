//! Server requests that ended without a reply: their reply terminators get a REJECT with the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::endpoint::{Call, Context, Origin, RawOutcome, Run};
use crate::node::Node;
use crate::seldom::log_seldom;
use crate::store::operation::{
    Cause, ClaimEndedCorrelations, ClaimedCorrelations, Effect, EndedCorrelation, Unit, UnitOutcome,
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
    let handler = match node.endpoints.get(terminator).map(|endpoint| &endpoint.run) {
        Some(Run::Async(handler)) => Some(handler),
        // It needs the connection of a client's message, and there is none.
        Some(Run::Transactional(_)) => {
            log_seldom!(
                warn,
                "the transactional reply terminator {terminator:?} is not notified that its request has ended: {}",
                ended.reason
            );
            None
        }
        // Another version of the application may have it: leave it for a node that does, and try again later.
        None => {
            log_seldom!(
                warn,
                "a request has ended, but this node lacks its reply terminator {:?}: left for a node that has it",
                shown(terminator)
            );
            return Ok(());
        }
    };
    let mut effects = Vec::new();
    if let Some(handler) = handler {
        let context = Context::new(Origin::of_ended(&ended, node.clone()));
        let call = handler(Call {
            context: context.clone(),
            payload: None,
        });
        match tokio::time::timeout(AGAIN, call).await {
            // It becomes due again by itself.
            Err(_) | Ok(Ok(RawOutcome::Retry(_))) => return Ok(()),
            Ok(Ok(_)) => effects = node.effects_of(&context),
            Ok(Err(error)) => {
                node.counters
                    .handler_failures
                    .fetch_add(1, Ordering::Relaxed);
                let why = format!(
                    "the reply terminator {terminator:?} failed for a request that ended ({}): {}",
                    shown(&ended.reason),
                    shown(&error.to_string())
                );
                node.failed(terminator, &why);
            }
        }
    }
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
