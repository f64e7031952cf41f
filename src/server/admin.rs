//! Administers a cluster without being one of its nodes.

use std::fmt;

use tokio::sync::oneshot;

use crate::error::SendError;
use crate::store::operation::{
    CloseSession, CloseTarget, CountSessions, DeadLetter, DropDeadLetter, FindUnserved,
    ListDeadLetters, ListNodes, ListSessions, ListUsers, RedriveDeadLetter, RenameApplication,
    SessionFilter, StoredNode, StoredSession, StoredUser, UnservedWork,
};
use crate::store::{Store, StoreConfig, StoreError, StoreHandle};
use crate::wire::{check_id, shown};

/// Inspects and changes a store without running a server: for command-line tools and scheduled jobs. (An application
/// that runs a server has the same methods on [`MatsSocketServer`](crate::MatsSocketServer).)
///
/// Running nodes are not notified of changes made here. They discover them: closed sessions and redriven messages at
/// their next [sweep](crate::Config::sweep_interval), redriven work for a service at their next
/// [take-over](crate::Config::takeover_interval).
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), matssocket::StoreError> {
/// use matssocket::{Admin, Store};
///
/// let admin = Admin::open(&Store::sqlite_in_memory()).await?;
/// for letter in admin.dead_letters(0, 100).await? {
///     admin.redrive_dead_letter(letter.id).await?;
/// }
/// # Ok(()) }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct Admin {
    store: StoreHandle,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl Admin {
    /// Opens the store and runs pending migrations. It is closed when the last clone is dropped.
    ///
    /// # Errors
    /// The store cannot be opened. An SQLite file that a running server has open is refused: stop the server first,
    /// or ask the server itself.
    pub async fn open(store: &Store) -> Result<Admin, StoreError> {
        let store = store.clone();
        Self::open_by(move || store.visit("operator", &StoreConfig::default())).await
    }

    /// Opens the store read-only and leaves no trace in it: no migration runs, no file is created or changed, and the
    /// nodes recorded in an SQLite file stay. Methods that would change something fail with [`StoreError::ReadOnly`].
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use matssocket::{Admin, Store, StoreError};
    ///
    /// let missing = Admin::open_to_read(&Store::sqlite("no-such-file.db")).await;
    /// assert!(matches!(missing, Err(StoreError::Open(_))));
    /// assert!(!std::path::Path::new("no-such-file.db").exists());
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// The store cannot be opened, is not there, or has tables older than this version needs. An SQLite file that
    /// another process has open is refused, as by [`open`](Self::open).
    pub async fn open_to_read(store: &Store) -> Result<Admin, StoreError> {
        let store = store.clone();
        Self::open_by(move || store.look("operator", &StoreConfig::default())).await
    }

    async fn open_by(
        open: impl FnOnce() -> Result<StoreHandle, StoreError> + Send + 'static,
    ) -> Result<Admin, StoreError> {
        let (opened, told) = oneshot::channel();
        // Opening may take long, and must not block the caller's thread.
        std::thread::Builder::new()
            .name("matssocket-open".into())
            .spawn(move || opened.send(open()))
            .map_err(|error| {
                StoreError::Open(format!("cannot start a thread to open the store: {error}"))
            })?;
        let store = told.await.unwrap_or(Err(StoreError::Stopped))?;
        Ok(Admin { store })
    }

    /// Stored sessions, connected or not, oldest first; at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn sessions(
        &self,
        filter: SessionFilter,
        limit: u32,
    ) -> Result<Vec<StoredSession>, StoreError> {
        self.store
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
        self.store
            .run(ListSessions {
                filter,
                newest_first: true,
                limit,
            })
            .await
    }

    /// The users who have sessions, sorted by their ids: at most `limit`, of those after `after`. See
    /// [`MatsSocketServer::users`](crate::MatsSocketServer::users).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn users(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredUser>, StoreError> {
        let after = after.map(str::to_owned);
        self.store.run(ListUsers { after, limit }).await
    }

    /// Number of stored sessions.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn count_sessions(&self, filter: SessionFilter) -> Result<u64, StoreError> {
        self.store.run(CountSessions { filter }).await
    }

    /// Renames the application that the store belongs to, and returns its previous name, if it had one. From now on, a
    /// node can only start if its application has this name; running nodes are not stopped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rename_application(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.store.run(RenameApplication { name }).await
    }

    /// Closes a session: its messages are deleted. The node that holds it closes the client's connection with 4001 at
    /// its next sweep. Returns whether there was such a session.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close_session(&self, session_id: &str, reason: &str) -> Result<bool, StoreError> {
        if check_id("session id", session_id).is_err() {
            return Ok(false);
        }
        let close = CloseSession {
            target: CloseTarget::Sid(session_id.to_owned()),
            reason: shown(reason).into_owned(),
        };
        Ok(self.store.run(close).await?.is_some())
    }

    /// Closes all sessions of a user, as [`close_session`](Self::close_session) does, and returns how many there were.
    ///
    /// # Errors
    /// See [`StoreError`]; some of the sessions may have been closed.
    pub async fn close_sessions_of(&self, user_id: &str, reason: &str) -> Result<u64, StoreError> {
        Ok(self.store.close_all_of(user_id, reason).await?.len() as u64)
    }

    /// Ends a user's authorization, or only the right to a topic, on all running nodes, which apply it at their next
    /// sweep. See [`MatsSocketServer::revoke`](crate::MatsSocketServer::revoke) and
    /// [`revoke_topic`](crate::MatsSocketServer::revoke_topic).
    ///
    /// # Errors
    /// The user id is not a valid id, or the store failed.
    pub async fn revoke(&self, user_id: &str, topic: Option<&str>) -> Result<(), SendError> {
        crate::message::revoke(&self.store, user_id, topic).await
    }

    /// The nodes of the cluster, by name; those whose lease has expired are listed until they are scavenged.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn nodes(&self) -> Result<Vec<StoredNode>, StoreError> {
        self.store.run(ListNodes).await
    }

    /// Work that waits because no living node has its service, by service. It is always empty while a node of an
    /// earlier version is running, since such nodes do not announce their services.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unserved(&self) -> Result<Vec<UnservedWork>, StoreError> {
        let limit = crate::node::MOST_SERVICES;
        self.store.run(FindUnserved { limit }).await
    }

    /// Messages that were given up, oldest first, with ids greater than `after`. Returns at most `limit`, and fewer if
    /// they are large: only an empty page marks the end.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn dead_letters(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.run(ListDeadLetters { after, limit }).await
    }

    /// Puts a dead letter back for delivery. Returns false if there is none with this id, or its session is gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn redrive_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.store.run(RedriveDeadLetter { id }).await
    }

    /// Deletes a dead letter. Returns false if there is none with this id.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drop_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.store.run(DropDeadLetter { id }).await
    }
}
