//! A PostgreSQL with a standby, behind a proxy: its lines fall silent, the standby takes over, what the proxy leads to
//! cannot be written to, or there are too few connections.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matssocket_testing::postgres::Server;
use matssocket_testing::proxy::Proxy;

use crate::database::{Database, Url};

/// The role that the nodes use. (A superuser's connections are not limited.)
const ROLE: &str = "chaos_node";

/// The servers and the way to them.
pub struct Disturbed {
    proxy: Proxy,
    servers: Mutex<Servers>,
}

struct Servers {
    primary: Server,
    standby: Server,
}

impl Disturbed {
    pub fn start() -> Disturbed {
        let primary = Server::new(true);
        let standby = primary.standby(true);
        let proxy = Proxy::to(primary.address());
        Disturbed {
            proxy,
            servers: Mutex::new(Servers { primary, standby }),
        }
    }

    /// Makes the role of the nodes, which may use the application's tables.
    pub fn prepare(&self) -> Result<(), String> {
        Database::connect(&self.url())?.execute(&format!(
            "CREATE ROLE {ROLE} LOGIN; GRANT CREATE ON DATABASE postgres TO {ROLE}; \
            GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}"
        ))
    }

    /// For whoever checks: it always leads to the primary.
    pub fn url(&self) -> Url {
        Url::Postgres(self.url_of("postgres"))
    }

    /// For the nodes.
    pub fn url_of_nodes(&self) -> Url {
        Url::Postgres(self.url_of(ROLE))
    }

    fn url_of(&self, role: &str) -> String {
        format!(
            "postgres://{role}@{}/postgres?connect_timeout=2",
            self.proxy.address()
        )
    }

    /// All lines that are there lead nowhere from now on; for a while, so do new ones.
    pub fn silence(&self, new_ones: Duration) {
        if !new_ones.is_zero() {
            self.proxy.silence_new(true);
        }
        self.proxy.silence();
        std::thread::sleep(new_ones);
        self.proxy.silence_new(false);
        // Connections of those who came meanwhile.
        self.proxy.silence();
    }

    /// The primary ends as in a crash, the standby takes over, and gets a standby of its own.
    pub fn fail_over(&self) {
        let mut servers = self.servers();
        servers.primary.crash();
        servers.standby.promote();
        self.proxy.lead_to(servers.standby.address());
        let next = servers.standby.standby(true);
        servers.primary = std::mem::replace(&mut servers.standby, next);
    }

    /// For a while, the way leads to the standby.
    pub fn read_only(&self, long: Duration) {
        let servers = self.servers();
        self.proxy.lead_to(servers.standby.address());
        std::thread::sleep(long);
        self.proxy.lead_to(servers.primary.address());
    }

    /// All connections of the nodes are ended; from now on they may have no more than so many.
    pub fn limit(&self, connections: i64) -> Result<(), String> {
        let mut database = Database::connect(&self.url())?;
        database.execute(&format!("ALTER ROLE {ROLE} CONNECTION LIMIT {connections}"))?;
        // Only now, when that is committed: they would come again before.
        database.execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
        ))
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
