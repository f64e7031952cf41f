//! A node that can be stopped and started again while the program runs: each has its own task, on the program's main
//! thread, that owns its server and its HTTP server.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::KeepAlive;
use actix_web::rt;
use actix_web::{App, HttpServer};
use futures_util::future::join_all;
use matssocket::{Cluster, Config, MatsSocketServer, Store};
use tokio::sync::{mpsc, oneshot};

use super::{endpoints, web};

/// State shared by all nodes.
pub struct Shared {
    store: Store,
    cluster: Cluster,
    /// Pages of these origins may connect, and stop and start nodes.
    pub origins: Vec<String>,
}

impl Shared {
    /// Creates it with the origins of the nodes' own pages.
    pub fn new(store: Store, cluster: Cluster, listeners: &[(u16, TcpListener)]) -> Shared {
        let origins = listeners
            .iter()
            .flat_map(|(port, _)| {
                ["127.0.0.1", "localhost"].map(|host| format!("http://{host}:{port}"))
            })
            .collect();
        Shared {
            store,
            cluster,
            origins,
        }
    }
}

/// The handle of a node.
#[derive(Clone)]
pub struct Node {
    /// Stays the same when it is started again.
    pub name: Arc<str>,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// `None` while it is stopped.
    server: Arc<Mutex<Option<MatsSocketServer>>>,
    commands: mpsc::Sender<Command>,
}

enum Command {
    Start(oneshot::Sender<Result<(), String>>),
    Stop(oneshot::Sender<()>),
    ShutDown,
}

impl Node {
    /// Creates the handle, and the task to run.
    pub fn new(
        name: String,
        port: u16,
        listener: TcpListener,
        shared: Arc<Shared>,
    ) -> (Node, NodeTask) {
        let (commands, inbox) = mpsc::channel(8);
        let node = Node {
            name: name.into(),
            port,
            server: Arc::default(),
            commands,
        };
        let task = NodeTask {
            node: node.clone(),
            listener,
            shared,
            inbox,
            http: None,
        };
        (node, task)
    }

    /// Whether clients can connect.
    pub fn is_up(&self) -> bool {
        self.server().is_some_and(|server| server.ready().is_ok())
    }

    /// The URL of its page.
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL of its WebSocket.
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}{}", self.port, web::PATH)
    }

    /// Starts it, as a new incarnation. Does nothing if it is up.
    pub async fn start(&self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Start(answer)).await;
        answered
            .await
            .unwrap_or_else(|_| Err("the program is stopping".into()))
    }

    /// Stops it. Its port still serves HTTP, but refuses WebSockets.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        let _ = self.commands.send(Command::Stop(answer)).await;
        let _ = answered.await;
    }

    fn server(&self) -> Option<MatsSocketServer> {
        self.server
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace_server(&self, server: Option<MatsSocketServer>) -> Option<MatsSocketServer> {
        std::mem::replace(
            &mut *self.server.lock().unwrap_or_else(PoisonError::into_inner),
            server,
        )
    }
}

/// Every node of the program.
#[derive(Clone)]
pub struct Nodes(Arc<[Node]>);

impl Nodes {
    /// Creates the list.
    pub fn new(nodes: Vec<Node>) -> Nodes {
        Nodes(nodes.into())
    }

    /// The nodes, in the order of their ports on the command line.
    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.0.iter()
    }

    /// The node with this name.
    pub fn find(&self, name: &str) -> Option<&Node> {
        self.iter().find(|node| &*node.name == name)
    }

    /// Ends every node's task.
    pub async fn shut_down(&self) {
        join_all(
            self.iter()
                .map(|node| node.commands.send(Command::ShutDown)),
        )
        .await;
    }
}

/// Owns a node's server and HTTP.
pub struct NodeTask {
    node: Node,
    /// Each incarnation's HTTP listens on a clone of this one, so that the port is never lost and no browser is
    /// refused in between.
    listener: TcpListener,
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Command>,
    http: Option<ServerHandle>,
}

impl NodeTask {
    /// Executes commands until the one to shut down.
    pub async fn run(mut self, nodes: Nodes) {
        while let Some(command) = self.inbox.recv().await {
            match command {
                Command::Start(answer) => {
                    let _ = answer.send(self.start(&nodes).await);
                }
                Command::Stop(answer) => {
                    self.stop().await;
                    let _ = answer.send(());
                }
                Command::ShutDown => break,
            }
        }
        self.stop().await;
        if let Some(http) = self.http.take() {
            http.stop(true).await;
        }
    }

    async fn start(&mut self, nodes: &Nodes) -> Result<(), String> {
        if self.node.server().is_some() {
            return Ok(());
        }
        // Clients that connect in the meantime wait for the next incarnation instead of being refused by this one.
        let before = self.http.take();
        if let Some(before) = &before {
            before.pause().await;
        }
        match self.start_next(nodes).await {
            Ok(http) => {
                self.http = Some(http);
                if let Some(before) = before {
                    rt::spawn(retire(before));
                }
                Ok(())
            }
            Err(why) => {
                if let Some(before) = &before {
                    before.resume().await;
                }
                self.http = before;
                Err(why)
            }
        }
    }

    async fn start_next(&self, nodes: &Nodes) -> Result<ServerHandle, String> {
        let builder = MatsSocketServer::builder("demo")
            .store(self.shared.store.clone())
            .cluster(self.shared.cluster.clone())
            .authentication(endpoints::authentication())
            .allowed_origins(self.shared.origins.iter().cloned())
            .config(config())
            .node_name(&*self.node.name);
        let builder = endpoints::add(builder, &self.node.name);
        let server = builder.start().await.map_err(|why| why.to_string())?;
        match self.serve(&server, nodes) {
            Ok(http) => {
                self.node.replace_server(Some(server));
                Ok(http)
            }
            Err(why) => {
                server.stop().await;
                Err(format!(
                    "cannot serve HTTP on port {}: {why}",
                    self.node.port
                ))
            }
        }
    }

    /// The services of an HTTP server cannot be replaced, so each incarnation gets its own HTTP server.
    fn serve(&self, server: &MatsSocketServer, nodes: &Nodes) -> std::io::Result<ServerHandle> {
        let (mounted, nodes) = (server.clone(), nodes.clone());
        let (node, shared) = (self.node.clone(), self.shared.clone());
        let http = HttpServer::new(move || {
            App::new()
                .wrap(web::hardened())
                .configure(web::routes(node.clone(), nodes.clone(), shared.clone()))
                .configure(mounted.mount(web::PATH))
        })
        .on_connect(matssocket::on_connect)
        .workers(2)
        // Connections end with their request, so that none stays with an old incarnation.
        .keep_alive(KeepAlive::Disabled)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(self.listener.try_clone()?)?
        .run();
        let handle = http.handle();
        rt::spawn(http);
        Ok(handle)
    }

    async fn stop(&mut self) {
        if let Some(server) = self.node.replace_server(None) {
            server.stop().await;
        }
    }
}

/// Stops it gracefully: otherwise it would drop accepted requests, perhaps the one that started the next incarnation.
async fn retire(http: ServerHandle) {
    rt::time::sleep(Duration::from_secs(1)).await;
    http.stop(true).await;
}

/// Short, since a person is waiting for the stop button: another node takes over unfinished work of services.
fn config() -> Config {
    let mut config = Config::default();
    config.stop_grace = Duration::from_secs(1);
    config.stop_spread = Duration::from_millis(200);
    config
}
