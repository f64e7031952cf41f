//! The database: an SQLite file, or PostgreSQL.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "postgres")]
use matssocket::Postgres;
use matssocket::{Cluster, Store};

/// What `--database` names.
#[derive(Clone, Debug)]
pub enum Named {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// The URL of a PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

/// Reads what `--database` names.
pub fn parse(text: &str) -> Result<Named, String> {
    let path = match text.split_once("://") {
        None => text.strip_prefix("sqlite:").unwrap_or(text),
        Some(("sqlite", path)) => path,
        #[cfg(feature = "postgres")]
        Some(("postgres" | "postgresql", _)) => return Ok(Named::Postgres(text.to_owned())),
        #[cfg(not(feature = "postgres"))]
        Some(("postgres" | "postgresql", _)) => {
            return Err(
                "this program was built without postgres: build it with `--features postgres`, or give a path or \
                sqlite://PATH"
                    .into(),
            );
        }
        Some((scheme, _)) => {
            return Err(format!(
                "databases of kind {scheme:?} are not known: give a path, sqlite://PATH or postgres://…"
            ));
        }
    };
    if path.is_empty() {
        Err("the database's path is empty".into())
    } else {
        Ok(Named::Sqlite(path.into()))
    }
}

/// The database that is used.
pub enum Database {
    /// An SQLite file; deleted at the end if it is a temporary one.
    Sqlite { path: PathBuf, temporary: bool },
    /// The URL of a PostgreSQL, and the schema.
    #[cfg(feature = "postgres")]
    Postgres(String, String),
}

impl Database {
    pub fn prepare(
        named: Option<Named>,
        #[cfg_attr(not(feature = "postgres"), allow(unused_variables))] schema: &str,
        fresh: bool,
    ) -> Result<Database, String> {
        let (path, temporary) = match named {
            Some(Named::Sqlite(path)) => (path, false),
            #[cfg(feature = "postgres")]
            Some(Named::Postgres(url)) => {
                if fresh {
                    empty_postgres(&url, schema)?;
                }
                return Ok(Database::Postgres(url, schema.to_owned()));
            }
            None => {
                let name = format!("matssocket-conformance-{}.db", std::process::id());
                (std::env::temp_dir().join(name), true)
            }
        };
        // As to a temporary one, a process of the same id may have been killed.
        if fresh || temporary {
            empty(&path)?;
        }
        Ok(Database::Sqlite { path, temporary })
    }

    pub fn store(&self) -> Store {
        match self {
            Database::Sqlite { path, .. } => Store::sqlite(path),
            #[cfg(feature = "postgres")]
            Database::Postgres(url, schema) => Postgres::at(url).schema(schema).into(),
        }
    }

    /// How the nodes hear each other, if the store does not see to it.
    pub fn cluster(&self) -> Option<Cluster> {
        match self {
            Database::Sqlite { .. } => Some(Cluster::local()),
            #[cfg(feature = "postgres")]
            Database::Postgres(..) => None,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Database::Sqlite {
            path,
            temporary: true,
        } = self
        {
            for suffix in ["", "-wal", "-shm", ".lock"] {
                let _ = fs::remove_file(beside_it(path, suffix));
            }
        }
    }
}

/// Drops the tables of whatever nodes have used this database.
#[cfg(feature = "postgres")]
fn empty_postgres(url: &str, schema: &str) -> Result<(), String> {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, PgConnection};
    let mut conn = PgConnection::establish(url).map_err(|why| format!("cannot connect: {why}"))?;
    let schema = schema.replace('"', "\"\"");
    conn.batch_execute(&format!(
        "SET client_min_messages TO warning; DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"
    ))
    .map_err(|why| format!("the schema {schema:?} cannot be dropped: {why}"))
}

/// Deletes an SQLite database that no process has in use.
fn empty(path: &Path) -> Result<(), String> {
    let lock = beside_it(path, ".lock");
    // Held until the files are gone.
    let _lock = match File::open(&lock) {
        Ok(file) => {
            file.try_lock().map_err(|_| {
                format!("{} is in use: {} is locked", path.display(), lock.display())
            })?;
            Some(file)
        }
        Err(_) => None,
    };
    for suffix in ["-wal", "-shm", ""] {
        let file = beside_it(path, suffix);
        match fs::remove_file(&file) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                return Err(format!("{} cannot be emptied: {why}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

fn beside_it(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
