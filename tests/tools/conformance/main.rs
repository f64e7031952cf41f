//! The server that client test suites of the MatsSocket protocol expect: a fixed set of endpoints, one node per port,
//! all nodes in one process on one database.
//!
//! ```sh
//! cargo run --example conformance -- --ports 8080,8081
//! ```

mod args;
mod auth;
mod bench;
mod beside;
mod data;
mod database;
mod endpoints;
mod services;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::ExitCode;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, rt};
use args::Args;
use auth::DummyAuthentication;
use database::Database;
use endpoints::Handle;
use futures_util::future::join_all;
use matssocket::{Cluster, Config, MatsSocketServer, Store};

/// Where the WebSocket is mounted.
const PATH: &str = "/matssocket";

#[actix_web::main]
async fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let args = match args::parse() {
        Ok(args) => args,
        Err(why) => return fail(&why),
    };
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("conformance: {why}");
    ExitCode::from(2)
}

async fn run(args: Args) -> Result<(), String> {
    let signal = shutdown_signal().map_err(|why| why.to_string())?;
    // The ports first: a taken one is found before anything is written.
    let mut listening = Vec::new();
    for (name, port) in args.nodes {
        listening.push((name, listen(port)?));
    }
    let database = Database::prepare(args.database, &args.schema, args.fresh)?;
    let (store, cluster) = (database.store(), database.cluster());
    let mut nodes = Vec::new();
    for (name, (port, listeners)) in listening {
        match start(name, port, listeners, &store, &cluster, &args.config).await {
            Ok(node) => nodes.push(node),
            Err(why) => {
                join_all(nodes.iter().map(|node: &Node| node.server.stop())).await;
                return Err(why);
            }
        }
    }
    for Node { server, port, .. } in &nodes {
        println!(
            "ready ws://127.0.0.1:{port}{PATH} node={}",
            server.node_name()
        );
    }
    let signal = signal.await;
    log::info!("{signal}: stopping");
    // HTTP must go on turning while the sockets are closed.
    join_all(nodes.iter().map(|node| node.server.stop())).await;
    join_all(nodes.iter().map(|node| node.http.stop(true))).await;
    Ok(())
}

/// Listens on both loopback addresses; port 0 takes a free one.
fn listen(port: u16) -> Result<(u16, Vec<TcpListener>), String> {
    let at = |ip: IpAddr, port: u16| {
        matssocket::listen((ip, port)).map_err(|why| {
            (
                why.kind(),
                format!("cannot listen on {ip} port {port}: {why}"),
            )
        })
    };
    let ipv4 = at(Ipv4Addr::LOCALHOST.into(), port).map_err(|(_, why)| why)?;
    let port = ipv4.local_addr().map_err(|why| why.to_string())?.port();
    match at(Ipv6Addr::LOCALHOST.into(), port) {
        Ok(ipv6) => Ok((port, vec![ipv4, ipv6])),
        Err((io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied, why)) => Err(why),
        Err((_, why)) => {
            eprintln!("conformance: going on without IPv6: {why}");
            Ok((port, vec![ipv4]))
        }
    }
}

struct Node {
    server: MatsSocketServer,
    port: u16,
    http: ServerHandle,
}

async fn start(
    name: Option<String>,
    port: u16,
    listeners: Vec<TcpListener>,
    store: &Store,
    cluster: &Option<Cluster>,
    config: &Config,
) -> Result<Node, String> {
    let handle = Handle::default();
    let mut builder = MatsSocketServer::builder("conformance")
        .store(store.clone())
        .config(config.clone())
        .authentication(DummyAuthentication);
    if let Some(cluster) = cluster {
        builder = builder.cluster(cluster.clone());
    }
    if let Some(name) = name {
        builder = builder.node_name(name);
    }
    let builder = services::add(endpoints::add(builder, &handle));
    let server = builder.start().await.map_err(|why| why.to_string())?;
    let server = handle.get_or_init(|| server).clone();
    let http = serve(&server, listeners).map_err(|why| format!("cannot serve HTTP: {why}"))?;
    Ok(Node { server, port, http })
}

fn serve(server: &MatsSocketServer, listeners: Vec<TcpListener>) -> io::Result<ServerHandle> {
    let mounted = server.clone();
    let mut http = HttpServer::new(move || {
        App::new()
            .configure(beside::routes(mounted.clone()))
            .configure(mounted.mount(PATH))
    })
    .on_connect(matssocket::on_connect)
    .shutdown_timeout(1)
    .disable_signals();
    for listener in listeners {
        http = http.listen(listener)?;
    }
    let http = http.run();
    let handle = http.handle();
    rt::spawn(http);
    Ok(handle)
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
