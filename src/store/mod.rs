//! The cluster store-and-forward: the state that every node of a cluster shares.
//!
//! [`Store`] names the database. Opening it starts the store actor; what the store can be asked to do are the
//! operations in [`operation`]. Nodes in one process share one `Store`.

mod actor;
mod attached;
#[cfg(feature = "__bench")]
#[allow(missing_debug_implementations)]
pub mod bench;
mod config;
#[cfg(all(test, feature = "sqlite"))]
mod conformance;
mod database;
mod error;
mod fair;
mod handle;
mod handlers;
mod health;
mod job;
mod lane;
mod lanes;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod limits;
mod looks;
mod meaning;
mod metrics;
mod news;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "dashboard"))]
pub(crate) mod numbers;
mod opened;
pub mod operation;
mod pool;
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

use std::fmt;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use self::attached::Attached;

pub use config::StoreConfig;
pub use error::StoreError;
pub(crate) use fair::{Fair, Share, Shared};
pub(crate) use handle::StoreHandle;
pub(crate) use health::{Trouble, TroubleKind};
pub(crate) use looks::Looks;
pub use metrics::StoreMetricsSnapshot;
pub(crate) use news::{CommitNews, Dispatch, Subscribers};
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub(crate) use shard::account_of;
pub use statements::Operation;

/// Opens a database.
type Opener =
    dyn Fn(&StoreConfig, Access) -> Result<Arc<dyn statements::Database>, StoreError> + Send + Sync;

/// Where nodes in several processes notify each other through PostgreSQL's LISTEN and NOTIFY.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
#[derive(Clone)]
pub(crate) struct ListenAt {
    /// A URL of the database, which may hold a password.
    pub(crate) url: String,
    /// The schema, whose nodes are one cluster.
    pub(crate) schema: String,
}

/// How a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// For reading and writing; the tables are created or brought up to date.
    Full,
    /// For reading only what is already there: nothing is changed, not even by opening it.
    Read,
}

/// Which database to use. Cheap to clone; clones share the opened database, so several nodes in one process can use it
/// together. The database is opened when the first node attaches. It is closed when the last attached node has stopped,
/// even if handles remain, or when the last clone and handle are dropped. (An in-memory database is closed only by the
/// latter, since closing it discards its contents.)
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    open: Box<Opener>,
    /// The Diesel connection that transactional handlers are given.
    connection: (std::any::TypeId, &'static str),
    /// Where nodes in several processes notify each other, if the database supports that.
    listen: Option<ListenAt>,
    opened: Mutex<Slots>,
}

/// The database, if it is open.
#[derive(Default)]
struct Slots {
    full: Option<Arc<opened::Opened>>,
    /// Opened for reading only. Weak, so that it closes with its last handle and nodes can attach later.
    read: Weak<opened::Opened>,
}

/// Does not show the database's address, which may contain a password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("connection", &self.inner.connection.1)
            .finish_non_exhaustive()
    }
}

impl Store {
    fn new<C: 'static>(
        open: impl Fn(&StoreConfig, Access) -> Result<Arc<dyn statements::Database>, StoreError>
        + Send
        + Sync
        + 'static,
        listen: Option<ListenAt>,
    ) -> Store {
        Store {
            inner: Arc::new(Inner {
                open: Box::new(open),
                connection: (std::any::TypeId::of::<C>(), std::any::type_name::<C>()),
                listen,
                opened: Mutex::default(),
            }),
        }
    }

    /// Where nodes on this store notify each other through PostgreSQL's LISTEN, unless configured otherwise. `None`:
    /// only within one process.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn listen(&self) -> Option<&ListenAt> {
        self.inner.listen.as_ref()
    }

    /// The Diesel connection that transactional handlers are given: its type and its name.
    pub(crate) fn connection(&self) -> (std::any::TypeId, &'static str) {
        self.inner.connection
    }

    /// SQLite in a file, which is created if it does not exist; on Unix, a new file is readable only by its owner. The
    /// mode of an existing file is left alone.
    ///
    /// A second process on the same file is refused, and so is a second `Store` in the same process, whatever name they
    /// open it by: both the file itself (on Linux) and a lock file beside it (everywhere) are locked. The file must be
    /// on a local file system. Symbolic links are followed; a dangling one is refused.
    ///
    /// A path that is really a connection string (`host=db password=…`, `postgres://…`) is refused when the store is
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

    /// SQLite in memory, for tests. The data is gone with the last clone of this `Store` and its last handle.
    #[cfg(feature = "sqlite")]
    pub fn sqlite_in_memory() -> Store {
        let open = |config: &StoreConfig, _| sqlite::open_in_memory(config);
        Store::new::<diesel::SqliteConnection>(open, None)
    }

    /// Opens the database (once for all clones, with the limits given first), runs its migrations, and attaches a node.
    /// `subscribers` are notified of what is committed on the node's behalf.
    pub(crate) fn attach(
        &self,
        node: &str,
        config: &StoreConfig,
        clock: &crate::clock::Clock,
        subscribers: Subscribers,
    ) -> Result<StoreHandle, StoreError> {
        let mut slots = self.slots();
        let seat = job::Seat::new(node, clock.clone(), Some(subscribers));
        let mut handle = self.seat(&mut slots, config, seat)?;
        // Attach while the slots are still locked, so that the last of the other nodes cannot leave and close the store
        // first.
        handle.attached = Some(Attached::new(&handle.store, &self.inner));
        Ok(handle)
    }

    /// Like [`attach`](Self::attach), but without being a node: nobody is notified of commits.
    pub(crate) fn visit(
        &self,
        name: &str,
        config: &StoreConfig,
    ) -> Result<StoreHandle, StoreError> {
        let seat = job::Seat::new(name, crate::clock::Clock::system(), None);
        self.seat(&mut self.slots(), config, seat)
    }

    /// Like [`visit`](Self::visit), but for reading only; see [`Access::Read`]. Uses the store that is open, if there
    /// is one.
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

    fn open(
        &self,
        config: &StoreConfig,
        access: Access,
    ) -> Result<Arc<opened::Opened>, StoreError> {
        let database = (self.inner.open)(config, access)?;
        Ok(Arc::new(opened::Opened::start(database, config)?))
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
