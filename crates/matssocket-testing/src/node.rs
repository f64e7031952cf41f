//! Nodes of one cluster in this process, each with its own HTTP server on a free port.

use std::net::SocketAddr;
#[cfg(feature = "postgres")]
use std::rc::Rc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
#[cfg(feature = "postgres")]
use matssocket::Postgres;
use matssocket::{
    Clock, Cluster, Config, DeadLetter, MatsSocketServer, ServerBuilder, StartError, Store,
};

use super::auth::TestAuth;
use super::control::holder_of;
#[cfg(feature = "postgres")]
use super::postgres::Schema;
use super::{Client, Control, Line, Seen, endpoints, within};

type Extend = Box<dyn Fn(ServerBuilder, &Control, usize) -> ServerBuilder>;

/// The database of a test's nodes.
enum Database {
    /// One store shared by all nodes, in this process.
    Shared(Store),
    /// Each node connects separately to one PostgreSQL, as in separate processes. The schema exists as long as this.
    #[cfg(feature = "postgres")]
    Postgres {
        _schema: Rc<Schema>,
        settings: Postgres,
    },
    /// The same, in a PostgreSQL of the test's own.
    #[cfg(feature = "postgres")]
    Own(Postgres),
}

impl Database {
    /// In memory, unless the environment names another.
    fn usual() -> Database {
        match std::env::var("MATSSOCKET_TEST_STORE").as_deref() {
            #[cfg(feature = "postgres")]
            Ok("postgres") => {
                let schema = Schema::new();
                let settings = schema.settings();
                Database::Postgres {
                    _schema: Rc::new(schema),
                    settings,
                }
            }
            Ok(other) if other != "sqlite" => {
                panic!(
                    "MATSSOCKET_TEST_STORE may be sqlite or (with that feature) postgres, not {other:?}"
                )
            }
            _ => Database::Shared(Store::sqlite_in_memory()),
        }
    }

    fn store(&self) -> Store {
        match self {
            Database::Shared(store) => store.clone(),
            #[cfg(feature = "postgres")]
            Database::Postgres { settings, .. } | Database::Own(settings) => {
                settings.clone().into()
            }
        }
    }
}

/// How a test's nodes are set up.
pub struct Setup {
    config: Config,
    database: Database,
    /// `None`: the store's default.
    cluster: Option<Cluster>,
    clock: Clock,
    extend: Extend,
}

impl Setup {
    pub fn new() -> Setup {
        let database = Database::usual();
        let mut config = Config::default();
        config.store.writers = 2;
        config.store.readers = 1;
        config.stop_spread = Duration::ZERO;
        // Notices must work without the sweep; tests of the sweep set their own interval.
        config.sweep_interval = Duration::from_secs(3600);
        Setup {
            cluster: matches!(database, Database::Shared(_)).then(Cluster::local),
            database,
            config,
            clock: Clock::system(),
            extend: Box::new(|builder, _, _| builder),
        }
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Setup {
        change(&mut self.config);
        self
    }

    pub fn store(mut self, store: Store) -> Setup {
        self.database = Database::Shared(store);
        self.cluster = Some(Cluster::local());
        self
    }

    /// On PostgreSQL, as used by nodes in separate processes.
    #[cfg(feature = "postgres")]
    pub fn postgres(mut self, schema: Schema, settings: Postgres) -> Setup {
        self.database = Database::Postgres {
            _schema: Rc::new(schema),
            settings,
        };
        self.cluster = None;
        self
    }

    /// On a PostgreSQL of the test's own.
    #[cfg(feature = "postgres")]
    pub fn at(mut self, settings: Postgres) -> Setup {
        self.database = Database::Own(settings);
        self.cluster = None;
        self
    }

    pub fn cluster(mut self, cluster: Cluster) -> Setup {
        self.cluster = Some(cluster);
        self
    }

    pub fn clock(mut self, clock: &Clock) -> Setup {
        self.clock = clock.clone();
        self
    }

    pub fn extend(
        mut self,
        extend: impl Fn(ServerBuilder, &Control, usize) -> ServerBuilder + 'static,
    ) -> Setup {
        self.extend = Box::new(extend);
        self
    }

    pub async fn start(self, many: usize) -> Nodes {
        let control = Control::new();
        let mut nodes = Vec::new();
        for number in 0..many {
            nodes.push(self.node(number, &control).await);
        }
        Nodes {
            nodes,
            control,
            clock: self.clock.clone(),
            setup: self,
        }
    }

    /// Starts one server without HTTP, which may fail.
    pub async fn try_start(self) -> Result<MatsSocketServer, StartError> {
        let builder = MatsSocketServer::builder("test")
            .store(self.database.store())
            .config(self.config.clone())
            .authentication(TestAuth(Control::new()));
        builder.start().await
    }

    async fn node(&self, number: usize, control: &Control) -> Node {
        let events = control.clone();
        let mut builder = MatsSocketServer::builder("test");
        if let Some(cluster) = &self.cluster {
            builder = builder.cluster(cluster.clone());
        }
        let builder = builder
            .store(self.database.store())
            .clock(self.clock.clone())
            .config(self.config.clone())
            .node_name(format!("node{number}"))
            .authentication(TestAuth(control.clone()))
            .on_session(move |event| {
                events.saw(Seen {
                    what: format!(
                        "session:{}",
                        serde_json::to_value(event.change)
                            .unwrap()
                            .as_str()
                            .unwrap()
                    ),
                    node: number,
                    session: event.session_id.clone(),
                    user: event.user_id.clone(),
                    ..Seen::default()
                });
            });
        let builder = endpoints::add(builder, control, number);
        let builder = (self.extend)(builder, control, number);
        let server = builder.start().await.expect("the node starts");
        let mount = server.mount("/matssocket");
        let http = HttpServer::new(move || App::new().configure(mount.clone()))
            .on_connect(matssocket::on_connect)
            .workers(1)
            .disable_signals()
            .shutdown_timeout(1)
            .bind(("127.0.0.1", 0))
            .expect("a free port");
        let address = http.addrs()[0];
        let http = http.run();
        let handle = http.handle();
        actix_web::rt::spawn(http);
        Node {
            server,
            address,
            url: format!("ws://{address}/matssocket"),
            handle,
        }
    }
}

/// One node.
pub struct Node {
    pub server: MatsSocketServer,
    pub address: SocketAddr,
    pub url: String,
    pub handle: ServerHandle,
}

/// The nodes of one test.
pub struct Nodes {
    nodes: Vec<Node>,
    pub control: Control,
    pub clock: Clock,
    /// Last, so that its database is dropped when it is no longer in use.
    setup: Setup,
}

impl std::ops::Index<usize> for Nodes {
    type Output = Node;

