//! Assembles a node and starts it.

use std::collections::HashMap;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context};
use tokio::sync::oneshot;

use super::MatsSocketServer;
use super::edge::{Beside, Edge};
#[cfg(feature = "schema")]
use super::schema::ApiDocument;
use crate::auth::Authentication;
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterNotify, Tell};
use crate::config::Config;
use crate::endpoint::{Data, Endpoint, Run, Service, ServiceOptions, builtin, stand_ins_of};
use crate::error::StartError;
use crate::events::Listeners;
use crate::http::{Access, Admission};
use crate::logging;
use crate::mailbox::Mailbox;
use crate::maintenance::Maintenance;
use crate::node::{Counters, LeaseClock, Meters, Node, Parts, incarnation};
use crate::registry::{Links, Registry};
use crate::service::Services;
use crate::store::operation::{ClaimApplication, NewestPublication, RenewLease};
use crate::store::{Store, StoreError, StoreHandle, Subscribers};
use crate::wire::{quoted, shown};

/// The checked configuration of a server.
pub(super) struct Setup {
    pub(super) app: String,
    pub(super) store: Store,
    /// `None`: the store's default.
    pub(super) cluster: Option<Cluster>,
    pub(super) authentication: Arc<dyn Authentication>,
    pub(super) access: Access,
    pub(super) config: Config,
    pub(super) clock: Clock,
    /// The prefix of the node's name. `None`: the host name.
    pub(super) node_name: Option<String>,
    pub(super) endpoints: HashMap<String, Endpoint>,
    pub(super) services: HashMap<String, (Run, ServiceOptions)>,
    pub(super) data: Data,
    pub(super) listeners: Listeners,
    #[cfg(feature = "schema")]
    pub(super) schema: ApiDocument,
}

/// Starts a node on its own thread, which runs an actix system, so it works under any runtime.
pub(super) async fn start(setup: Setup) -> Result<MatsSocketServer, StartError> {
    let (started, told) = oneshot::channel();
    let thread = move || {
        let system = actix::System::new();
        let server = system.block_on(begin(setup));
        let failed = server.is_err();
        if started.send(server).is_err() || failed {
            return;
        }
        if let Err(error) = system.run() {
            logging::error!("the server's thread ended: {error}");
        }
    };
    std::thread::Builder::new()
        .name("matssocket".into())
        .spawn(thread)
        .map_err(|error| {
            StartError::Configuration(format!("cannot start the server's thread: {error}"))
        })?;
    told.await
        .map_err(|_| StartError::Configuration("the server's thread ended at start".into()))?
}

async fn begin(setup: Setup) -> Result<MatsSocketServer, StartError> {
    let (meters, counters) = (Meters::default(), Counters::default());
    // The addresses exist before the actors do, because what the actors depend on needs their addresses.
    let (registry, services) = (Context::<Registry>::new(), Context::<Services>::new());
    let (to_registry, to_services) = (registry.address(), services.address());
    let cluster = setup.cluster.clone();
    let cluster = cluster.unwrap_or_else(|| Cluster::for_store(&setup.store));
    let from_cluster = Mailbox::new(&to_registry, &meters.registry);
    let notify = ClusterNotify::new(cluster.transport, from_cluster, counters.cluster.clone());
    let cluster: Mailbox<Tell> = Mailbox::new(&notify.start(), &meters.cluster);

    let subscribers = Subscribers {
        news: Mailbox::new(&to_registry, &meters.registry),
        work: Mailbox::new(&to_services, &meters.services),
    };
    let joined = join(&setup, subscribers).await?;
    let (store, name) = (joined.store, joined.name);
    let beside = Arc::new(Beside {
        admission: Admission::new(setup.access, &setup.config),
        running: Arc::default(),
        maintenance: Arc::default(),
        #[cfg(feature = "schema")]
        schema: setup.schema,
    });
    let database = setup.store.database();
    let (endpoints, known_services) =
        with_built_ins(setup.endpoints, setup.services, &setup.config);
    let node = Arc::new(Node::new(Parts {
        app: setup.app,
        config: Arc::new(setup.config),
        clock: setup.clock,
        name_stem: joined.name_stem,
        name: name.clone(),
        store: store.clone(),
        joined: joined.at,
        registry: to_registry,
        cluster: cluster.clone(),
        services_idle: Mailbox::new(&to_services, &meters.services),
        endpoints,
        services: known_services,
        data: setup.data,
        beside: beside.clone(),
        authentication: setup.authentication,
        listeners: setup.listeners,
        meters,
        counters,
    }));
    // Before anything is awaited: once the server has started, it hears whatever others tell it.
    cluster.tell(Tell::Join { node: name.clone() });
    node.publish_services().await?;

    let claim = Mailbox::new(&to_services, &node.meters.services);
    let maintenance = Maintenance::new(node.clone(), claim, beside.maintenance.clone()).start();
    registry.run(Registry::new(Links {
        node: name,
        store,
        cluster,
        services: Mailbox::new(&to_services, &node.meters.services),
        maintenance: Mailbox::new(&maintenance, &node.meters.maintenance),
        newest_publication: joined.newest_publication,
        takeover_wait: node.config.takeover_wait,
        revocations: node.revocations.clone(),
        connected: node.counters.sessions_connected.clone(),
        fan_out: node.counters.fan_out.clone(),
    }));
    services.run(Services::new(node.clone()));
    actix::spawn(node.clone().watch_health());
    report_start(&node, database);
    Ok(MatsSocketServer {
        edge: Arc::new(Edge::new(node.clone(), beside.clone())),
        node,
        beside,
    })
}

