//! Full cycles REQUEST → RESOLVE → ACK2 between the Rust client and a server in a process of its own, over real
//! WebSockets, on SQLite and on PostgreSQL, there with one to three nodes; next to bare WebSocket round trips of as many bytes.
//!
//! Closed loop: so many sessions, each with so many requests in flight; the clock stops when the server's inbox is
//! empty, that is, when every ACK2 has been committed. Then an open loop at a low rate, for latencies.
//!
//! ```sh
//! cargo bench --features postgres --bench cycles -- --sessions 20 --in-flight 50 --seconds 3 --rate 1000 --postgres URL
//! ```
//!
//! A server's CPU time per cycle is the steadiest of
//! the figures on a busy machine.

#![allow(missing_docs)] // what `diesel::table!` makes

use std::cell::{Cell, RefCell};
use std::num::ParseIntError;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Parser;
use diesel::prelude::*;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
#[cfg(feature = "postgres")]
use matssocket::Postgres;
use matssocket::{HandlerError, Incoming, MatsSocketServer, Outcome, Store};
use matssocket_client::Client;
#[cfg(feature = "postgres")]
use matssocket_testing::bench::postgres as place;
use matssocket_testing::bench::process::{self, Server, on_one_thread, serve};
use serde_json::value::RawValue;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

const ENDPOINT: &str = "Bench.endpoint";
/// Built in; its answer does not wait for company.
const PING: &str = "MatsSocket.matsSocketPing";
/// Bytes of a request's payload, and of an echoed message.
const BYTES: usize = 250;

/// Full cycles of requests, next to bare WebSockets
#[derive(Parser)]
struct Args {
    /// How many clients
    #[arg(long, default_value = "20", value_parser = at_least_one)]
    sessions: usize,
    /// Requests under way for each
    #[arg(long, default_value = "50", value_parser = at_least_one)]
    in_flight: usize,
    /// For each measurement
    #[arg(long, default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Requests per second of the open loop; 0: none
    #[arg(long, default_value = "1000")]
    rate: usize,
    /// Where PostgreSQL is, unless the environment says
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    // What cargo adds.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn at_least_one(text: &str) -> Result<usize, ParseIntError> {
    Ok(text.parse::<usize>()?.max(1))
}

fn seconds(text: &str) -> Result<Duration, ParseIntError> {
    Ok(Duration::from_secs(at_least_one(text)? as u64))
}

fn main() {
    let Some(role) = process::role() else {
        return measure(&Args::parse());
    };
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["echo"] => serve_echo(),
        ["sqlite", path] => serve_node(Store::sqlite(path)),
        #[cfg(feature = "postgres")]
        ["postgres", schema, url] => serve_node(Postgres::at(url).schema(schema).into()),
        _ => panic!("unknown role {role:?}"),
    }
}

// ---- the servers ----

fn serve_node(store: Store) {
    let node = MatsSocketServer::builder("bench")
        .store(store)
        .endpoint(ENDPOINT, async |_: Incoming<Box<RawValue>>| {
            Ok::<_, HandlerError>(Outcome::resolve("done"))
        });
    serve(node, |_| {});
}

fn serve_echo() {
    on_one_thread(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a port is free");
        println!("{}", listener.local_addr().expect("it is bound").port());
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(echo(stream));
        }
    });
}

