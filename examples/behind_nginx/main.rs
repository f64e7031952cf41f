//! Two nodes behind nginx, and a rolling restart that no client notices.
//!
//! ```sh
//! cargo run --features postgres --example behind_nginx -- postgres://user:password@localhost/shop
//! ```
//!
//! It takes nginx (`apt-get install nginx`). The example starts two nodes as processes of their own, and nginx with the
//! configuration beside this file. A client then sends a request every 20 ms through nginx, while one node after the other
//! is restarted: SIGTERM, wait for its end, start, wait until it is ready. You see
//!
//! ```text
//! nginx listens on port 34567, the nodes on 34568 and 34569
//! restarting node-1
//! restarting node-2
//! 383 requests, 383 answers: 213 by node-1, 170 by node-2; the slowest took 1104 ms
//! ```
//!
//! Each request has its answer: when a node stops, it closes its sockets with 1012, and the client reconnects through nginx
//! to the other node and sends again what was not answered. The tables are in the schema `behind_nginx_example`.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix_web::{App, HttpServer, rt};
use matssocket::{Incoming, MatsSocketServer, Outcome, Postgres, Principal, Verdict, auth_fn};
use matssocket_client::Client;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, sleep};

type Failure = Box<dyn Error + Send + Sync>;

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["node", name, port, database] => serve(name, port.parse()?, database).await,
        [database] => demonstrate(database).await,
        _ => Err("usage: behind_nginx postgres://…".into()),
    }
}

// ---- a node -----------------------------------------------------------------------------------------------------------

async fn serve(name: &str, port: u16, database: &str) -> Result<(), Failure> {
    let node: &'static str = name.to_owned().leak();
    let server = MatsSocketServer::builder("behind nginx")
        .store(Postgres::at(database).schema("behind_nginx_example").into())
        .node_name(node)
        // The addresses of the proxies, and no others: from them, and only from them, the server takes who the client is.
        .trusted_proxies(["127.0.0.1"])
        .authentication(auth_fn(async |user: String| {
            Ok(Verdict::Authenticated(Principal::user(user)))
        }))
        .endpoint("Node.name", move |_: Incoming<u32>| async move {
            Ok(Outcome::resolve(node))
        })
        .start()
        .await?;
    let mounted = server.clone();
    let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
        .on_connect(matssocket::on_connect)
        .workers(1)
        .bind(("127.0.0.1", port))?;
    println!("ready");
    // On SIGTERM: refuses new connections with 503, lets handlers finish, and closes every socket with 1012.
    Ok(server.run(http).await?)
}

// ---- the demonstration ------------------------------------------------------------------------------------------------

async fn demonstrate(database: &str) -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let [nginx, first, second] = free_ports()?;
    let nodes = [
        Node::start("node-1", first, database)?,
        Node::start("node-2", second, database)?,
    ];
    let _nginx = start_nginx(directory.path(), nginx, first, second)?;
    println!("nginx listens on port {nginx}, the nodes on {first} and {second}");

    let (end, ended) = oneshot::channel();
    let asking = rt::spawn(ask(format!("ws://127.0.0.1:{nginx}/matssocket"), ended));
    let mut restarted = Vec::new();
    for node in nodes {
        sleep(Duration::from_secs(2)).await;
        println!("restarting {}", node.name);
        // The client must go on meanwhile.
        restarted.push(rt::task::spawn_blocking(|| node.restart()).await??);
    }
    sleep(Duration::from_secs(2)).await;
    let _ = end.send(());
    let asked = asking.await??;

    let answers: usize = asked.answers.values().sum();
    let by_node: Vec<String> = asked
        .answers
        .iter()
        .map(|(node, answers)| format!("{answers} by {node}"))
        .collect();
    println!(
        "{} requests, {answers} answers: {}; the slowest took {} ms",
        asked.requests,
        by_node.join(", "),
        asked.slowest.as_millis()
    );
    Ok(())
}

#[derive(Default)]
struct Asked {
    requests: usize,
    answers: BTreeMap<String, usize>,
    slowest: Duration,
}

/// Sends a request every 20 ms until told to end, and waits for all answers.
async fn ask(url: String, mut ended: oneshot::Receiver<()>) -> Result<Asked, Failure> {
    let client = Client::builder("Behind nginx", "1.0")
        .url(url)
        .authorization_value("anna")
        .build()?;
    let mut asked = Asked::default();
    let mut waiting = Vec::new();
    let mut ticks = interval(Duration::from_millis(20));
    while ended.try_recv().is_err() {
        ticks.tick().await;
        let number = asked.requests;
        let request = client.request::<String>(format!("ask-{number}"), "Node.name", &number);
        waiting.push(rt::spawn(async move {
            let begun = Instant::now();
            let reply = request.await?;
            Ok::<_, Failure>((reply.resolved()?, begun.elapsed()))
        }));
        asked.requests += 1;
    }
    for answer in waiting {
        let (node, took) = answer.await??;
        *asked.answers.entry(node).or_default() += 1;
        asked.slowest = asked.slowest.max(took);
    }
    client.close("done").await;
    Ok(asked)
}

/// A process that is killed if it is still there at the end.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node in a process of its own: this program, with other arguments.
struct Node {
    name: &'static str,
    port: u16,
    database: String,
    process: Process,
}

impl Node {
    /// Returns when the node takes connections.
    fn start(name: &'static str, port: u16, database: &str) -> Result<Node, Failure> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["node", name, &port.to_string(), database])
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("stdout is piped")?;
        let process = Process(process);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err(format!("{name} did not start").into());
        }
        Ok(Node {
            name,
            port,
            database: database.to_owned(),
            process,
        })
    }

    fn restart(mut self) -> Result<Node, Failure> {
        let pid = self.process.0.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        self.process.0.wait()?;
        Node::start(self.name, self.port, &self.database)
    }
}

fn start_nginx(directory: &Path, port: u16, first: u16, second: u16) -> Result<Process, Failure> {
    let configuration = include_str!("nginx.conf")
        .replace("LISTEN", &port.to_string())
        .replace("NODE_1", &first.to_string())
        .replace("NODE_2", &second.to_string());
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration)?;
    // Debian keeps it where only root looks for programs.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let nginx = Command::new("nginx")
        .env("PATH", path)
        .arg("-p")
        .arg(directory)
        .arg("-c")
        .arg(&file)
        // A single process in the foreground, which ends when it is killed.
        .args(["-e", "stderr", "-g", "daemon off; master_process off;"])
        .spawn()
        .map_err(|why| format!("nginx does not run ({why}): is it installed?"))?;
    Ok(Process(nginx))
}

/// Three ports that are free now.
fn free_ports() -> Result<[u16; 3], Failure> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let listeners = [bind()?, bind()?, bind()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
