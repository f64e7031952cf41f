//! Two nodes on one PostgreSQL, each in a process of its own: what a message costs that one of them sends to a client
//! of the other.
//!
//! First how long it takes from `send` to the client, next to the same way with nothing on it: a row inserted and
//! notified by one connection, heard and read by another. Then how many commits and NOTIFY statements it takes.
//!
//! ```sh
//! cargo bench --features postgres --bench cluster -- --seconds 10 --sessions 100 --postgres URL
//! ```
//!
//! Commits are those of the whole database (`pg_stat_database`, seconds late): use one that nobody else uses. Those of
//! the stores' writers are counted by the nodes.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use futures_util::future::join_all;
use matssocket::{HandlerError, Incoming, MatsSocketServer, Outcome, Postgres, SendError};
use matssocket_client::{Client, Message};
use matssocket_testing::bench::postgres::{self as place, Schema};
use matssocket_testing::bench::process::{self, Server, on_one_thread, serve};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const PUSH: &str = "Bench.push";
const COUNT: &str = "Bench.count";
const TERMINATOR: &str = "Bench.terminator";
/// Messages per second at which times are taken, and at which commits are counted.
const TIMED: [usize; 2] = [50, 1_000];
const COUNTED: [usize; 2] = [100, 5_000];
/// Until PostgreSQL has told all its numbers.
const SETTLE: Duration = Duration::from_secs(11);

#[derive(Serialize, Deserialize)]
struct Push {
    rate: usize,
    total: usize,
    sessions: Vec<String>,
}

/// What a node has done so far.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
struct Counts {
    commits: u64,
    notifies: u64,
}

/// Sent with its time, in microseconds since the epoch.
#[derive(Serialize, Deserialize)]
struct Timed {
    at: u64,
    text: String,
}

fn main() {
    let Some(role) = process::role() else {
        return measure();
    };
    let (schema, url) = role.split_once(' ').expect("a schema and a URL");
    let node = Arc::new(OnceLock::<MatsSocketServer>::new());
    let (pushing, counting) = (node.clone(), node.clone());
    let builder = MatsSocketServer::builder("bench")
        .store(Postgres::at(url).schema(schema).into())
        .endpoint(PUSH, move |incoming: Incoming<Push>| {
            let server = pushing.get().cloned().expect("it has started");
            async move { push(server, incoming.payload).await }
        })
        .endpoint(COUNT, move |_: Incoming<()>| {
            let metrics = counting.get().expect("it has started").metrics();
            let counts = Counts {
                commits: metrics.store.batches,
                notifies: metrics.cluster.statements,
            };
            async move { Ok::<_, HandlerError>(Outcome::resolve(counts)) }
        });
    serve(builder, |server| drop(node.set(server.clone())));
}

/// Sends at a steady rate, whatever becomes of those before; resolved with how many ms it took.
async fn push(server: MatsSocketServer, order: Push) -> Result<Outcome<u64>, HandlerError> {
    let begun = Instant::now();
    let mut sent = Vec::new();
    for number in 0..order.total {
        let due = begun + Duration::from_secs_f64(number as f64 / order.rate as f64);
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let (server, sid) = (
            server.clone(),
            order.sessions[number % order.sessions.len()].clone(),
        );
        let message = Timed {
            at: micros(),
            text: "x".repeat(200),
        };
        sent.push(actix::spawn(async move {
            server.send(&sid, "a-trace-id", TERMINATOR, &message).await
        }));
    }
    for sent in join_all(sent).await {
        let sent: Result<(), SendError> = sent.expect("no task panics");
        sent.expect("it is stored");
    }
    Ok(Outcome::resolve(begun.elapsed().as_millis() as u64))
}

fn micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("it is after 1970").as_micros() as u64
}

// ---- the measurements ----

/// What a message between nodes costs
#[derive(Parser)]
struct Args {
    /// For each measurement
    #[arg(long, default_value = "10")]
    seconds: usize,
    /// How many clients
    #[arg(long, default_value = "100")]
    sessions: usize,
    /// Where PostgreSQL is, unless the environment says
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    // What cargo adds.
    #[arg(long = "bench", hide = true)]
    _bench: bool,
}

fn measure() {
    let args = Args::parse();
    let Some(url) = place::url(args.postgres.clone()) else {
        return;
    };
    println!("{} sessions; {} s each", args.sessions, args.seconds);
    println!("{:<34} {:>8} {:>8} {:>8}", "", "p50 ms", "p99 ms", "max ms");
    let schema = Schema::new(&url);
    for rate in TIMED {
        let times = bare(&schema, rate, args.seconds);
        print_times(&format!("bare, {rate} per s"), times);
    }
    let role = format!("{} {url}", schema.name);
    let servers = [Server::start(&role), Server::start(&role)];
    let mut conn = schema.connect();
    on_one_thread(async {
        let bench = Bench::connect(&servers, args.sessions).await;
        for rate in TIMED {
            let (_, times) = bench.run(rate, args.seconds).await;
            print_times(&format!("send to the client, {rate} per s"), times);
        }
        println!(
            "{:<34} {:>8} {:>14} {:>14} {:>14}",
            "per message", "per s", "all commits", "writes", "NOTIFYs"
        );
        for rate in COUNTED {
            bench.count(&mut conn, rate, args.seconds).await;
        }
    });
}

