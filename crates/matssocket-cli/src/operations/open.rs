//! Opens what the options name: a store, or the admin API of a server.

use matssocket::{Admin, Store};

use super::options::Asked;
use super::settings::Settings;
use super::store_url::StoreUrl;
use super::target::Target;
use crate::failure::Failure;

impl Asked {
    /// The server that was named; otherwise opens the store, which must already exist with its tables.
    ///
    /// # Errors
    /// The store does not exist, or cannot be opened; or the server's URL or token cannot be used.
    pub async fn open(&self) -> Result<Target, Failure> {
        if let Some(server) = self.server.remote()? {
            return Ok(Target::Server(server.into()));
        }
        Ok(Target::Store(self.open_store().await?))
    }

    /// Opens the store itself, for what a server cannot do.
    ///
    /// # Errors
    /// It does not exist, or cannot be opened.
    pub async fn open_store(&self) -> Result<Admin, Failure> {
        Ok(Admin::open(&self.existing_store()?).await?)
    }

    /// The same, for a command that only reads: it leaves no trace.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_to_read(&self) -> Result<Target, Failure> {
        if let Some(server) = self.server.remote()? {
            return Ok(Target::Server(server.into()));
        }
        Ok(Target::Store(
            Admin::open_to_read(&self.existing_store()?).await?,
        ))
    }

    fn existing_store(&self) -> Result<Store, Failure> {
        let settings = &self.loaded.settings;
        settings.check_store()?;
        match &settings.store {
            StoreUrl::Sqlite(path) if path.exists() => Ok(Store::sqlite(path)),
            StoreUrl::Sqlite(path) => Err(Failure::Undone(format!(
                "there is no SQLite file {}; name the store by --store URL, MATSSOCKET_STORE, or store in the \
                 configuration file",
                path.display()
            ))),
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(url) => Ok(settings.postgres(url).without_migrations().into()),
            #[cfg(not(feature = "postgres"))]
            StoreUrl::Postgres(_) => Err(without_postgres()),
        }
    }
}

impl Settings {
    /// The store, not opened yet. Opening creates it if it is missing.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn store(&self) -> Result<Store, Failure> {
        self.check_store()?;
        match &self.store {
            StoreUrl::Sqlite(path) => Ok(Store::sqlite(path)),
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(url) => Ok(self.postgres(url).into()),
            #[cfg(not(feature = "postgres"))]
            StoreUrl::Postgres(_) => Err(without_postgres()),
        }
    }

    /// Creates the tables, or brings them up to date. Returns the names of the migrations that ran, if the store
    /// reports them.
    ///
    /// # Errors
    /// The store cannot be opened.
    pub async fn migrate(&self) -> Result<Option<Vec<String>>, Failure> {
        #[cfg(feature = "postgres")]
        if let StoreUrl::Postgres(url) = &self.store {
            return Ok(Some(self.postgres(url).migrate()?));
        }
        Admin::open(&self.store()?).await?;
        Ok(None)
    }

    fn check_store(&self) -> Result<(), Failure> {
        let given = [
            ("schema", self.schema.is_some()),
            ("listen_url", self.listen_url.is_some()),
            ("pooled", self.pooled),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((key, _)) if matches!(self.store, StoreUrl::Sqlite(_)) => Err(Failure::Usage(
                format!("{key} is for PostgreSQL, but the store is {}", self.store),
            )),
            _ => Ok(()),
        }
    }

    #[cfg(feature = "postgres")]
    fn postgres(&self, url: &str) -> matssocket::Postgres {
        let mut postgres = matssocket::Postgres::at(url);
        if let Some(schema) = &self.schema {
            postgres = postgres.schema(schema);
        }
        if self.pooled {
            postgres = postgres.pooled();
        }
        match &self.listen_url {
            Some(listen_url) => postgres.listen_url(listen_url),
            None => postgres,
        }
    }
}

#[cfg(not(feature = "postgres"))]
fn without_postgres() -> Failure {
    let why = "this program was built without PostgreSQL: build it with --features postgres, or name an SQLite file";
    Failure::Usage(why.into())
}
