//! How a node starts, comes back as a new incarnation, and stops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix::Actor;
use tokio::sync::oneshot;

use super::budget::NodeBudget;
use super::{Counters, Gate, LeaseClock, Meters, Node, RunningHandlers, State, UserCounts, health};
use crate::auth::Authentication;
use crate::cluster::{Cluster, ClusterNotify, Tell};
use crate::endpoint::{
    Endpoint, Forward, Handler, Incoming, Outcome, Run, Service, ServiceOptions, async_handler,
};
use crate::error::{HandlerError, StartError};
use crate::http::Admission;
use crate::mailbox::Mailbox;
use crate::registry::{self, Registry, ToSession};
use crate::seldom::{Seldom, SeldomBy};
use crate::server::{MatsSocketServer, ServerBuilder};
use crate::service::{self, Services};
use crate::store::operation::{
    ClaimApplication, LeaveNode, NewestPublication, NoteServices, RenewLease,
};
use crate::store::{Store, StoreError, StoreHandle, Subscribers};
use crate::upkeep::{Upkeep, UpkeepCounters};
use crate::wire::quoted;

/// Id of the built-in ping that resolves at once.
pub(crate) const SOCKET_PING: &str = "MatsSocket.matsSocketPing";

/// A node that stops signs off within this time, or not at all.
const SIGN_OFF: Duration = Duration::from_secs(5);

/// What a node told last gets so long to be on its way when it stops.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a stopping node waits at least for the store to be closed.
const CLOSE: Duration = Duration::from_secs(1);

/// Starts a node on a thread of its own, which is an actix system: so it works under any runtime.
pub(crate) async fn start(
    builder: ServerBuilder,
    store: Store,
    authentication: Arc<dyn Authentication>,
) -> Result<MatsSocketServer, StartError> {
    let (started, told) = oneshot::channel();
    let thread = move || {
        let system = actix::System::new();
        let node = system.block_on(begin(builder, store, authentication));
        let failed = node.is_err();
        if started.send(node).is_err() || failed {
            return;
        }
        if let Err(error) = system.run() {
            log::error!("the server's thread ended: {error}");
        }
    };
    std::thread::Builder::new()
        .name("matssocket".into())
        .spawn(thread)
        .map_err(|error| StartError::Configuration(format!("no thread for the server: {error}")))?;
    let node = told
        .await
        .map_err(|_| StartError::Configuration("the server's thread ended at start".into()))??;
    Ok(MatsSocketServer { node })
}

