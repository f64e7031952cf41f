//! Gives up a row whose last attempt has failed, so that no row is retried for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::reply::{Reply, plain_reply};
use super::retry::retry_until_stopped;
use super::work::{Again, Failed, commit_settled, postpone, settle, unless_stopped};
use crate::endpoint::{Service, ServiceFailure, plain_rejection, rejection};
use crate::logging;
use crate::node::Node;
use crate::store::operation::{BuryForwarded, Forwarded};
use crate::wire::shown;

/// There is no further attempt: a REQUEST is rejected, anything else becomes a dead letter. If the store refuses that,
/// a simpler text is tried, so that no row is retried for ever.
pub(super) async fn give_up(
    node: &Arc<Node>,
    service: &Service,
    row: &Forwarded,
    attempts: u32,
    why: &str,
) -> Again {
    if row.work.cmid.is_some() {
        let failure = ServiceFailure {
            service: row.work.service.clone(),
            endpoint: row.work.endpoint.clone(),
            session_id: row.work.sid.clone(),
            user_id: row.work.user_id.clone(),
            trace_id: row.work.tid.clone(),
            attempts,
            reason: why.to_owned(),
        };
        let payload = rejection(service.on_failure.as_ref(), &failure);
        let rejected = settle(node, row, Vec::new(), Some(Reply::reject(payload))).await;
        let Err(refused) = rejected else {
            return rejected.unwrap_or_default();
        };
        refused.log(row, "its REJECT");
        let plain = plain_reply(node, row, Reply::reject(plain_rejection(&failure)));
        match commit_settled(node, row, plain.into_iter().collect()).await {
            Ok(again) => return again,
            Err(refused) => refused.log(row, "its plain REJECT"),
        }
    }
    let reasons = [
        format!("{}: {why}", row.work.service),
        "given up; the store refused the reason".to_owned(),
    ];
    for reason in reasons {
        match bury(node, row, attempts, reason).await {
            Ok(()) => return None,
            Err(refused) => refused.log(row, "its dead letter"),
        }
    }
    // At least it holds nothing else up. An operator must deal with it.
    postpone(node, row, attempts, service.retry.longest).await
}

impl Failed {
    fn log(&self, row: &Forwarded, what: &str) {
        let (service, trace_id) = (&row.work.service, shown(&row.work.tid));
        let why = shown(&self.0);
        logging::error!(
            trace_id = trace_id, service = service;
            "work for the service {service:?} is given up (trace id {trace_id}), but the store refuses {what}: {why}"
        );
    }
}

async fn bury(
    node: &Arc<Node>,
    row: &Forwarded,
    attempts: u32,
    reason: String,
) -> Result<(), Failed> {
    let bury = BuryForwarded {
        id: row.id,
        epoch: row.epoch,
        reason,
    };
    let buried =
        retry_until_stopped(node, || node.store.run_for(row.work.share(), bury.clone())).await;
    if unless_stopped(buried)? == Some(true) {
        node.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
        report_dead(row, attempts, &bury.reason);
    }
    Ok(())
}

fn report_dead(row: &Forwarded, attempts: u32, reason: &str) {
    let work = &row.work;
    let (service, session_id) = (shown(&work.service), &work.sid);
    let (user, trace_id) = (shown(&work.user_id), shown(&work.tid));
    logging::error!(
        session_id = session_id, user_id = user, trace_id = trace_id, service = service, attempt = attempts;
        "work for the service {service:?} became a dead letter after {attempts} attempts (user {user}, trace id {trace_id}): \
         {reason}; `matssocket dead-letters` shows it and puts it back"
    );
}
