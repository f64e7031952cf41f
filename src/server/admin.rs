//! Looking after a cluster without being a node of it.

use tokio::sync::oneshot;

use crate::error::SendError;
use crate::store::operation::{
    CloseSession, CloseTarget, CountSessions, DeadLetter, DropDeadLetter, FindUnserved,
    ListDeadLetters, ListNodes, ListSessions, RedriveDeadLetter, RenameApplication, SessionFilter,
    StoredNode, StoredSession, UnservedWork,
};
use crate::store::{Store, StoreConfig, StoreError, StoreHandle};
use crate::wire::{check_id, shown};

/// What an operator can see and do on a store, without running a server: for command lines and scheduled jobs. The
/// `matssocket` program is made of it. (An application that runs a server has the same on
/// [`MatsSocketServer`](crate::MatsSocketServer).)
///
/// Running nodes are not told of what is done here. They find out by themselves: of closed sessions and redriven
/// messages at their next [sweep](crate::Config::sweep_interval), of redriven work for a service at their next
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

impl Admin {
    /// Opens the store, and runs the migrations that are due. It is closed with the last clone.
    ///
    /// # Errors
    /// The store cannot be opened. An SQLite file that a running server has open is refused: stop the server first,
    /// or ask the server itself.
    pub async fn open(store: &Store) -> Result<Admin, StoreError> {
        let store = store.clone();
        Self::open_by(move || store.visit("operator", &StoreConfig::default())).await
    }

    /// Opens the store to read only, and leaves no trace in it: no migration runs, no file is created or changed, and
    /// an SQLite file still knows the nodes that it knew. What changes something fails with
    /// [`StoreError::ReadOnly`].
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
        // It may take its time, and the caller's thread may have more to do.
        std::thread::Builder::new()
            .name("matssocket-open".into())
            .spawn(move || opened.send(open()))
            .map_err(|error| StoreError::Open(format!("no thread to open the store: {error}")))?;
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
        self.store.run(ListSessions { filter, limit }).await
    }

    /// Number of stored sessions.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn count_sessions(&self, filter: SessionFilter) -> Result<u64, StoreError> {
        self.store.run(CountSessions { filter }).await
    }

    /// The application that has this store is called `name` from now on; what it was called before, if it has been here.
    /// Its nodes are refused at start as long as the store knows another name; those that run are not stopped.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rename_application(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.store.run(RenameApplication { name }).await
    }

    /// Closes a session: its messages are deleted; the node that holds it tells its client (4001) when it finds out.
    /// False: there is none.
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

    /// Closes all sessions of a user; how many there were. As after [`close_session`](Self::close_session), their clients
    /// are told when their nodes find out.
    ///
    /// # Errors
    /// See [`StoreError`]; some may be closed.
    pub async fn close_sessions_of(&self, user_id: &str, reason: &str) -> Result<u64, StoreError> {
        Ok(self.store.close_all_of(user_id, reason).await?.len() as u64)
    }

    /// Ends a user's authorization, or only his right to a topic, on all nodes that run. See
    /// [`MatsSocketServer::revoke`](crate::MatsSocketServer::revoke) and
    /// [`revoke_topic`](crate::MatsSocketServer::revoke_topic). The nodes find out at their next sweep.
    ///
    /// # Errors
    /// The user id is no id, or the store failed.
    pub async fn revoke(&self, user_id: &str, topic: Option<&str>) -> Result<(), SendError> {
        crate::message::revoke(&self.store, user_id, topic).await
    }

    /// The nodes of the cluster, by name; also those whose lease ran out, until they are scavenged.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn nodes(&self) -> Result<Vec<StoredNode>, StoreError> {
        self.store.run(ListNodes).await
    }

    /// Work that waits because no living node has its service, by service. It is empty, too, while a node of an earlier
    /// version lives, which does not say what it has.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unserved(&self) -> Result<Vec<UnservedWork>, StoreError> {
        let limit = crate::node::MOST_SERVICES;
        self.store.run(FindUnserved { limit }).await
    }

    /// Messages that were given up, oldest first, with ids greater than `after`; at most `limit`, and fewer when they are
    /// large: there are no more only when there is none.
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

    /// Puts a dead letter back to be delivered. False: there is none with this id, or its session is gone.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn redrive_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.store.run(RedriveDeadLetter { id }).await
    }

    /// Deletes a dead letter. False: there is none with this id.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn drop_dead_letter(&self, id: i64) -> Result<bool, StoreError> {
        self.store.run(DropDeadLetter { id }).await
    }
}
