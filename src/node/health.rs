//! Whether a node can serve its users. A renewed lease does not prove that: writes and reads must also complete, and
//! the nodes must be able to notify each other.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Node;
use crate::error::NotReady;
use crate::logging;
use crate::store::{Trouble, TroubleKind};

/// How long after probes were requested their results are examined. While something is wrong, probing is repeated at
/// this interval.
const LOOK: Duration = Duration::from_millis(500);
/// How long the connection to the other nodes may be down without making the node unready: it is re-established
/// automatically, and the sweep finds what was missed.
const LISTEN_PATIENCE: Duration = Duration::from_secs(10);

/// Watches a node's health until it has stopped.
pub(super) async fn watch(node: Arc<Node>) {
    while !node.stopped() {
        node.store.ask_for_checks();
        tokio::time::sleep(LOOK).await;
        let trouble = node.store.trouble().or_else(|| listen_trouble(&node));
        let is_ill = trouble.is_some();
        node.note(trouble);
        if !is_ill {
            tokio::time::sleep(node.config.lease_interval.saturating_sub(LOOK)).await;
        }
    }
}

fn listen_trouble(node: &Node) -> Option<Trouble> {
    let down_for = node.counters.cluster.down_for();
    if down_for > LOOK {
        // The store may have used up all connections that the database allows.
        node.store.spare_a_connection();
    }
    (down_for > LISTEN_PATIENCE).then(|| Trouble {
        kind: TroubleKind::Listen,
        why: format!("it has been down for {down_for:.0?}"),
    })
}

impl From<TroubleKind> for NotReady {
    fn from(kind: TroubleKind) -> NotReady {
        match kind {
            TroubleKind::Write => NotReady::StoreNotWritable,
            TroubleKind::Read => NotReady::StoreNotReadable,
            TroubleKind::Unable => NotReady::StoreRefuses,
            TroubleKind::Listen => NotReady::CannotHearOthers,
        }
    }
}

impl Node {
    /// Whether it can serve its users fully; if not, why.
    pub(crate) fn ready(&self) -> Result<(), NotReady> {
        self.serves()?;
        if self.is_retiring() {
            return Err(NotReady::Stopping);
        }
        self.trouble().map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Whether new clients are admitted; if not, why. A broken connection to the other nodes is no reason to refuse
    /// them.
    pub(crate) fn lets_in(&self) -> Result<(), NotReady> {
        self.serves()?;
        match self.trouble() {
            None | Some(TroubleKind::Listen) => Ok(()),
            Some(kind) => Err(kind.into()),
        }
    }

    fn trouble(&self) -> Option<TroubleKind> {
        *self.trouble.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a change in what is wrong.
    fn note(&self, trouble: Option<Trouble>) {
        let kind = trouble.as_ref().map(|it| it.kind);
        let mut known = self.trouble.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, kind);
        drop(known);
        if before == kind || self.stopping() {
            return;
        }
        match trouble {
            Some(Trouble { kind, why }) => {
                logging::error!("not ready: {} ({why})", NotReady::from(kind))
            }
            None => logging::info!("ready again"),
        }
    }
}
