//! Opening the store that the settings name.

use matssocket::{Admin, Store};

use super::Failure;
use super::command_line::Asked;
use super::settings::Settings;
use super::store_url::StoreUrl;

impl Asked {
    /// The store, which must be there already.
    ///
    /// # Errors
    /// There is none, or it cannot be opened.
    pub async fn open(&self) -> Result<Admin, Failure> {
        if let StoreUrl::Sqlite(path) = &self.loaded.settings.store
            && !path.exists()
        {
            return Err(Failure::Undone(format!(
                "there is no SQLite file {}; name the store by --store URL, MATSSOCKET_STORE, or store in the configuration file",
                path.display()
            )));
        }
        self.create().await
    }

    /// The store, made if it is missing.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn create(&self) -> Result<Admin, Failure> {
        Ok(Admin::open(&self.loaded.settings.store()?).await?)
    }
}

impl Settings {
    /// The store, not opened yet.
    ///
    /// # Errors
    /// The settings do not go together.
    pub fn store(&self) -> Result<Store, Failure> {
        match &self.store {
            StoreUrl::Sqlite(path) => {
                for (key, given) in [("schema", self.schema.is_some()), ("listen_url", self.listen_url.is_some())] {
                    if given {
                        let why = format!("{key} is for PostgreSQL, but the store is {}", self.store);
                        return Err(Failure::Usage(why));
                    }
                }
                Ok(Store::sqlite(path))
            }
            StoreUrl::Postgres(_) => Err(Failure::Usage(
                "this program was built without PostgreSQL: build it with --features postgres, or name an SQLite file".into(),
            )),
        }
    }
}
