//! A node's access to the store.

use std::sync::Arc;
use std::time::Duration;

use super::attached::Attached;
use super::fair::Share;
use super::health::Trouble;
use super::metrics::StoreMetricsSnapshot;
use super::operation::{CloseSession, CloseTarget, ClosedSession, ListSessions, SessionFilter};
use super::statements::Mode;
use super::{Access, Operation, StoreError, job, opened};
use crate::mailbox::MailboxMetrics;
use crate::wire::shown;

/// A handle for running operations, usually on behalf of a node.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    pub(super) store: Arc<opened::Opened>,
    pub(super) seat: Arc<job::Seat>,
    pub(super) access: Access,
    /// `None`: the handle does not belong to a node.
    pub(super) attached: Option<Arc<Attached>>,
}

impl StoreHandle {
    /// The node has stopped: every clone of this handle answers `Stopped` from now on. If no other node is attached,
    /// closes the database and waits up to `patience` for that. Returns false if the database is not closed yet because
    /// operations sent earlier are still running; it closes when they are done.
    pub(crate) async fn stop(&self, patience: Duration) -> bool {
        let Some(attached) = self.attached.clone().filter(|attached| attached.leave()) else {
            return true;
        };
        let (closed, until_closed) = tokio::sync::oneshot::channel::<()>();
        let close = move || {
            attached.close_if_last();
            drop(closed);
        };
        let thread = std::thread::Builder::new().name("matssocket-close".into());
        match thread.spawn(close) {
            // The sender is dropped on every exit path, panics included.
            Ok(_) => tokio::time::timeout(patience, until_closed).await.is_ok(),
            Err(error) => {
                log::warn!("cannot start a thread to close the store; it stays open: {error}");
                true
            }
        }
    }

    /// Runs one operation; its outcome arrives after the commit. Operations given one after the other by one task are
    /// applied in that order if they touch the same session first, on the same account. (Reads use other connections;
    /// they see everything that was answered before.) The operation runs even if the future is dropped.
    pub(crate) fn run<O: Operation>(
        &self,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + Send + 'static + use<O> {
        let done = self.give(operation, None);
        async move { done.await.map(|(_, outcome)| outcome) }
    }

    /// Like [`run`](Self::run), on a user's account: waiting operations are scheduled fairly between users.
    pub(crate) fn run_for<O: Operation>(
        &self,
        share: Share,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + Send + 'static + use<O> {
        let done = self.give(operation, Some(share));
        async move { done.await.map(|(_, outcome)| outcome) }
    }

    /// Like [`run_for`](Self::run_for), but returns the operation with its outcome, without the messages that it
    /// stored.
    pub(crate) fn run_back<O: Operation>(
        &self,
        share: Share,
        operation: O,
    ) -> impl Future<Output = Result<(O, O::Outcome), StoreError>> + Send + 'static + use<O> {
        self.give(operation, Some(share))
    }

    fn give<O: Operation>(
        &self,
        operation: O,
        share: Option<Share>,
    ) -> impl Future<Output = Result<(O, O::Outcome), StoreError>> + Send + 'static + use<O> {
        let (reply, done) = tokio::sync::oneshot::channel();
        let refused = self.refusal(O::MODE);
        if refused.is_none() {
            self.store.send(operation, reply, &self.seat, share);
        }
        async move {
            if let Some(error) = refused {
                return Err(error);
            }
            let task = done.await.unwrap_or(Err(StoreError::Stopped))?;
            task.into_parts().ok_or(StoreError::Stopped)
        }
    }

    fn refusal(&self, mode: Mode) -> Option<StoreError> {
        if self.attached.as_ref().is_some_and(|it| it.has_left()) {
            return Some(StoreError::Stopped);
        }
        let writes = mode != Mode::Read;
        (self.access == Access::Read && writes).then_some(StoreError::ReadOnly)
    }

    /// Closes all sessions of a user. Each is closed by an operation of its own, so that every writer locks sessions in
    /// the same order.
    pub(crate) async fn close_all_of(
        &self,
        user_id: &str,
        reason: &str,
    ) -> Result<Vec<ClosedSession>, StoreError> {
        const PART: u32 = 200;
        let mut closed = Vec::new();
        loop {
            let filter = SessionFilter {
                user_id: Some(user_id.to_owned()),
                ..SessionFilter::default()
            };
            let list = ListSessions {
                filter,
                newest_first: false,
                limit: PART,
            };
            let sessions = self.run(list).await?;
            if sessions.is_empty() {
                return Ok(closed);
            }
            let close = sessions.into_iter().map(|session| {
                self.run(CloseSession {
                    target: CloseTarget::Sid(session.session_id),
                    reason: shown(reason).into_owned(),
                })
            });
            let outcomes = futures_util::future::try_join_all(close).await?;
            closed.extend(outcomes.into_iter().flatten());
        }
    }

    /// The node comes back as a new incarnation with this name. Operations given earlier keep the old name.
    pub(crate) fn rename(&self, node: &str) {
        self.seat.rename(node);
    }

    /// Asks the store's threads to check that they can reach the database.
    pub(crate) fn ask_for_checks(&self) {
        self.store.ask_for_checks();
    }

    /// What keeps the store from serving, as far as is known.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.store.trouble()
    }

    /// If there are fewer connections than needed, closes one, so that another client of the database, such as LISTEN, can
    /// have it.
    pub(crate) fn spare_a_connection(&self) {
        self.store.spare_a_connection();
    }

    /// Whether rows were written that [`Rotate`](super::operation::Rotate) should look at; see
    /// [`super::statements::Database::wants_rotation`].
    pub(crate) fn wants_rotation(&self) -> bool {
        self.store.wants_rotation()
    }

    /// Total time for which handlers have kept everybody else from writing; see [`super::statements::Database::held`].
    pub(crate) fn held(&self) -> Duration {
        self.store.held()
    }

    /// How long operations wait for a thread that writes or reads.
    pub(crate) fn mailbox(&self) -> MailboxMetrics {
        self.store.mailbox()
    }

    /// The store's metrics, which all nodes sharing it have in common.
    pub(crate) fn metrics(&self) -> StoreMetricsSnapshot {
        self.store.metrics()
    }
}
