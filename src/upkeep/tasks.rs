//! What each task of the upkeep does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Task, ended};
use crate::metrics::Mailbox;
use crate::node::Node;
use crate::registry::{BeginSweep, Closed, ComeBack, EndSweep, Holders, NotSwept};
use crate::server::SessionChange;
use crate::service;
use crate::store::StoreError;
use crate::store::operation::{
    CloseDue, Liveliness, RenewLease, Scavenge, Sweep, TimeOutSessions, WhichExist,
};

/// Sessions timed out in one go.
const PART: u32 = 200;

pub(super) async fn run(
    task: Task,
    node: &Arc<Node>,
    services: &Mailbox<service::Claim>,
) -> Result<(), StoreError> {
    match task {
        Task::Lease => lease(node).await,
        Task::Sweep => sweep(node).await,
        Task::Takeover => {
            services.tell(service::Claim);
            Ok(())
        }
        Task::EndedRequests => ended::requests(node).await,
        Task::Liveliness => liveliness(node).await,
        Task::Timeout => time_out(node).await,
        Task::Scavenge => scavenge(node).await,
    }
}

async fn lease(node: &Node) -> Result<(), StoreError> {
    // A node that is stopping keeps its lease, so that nobody takes over what still runs.
    if node.stopped() {
        return Ok(());
    }
    let asked = Instant::now();
    let renew = RenewLease {
        join: false,
        lease: node.config.lease,
    };
    match tokio::time::timeout(node.config.lease, node.store.run(renew)).await {
        Ok(Ok(true)) => {
            node.renewed(asked);
            node.come_back();
            Ok(())
        }
        Ok(Ok(false)) if node.stopping() => Ok(()),
        Ok(Ok(false)) => node.come_back_as_new().await,
        Ok(Err(error)) => {
            node.go_away(asked.elapsed()).await;
            Err(error)
        }
        Err(_) => {
            node.go_away(asked.elapsed()).await;
            Err(StoreError::Failed(format!(
                "the lease could not be renewed within {:?}",
                node.config.lease
            )))
        }
    }
}

async fn sweep(node: &Node) -> Result<(), StoreError> {
    let Some(before) = node.registry().ask(BeginSweep).await else {
        return Ok(());
    };
    let swept = node.store.run(Sweep).await?;
    let is_close_due = swept.close_due;
    let Some(holders) = node.registry().ask(EndSweep { before, swept }).await else {
        return Ok(());
    };
    if !holders.is_empty() {
        let sessions = holders.iter().map(|holder| holder.session).collect();
        let existing = node
            .store
            .run(WhichExist { sessions })
            .await?
            .into_iter()
            .collect();
        node.registry().tell(NotSwept { holders, existing });
    }
    // Last, so that its failing costs nothing else.
    match is_close_due {
        true => close_due(node).await,
        false => Ok(()),
    }
}

async fn liveliness(node: &Node) -> Result<(), StoreError> {
    match node.registry().ask(Holders).await {
        Some(holders) if !holders.is_empty() => node.store.run(Liveliness { holders }).await,
        Some(_) | None => Ok(()),
    }
}

async fn time_out(node: &Node) -> Result<(), StoreError> {
    loop {
        let time_out = TimeOutSessions {
            idle: node.config.session_timeout,
            limit: PART,
        };
        let sessions = node.store.run(time_out).await?;
        let more = sessions.len() >= PART as usize;
        for session in &sessions {
            node.listeners
                .session(SessionChange::Timeout, &session.sid, &session.user_id);
        }
        if !sessions.is_empty() {
            node.registry().tell(Closed {
                sessions,
                reason: "the session has timed out".into(),
            });
        }
        if !more {
            return Ok(());
        }
    }
}

/// Closes the sessions that were to be closed by now: their clients have not come back.
async fn close_due(node: &Node) -> Result<(), StoreError> {
    loop {
        let due = CloseDue {
            after: node.config.close_session_grace,
            limit: PART,
        };
        let due = node.store.run(due).await?;
        node.tell_closed(due.closed, "the session was closed out of band");
        for session in due.connected {
            node.registry().tell(ComeBack(session));
        }
        if !due.more {
            return Ok(());
        }
    }
}

async fn scavenge(node: &Node) -> Result<(), StoreError> {
    let scavenge = Scavenge {
        // A client that was away for longer has no session any more; one that was there has sent again what it missed.
        inbox_older: node.config.session_timeout,
        publications_older: node.config.topic_history,
        keys_older: node.config.idempotency,
    };
    let rows = node.store.run(scavenge).await?;
    log::debug!("scavenged {rows} rows");
    node.counters.scavenged.fetch_add(rows, Ordering::Relaxed);
    Ok(())
}
