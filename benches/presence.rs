//! Presence: how many joins and leaves per second all watchers of the presence topic are told of, while users come and go
//! without a grace; and how soon they know it when many users come at once. On SQLite, and with two nodes on PostgreSQL,
//! each in a process of its own, with the watchers spread over them.
//!
//! ```sh
//! cargo bench --features postgres --bench presence -- --watchers 100 --seconds 10 --postgres URL
//! ```
//!
//! A watcher that misses a change, or is told of one twice, fails the run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::future::join_all;
use matssocket::{Config, MatsSocketServer, Store};
use matssocket_client::{Client, Message};
use matssocket_testing::bench::process::{self, Server, on_one_thread, serve};
use serde::Deserialize;
use serde::de::IgnoredAny;

const TOPIC: &str = "presence";

/// How many changes of presence the watchers are told of
#[derive(Parser)]
struct Args {
    /// How many clients watch
    #[arg(long, default_value = "100")]
    watchers: usize,
    /// How many users come and go at a time
    #[arg(long, default_value = "400")]
    flapping: usize,
    /// How many users come at once
    #[arg(long, default_value = "1000")]
    crowd: usize,
    /// How long users come and go
    #[arg(long, default_value = "10")]
    seconds: u64,
    /// Where PostgreSQL is, unless the environment says
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    // What cargo adds.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn main() {
    if let Some(role) = process::role() {
        return serve_node(&role);
    }
    let args = Args::parse();
    println!(
        "{:<24} {:>14} {:>14} {:>16} {:>22}",
        "", "changes per s", "messages per s", "told per s", "crowd known to all after"
    );
    measure("SQLite", &args, &[Server::start("sqlite")]);
    #[cfg(feature = "postgres")]
    if let Some(url) = matssocket_testing::bench::postgres::url(args.postgres.clone()) {
        let schema = matssocket_testing::bench::postgres::Schema::new(&url);
        let role = format!("{} {url}", schema.name);
        let servers = [Server::start(&role), Server::start(&role)];
        measure("PostgreSQL, two nodes", &args, &servers);
    }
}

fn serve_node(role: &str) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = match role.split_once(' ') {
        #[cfg(feature = "postgres")]
        Some((schema, url)) => matssocket::Postgres::at(url).schema(schema).into(),
        _ => Store::sqlite(directory.path().join("presence.db")),
    };
    let mut config = Config::default();
    // Each user who goes leaves.
    config.presence_grace = Duration::ZERO;
    let builder = MatsSocketServer::builder("bench")
        .store(store)
        .config(config)
        .presence_topic(TOPIC);
    serve(builder, |_| {});
}

fn measure(name: &str, args: &Args, servers: &[Server]) {
    on_one_thread(async {
        let mut watchers = Vec::new();
        for number in 0..args.watchers {
            let server = &servers[number % servers.len()];
            watchers.push(Watcher::begin(server, &format!("watcher {number}")).await);
        }
        // Until they have been told of each other.
        tokio::time::sleep(3 * Config::default().presence_interval).await;
        let quiet = told_in_all(&watchers);
        let begun = Instant::now();
        let changes = flap(args, servers).await;
        let changed = until_all_are_told(&watchers, &quiet, changes).await;
        let took = begun.elapsed().as_secs_f64();

        let before = told_in_all(&watchers);
        let begun = Instant::now();
        let crowd = (0..args.crowd).map(|number| {
            let server = &servers[number % servers.len()];
            async move { client(server, &format!("crowd {number}")).await }
        });
        let crowd = join_all(crowd).await;
        let connected = begun.elapsed();
        until_all_are_told(&watchers, &before, args.crowd as u64).await;
        println!(
            "{name:<24} {:>14.0} {:>14.1} {:>16.0} {:>22}",
            changes as f64 / took,
            changed as f64 / took,
            (changes * watchers.len() as u64) as f64 / took,
            format!(
                "{:.1} s (connected: {:.1} s)",
                begun.elapsed().as_secs_f64(),
                connected.as_secs_f64()
            ),
        );
        drop(crowd);
    });
}

/// Users come and go, on all servers. Returns how many joins and leaves there were.
async fn flap(args: &Args, servers: &[Server]) -> u64 {
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let users = (0..args.flapping).map(|number| async move {
        let (mut changes, mut round) = (0, 0);
        while Instant::now() < end {
            // Another user each time: one who comes back within the interval would not have left.
            let server = &servers[(number + round) % servers.len()];
            let client = client(server, &format!("user {number} {round}")).await;
            // Whoever comes and goes between two publications was never there.
            tokio::time::sleep(Config::default().presence_interval * 2).await;
            client.close("it leaves").await;
            (changes, round) = (changes + 2, round + 1);
        }
        changes
    });
    join_all(users).await.into_iter().sum()
}

#[derive(Deserialize)]
struct Change {
    number: u64,
    joined: Vec<IgnoredAny>,
    left: Vec<IgnoredAny>,
}

/// What a watcher was told: joins and leaves, and publications.
#[derive(Clone, Copy, Default)]
struct Told {
    changes: u64,
    publications: u64,
    newest: u64,
    /// Whether a number was missing or came twice.
    is_wrong: bool,
}

impl Told {
    fn add(&mut self, change: &Change) {
        self.is_wrong |= self.newest > 0 && change.number != self.newest + 1;
        self.newest = change.number;
        self.publications += 1;
        self.changes += (change.joined.len() + change.left.len()) as u64;
    }
}

struct Watcher {
    told: Arc<Mutex<Told>>,
    _client: Client,
}

impl Watcher {
    async fn begin(server: &Server, user: &str) -> Watcher {
        let client = client(server, user).await;
        let told = Arc::new(Mutex::new(Told::default()));
        let of_callback = told.clone();
        let subscribed = client.subscribe(TOPIC, move |message: Message<Change>| {
            let mut told = of_callback.lock().unwrap_or_else(PoisonError::into_inner);
            told.add(&message.payload);
            async {}
        });
        subscribed.expect("the topic is one");
        let _client = client;
        Watcher { told, _client }
    }

    fn told(&self) -> Told {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told_in_all(watchers: &[Watcher]) -> Vec<Told> {
    watchers.iter().map(Watcher::told).collect()
}

/// Waits until each watcher was told of this many more joins and leaves. Returns by how many publications.
async fn until_all_are_told(watchers: &[Watcher], before: &[Told], changes: u64) -> u64 {
    let begun = Instant::now();
    for (watcher, before) in watchers.iter().zip(before) {
        while watcher.told().changes < before.changes + changes {
            assert!(begun.elapsed() < Duration::from_secs(60), "not all is told");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(
            !watcher.told().is_wrong,
            "a change is missing, or came twice"
        );
    }
    watchers[0].told().publications - before[0].publications
}

async fn client(server: &Server, user: &str) -> Client {
    let client = Client::builder("bench", "1")
        .url(format!("ws://127.0.0.1:{}/matssocket", server.port))
        .authorization_value(user)
        .start()
        .expect("the URL is one");
    client.established().await.expect("a session is opened");
    client
}
