//! The demo: [`node`] is a node that can be stopped and started again; [`endpoints`] what it serves over the WebSocket;
//! [`web`] the page and the buttons over HTTP.

pub mod endpoints;
mod node;
mod web;

use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use matssocket::{Cluster, Store};
use node::{Node, Nodes, Shared};
pub use web::hardened;

use crate::failure::Failure;
use crate::output::print;

/// Nodes are named by letters, and shown side by side.
const MOST_NODES: usize = 8;

/// Several nodes in one process, and a page to watch them
///
/// The page shows the library's guarantees while connections are cut and nodes are stopped. This is what runs without a
/// command.
#[derive(clap::Args)]
pub struct Demo {
    /// One node per port; 0: any free port
    #[arg(long, value_name = "PORT,…", default_value = "8080,8081", value_parser = parse_ports)]
    ports: Ports,
    /// The SQLite file, created if missing
    #[arg(long, value_name = "PATH", default_value = "matssocket-demo.db")]
    database: PathBuf,
}

/// An alias, since clap takes a plain `Vec` for an option that may be given several times.
type Ports = Vec<u16>;

fn parse_ports(text: &str) -> Result<Ports, String> {
    let mut ports = Vec::new();
    for part in text.split(',') {
        let port = part
            .trim()
            .parse()
            .map_err(|_| "is not a list of ports (0 to 65535)".to_owned())?;
        if port != 0 && ports.contains(&port) {
            return Err(format!("has port {port} twice"));
        }
        ports.push(port);
    }
    if ports.len() > MOST_NODES {
        return Err(format!("has more than {MOST_NODES} ports"));
    }
    Ok(ports)
}

impl Demo {
    /// Runs until SIGINT or SIGTERM.
    ///
    /// # Errors
    /// One line that says why it could not start, and what to do.
    pub async fn run(self) -> Result<(), Failure> {
        run(self.ports, self.database).await.map_err(Failure::Usage)
    }
}

async fn run(ports: Ports, database: PathBuf) -> Result<(), String> {
    if database.as_os_str().is_empty() {
        return Err("--database needs the path of a file".into());
    }
    let signal = shutdown_signal().map_err(|why| why.to_string())?;
    // The ports come first, so that one in use is found before the database is touched.
    let listeners = ports
        .into_iter()
        .map(listen)
        .collect::<Result<Vec<_>, _>>()?;
    let shared = Arc::new(Shared::new(
        Store::sqlite(&database),
        Cluster::local(),
        &listeners,
    ));
    let (nodes, tasks): (Vec<_>, Vec<_>) = listeners
        .into_iter()
        .zip('A'..)
        .map(|((port, listener), letter)| {
            Node::new(format!("node-{letter}"), port, listener, shared.clone())
        })
        .unzip();
    let nodes = Nodes::new(nodes);
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|task| actix_web::rt::spawn(task.run(nodes.clone())))
        .collect();

    let started = start(&nodes).await;
    if started.is_ok() {
        print(&greeting(&nodes, &database));
        let signal = signal.await;
        log::info!("{signal}: stopping");
    }
    nodes.shut_down().await;
    join_all(tasks).await;
    started
}

async fn start(nodes: &Nodes) -> Result<(), String> {
    for node in nodes.iter() {
        node.start().await?;
    }
    Ok(())
}

fn listen(port: u16) -> Result<(u16, TcpListener), String> {
    let cannot =
        |why| format!("cannot listen on 127.0.0.1 port {port}: {why}; choose others with --ports");
    let listener = matssocket::listen(("127.0.0.1", port)).map_err(cannot)?;
    let port = listener.local_addr().map_err(cannot)?.port();
    Ok((port, listener))
}

fn greeting(nodes: &Nodes, database: &Path) -> String {
    let mut text = format!(
        "MatsSocket demo, everything stored in {}\n\n",
        database.display()
    );
    for node in nodes.iter() {
        let _ = writeln!(text, "  {}  {}/", node.name, node.http_url());
    }
    text.push_str(
        "\nOpen one of them in a browser, and try this:
  1. connect, and have ten messages pushed to you in five seconds
  2. before they come, cut the line, or stop the node you are on
  3. watch them arrive all the same: each once, and in order

Ctrl-C stops everything.
",
    );
    text
}

/// Completes at SIGINT or SIGTERM; listens from the call on, not from the first poll.
fn shutdown_signal() -> io::Result<impl Future<Output = &'static str>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    })
}