async fn echo(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(mut socket) = accept_async(stream).await else {
        return;
    };
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// What one loop has done.
struct Run {
    /// In microseconds.
    latencies: Vec<u32>,
    time: Duration,
    /// The server's.
    cpu: Option<Duration>,
}

impl Run {
    fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    fn print(&mut self, name: &str, ceiling: Option<f64>) {
        self.latencies.sort_unstable();
        let at = |percent: usize| {
            let index = (self.latencies.len() * percent / 100).min(self.latencies.len() - 1);
            f64::from(self.latencies[index]) / 1_000.0
        };
        let ratio = ceiling.map_or("".into(), |it| format!("{:.2}", self.rate() / it));
        let cpu = self.cpu.map_or("".into(), |cpu| {
            let per = cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64;
            format!("{per:.1}")
        });
        println!(
            "{name:<34} {:>9.0} {ratio:>6} {:>8.2} {:>8.2} {cpu:>10}",
            self.rate(),
            at(50),
            at(99)
        );
    }
}

fn measure(args: &Args) {
    println!(
        "{} sessions, {} in flight each, {:?}; {BYTES}-byte payloads; client on one thread",
        args.sessions, args.in_flight, args.seconds
    );
    println!(
        "{:<34} {:>9} {:>6} {:>8} {:>8} {:>10}",
        "", "per s", "ratio", "p50 ms", "p99 ms", "server µs"
    );
    let echoes = Server::start("echo");
    let mut bare = on_one_thread(echo_loop(&echoes, args));
    drop(echoes);
    bare.print("bare WebSocket round trips", None);
    let ceiling = bare.rate();

    let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let directory = tempfile::tempdir_in(here).expect("a directory can be made");
    let path = directory.path().join("cycles.db");
    let path = path.to_str().expect("the path is UTF-8");
    println!("SQLite");
    let servers = [Server::start(&format!("sqlite {path}"))];
    let mut conn = SqliteConnection::establish(path).expect("the database is there");
    let inbox = move || matssocket_inbox::table.count().get_result(&mut conn);
    run(&servers, inbox, ceiling, args);
    #[cfg(feature = "postgres")]
    measure_postgres(ceiling, args);
    #[cfg(not(feature = "postgres"))]
    println!("PostgreSQL is left out: it needs --features postgres");
}

#[cfg(feature = "postgres")]
fn measure_postgres(ceiling: f64, args: &Args) {
    let Some(url) = place::url(args.postgres.clone()) else {
        return;
    };
    for nodes in 1..=3 {
        println!("PostgreSQL, nodes: {nodes}");
        let schema = place::Schema::new(&url);
        let role = format!("postgres {} {url}", schema.name);
        let servers: Vec<_> = (0..nodes).map(|_| Server::start(&role)).collect();
        let mut conn = schema.connect();
        let inbox = move || inbox::table.count().get_result(&mut conn);
        run(&servers, inbox, ceiling, args);
    }
}

/// All loops, with the sessions spread over the servers; `inbox` counts the rows of their inboxes.
fn run(servers: &[Server], mut inbox: impl FnMut() -> QueryResult<i64>, ceiling: f64, args: &Args) {
    on_one_thread(async {
        let clients = connect(servers, args.sessions).await;
        for endpoint in [ENDPOINT, PING] {
            let mut run = closed_loop(servers, &clients, endpoint, &mut inbox, args).await;
            run.print(&format!("cycles of {endpoint}"), Some(ceiling));
        }
        if args.rate > 0 {
            for endpoint in [ENDPOINT, PING] {
                let mut run = open_loop(servers, &clients, endpoint, args).await;
                run.print(&format!("…at {} per s", args.rate), None);
            }
        }
        join_all(clients.iter().map(|client| client.close("done"))).await;
    });
}

/// CPU time of all servers.
fn cpu(servers: &[Server]) -> Option<Duration> {
    servers.iter().map(Server::cpu).sum()
}

fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// What the built-in endpoint takes; ours takes anything.
fn payload() -> Box<RawValue> {
    let text = "x".repeat(BYTES - r#"{"payload":""}"#.len());
    RawValue::from_string(format!(r#"{{"payload":"{text}"}}"#)).expect("it is JSON")
}

fn used(before: Option<Duration>, after: Option<Duration>) -> Option<Duration> {
    Some(after?.saturating_sub(before?))
}

/// As many connections, each with as many messages on their way.
async fn echo_loop(server: &Server, args: &Args) -> Run {
    let mut sockets = Vec::new();
    for _ in 0..args.sessions {
        let url = format!("ws://127.0.0.1:{}", server.port);
        let (socket, _) = connect_async(url).await.expect("the server is there");
        sockets.push(socket);
    }
    let (cpu, begun) = (server.cpu(), Instant::now());
    let loops = sockets.into_iter().map(async |mut socket| {
        let mut latencies = Vec::new();
        let mut sent = std::collections::VecDeque::new();
        loop {
            while sent.len() < args.in_flight && begun.elapsed() < args.seconds {
                sent.push_back(Instant::now());
                let message = Message::text("x".repeat(BYTES));
                socket.send(message).await.expect("the server is there");
            }
            let Some(at) = sent.pop_front() else {
                return latencies;
            };
            socket.next().await.expect("it echoes").expect("it echoes");
            latencies.push(micros(at));
        }
    });
    let latencies = join_all(loops).await.concat();
    Run {
        latencies,
        time: begun.elapsed(),
        cpu: used(cpu, server.cpu()),
    }
}

async fn connect(servers: &[Server], sessions: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..sessions {
        let port = servers[number % servers.len()].port;
        let url = format!("ws://127.0.0.1:{port}/matssocket");
        let client = Client::builder("bench", "1")
            .url(&url)
            .authorization_value(format!("user-{number}"))
            .start()
            .expect("the URL is one");
        client.established().await.expect("a session is opened");
        clients.push(client);
    }
    clients
}

async fn cycle(client: &Client, endpoint: &str, payload: &RawValue) {
    let reply = client
        .request::<Option<Box<RawValue>>>("a-trace-id", endpoint, payload)
        .await;
    if !reply.as_ref().is_ok_and(|reply| reply.is_resolved()) {
        // A panic would end one of many tasks only.
        eprintln!("a request to {endpoint} was not resolved: {reply:?}");
        std::process::exit(1);
    }
}

async fn closed_loop(
    servers: &[Server],
    clients: &[Client],
    endpoint: &str,
    inbox: &mut impl FnMut() -> QueryResult<i64>,
    args: &Args,
) -> Run {
    let (before, begun) = (cpu(servers), Instant::now());
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let mut loops = Vec::new();
    for client in clients.iter().cycle().take(clients.len() * args.in_flight) {
        let (client, endpoint) = (client.clone(), endpoint.to_owned());
        let (latencies, time) = (latencies.clone(), args.seconds);
        loops.push(tokio::task::spawn_local(async move {
            let payload = payload();
            while begun.elapsed() < time {
                let at = Instant::now();
                cycle(&client, &endpoint, &payload).await;
                latencies.borrow_mut().push(micros(at));
            }
        }));
    }
    for ended in join_all(loops).await {
        ended.expect("every request is resolved");
    }
    is_empty(inbox).await;
    Run {
        latencies: latencies.take(),
        time: begun.elapsed(),
        cpu: used(before, cpu(servers)),
    }
}

diesel::table! {
    inbox (session, cmid) {
        session -> BigInt,
        cmid -> Text,
    }
}

// The same in an SQLite file, where the application may have tables, too.
diesel::table! {
    matssocket_inbox (session, cmid) {
        session -> BigInt,
        cmid -> Text,
    }
}

/// Waits until every ACK2 has been committed.
async fn is_empty(inbox: &mut impl FnMut() -> QueryResult<i64>) {
    let begun = Instant::now();
    loop {
        let rows = inbox().expect("the inbox can be read");
        if rows == 0 {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{rows} rows stay in the inbox"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Requests at a steady rate, whatever becomes of those before; latencies from when each was due.
async fn open_loop(servers: &[Server], clients: &[Client], endpoint: &str, args: &Args) -> Run {
    let (before, begun) = (cpu(servers), Instant::now());
    let latencies = Rc::new(RefCell::new(Vec::new()));
    let unresolved = Rc::new(Cell::new(0));
    let total = args.rate * args.seconds.as_secs() as usize;
    let due = |number: usize| begun + Duration::from_secs_f64(number as f64 / args.rate as f64);
    for number in 0..total {
        let at = due(number);
        if at > Instant::now() {
            tokio::time::sleep_until(at.into()).await;
        }
        let (client, endpoint) = (clients[number % clients.len()].clone(), endpoint.to_owned());
        let (latencies, unresolved) = (latencies.clone(), unresolved.clone());
        unresolved.set(unresolved.get() + 1);
        tokio::task::spawn_local(async move {
            cycle(&client, &endpoint, &payload()).await;
            latencies.borrow_mut().push(micros(at));
            unresolved.set(unresolved.get() - 1);
        });
    }
    let waiting = Instant::now();
    while unresolved.get() > 0 && waiting.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(unresolved.get(), 0, "requests without an answer");
    Run {
        latencies: latencies.take(),
        time: begun.elapsed(),
        cpu: used(before, cpu(servers)),
    }
}
