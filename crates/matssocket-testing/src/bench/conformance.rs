//! The conformance server in separate processes, on SQLite and on a durable PostgreSQL of the bench's own.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use tempfile::TempDir;

use super::process::Process;
use crate::postgres;

#[derive(Clone, Copy, PartialEq)]
pub enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub fn name(self) -> &'static str {
        match self {
            Database::Sqlite => "SQLite",
            Database::Postgres => "PostgreSQL",
        }
    }

    /// The prefix of the names of the store's tables.
    pub fn prefix(self) -> &'static str {
        match self {
            Database::Sqlite => "matssocket_",
            Database::Postgres => "",
        }
    }

    /// A query for the numbers from 0 on, as `i`.
    pub fn numbers(self, count: u32) -> String {
        match self {
            Database::Sqlite => format!(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1) SELECT i FROM n"
            ),
            Database::Postgres => format!("SELECT generate_series(0, {count} - 1) AS i"),
        }
    }
}

use Database::{Postgres, Sqlite};

/// A conformance server.
pub struct Server {
    pub process: Process,
    pub url: String,
    /// The directory of its SQLite file, if it has one.
    pub directory: Rc<TempDir>,
    /// The URL of its database.
    pub database: String,
}

impl Server {
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }
}

/// The SQLite file in a directory.
pub fn file_in(directory: &TempDir) -> String {
    directory.path().join("bench.db").display().to_string()
}

/// Starts servers.
pub struct Servers {
    program: PathBuf,
    pub directory: TempDir,
    /// Started when needed.
    postgres: OnceCell<postgres::Server>,
}

impl Servers {
    /// Builds the conformance server; `load` is the path of the load generator, `directory` is where databases may be
    /// created.
    pub fn new(load: &str, directory: &str) -> Servers {
        Servers {
            program: build(Path::new(load)),
            directory: tempfile::tempdir_in(directory).expect("a directory can be made"),
            postgres: OnceCell::new(),
        }
    }

    pub fn postgres(&self) -> &postgres::Server {
        self.postgres.get_or_init(|| postgres::Server::new(true))
    }

    pub fn start(&self, database: Database, node: &str) -> Server {
        match database {
            Sqlite => self.start_on(None, node, &["--fresh"]),
            Postgres => self.start_on(Some(self.postgres().url()), node, &["--fresh"]),
        }
    }

    /// Another node on the same PostgreSQL.
    pub fn start_beside(&self, node: &str) -> Server {
        self.start_on(Some(self.postgres().url()), node, &[])
    }

    pub fn start_on(&self, url: Option<String>, node: &str, more: &[&str]) -> Server {
        let directory = tempfile::tempdir_in(&self.directory).expect("a directory can be made");
        let database = url.unwrap_or_else(|| file_in(&directory));
        let started = Command::new(&self.program)
            .args(["--node", node, "--port", "0", "--database", &database])
            .args(more)
            .stdout(Stdio::piped())
            .spawn();
        let mut process = Process(started.expect("the conformance server was built"));
        let line = process.first_line();
        let url = line
            .split(' ')
            .nth(1)
            .expect("ready URL node=NAME")
            .to_owned();
        Server {
            process,
            url,
            directory: Rc::new(directory),
            database,
        }
    }

    /// A server on a store into which this SQL has inserted something first.
    pub fn start_filled(&self, database: Database, sql: &str, more: &[&str]) -> Server {
        let mut server = self.start(database, "a");
        server.process.kill();
        execute(database, &server.database, sql);
        Server {
            // The file must outlive the server on it.
            directory: server.directory,
            ..self.start_on(Some(server.database), "a", more)
        }
    }
}

/// Runs SQL while a server is running, or while there is none.
pub fn execute(database: Database, url: &str, sql: &str) {
    let done = match database {
        Sqlite => SqliteConnection::establish(url)
            .expect("a server has made it")
            .batch_execute(&format!("BEGIN; {sql} COMMIT")),
        Postgres => PgConnection::establish(url)
            .expect("it is there")
            .batch_execute(&format!("SET search_path TO matssocket; {sql} ANALYZE")),
    };
    done.expect("it is right for both databases");
}

/// Examples are not built for benches, so this builds it, in the same profile, next to this program.
fn build(program: &Path) -> PathBuf {
    const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--locked", "--features", "postgres,load"]);
    build.args(["--example", "conformance"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.current_dir(WORKSPACE).status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the conformance server cannot be built"
    );
    let directory = program.parent().expect("it is in a directory");
    directory.join("examples/conformance")
}
