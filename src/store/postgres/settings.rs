//! How to connect to PostgreSQL, and how to use it.

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

/// Where the nodes notify each other.
#[derive(Clone)]
enum Listen {
    /// In the same database, through the same URL.
    Same,
    /// In the same database, through a URL of its own.
    At(String),
    /// Not at all.
    Not,
}

impl Postgres {
    /// The database at a URL (`postgres://user:password@host:port/database?sslmode=verify-full`) or a list of
    /// `key=value` pairs. Accepts whatever libpq does, including TLS, several hosts, a service file and a password
    /// file.
    pub fn at(url: impl Into<String>) -> Postgres {
        Postgres {
            url: url.into(),
            schema: "matssocket".into(),
            pooled: false,
            migrate: true,
            listen: Listen::Same,
        }
    }

    /// The schema of the tables, which is created if it does not exist. Nodes with the same schema form one cluster.
    /// Default `matssocket`.
    pub fn schema(mut self, schema: impl Into<String>) -> Postgres {
        self.schema = schema.into();
        self
    }

    /// The URL leads to a pooler in transaction mode, such as PgBouncer. Nothing is then kept on a connection beyond
    /// its transaction, not even a prepared statement. LISTEN does not work through a pooler: set a
    /// [`listen_url`](Self::listen_url) that bypasses it; otherwise each node finds news through its sweep only.
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

    /// Sets the URL through which the nodes notify each other. It must lead to the same database.
    pub fn listen_url(mut self, url: impl Into<String>) -> Postgres {
        self.listen = Listen::At(url.into());
        self
    }

    /// Turns notifications off: each node finds news through its sweep only.
    pub fn without_listen(mut self) -> Postgres {
        self.listen = Listen::Not;
        self
    }

    /// Nodes do not bring the tables up to date, and refuse to start if they are not. For applications whose role must
    /// not create tables: run [`migrate`](Self::migrate) with a role that may.
    pub fn without_migrations(mut self) -> Postgres {
        self.migrate = false;
        self
    }

    /// Creates the tables or brings them up to date, and returns the names of the migrations that ran. Running nodes of
    /// the previous version keep working with them.
    ///
    /// # Errors
    /// [`StoreError::Open`], with the reason.
    pub fn migrate(&self) -> Result<Vec<String>, StoreError> {
        super::migrate::run(self)
    }

    /// The URLs to which it connects.
    pub(super) fn urls(&self) -> impl Iterator<Item = &str> {
        let listen = match &self.listen {
            Listen::At(url) => Some(url),
            Listen::Same | Listen::Not => None,
        };
        [&self.url].into_iter().chain(listen).map(String::as_str)
    }

    /// Where the nodes notify each other. `None`: not at all.
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

/// Does not show the URL, which may contain a password.
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
    /// PostgreSQL at a URL. See [`Postgres`] for more settings.
    pub fn postgres(url: impl Into<String>) -> Store {
        Postgres::at(url).into()
    }
}
