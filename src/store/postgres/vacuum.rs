//! Vacuums the store's own tables while there is traffic.
//!
//! Messages are short-lived: their rows are dead a moment later. PostgreSQL's autovacuum runs once a minute by default,
//! by which time there are millions of dead rows, the tables have outgrown the server's memory, and everything takes
//! twice as long. So each node checks every second while its own transactions delete rows. Autovacuum still serves
//! everything else, and roles that may not vacuum the tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use super::connection::PgConn;
use super::query::{Value, sql};
use super::{Shared, quoted};
use crate::logging;
use crate::store::statements::DbResult;

/// How often to check the tables.
const LOOK: Duration = Duration::from_secs(1);

/// Rows that this process must have deleted since the last check.
const DELETED: u64 = 5_000;

/// Number of dead rows at which a table is vacuumed. Space reused this soon is still in the server's memory.
const DEAD: i64 = 20_000;

/// After vacuuming, a table rests for this multiple of the time that it took, which may be a hundredth of a second or
/// minutes.
const REST: u32 = 10;

/// How long a table is left alone if its dead rows cannot be removed, because an old transaction could still see them.
const HELD: Duration = Duration::from_secs(30);

/// How long a statement may take before the connection is abandoned.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long the connection may be idle before it is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Handle of the vacuum thread, which ends when this is dropped.
pub struct Vacuum {
    _ends: Sender<()>,
}

impl Vacuum {
    /// Starts the thread. Without it, vacuuming is left to autovacuum.
    pub fn start(shared: &Arc<Shared>) -> Option<Vacuum> {
        let (ends, ended) = bounded(0);
        let shared = shared.clone();
        let thread = thread::Builder::new().name("matssocket-vacuum".into());
        match thread.spawn(move || Vacuumer::new(shared).run(&ended)) {
            Ok(_) => Some(Vacuum { _ends: ends }),
            Err(error) => {
                logging::warn!(
                    "cannot start a thread to vacuum PostgreSQL's tables, which is left to autovacuum: {error}"
                );
                None
            }
        }
    }
}

/// The state of the thread.
pub(super) struct Vacuumer {
    shared: Arc<Shared>,
    conn: Option<PgConn>,
    /// When there was last something to do.
    used: Instant,
    /// Tables that are left alone, with the time until then.
    resting: HashMap<String, Instant>,
    /// The total number of rows that this process had deleted at the last check.
    deleted: u64,
    /// Whether it was logged that the role may not vacuum.
    refused: bool,
}

impl Vacuumer {
    pub(super) fn new(shared: Arc<Shared>) -> Vacuumer {
        Vacuumer {
            shared,
            conn: None,
            used: Instant::now(),
            resting: HashMap::new(),
            deleted: 0,
            refused: false,
        }
    }

    fn run(&mut self, ended: &Receiver<()>) {
        while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let deleted = self.shared.deleted.load(Ordering::Relaxed);
            if deleted - self.deleted >= DELETED {
                self.deleted = deleted;
                self.used = Instant::now();
                if let Err(why) = self.look(DEAD) {
                    // Problems with the database are reported by those who depend on it more.
                    logging::debug!("the tables were not vacuumed: {why}");
                }
            } else if self.used.elapsed() > IDLE {
                self.conn = None;
            }
        }
    }

    /// Vacuums the tables with at least `dead` dead rows, and returns their names.
    pub(super) fn look(&mut self, dead: i64) -> Result<Vec<String>, String> {
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.shared.connect()?,
        };
        conn.be_patient(PATIENCE);
        let done = self.vacuum(&mut conn, dead);
        // After an error, the connection may be unusable.
        self.conn = done.is_ok().then_some(conn);
        done
    }

    fn vacuum(&mut self, conn: &mut PgConn, dead: i64) -> Result<Vec<String>, String> {
        let shared = self.shared.clone();
        let schema = shared.needs.schema();
        let in_words = |error: diesel::result::Error| error.to_string();
        let mut done = Vec::new();
        for (table, may) in tables(conn, schema, dead).map_err(in_words)? {
            if !may {
                self.refuse(&table);
                continue;
            }
            let now = Instant::now();
            if self.resting.get(&table).is_some_and(|until| now < *until) {
                continue;
            }
            vacuum(conn, schema, &table).map_err(in_words)?;
            let left = tables(conn, schema, dead).map_err(in_words)?;
            let is_held = left.iter().any(|(still, _)| *still == table);
            let rest = now.elapsed() * REST;
            let rest = if is_held { rest.max(HELD) } else { rest };
            self.resting.insert(table.clone(), Instant::now() + rest);
            done.push(table);
        }
        Ok(done)
    }

    fn refuse(&mut self, table: &str) {
        if !std::mem::replace(&mut self.refused, true) {
            logging::warn!(
                "the database's role may not vacuum table {table:?}, and autovacuum runs only occasionally: under load, \
                PostgreSQL will be slower. Make the role the owner of the tables, grant it MAINTAIN (PostgreSQL 17 or \
                newer), or set autovacuum_naptime to a few seconds"
            );
        }
    }
}

/// The tables with at least `dead` dead rows, and whether we may vacuum them. (Segments are excluded; they are
/// truncated.)
fn tables(conn: &mut PgConn, schema: &str, dead: i64) -> DbResult<Vec<(String, bool)>> {
    let may = match conn.server_version() {
        Some(170_000..) => {
            "pg_has_role(class.relowner, 'USAGE') OR has_table_privilege(class.oid, 'MAINTAIN')"
        }
        _ => "pg_has_role(class.relowner, 'USAGE')",
    };
    let ask = format!(
        "SELECT stat.relname::text, {may} FROM pg_stat_user_tables AS stat JOIN pg_class AS class ON class.oid = stat.relid \
        WHERE stat.schemaname = ? AND stat.n_dead_tup >= ? \
        AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = stat.relid) ORDER BY stat.n_dead_tup"
    );
    sql::<(Text, Bool)>(ask, [Value::Text(schema), Value::Long(dead)]).load(conn)
}

/// Skips a table that is being vacuumed already, so that nobody waits for this and it waits for nobody.
fn vacuum(conn: &mut PgConn, schema: &str, table: &str) -> DbResult<()> {
    let options = "SKIP_LOCKED, INDEX_CLEANUP ON, TRUNCATE OFF";
    let (schema, table) = (quoted(schema), quoted(table));
    // Without its segments, which earlier versions skip anyway.
    let only = match conn.server_version() {
        Some(180_000..) => "ONLY ",
        _ => "",
    };
    conn.batch_execute(&format!("VACUUM ({options}) {only}{schema}.{table}"))
}