    fn index(&self, number: usize) -> &Node {
        &self.nodes[number]
    }
}

/// On PostgreSQL, nodes that a test leaves behind would use up the server's connections.
#[cfg(feature = "postgres")]
impl Drop for Nodes {
    fn drop(&mut self) {
        if matches!(self.setup.database, Database::Shared(_)) {
            return;
        }
        for node in self.nodes.drain(..) {
            std::thread::spawn(|| {
                actix_web::rt::System::new().block_on(async move { node.server.stop().await });
            });
        }
    }
}

impl Nodes {
    /// One node with every default.
    pub async fn one() -> Nodes {
        Setup::new().start(1).await
    }

    pub async fn two() -> Nodes {
        Setup::new().start(2).await
    }

    /// Another node joins; returns its number.
    pub async fn add(&mut self) -> usize {
        let number = self.nodes.len();
        let node = self.setup.node(number, &self.control).await;
        self.nodes.push(node);
        number
    }

    pub fn server(&self) -> &MatsSocketServer {
        &self[0].server
    }

    /// Opens a session on the first node.
    pub async fn open(&self, user: &str) -> Line {
        self.open_on(0, user).await
    }

    pub async fn open_on(&self, node: usize, user: &str) -> Line {
        Client::new(user).welcome(&self[node].url).await
    }

    /// A client reconnects to a node.
    pub async fn back(&self, node: usize, client: Client) -> Line {
        client.welcome(&self[node].url).await
    }

    pub async fn stored_sessions(&self, user: &str) -> usize {
        super::control::sessions_of(self.server(), user).await
    }

    /// Waits until the store has this many sessions of a user: listeners are called slightly earlier.
    pub async fn until_stored(&self, user: &str, many: usize) {
        within(&format!("{many} stored sessions of {user}"), async {
            while self.stored_sessions(user).await != many {}
        })
        .await;
    }

    /// Waits until there are dead letters. Returns all of them.
    pub async fn until_dead_letters(&self) -> Vec<DeadLetter> {
        within("the dead letter", async {
            loop {
                let dead = self.server().dead_letters(0, 10).await.unwrap();
                if !dead.is_empty() {
                    return dead;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Waits until no node holds a session, according to the store.
    pub async fn until_let_go(&self, session: &str) {
        within("the session to be let go", async {
            while holder_of(self.server(), session).await.is_some() {}
        })
        .await;
    }
}