async fn begin(
    mut builder: ServerBuilder,
    store: Store,
    authentication: Arc<dyn Authentication>,
) -> Result<Arc<Node>, StartError> {
    add_built_ins(&mut builder);
    let meters = Meters::default();
    let registry = Registry::new().start();
    let from_cluster = Mailbox::new(&registry, &meters.registry);
    let cluster = builder.cluster.take().unwrap_or_else(|| Cluster::for_store(&store));
    let counters = Counters::default();
    let to_cluster = counters.cluster.clone();
    let cluster = ClusterNotify::new(cluster.transport, from_cluster, to_cluster).start();
    let cluster: Mailbox<Tell> = Mailbox::new(&cluster, &meters.cluster);
    let services = Services::default().start();

    let stem = builder.node_name.take().unwrap_or_else(host_name);
    let name = incarnation(&stem);
    let subscribers = Subscribers {
        news: Mailbox::new(&registry, &meters.registry),
        work: Mailbox::new(&services, &meters.services),
    };
    let store = store.attach(&name, &builder.config.store, &builder.clock, subscribers)?;
    claim_application(&store, &builder.app).await?;
    let joined = LeaseClock::now(&store);
    store
        .run(RenewLease {
            join: true,
            lease: builder.config.lease,
        })
        .await?;
    let newest_publication = store.run(NewestPublication).await?;

    let authentications = Gate::new(builder.config.max_authentications_pending);
    let admission = Admission::new(builder.access, &builder.config);
    let mut services_known: HashMap<_, _> = builder
        .services
        .into_iter()
        .map(|(name, (handler, options))| (name, Service::new(handler, &options, &builder.config)))
        .collect();
    // Outside all bounds: nothing keeps it waiting.
    services_known.insert(
        service::PING.to_owned(),
        Service::built_in(service::ping(), &builder.config),
    );
    for (id, endpoint) in &builder.endpoints {
        let (options, config) = (ServiceOptions::default(), &builder.config);
        let services = service::services_of(id, endpoint).into_iter();
        services_known
            .extend(services.map(|(name, it)| (name, Service::new(it, &options, config))));
    }
    let node = Arc::new(Node {
        app: builder.app,
        budget: NodeBudget::new(&builder.config),
        handlers_of: UserCounts::new(builder.config.max_handlers_per_user),
        config: Arc::new(builder.config),
        clock: builder.clock,
        store: store.clone(),
        registry: registry.clone(),
        cluster: cluster.clone(),
        services_idle: Mailbox::new(&services, &meters.services),
        endpoints: builder.endpoints,
        services: services_known,
        authentication,
        authentications,
        admission,
        listeners: Arc::new(builder.listeners),
        meters,
        counters,
        upkeep: UpkeepCounters::default(),
        running: RunningHandlers::default(),
        revocations: registry::SeenRevocations::default(),
        unserved: service::Unserved::default(),
        ended: Mutex::default(),
        published: RwLock::default(),
        mistakes: Seldom::default(),
        failures: SeldomBy::default(),
        name: RwLock::new(name.as_str().into()),
        name_stem: stem,
        born: Instant::now(),
        serving: RwLock::new(Instant::now()),
        renewed: RwLock::new(joined),
        state: AtomicU8::new(State::Up as u8),
        trouble: RwLock::default(),
        system: actix::System::current(),
    });
    node.publish_services().await?;
    let claim = Mailbox::new(&services, &node.meters.services);
    let upkeep = Upkeep::new(node.clone(), claim).start();
    cluster.tell(Tell::Join { node: name.clone() });
    node.registry().tell(registry::Begin {
        node: name,
        store,
        cluster,
        work: Mailbox::new(&services, &node.meters.services),
        newest_publication,
        takeover_wait: node.config.takeover_wait,
        revocations: node.revocations.clone(),
        upkeep: Mailbox::new(&upkeep, &node.meters.upkeep),
    });
    let begin: Mailbox<service::Begin> = Mailbox::new(&services, &node.meters.services);
    begin.tell(service::Begin(node.clone()));
    actix::spawn(health::watch(node.clone()));
    Ok(node)
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

/// A built-in ping takes no more than so many bytes: nobody needs more, and it is free to anybody.
fn at_most(bytes: usize, ping: Handler) -> Handler {
    Arc::new(move |call| {
        let length = call
            .payload
            .as_ref()
            .map_or(0, |payload| payload.get().len());
        if length <= bytes {
            return ping(call);
        }
        let why = format!("a ping of {length} bytes: at most {bytes} are taken (max_ping_payload)");
        Box::pin(std::future::ready(Err(HandlerError::of_client(why))))
    })
}

fn add_built_ins(builder: &mut ServerBuilder) {
    let most = builder.config.max_ping_payload;
    let socket_ping = async_handler(|incoming: Incoming<Option<service::Ping>>| async move {
        let (ping, _) = incoming.into_parts();
        let ping = ping.unwrap_or_default();
        let number = ping.number.map(|number| number * std::f64::consts::E);
        Ok(Outcome::resolve(service::Ping { number, ..ping }))
    });
    let service_ping = async_handler(|incoming: Incoming<serde_json::Value>| async move {
        Ok(Outcome::<()>::forward(Forward::to(
            service::PING,
            &incoming.payload,
        )))
    });
    for (id, handler) in [(SOCKET_PING, socket_ping), (service::PING, service_ping)] {
        builder.endpoints.insert(
            id.to_owned(),
            Endpoint {
                replies: true,
                run: Run::Async(at_most(most, handler)),
                adapter: None,
            },
        );
    }
}

fn host_name() -> String {
    std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "node".to_owned())
}

fn incarnation(stem: &str) -> String {
    format!("{stem}-{}", crate::wire::random_id(8, &mut rand::rng()))
}

impl Node {
    /// Sends every session away (1012), over this time.
    async fn send_away(&self, spread: Duration, why: &'static str) {
        let sessions = self
            .registry()
            .ask(registry::List)
            .await
            .unwrap_or_default();
        let pause = spread
            .checked_div(u32::try_from(sessions.len()).unwrap_or(u32::MAX))
            .unwrap_or_default();
        for (index, session) in sessions.into_iter().enumerate() {
            // A timer is not finer than a millisecond: with many sessions, several go without a pause.
            if index > 0 && pause >= Duration::from_millis(1) {
                tokio::time::sleep(pause).await;
            }
            session.tell(ToSession::Restart(why));
        }
    }

