//! Configures and starts a server.

mod handlers;
mod presence;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::MatsSocketServer;
#[cfg(feature = "schema")]
use super::schema::{Api, ApiDocument};
use super::start::{Setup, start};
use crate::auth::Authentication;
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::endpoint::{Data, Endpoint, Run, ServiceOptions};
use crate::error::StartError;
use crate::events::{Listeners, MessageEvent, SessionEvent};
use crate::http::Access;
use crate::request::{Host, Network, Origin};
use crate::store::Store;

/// Configures a server. Mistakes are collected and reported together by [`start`](ServerBuilder::start).
///
/// ```
/// use matssocket::testkit::any_user;
/// use matssocket::{Incoming, MatsSocketServer, Outcome, Store};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = MatsSocketServer::builder("orders")
///     .store(Store::sqlite_in_memory())
///     .authentication(any_user())
///     .endpoint("Orders.total", async |prices: Incoming<Vec<u32>>| {
///         Ok(Outcome::resolve(prices.payload.iter().sum::<u32>()))
///     })
///     .terminator("Orders.seen", async |order: Incoming<u32>| {
///         log::info!("{} has seen order {}", order.context.user_id(), order.payload);
///         Ok(Outcome::done())
///     })
///     .start()
///     .await?;
/// server.stop().await;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until `start` is called and awaited"]
pub struct ServerBuilder {
    pub(super) app: String,
    store: Option<Store>,
    cluster: Option<Cluster>,
    authentication: Option<Arc<dyn Authentication>>,
    access: Access,
    config: Config,
    clock: Clock,
    node_name: Option<String>,
    endpoints: HashMap<String, Endpoint>,
    services: HashMap<String, (Run, ServiceOptions)>,
    data: Data,
    listeners: Listeners,
    /// The topic on which clients hear of changes of presence.
    presence_topic: Option<String>,
    #[cfg(feature = "schema")]
    pub(super) api: Api,
    /// Connection types that transactional handlers ask for, with the endpoint's id.
    connections: Vec<(String, std::any::TypeId)>,
    pub(super) mistakes: Vec<String>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("app", &self.app)
            .field("store", &self.store)
            .field("node_name", &self.node_name)
            .field("endpoints", &self.endpoints.keys())
            .field("services", &self.services.keys())
            .field("config", &self.config)
            .field("mistakes", &self.mistakes)
            .finish_non_exhaustive()
    }
}