/// The features that this server was built with.
fn features() -> String {
    let all = [
        ("sqlite", cfg!(feature = "sqlite")),
        ("postgres", cfg!(feature = "postgres")),
        ("browser-client", cfg!(feature = "browser-client")),
        ("schema", cfg!(feature = "schema")),
        ("tracing", cfg!(feature = "tracing")),
        ("sabotage", cfg!(feature = "sabotage")),
    ];
    let on: Vec<_> = all
        .iter()
        .filter(|(_, on)| *on)
        .map(|(name, _)| *name)
        .collect();
    on.join(", ")
}

fn report_start(node: &Node, database: &'static str) {
    let (name, app) = (node.name(), shown(&node.app));
    let (version, features) = (env!("CARGO_PKG_VERSION"), features());
    logging::info!(
        version = version, app = app, node = name, store = database, features = features;
        "matssocket {version} has started node {name} of the application {app} on {database} (features: {features})"
    );
}

/// A node that has joined its cluster.
struct Joined {
    name_stem: String,
    name: String,
    store: StoreHandle,
    /// When its lease was requested.
    at: LeaseClock,
    newest_publication: i64,
}

async fn join(setup: &Setup, subscribers: Subscribers) -> Result<Joined, StoreError> {
    let name_stem = setup.node_name.clone().unwrap_or_else(host_name);
    let name = incarnation(&name_stem);
    let config = &setup.config;
    let store = setup
        .store
        .attach(&name, &config.store, &setup.clock, subscribers)?;
    claim_application(&store, &setup.app).await?;
    let at = LeaseClock::now(&store);
    store
        .run(RenewLease {
            join: true,
            lease: config.lease,
        })
        .await?;
    let newest_publication = store.run(NewestPublication).await?;
    Ok(Joined {
        name_stem,
        name,
        store,
        at,
        newest_publication,
    })
}

/// Fails if the store belongs to another application.
async fn claim_application(store: &StoreHandle, name: &str) -> Result<(), StoreError> {
    let claim = ClaimApplication { name: name.into() };
    let owner = store.run(claim).await?;
    if owner == name {
        return Ok(());
    }
    Err(StoreError::Open(format!(
        "this store belongs to the application {owner}, and this is {name}: their sessions, topics and messages would mix; \
         give this application a store of its own, another SQLite file or another schema (`Postgres::schema`), or, if it \
         was renamed, run `matssocket migrate --rename-app` or `Admin::rename_application`",
        owner = quoted(&owner),
        name = quoted(name),
    )))
}

/// The application's endpoints and services, and the built-in ones.
fn with_built_ins(
    mut endpoints: HashMap<String, Endpoint>,
    services: HashMap<String, (Run, ServiceOptions)>,
    config: &Config,
) -> (HashMap<String, Endpoint>, HashMap<String, Service>) {
    for (id, endpoint) in builtin::endpoints(config.max_ping_payload) {
        endpoints.insert(id.to_owned(), endpoint);
    }
    let mut services: HashMap<_, _> = services
        .into_iter()
        .map(|(name, (run, options))| (name, Service::new(run, &options, config)))
        .collect();
    // Not subject to any bound: it never has to wait.
    let ping = Service::built_in(builtin::ping_service(), config);
    services.insert(builtin::SERVICE_PING.to_owned(), ping);
    let options = ServiceOptions::default();
    for (id, endpoint) in &endpoints {
        let stand_ins = stand_ins_of(id, endpoint).into_iter();
        services.extend(stand_ins.map(|(name, it)| (name, Service::new(it, &options, config))));
    }
    (endpoints, services)
}

fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "node".to_owned())
}
