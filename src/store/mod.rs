//! The cluster store-and-forward: what every node of a cluster shares.
//!
//! [`Store`] says which database; opening it starts the store actor, whose messages are the operations of
//! [`operation`]. Nodes in one process share one `Store`.

mod actor;
mod attached;
pub mod bench;
mod config;
#[cfg(all(test, feature = "sqlite"))]
mod conformance;
mod fair;
mod handlers;
mod health;
mod job;
mod lane;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod limits;
mod lines;
mod looks;
mod meaning;
mod metrics;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod numbers;
pub mod operation;
#[cfg(feature = "postgres")]
mod postgres;
mod queue;
mod shard;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod touches;
mod version;
mod writer;

#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use self::attached::Attached;
use crate::cluster::Cluster;
use crate::wire::shown;

pub use config::StoreConfig;
pub(crate) use fair::{Fair, Share, Shared};
pub(crate) use health::{Trouble, TroubleKind};
pub(crate) use looks::Looks;
pub use metrics::StoreMetricsSnapshot;
use operation::News;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub(crate) use shard::account_of;

/// Opens a database.
type Opener =
    dyn Fn(&StoreConfig, Access) -> Result<Arc<dyn statements::Database>, StoreError> + Send + Sync;

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To read and to write, with its tables created or brought up to date.
    Full,
    /// To read only what is there: nothing is changed, not even by opening it.
    Read,
}

/// Which database to use. Cheap to clone; clones share the opened database, so that several nodes of one process can
/// run on one. It is opened when the first node attaches, and closed when the last of them has stopped, whoever still has
/// a handle, or with the last clone and handle. (In memory only with those: it would be gone.)
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    open: Box<Opener>,
    /// The Diesel connection that transactional handlers are given.
    connection: (std::any::TypeId, &'static str),
    /// How nodes in several processes hear each other.
    cluster: Option<Box<dyn Fn() -> Cluster + Send + Sync>>,
    opened: Mutex<Slots>,
}

/// The database, if it is open.
#[derive(Default)]
struct Slots {
    full: Option<Arc<actor::Opened>>,
    /// Opened to read only: closed with the last handle, so that nodes can attach later.
    read: Weak<actor::Opened>,
}