    /// The lease was renewed when this was asked for.
    pub(crate) fn renewed(&self, asked: LeaseClock) {
        *self.renewed.write().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    /// How long ago the lease was renewed.
    pub(crate) fn since_renewal(&self) -> Duration {
        let renewed = *self.renewed.read().unwrap_or_else(PoisonError::into_inner);
        renewed.elapsed(&self.store)
    }

    /// The lease could not be renewed, which took so long to learn: no new clients are let in. Those who are here stay
    /// as long as the lease holds, so that a store that is only slow, or away for a moment, has not all of them come
    /// again at once.
    pub(crate) async fn go_away(&self, took: Duration) {
        if self.stopping() {
            return;
        }
        if self.change(State::Up, State::Away) {
            log::error!("the node's lease could not be renewed: no clients are let in");
        }
        if took.max(self.since_renewal()) >= self.config.lease {
            log::error!(
                "the store has been away for longer than the node's lease: all clients are sent away"
            );
            self.send_away(Duration::ZERO, "the store is away").await;
        }
    }

    /// The store is back, and the lease still held.
    pub(crate) fn come_back(&self) {
        if self.change(State::Away, State::Up) {
            self.begins_to_serve();
            log::info!("the store is back: serving again");
        }
    }

    /// Publishes which services this node has, unless that was done in its present name: so that others can tell what
    /// nobody has.
    pub(crate) async fn publish_services(&self) -> Result<(), StoreError> {
        let name = self.name();
        let published = self.published.read();
        if published.unwrap_or_else(PoisonError::into_inner).as_ref() == Some(&name) {
            return Ok(());
        }
        let mut services: Vec<String> = self.services.keys().cloned().collect();
        services.sort_unstable();
        self.store.run(NoteServices { services }).await?;
        let mut published = self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *published = Some(name);
        Ok(())
    }

    /// The lease was lost: what this node held may be somebody else's by now. It comes back as another node.
    pub(crate) async fn come_back_as_new(&self) -> Result<(), StoreError> {
        self.change(State::Up, State::Away);
        self.send_away(Duration::ZERO, "the node lost its lease")
            .await;
        let name = incarnation(&self.name_stem);
        log::warn!(
            "the lease of {} was lost: coming back as {name}",
            self.name()
        );
        // Everybody knows the name before the store does: should its answer be lost, the next renewal finds it.
        self.store.rename(&name);
        self.cluster.tell(Tell::Join { node: name.clone() });
        self.registry().tell(registry::Rename(name.clone()));
        *self.name.write().unwrap_or_else(PoisonError::into_inner) = name.into();
        let asked = LeaseClock::now(&self.store);
        self.store
            .run(RenewLease {
                join: true,
                lease: self.config.lease,
            })
            .await?;
        self.renewed(asked);
        self.counters.incarnations.fetch_add(1, Ordering::Relaxed);
        self.change(State::Away, State::Up);
        self.begins_to_serve();
        self.publish_services().await
    }

    pub(crate) async fn stop(&self) {
        if !self.change(State::Up, State::Stopping) && !self.change(State::Away, State::Stopping) {
            return;
        }
        self.send_away(self.config.stop_spread, "the server is stopping")
            .await;
        let (empty, when_empty) = oneshot::channel();
        self.registry().tell(registry::WhenEmpty(empty));
        let longest = self
            .config
            .stop_grace
            .saturating_add(self.config.close_timeout);
        let (idle, when_idle) = oneshot::channel();
        self.services_idle.tell(service::WhenIdle(idle));
        let (sessions, services) = tokio::join!(
            tokio::time::timeout(longest, when_empty),
            tokio::time::timeout(self.config.stop_grace, when_idle),
        );
        if sessions.is_err() {
            log::warn!(
                "some sessions did not end within {longest:?}; they are left to the sweep of other nodes"
            );
        }
        if services.is_err() {
            let grace = self.config.stop_grace;
            log::warn!(
                "some services did not end within {grace:?}; other nodes begin their work again"
            );
        }
        match tokio::time::timeout(SIGN_OFF, self.store.run(LeaveNode)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::warn!("the node could not sign off, its lease has to run out: {error}");
            }
            Err(_) => log::warn!(
                "the node could not sign off within {SIGN_OFF:?}, its lease has to run out"
            ),
        }
        let (done, left) = oneshot::channel();
        self.cluster.tell(Tell::Leave(done));
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            log::warn!(
                "what the node told last may not be heard, the sweep of other nodes finds it"
            );
        }
        let patience = self.config.stop_grace.max(CLOSE);
        if !self.store.stop(patience).await {
            log::warn!("the store is still busy; it is closed when what was begun there has ended");
        }
        self.change(State::Stopping, State::Stopped);
        // The handlers that still run end with the threads that they run on.
        self.system.stop();
    }
}