impl ServerBuilder {
    pub(super) fn new(app: String) -> ServerBuilder {
        ServerBuilder {
            app,
            store: None,
            cluster: None,
            authentication: None,
            access: Access::default(),
            config: Config::default(),
            clock: Clock::system(),
            node_name: None,
            endpoints: HashMap::new(),
            services: HashMap::new(),
            data: Data::default(),
            listeners: Listeners::default(),
            presence_topic: None,
            #[cfg(feature = "schema")]
            api: Api::default(),
            connections: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Where everything is stored. Nodes in one process share one [`Store`]. Required.
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// How the nodes notify each other. The default with PostgreSQL is the database itself; with SQLite it is a cluster of
    /// this one node. Several nodes in one process share one [`Cluster::local`].
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// The authentication plugin, which identifies clients. Required.
    pub fn authentication(mut self, authentication: impl Authentication) -> Self {
        self.authentication = Some(Arc::new(authentication));
        self
    }

    /// Pages of these origins (`https://shop.example`, `capacitor://localhost`) may connect, instead of asking the
    /// authentication's [`check_origin`](Authentication::check_origin). Letter case, a default port and a trailing slash
    /// make no difference. An entry that can never match, such as one with a wildcard, is a mistake.
    pub fn allowed_origins<S: Into<String>>(
        mut self,
        origins: impl IntoIterator<Item = S>,
    ) -> Self {
        self.access.origins = Some(self.read(origins, Origin::allowed));
        self
    }

    /// The host names by which clients may reach this server (`shop.example`, `shop.example:8443`); an entry without a
    /// port allows any port. A request to another host gets 403, on the WebSocket's path and those below it. This
    /// blocks pages that make their own host name resolve to this server (DNS rebinding), which matters most where the
    /// network is the server's only protection. Health checks of load balancers must use one of these hosts as well.
    /// The default allows any host.
    pub fn allowed_hosts<S: Into<String>>(mut self, hosts: impl IntoIterator<Item = S>) -> Self {
        self.access.hosts = Some(self.read(hosts, Host::allowed));
        self
    }

    /// The proxies through which clients connect: addresses (`::1`) or ranges of them (`10.0.0.0/8`). Their
    /// `X-Forwarded-For`, `-Host` and `-Proto` headers are trusted, or `Forwarded` where there are none of those; those
    /// of other peers are not. Each proxy must set these headers itself rather than pass on the client's. The client's
    /// address is then the right-most one that is not a trusted proxy's. An empty list means that clients connect
    /// directly.
    ///
    /// Once this is called, addresses are taken to be those of clients, and
    /// [`max_connections_before_hello_per_address`](Config::max_connections_before_hello_per_address) applies.
    pub fn trusted_proxies<S: Into<String>>(
        mut self,
        proxies: impl IntoIterator<Item = S>,
    ) -> Self {
        self.access.proxies = Some(self.read(proxies, Network::parse));
        self
    }

    /// Parses a list of settings, and collects the mistakes in it.
    fn read<S: Into<String>, T>(
        &mut self,
        entries: impl IntoIterator<Item = S>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut good = Vec::new();
        for entry in entries {
            match read(&entry.into()) {
                Ok(entry) => good.push(entry),
                Err(mistake) => self.mistakes.push(mistake),
            }
        }
        good
    }

    /// Limits and intervals, instead of the defaults.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A clock for tests, used instead of the system's: see [`Clock::fixed`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The prefix of the node's name, instead of the host name. A random part is always added.
    pub fn node_name(mut self, name: impl Into<String>) -> Self {
        self.node_name = Some(name.into());
        self
    }

    /// State of the application, which handlers get by its type from [`Context::data`](crate::Context::data): one value
    /// of each type. What is shared with other parts of the application is an `Arc`, and its type is then `Arc<T>`.
    /// Handlers get the server itself from [`Context::server`](crate::Context::server); a handle of it in here would
    /// keep its node from being freed after it has stopped.
    ///
    /// ```
    /// use matssocket::{Incoming, MatsSocketServer, Outcome};
    ///
    /// struct Currency(&'static str);
    ///
    /// let builder = MatsSocketServer::builder("shop")
    ///     .data(Currency("EUR"))
    ///     .endpoint("Shop.currency", async |asked: Incoming<()>| {
    ///         let currency: &Currency = asked.context.data().ok_or("no currency")?;
    ///         Ok(Outcome::resolve(currency.0))
    ///     });
    /// # drop(builder);
    /// ```
    pub fn data<T: Send + Sync + 'static>(mut self, value: T) -> Self {
        if !self.data.add(value) {
            self.mistakes.push(format!(
                "data of type {} is given twice: wrap one of the values in a type of its own",
                std::any::type_name::<T>()
            ));
        }
        self
    }

    /// Calls a function when a session of this node is opened, reconnects, deregisters, is closed, or times out. The
    /// call happens as soon as this is decided, possibly shortly before it is stored. It must not block.
    pub fn on_session(mut self, listener: impl Fn(&SessionEvent) + Send + Sync + 'static) -> Self {
        self.listeners.session.push(Arc::new(listener));
        self
    }

    /// Calls a function for every envelope that a session of this node receives or sends. It must not block.
    pub fn on_message(
        mut self,
        listener: impl Fn(&MessageEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.listeners.message.push(Arc::new(listener));
        self
    }

    /// Opens the store, joins the cluster, and starts the node's actors on a thread of their own.
    ///
    /// # Errors
    /// All mistakes in the configuration, before anything is opened ([`Config::check`] describes which values are refused);
    /// or the store cannot be opened.
    pub async fn start(mut self) -> Result<MatsSocketServer, StartError> {
        let (store, authentication) = (self.store.take(), self.authentication.take());
        self.check_whole(store.as_ref(), authentication.is_some());
        #[cfg(feature = "schema")]
        let schema = self.api.document(&self.app).unwrap_or_else(|mistakes| {
            self.mistakes.extend(mistakes);
            ApiDocument::default()
        });
        match (store, authentication) {
            (Some(store), Some(authentication)) if self.mistakes.is_empty() => {
                start(Setup {
                    app: self.app,
                    store,
                    cluster: self.cluster,
                    authentication,
                    access: self.access,
                    config: self.config,
                    clock: self.clock,
                    node_name: self.node_name,
                    endpoints: self.endpoints,
                    services: self.services,
                    data: self.data,
                    presence_topic: presence::topic(self.presence_topic, &self.listeners),
                    listeners: self.listeners,
                    #[cfg(feature = "schema")]
                    schema,
                })
                .await
            }
            _ => Err(StartError::Configuration(self.mistakes.join("; "))),
        }
    }

    /// Checks what needs the complete configuration.
    fn check_whole(&mut self, store: Option<&Store>, has_authentication: bool) {
        for (what, missing) in [
            ("store", store.is_none()),
            ("authentication", !has_authentication),
        ] {
            if missing {
                self.mistakes.push(format!(
                    "{what} is missing: call .{what}(…) before .start()"
                ));
            }
        }
        if let Some((expected, name)) = store.map(Store::connection) {
            let wrong = self.connections.iter().filter(|(_, is)| *is != expected);
            self.mistakes.extend(wrong.map(|(id, _)| {
                format!(
                    "the transactional handler {id:?} takes a different type of connection from the store's, which is {name}"
                )
            }));
        }
        let of_config = self.config.check().err().unwrap_or_default();
        self.mistakes
            .extend(of_config.iter().map(ToString::to_string));
    }
}