impl Store {
    fn new<C: 'static>(
        open: impl Fn(&StoreConfig, Access) -> Result<Arc<dyn statements::Database>, StoreError>
        + Send
        + Sync
        + 'static,
        cluster: Option<Box<dyn Fn() -> Cluster + Send + Sync>>,
    ) -> Store {
        Store {
            inner: Arc::new(Inner {
                open: Box::new(open),
                connection: (std::any::TypeId::of::<C>(), std::any::type_name::<C>()),
                cluster,
                opened: Mutex::default(),
            }),
        }
    }

    /// How nodes on this store hear each other, unless they are told otherwise.
    pub(crate) fn cluster(&self) -> Cluster {
        self.inner
            .cluster
            .as_ref()
            .map_or_else(Cluster::local, |cluster| cluster())
    }

    /// The Diesel connection that transactional handlers are given: its type, and its name.
    pub(crate) fn connection(&self) -> (std::any::TypeId, &'static str) {
        self.inner.connection
    }

    /// SQLite in a file, created if missing: on Unix so that only its owner can read it. The mode of a file that exists
    /// is left alone.
    ///
    /// A second process on the same file is refused, and so is a second `Store` in the same process, by whatever name
    /// they open it: what is locked is the file itself (on Linux), and a lock file beside it (everywhere). The file must
    /// be on a local file system. A symbolic link is followed, unless it leads to nothing, which is refused.
    ///
    /// What is no file name but a connection string (`host=db password=…`, `postgres://…`) is refused when the store is
    /// opened.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(path: impl Into<PathBuf>) -> Store {
        let path = path.into();
        let open = move |config: &StoreConfig, access| match access {
            Access::Full => sqlite::open_file(&path, config),
            Access::Read => sqlite::open_to_read(&path, config),
        };
        Store::new::<diesel::SqliteConnection>(open, None)
    }

    /// SQLite in memory: gone with the last clone of this `Store` and its last handle. For tests.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_in_memory() -> Store {
        let open = |config: &StoreConfig, _| sqlite::open_in_memory(config);
        Store::new::<diesel::SqliteConnection>(open, None)
    }

    /// Opens the database (once for all clones, with the limits of the first), runs its migrations, and attaches a
    /// node: `news` is told what was committed on the node's behalf.
    pub(crate) fn attach(
        &self,
        node: &str,
        config: &StoreConfig,
        clock: &crate::clock::Clock,
        news: crate::mailbox::Mailbox<NewsOf>,
    ) -> Result<StoreHandle, StoreError> {
        let mut slots = self.slots();
        let seat = job::Seat::new(node, clock.clone(), Some(news));
        let mut handle = self.seat(&mut slots, config, seat)?;
        // Before the last node that is there now can leave.
        handle.attached = Some(Attached::new(&handle.store, &self.inner));
        Ok(handle)
    }

    /// As [`attach`](Self::attach), without being a node: nobody is told what was committed.
    pub(crate) fn visit(
        &self,
        name: &str,
        config: &StoreConfig,
    ) -> Result<StoreHandle, StoreError> {
        let seat = job::Seat::new(name, crate::clock::Clock::system(), None);
        self.seat(&mut self.slots(), config, seat)
    }

    /// As [`visit`](Self::visit), to read only: see [`Access::Read`]. If the store is open already, that is used.
    pub(crate) fn look(&self, name: &str, config: &StoreConfig) -> Result<StoreHandle, StoreError> {
        let mut slots = self.slots();
        let store = match slots.full.clone().or_else(|| slots.read.upgrade()) {
            Some(store) => store,
            None => {
                let store = self.open(config, Access::Read)?;
                slots.read = Arc::downgrade(&store);
                store
            }
        };
        let seat = job::Seat::new(name, crate::clock::Clock::system(), None);
        Ok(StoreHandle {
            store,
            seat: Arc::new(seat),
            access: Access::Read,
            attached: None,
        })
    }

    fn seat(
        &self,
        slots: &mut Slots,
        config: &StoreConfig,
        seat: job::Seat,
    ) -> Result<StoreHandle, StoreError> {
        let store = match &slots.full {
            Some(store) => store.clone(),
            None => slots.full.insert(self.open(config, Access::Full)?).clone(),
        };
        Ok(StoreHandle {
            store,
            seat: Arc::new(seat),
            access: Access::Full,
            attached: None,
        })
    }

    fn open(&self, config: &StoreConfig, access: Access) -> Result<Arc<actor::Opened>, StoreError> {
        let database = (self.inner.open)(config, access)?;
        Ok(Arc::new(actor::Opened::start(database, config)?))
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.inner.slots()
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// News for a node, sent after the commit.
#[derive(Debug, actix::Message)]
#[rtype(result = "()")]
pub(crate) struct NewsOf(pub News);

/// What must not happen, did. Refusals are outcomes of the operations instead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened: says which and why, and what to do.
    #[error("{0}")]
    Open(String),
    /// The database could not be reached or failed; nothing was changed.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The database does not take this, now or ever: a value is bad, or a constraint does not hold. Nothing was changed.
    #[error("the store refused it: {0}")]
    Refused(String),
    /// The database is full, read-only, or forbids it: nothing can be stored until somebody has seen to that. Nothing was
    /// changed.
    #[error("the store is unable to: {0}")]
    Unable(String),
    /// The connection was lost at commit: whether it took place is not known.
    #[error("the connection to the database was lost during a commit; its outcome is unknown")]
    Unknown,
    /// Too much is waiting for the store.
    #[error("the store is overloaded: no room in its queue for {0:?}")]
    Busy(Duration),
    /// The store was stopped.
    #[error("the store is stopped")]
    Stopped,
    /// It was opened by [`Admin::open_to_read`](crate::Admin::open_to_read), and cannot be changed.
    #[error("the store was opened to read only; to change it, open it by `Admin::open`")]
    ReadOnly,
}

/// One kind of operation.
pub trait Operation: Send + 'static {
    /// What the caller is told after the commit.
    type Outcome: Send + 'static;

    /// How it runs.
    #[doc(hidden)]
    const MODE: statements::Mode;

    /// What it comes before.
    #[doc(hidden)]
    const RANK: statements::Rank;

    /// How long it may take, where the application's code runs in it.
    #[doc(hidden)]
    fn limit(&self) -> Option<Duration> {
        None
    }

    /// Shows what it touches.
    #[doc(hidden)]
    fn touches(&self, _see: &mut dyn FnMut(statements::Touched<'_>)) {}

    /// Bytes that it writes, about.
    #[doc(hidden)]
    fn bytes(&self) -> usize {
        0
    }

    /// Runs it. May run again if its transaction was rolled back, unless its mode is `Handler`.
    #[doc(hidden)]
    fn apply(
        &mut self,
        statements: &mut dyn statements::Statements,
    ) -> statements::DbResult<Self::Outcome>;

    /// Gives up the messages that it has stored, to those who are told of them. Comes after the commit.
    #[doc(hidden)]
    fn give_messages(&mut self, _: &Self::Outcome, _told: &mut [operation::StoredMessage]) {}

    /// What becomes of its transaction; other than `Commit` only where the mode is `Handler`.
    #[doc(hidden)]
    fn verdict(_: &Self::Outcome) -> statements::Verdict {
        statements::Verdict::Commit
    }
}

/// A node's access to the store.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    store: Arc<actor::Opened>,
    seat: Arc<job::Seat>,
    access: Access,
    /// `None`: it is no node's.
    attached: Option<Arc<Attached>>,
}

