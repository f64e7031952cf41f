//! Where a PostgreSQL is, and how it is used.

use std::fmt;

use crate::store::{Access, ListenAt, Store, StoreConfig, StoreError};

/// A PostgreSQL database, shared by all nodes of a cluster.
///
/// ```no_run
/// # use matssocket::{Postgres, Store};
/// let store = Store::from(Postgres::at("postgres://app@db.example/app").schema("messages"));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Postgres {
    pub(super) url: String,
    pub(super) schema: String,
    pub(super) pooled: bool,
    pub(super) migrate: bool,
    listen: Listen,
}

/// Where the nodes hear each other.
#[derive(Clone)]
enum Listen {
    /// In the same database, by the same URL.
    Same,
    /// In the same database, by a URL of its own.
    At(String),
    /// Nowhere.
    Not,
}

impl Postgres {
    /// The database at a URL (`postgres://user:password@host:port/database?sslmode=verify-full`) or a list of
    /// `key=value`, whatever libpq understands: TLS, several hosts, a service file or a password file included.
    pub fn at(url: impl Into<String>) -> Postgres {
        Postgres {
            url: url.into(),
            schema: "matssocket".into(),
            pooled: false,
            migrate: true,
            listen: Listen::Same,
        }
    }

    /// The schema of the tables, created if missing. Nodes with the same schema are one cluster. Default `matssocket`.
    pub fn schema(mut self, schema: impl Into<String>) -> Postgres {
        self.schema = schema.into();
        self
    }

    /// The URL leads to a pooler in transaction mode, such as PgBouncer: nothing is kept on a connection beyond its
    /// transaction, not even a prepared statement. LISTEN does not work through a pooler: give a
    /// [`listen_url`](Self::listen_url) that leads past it, else each node finds news by its sweep alone.
    ///
    /// ```
    /// # use matssocket::Postgres;
    /// let postgres = Postgres::at("postgres://app@pgbouncer.example/app")
    ///     .pooled()
    ///     .listen_url("postgres://app@db.example/app");
    /// # drop(postgres);
    /// ```
    pub fn pooled(mut self) -> Postgres {
        self.pooled = true;
        if matches!(self.listen, Listen::Same) {
            self.listen = Listen::Not;
        }
        self
    }

    /// The nodes hear each other by this URL, which leads to the same database.
    pub fn listen_url(mut self, url: impl Into<String>) -> Postgres {
        self.listen = Listen::At(url.into());
        self
    }

    /// The nodes do not hear each other: each finds news by its sweep alone.
    pub fn without_listen(mut self) -> Postgres {
        self.listen = Listen::Not;
        self
    }

    /// A node does not bring the tables up to date; it does not start unless they are. For those whose application
    /// must not create tables: [`migrate`](Self::migrate) is then run by somebody who may.
    pub fn without_migrations(mut self) -> Postgres {
        self.migrate = false;
        self
    }

    /// Creates the tables, or brings them up to date, and returns the names of the migrations that ran. Nodes of the
    /// version before go on working with them.
    ///
    /// # Errors
    /// [`StoreError::Open`], which says why.
    pub fn migrate(&self) -> Result<Vec<String>, StoreError> {
        super::migrate::run(self)
    }

    /// The URLs that it connects to.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        let listen = match &self.listen {
            Listen::At(url) => Some(url),
            Listen::Same | Listen::Not => None,
        };
        [&self.url].into_iter().chain(listen).map(String::as_str)
    }

    /// Where the nodes hear each other; `None`: nowhere.
    fn listen(&self) -> Option<ListenAt> {
        let url = match &self.listen {
            Listen::Same => &self.url,
            Listen::At(url) => url,
            Listen::Not => return None,
        };
        Some(ListenAt {
            url: url.clone(),
            schema: self.schema.clone(),
        })
    }
}

/// Not the URL, which may hold a password.
impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("schema", &self.schema)
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
    }
}

impl From<Postgres> for Store {
    fn from(settings: Postgres) -> Store {
        let listen = settings.listen();
        Store::new::<diesel::PgConnection>(
            move |config: &StoreConfig, access| match access {
                Access::Full => super::open(&settings, config),
                Access::Read => super::open_to_read(&settings, config),
            },
            listen,
        )
    }
}

impl Store {
    /// PostgreSQL at a URL: see [`Postgres`], which has more settings.
    pub fn postgres(url: impl Into<String>) -> Store {
        Postgres::at(url).into()
    }
}
