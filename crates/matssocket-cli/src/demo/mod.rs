//! The demo, on the library's public face only: [`args`] what was asked for; [`node`] a node that can be stopped and
//! started again; [`endpoints`] what it serves over the WebSocket; [`web`] the page and the buttons over HTTP.

mod args;
pub mod endpoints;
mod node;
mod web;

use std::fmt::Write as _;
use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use args::Args;
use futures_util::future::join_all;
use matssocket::{Cluster, Store};
use node::{Node, Nodes, Shared};
pub use web::hardened;

use crate::operations::Failure;
use crate::operations::output::print;

/// Runs until SIGINT or SIGTERM.
///
/// # Errors
/// One line that says why it could not start, and what to do.
pub async fn run(parser: lexopt::Parser) -> Result<(), String> {
    // What is quoted may be a URL with a password that was put in the wrong place.
    let parsed = args::parse(parser).map_err(|why| Failure::from(why).to_string())?;
    let Some(Args { ports, database }) = parsed else {
        print(args::USAGE);
        return Ok(());
    };
    let signal = shutdown_signal().map_err(|why| why.to_string())?;
    // The ports first: a taken one is found before the database is touched.
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