impl StoreHandle {
    /// The node has stopped: whoever has a clone of this handle is answered `Stopped` from now on. Closes the database if
    /// no other node is attached, and waits for that, at most so long. False: it is not closed yet, for something that
    /// was sent before is still being done; it closes afterwards.
    pub(crate) async fn stop(&self, patience: Duration) -> bool {
        let Some(attached) = self.attached.clone().filter(|attached| attached.leave()) else {
            return true;
        };
        let (closed, told) = tokio::sync::oneshot::channel::<()>();
        let close = move || {
            attached.close_if_last();
            drop(closed);
        };
        let thread = std::thread::Builder::new().name("matssocket-close".into());
        match thread.spawn(close) {
            // Told by its end, however that comes.
            Ok(_) => tokio::time::timeout(patience, told).await.is_ok(),
            Err(error) => {
                log::warn!("no thread to close the store, which stays open: {error}");
                true
            }
        }
    }

    /// Runs one operation; the outcome comes after the commit. Operations given one after the other from one task
    /// are applied in that order if they touch the same session first, on the same account (reads, on other connections,
    /// see everything that was answered before).
    /// The operation runs even if the future is dropped.
    pub(crate) fn run<O: Operation>(
        &self,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + Send + 'static + use<O> {
        let done = self.give(operation, None);
        async move { done.await.map(|(_, outcome)| outcome) }
    }

    /// As [`run`](Self::run), on the account of a user: what waits is shared out fairly between users.
    pub(crate) fn run_for<O: Operation>(
        &self,
        share: Share,
        operation: O,
    ) -> impl Future<Output = Result<O::Outcome, StoreError>> + Send + 'static + use<O> {
        let done = self.give(operation, Some(share));
        async move { done.await.map(|(_, outcome)| outcome) }
    }

    /// As [`run_for`](Self::run_for); the operation comes back with its outcome, without the messages that it has stored.
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

    fn refusal(&self, mode: statements::Mode) -> Option<StoreError> {
        if self.attached.as_ref().is_some_and(|it| it.has_left()) {
            return Some(StoreError::Stopped);
        }
        let writes = mode != statements::Mode::Read;
        (self.access == Access::Read && writes).then_some(StoreError::ReadOnly)
    }

    /// Closes all sessions of a user. Each by itself, and so in the order in which everybody locks them.
    pub(crate) async fn close_all_of(
        &self,
        user_id: &str,
        reason: &str,
    ) -> Result<Vec<operation::ClosedSession>, StoreError> {
        const PART: u32 = 200;
        let mut closed = Vec::new();
        loop {
            let filter = operation::SessionFilter {
                user_id: Some(user_id.to_owned()),
                ..operation::SessionFilter::default()
            };
            let list = operation::ListSessions {
                filter,
                limit: PART,
            };
            let sessions = self.run(list).await?;
            if sessions.is_empty() {
                return Ok(closed);
            }
            let close = sessions.into_iter().map(|session| {
                self.run(operation::CloseSession {
                    target: operation::CloseTarget::Sid(session.session_id),
                    reason: shown(reason).into_owned(),
                })
            });
            let outcomes = futures_util::future::try_join_all(close).await?;
            closed.extend(outcomes.into_iter().flatten());
        }
    }

    /// The node comes back as a new incarnation with this name. Operations given before keep the old one.
    pub(crate) fn rename(&self, node: &str) {
        self.seat.rename(node);
    }

    /// Asks the store's threads whether they can do anything.
    pub(crate) fn ask_for_checks(&self) {
        self.store.ask_for_checks();
    }

    /// What keeps the store from serving, as far as is known.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.store.trouble()
    }

    /// Where there are too few connections, one is closed for somebody else's.
    pub(crate) fn spare_a_connection(&self) {
        self.store.spare_a_connection();
    }

    /// Whether rows were written of which [`Rotate`](operation::Rotate) takes care: see
    /// [`statements::Database::wants_rotation`].
    pub(crate) fn wants_rotation(&self) -> bool {
        self.store.wants_rotation()
    }

    /// For how long, up to now, handlers have kept everybody else from writing: see [`statements::Database::held`].
    pub(crate) fn held(&self) -> Duration {
        self.store.held()
    }

    /// How long operations wait for a writer or reader.
    pub(crate) fn mailbox(&self) -> crate::mailbox::MailboxMetrics {
        self.store.mailbox()
    }

    /// The store's numbers: those of all nodes that share it.
    pub(crate) fn metrics(&self) -> StoreMetricsSnapshot {
        self.store.metrics()
    }
}
