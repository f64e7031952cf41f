//! The settings that our transactions need, whatever those of the database, the role or the URL.

use std::fmt::Write;
use std::time::Duration;

use super::{Postgres, quoted};
use crate::store::{Access, StoreConfig};

/// A process that is suspended in the middle of a transaction must not keep its locks. (Our transactions are never
/// idle.)
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3);

/// The settings of our transactions.
pub struct Needs {
    /// Statements that set them for one transaction, separated by semicolons.
    local: String,
    /// Whether transactions write, or only read.
    access: Access,
    schema: String,
}

/// Acknowledged data must be on disk. A stricter setting (waiting for a standby) is left as it is.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', true) \
    WHERE current_setting('synchronous_commit') = 'off'";

/// Every statement finds its rows through an index, in the order that it needs. Tables that fill and empty all the time
/// mislead the planner: if it believes a table to be empty, it scans the whole of it to join, sort or hash it.
const PLANS: &str = "SET LOCAL enable_seqscan TO off; SET LOCAL enable_bitmapscan TO off; \
    SET LOCAL enable_hashjoin TO off; SET LOCAL enable_mergejoin TO off; SET LOCAL enable_material TO off";

impl Needs {
    pub fn new(settings: &Postgres, config: &StoreConfig, access: Access) -> Needs {
        let lock_timeout = config.busy_timeout.as_millis().max(1);
        let idle_timeout = IDLE_TIMEOUT.as_millis();
        // A statement planned once for all values takes half the time. Statements are not subject to limits meant for
        // the application's own; this side watches how long they take.
        let local = format!(
            "SET LOCAL statement_timeout TO 0; SET LOCAL search_path TO {}; {PLANS}; \
            SET LOCAL jit TO off; SET LOCAL plan_cache_mode TO force_generic_plan; \
            SET LOCAL lock_timeout TO {lock_timeout}; SET LOCAL matssocket.segments TO known; \
            SET LOCAL idle_in_transaction_session_timeout TO {idle_timeout}; {DURABLE}",
            quoted(&settings.schema)
        );
        Needs {
            local,
            access,
            schema: settings.schema.clone(),
        }
    }

    /// The schema of the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The statement that begins a transaction. Behind a pooler, where others use the connection in between, it applies
    /// all settings again.
    pub fn begin(&self, pooled: bool, version: Option<i32>) -> String {
        let access = match self.access {
            Access::Full => "READ WRITE",
            Access::Read => "READ ONLY",
        };
        let mut begin = format!("BEGIN ISOLATION LEVEL READ COMMITTED {access}");
        if pooled {
            let _ = write!(begin, "; {}", self.local());
            for setting in newer(version) {
                let _ = write!(begin, "; SET LOCAL {setting}");
            }
        }
        begin
    }

    /// The settings, for the current transaction.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// Lets the planner choose freely for the rest of the transaction, in which a handler runs.
    pub fn free_plans() -> String {
        PLANS.replace("off", "DEFAULT")
    }

    /// The settings, for all transactions of a connection.
    pub fn for_good(&self, version: Option<i32>) -> String {
        let mut settings = self.local.replace("SET LOCAL", "SET");
        settings = settings.replace("'on', true)", "'on', false)");
        for setting in newer(version) {
            let _ = write!(settings, "; SET {setting}");
        }
        settings
    }
}

/// Settings that only newer servers know.
fn newer(version: Option<i32>) -> impl Iterator<Item = &'static str> {
    const NEWER: [(i32, &str); 3] = [
        // Ends a statement soon after its client has disconnected.
        (140_000, "client_connection_check_interval TO '2s'"),
        (140_000, "idle_session_timeout TO 0"),
        (170_000, "transaction_timeout TO 0"),
    ];
    let version = version.unwrap_or(0);
    NEWER
        .into_iter()
        .filter(move |(since, _)| *since <= version)
        .map(|(_, setting)| setting)
}
