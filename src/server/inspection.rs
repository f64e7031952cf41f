//! What the handle of a server tells of sessions, nodes and dead letters.

use super::{MatsSocketServer, live};
use crate::introspection::{LiveSession, TopicMetrics};
use crate::registry::Topics;
use crate::store::StoreError;
use crate::store::operation::{
    CountSessions, DeadLetter, DropDeadLetter, FindHome, FindUnserved, ListDeadLetters, ListNodes,
    ListSessions, RedriveDeadLetter, SessionFilter, SessionHome, SessionKey, StoredNode,
    StoredSession, UnservedWork,
};

impl MatsSocketServer {
    /// Stored sessions of the whole cluster, connected or not, oldest first; at most `limit`.
    ///
    /// # Errors
    /// The store failed.
    pub async fn sessions(
        &self,
        filter: SessionFilter,
        limit: u32,
    ) -> Result<Vec<StoredSession>, StoreError> {
        self.node
            .store
            .run(ListSessions {
                filter,
                newest_first: false,
                limit,
            })
            .await
    }

    /// The same, newest first.
    ///
    /// # Errors
    /// As [`sessions`](Self::sessions).
    pub async fn newest_sessions(
        &self,
        filter: SessionFilter,
        limit: u32,
    ) -> Result<Vec<StoredSession>, StoreError> {
        self.node
            .store
            .run(ListSessions {
                filter,
                newest_first: true,
                limit,
            })
            .await
    }

    /// Whether a session exists, and which node holds it.
    ///
    /// # Errors
    /// The store failed.
    pub async fn session_home(&self, session_id: &str) -> Result<SessionHome, StoreError> {
        let sid = session_id.to_owned();
        self.node.store.run(FindHome { sid }).await
    }

    /// Number of stored sessions of the whole cluster.
    ///
    /// # Errors
    /// The store failed.
    pub async fn count_sessions(&self, filter: SessionFilter) -> Result<u64, StoreError> {
        self.node.store.run(CountSessions { filter }).await
    }

    /// The sessions connected to this node, with their last envelopes (payloads and authorization left out).
    pub async fn live_sessions(&self) -> Vec<LiveSession> {
        live::live_sessions(&self.node).await
    }

    /// One of the sessions connected to this node, with its last envelopes. `None`: it is not connected here.
    ///
    /// # Errors
    /// The store failed.
    pub async fn live_session(&self, session_id: &str) -> Result<Option<LiveSession>, StoreError> {
        let filter = SessionFilter::default().session_id(session_id);
        match self.sessions(filter, 1).await?.first() {
            Some(stored) => Ok(live::live_session(&self.node, SessionKey(stored.number)).await),
            None => Ok(None),
        }
    }

    /// The topics to which sessions on this node subscribe, those with the most subscribers first; at most `limit`.
    pub async fn topics(&self, limit: usize) -> Vec<TopicMetrics> {
        let limit = Topics { limit };
        self.node.registry().ask(limit).await.unwrap_or_default()
    }

    /// The nodes of the cluster, by name.
    ///
    /// # Errors
    /// The store failed.
    pub async fn nodes(&self) -> Result<Vec<StoredNode>, StoreError> {
        self.node.store.run(ListNodes).await
    }

    /// Work that waits because no living node has its service, by service. It is always empty while a node of an
    /// earlier version is running, since such nodes do not announce their services.
    ///
    /// # Errors
    /// The store failed.
    pub async fn unserved(&self) -> Result<Vec<UnservedWork>, StoreError> {
        let limit = crate::node::MOST_SERVICES;
        self.node.store.run(FindUnserved { limit }).await
    }

    /// Messages that were given up, oldest first, with ids greater than `after`. Returns at most `limit`, and fewer if
    /// they are large: only an empty page marks the end.
    ///
    /// # Errors
    /// The store failed.
    pub async fn dead_letters(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.node.store.run(ListDeadLetters { after, limit }).await
    }

    /// Puts a dead letter back for delivery. Returns false if there is none with this id, or its session is gone.
    ///
    /// # Errors
    /// The store failed.
    pub async fn redrive_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.node.store.run(RedriveDeadLetter { id }).await
    }

    /// Deletes a dead letter. Returns false if there is none with this id.
    ///
    /// # Errors
    /// The store failed.
    pub async fn drop_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.node.store.run(DropDeadLetter { id }).await
    }
}
