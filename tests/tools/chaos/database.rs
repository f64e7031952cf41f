//! The database as the application sees it: its own table, and a look at the store's.

use std::path::PathBuf;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel::{PgConnection, SqliteConnection, sql_query};
use matssocket::{ServerBuilder, Store};

/// Which database.
#[derive(Clone, Debug)]
pub enum Url {
    /// A file. One node only.
    Sqlite(PathBuf),
    /// As libpq understands it.
    Postgres(String),
}

impl Url {
    pub fn parse(text: &str) -> Url {
        match text.split_once("://") {
            Some(("postgres" | "postgresql", _)) => Url::Postgres(text.to_owned()),
            Some((_, path)) => Url::Sqlite(path.into()),
            None => Url::Sqlite(text.into()),
        }
    }

    pub fn text(&self) -> String {
        match self {
            Url::Sqlite(path) => path.display().to_string(),
            Url::Postgres(url) => url.clone(),
        }
    }

    /// For people. (A URL may hold a password.)
    pub fn kind(&self) -> &'static str {
        match self {
            Url::Sqlite(_) => "SQLite",
            Url::Postgres(_) => "PostgreSQL",
        }
    }

    /// Gives a node its store, and its way to the other nodes.
    pub fn attach(&self, builder: ServerBuilder) -> ServerBuilder {
        match self {
            Url::Sqlite(path) => builder.store(Store::sqlite(path)),
            Url::Postgres(url) => builder.store(Store::postgres(url)),
        }
    }
}

/// A connection of the application's own.
pub enum Database {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Does the same with either connection.
macro_rules! on {
    ($database:expr, $connection:ident => $do:expr) => {
        match $database {
            Database::Sqlite($connection) => $do.map_err(|why| why.to_string()),
            Database::Postgres($connection) => $do.map_err(|why| why.to_string()),
        }
    };
}

/// A row that a handler has inserted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, QueryableByName)]
pub struct Effect {
    #[diesel(sql_type = Text)]
    pub kind: String,
    #[diesel(sql_type = BigInt)]
    pub client: i64,
    /// The process whose request was answered; empty for the client's own messages.
    #[diesel(sql_type = Text)]
    pub origin: String,
    #[diesel(sql_type = BigInt)]
    pub number: i64,
}

/// A row of the inbox.
#[derive(Clone, Debug, QueryableByName)]
pub struct InInbox {
    #[diesel(sql_type = Text)]
    pub user_id: String,
    #[diesel(sql_type = Text)]
    pub cmid: String,
    /// Empty: a plain ACK.
    #[diesel(sql_type = Text)]
    pub answer: String,
}

/// A table, and how many rows it has.
#[derive(Clone, Debug, QueryableByName)]
pub struct Count {
    #[diesel(sql_type = Text)]
    pub name: String,
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
}

/// What must be empty when everything is quiet.
const EMPTY_AT_THE_END: [&str; 4] = ["outbox", "forwarded", "correlation", "dead_letter"];

/// What tells why something is left.
const STATE: [(&str, &str); 5] = [
    ("the time", "SELECT now(), extract(epoch FROM now()) AS s"),
    ("nodes", "SELECT * FROM node"),
    (
        "forwarded work",
        "SELECT id, service, node, epoch, attempts, due, xmin, xmax FROM forwarded LIMIT 100",
    ),
    (
        "connections",
        "SELECT pid, usename, application_name, state, wait_event, xact_start, state_change, left(query, 200) AS query
         FROM pg_stat_activity WHERE backend_type = 'client backend'",
    ),
    (
        "locks waited for",
        "SELECT pid, locktype, relation::regclass, transactionid, mode FROM pg_locks WHERE NOT granted",
    ),
];

#[derive(QueryableByName)]
struct Told {
    #[diesel(sql_type = Text)]
    text: String,
}

impl Database {
    pub fn connect(url: &Url) -> Result<Database, String> {
        match url {
            Url::Sqlite(path) => {
                let mut connection = SqliteConnection::establish(&path.display().to_string())
                    .map_err(|why| why.to_string())?;
                connection
                    .batch_execute("PRAGMA busy_timeout = 10000")
                    .map_err(|why| why.to_string())?;
                Ok(Database::Sqlite(connection))
            }
            Url::Postgres(url) => {
                let mut connection = PgConnection::establish(url).map_err(|why| why.to_string())?;
                // The application's own table comes first; the store's are in a schema of their own.
                connection
                    .batch_execute("SET search_path TO public, matssocket")
                    .map_err(|why| why.to_string())?;
                Ok(Database::Postgres(connection))
            }
        }
    }

    /// Makes the application's table. It has no key on purpose: what is done twice shall be seen.
    pub fn prepare(&mut self) -> Result<(), String> {
        self.execute(
            "CREATE TABLE IF NOT EXISTS chaos_effect (
                 kind TEXT NOT NULL, client BIGINT NOT NULL, origin TEXT NOT NULL, number BIGINT NOT NULL,
                 worker TEXT NOT NULL
             )",
        )
    }

    /// What stands in front of the names of the store's tables.
    fn prefix(&self) -> &'static str {
        match self {
            Database::Sqlite(_) => "matssocket_",
            Database::Postgres(_) => "",
        }
    }

    pub fn execute(&mut self, sql: &str) -> Result<(), String> {
        on!(self, connection => connection.batch_execute(sql))
    }

    /// Ends the connections by which nodes hear each other; says how many there were.
    pub fn end_listening(&mut self) -> Result<i64, String> {
        let sql = "SELECT 'listening' AS name, COUNT(pg_terminate_backend(pid)) AS rows
             FROM pg_stat_activity WHERE application_name = 'matssocket-listen'";
        let ended: Count = on!(self, connection => sql_query(sql).get_result(connection))?;
        Ok(ended.rows)
    }

    pub fn effects(&mut self) -> Result<Vec<Effect>, String> {
        let sql = "SELECT kind, client, origin, number FROM chaos_effect";
        on!(self, connection => sql_query(sql).load(connection))
    }

    pub fn inbox(&mut self) -> Result<Vec<InInbox>, String> {
        let prefix = self.prefix();
        let sql = format!(
            "SELECT session.user_id, inbox.cmid, COALESCE(inbox.answer, '') AS answer
             FROM {prefix}inbox AS inbox JOIN {prefix}session AS session ON session.key = inbox.session"
        );
        on!(self, connection => sql_query(sql).load(connection))
    }

    /// What is left in the tables that must be empty at the end.
    pub fn rests(&mut self) -> Result<Vec<Count>, String> {
        let prefix = self.prefix();
        let counts = EMPTY_AT_THE_END
            .map(|table| format!("SELECT '{table}' AS name, COUNT(*) AS rows FROM {prefix}{table}"))
            .join(" UNION ALL ");
        let counts: Vec<Count> = on!(self, connection => sql_query(counts).load(connection))?;
        Ok(counts.into_iter().filter(|count| count.rows > 0).collect())
    }

    /// For whoever has to find out why something is left: the rows that tell, one per line. Empty on SQLite.
    pub fn state(&mut self) -> Result<String, String> {
        let Database::Postgres(connection) = self else {
            return Ok(String::new());
        };
        let mut text = String::new();
        for (name, rows) in STATE {
            let sql = format!(
                "SELECT COALESCE(string_agg(row_to_json(found)::text, E'\n'), '') AS text FROM ({rows}) AS found"
            );
            let told: Told = sql_query(sql)
                .get_result(connection)
                .map_err(|why| why.to_string())?;
            text += &format!("{name}:\n{}\n\n", told.text);
        }
        Ok(text)
    }
}