fn print_times(name: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len() - 1);
        times[index] as f64 / 1_000.0
    };
    println!(
        "{name:<34} {:>8.2} {:>8.2} {:>8.2}",
        at(50),
        at(99),
        at(100)
    );
}

/// The times from before an insert by one connection until another one has heard of it and read it.
fn bare(schema: &Schema, rate: usize, seconds: usize) -> Vec<u64> {
    let total = rate * seconds;
    let (mut writer, mut listener) = (schema.connect(), schema.connect());
    writer
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS bare (id BIGINT PRIMARY KEY, at BIGINT); TRUNCATE bare",
        )
        .expect("a table can be made");
    let listen = format!("LISTEN {}", schema.name);
    listener.batch_execute(&listen).expect("it listens");
    let name = &schema.name;
    thread::scope(|scope| {
        scope.spawn(move || {
            let begun = Instant::now();
            for number in 0..total {
                let due = begun + Duration::from_secs_f64(number as f64 / rate as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let at = micros();
                writer
                    .batch_execute(&format!(
                        "BEGIN; INSERT INTO bare VALUES ({number}, {at}); NOTIFY {name}, '{number}'; COMMIT"
                    ))
                    .expect("a row can be inserted");
            }
        });
        let mut times = Vec::new();
        while times.len() < total {
            let heard: Vec<_> = listener.notifications_iter().collect();
            for notification in heard {
                let number = notification.expect("the line is up").payload;
                let read = format!("SELECT at AS value FROM bare WHERE id = {number}");
                times.push(micros() - one(&mut listener, &read) as u64);
            }
            // What came in can only be asked for.
            thread::sleep(Duration::from_micros(100));
        }
        times
    })
}

#[derive(QueryableByName)]
struct One {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

fn one(conn: &mut PgConnection, query: &str) -> i64 {
    let one: One = diesel::sql_query(query)
        .get_result(conn)
        .expect("it can be asked");
    one.value
}

/// Times that a message took, in microseconds.
type Times = Arc<Mutex<Vec<u64>>>;

/// One client that gives orders to the node that sends, one that asks the other, and those that receive, there.
struct Bench {
    orders: Client,
    other: Client,
    clients: Vec<Client>,
    times: Times,
}

impl Bench {
    async fn connect(servers: &[Server; 2], sessions: usize) -> Bench {
        let times = Times::default();
        let mut clients = Vec::new();
        for number in 0..sessions {
            clients.push(client(&servers[1], &format!("user-{number}"), &times).await);
        }
        Bench {
            orders: client(&servers[0], "orders", &times).await,
            other: client(&servers[1], "other", &times).await,
            clients,
            times,
        }
    }

    /// Has messages sent until all have come: how many per second, and how long each took.
    async fn run(&self, rate: usize, seconds: usize) -> (f64, Vec<u64>) {
        let order = Push {
            rate,
            total: rate * seconds,
            sessions: self.clients.iter().filter_map(Client::session_id).collect(),
        };
        let begun = Instant::now();
        ask::<u64>(&self.orders, PUSH, &order).await;
        while self.received().len() < order.total {
            assert!(
                begun.elapsed().as_secs() < 3 * seconds as u64 + 30,
                "{} of {} messages have come",
                self.received().len(),
                order.total
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let times = std::mem::take(&mut *self.received());
        (times.len() as f64 / begun.elapsed().as_secs_f64(), times)
    }

    fn received(&self) -> MutexGuard<'_, Vec<u64>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn count(&self, conn: &mut PgConnection, rate: usize, seconds: usize) {
        let before = self.counts(conn).await;
        let (achieved, times) = self.run(rate, seconds).await;
        let after = self.counts(conn).await;
        let each = |before: u64, after: u64| (after - before) as f64 / times.len() as f64;
        println!(
            "{:<34} {achieved:>8.0} {:>14.3} {:>14.3} {:>14.3}",
            format!("at {rate} per s"),
            each(before.0, after.0),
            each(before.1.commits, after.1.commits),
            each(before.1.notifies, after.1.notifies),
        );
    }

    /// Commits of the whole database, and what both nodes have counted.
    async fn counts(&self, conn: &mut PgConnection) -> (u64, Counts) {
        tokio::time::sleep(SETTLE).await;
        let commits =
            "SELECT xact_commit AS value FROM pg_stat_database WHERE datname = current_database()";
        let mut sum = Counts::default();
        for client in [&self.orders, &self.other] {
            let counts: Counts = ask(client, COUNT, &()).await;
            sum.commits += counts.commits;
            sum.notifies += counts.notifies;
        }
        (one(conn, commits) as u64, sum)
    }
}

async fn client(server: &Server, user: &str, times: &Times) -> Client {
    let client = Client::builder("bench", "1")
        .url(format!("ws://127.0.0.1:{}/matssocket", server.port))
        .authorization_value(user)
        .request_timeout(Duration::from_secs(600))
        .start()
        .expect("the URL is one");
    let times = times.clone();
    client.terminator(TERMINATOR, move |message: Message<Timed>| {
        let took = micros().saturating_sub(message.payload.at);
        times
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(took);
        async {}
    });
    client.established().await.expect("a session is opened");
    client
}

async fn ask<T: DeserializeOwned + 'static>(
    client: &Client,
    endpoint: &str,
    what: &impl Serialize,
) -> T {
    let reply = client.request::<T>("a-trace-id", endpoint, what).await;
    let reply = reply.expect("there is an answer");
    reply.resolved().expect("it is resolved")
}
