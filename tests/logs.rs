//! What goes wrong all the time is logged now and then: logs are proportional to events, not to load.

use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use matssocket::{Config, Store};
use matssocket_testing::*;

/// Keeps the lines that an operator sees.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info && metadata.target().starts_with("matssocket")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = format!("{} {}", record.level(), record.args());
            self.0.lock().expect("no panic").push(line);
        }
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).expect("the first logger");
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// Clients that go on sending while the database is away.
const CLIENTS: usize = 20;
const AWAY: Duration = Duration::from_secs(3);

/// With 50 busy clients and the database away for a minute, there were 4,600 lines; and each failed renewal of the lease
/// made the attempts come more often.
#[actix_web::test]
async fn a_database_that_is_away_is_tens_of_lines() {
    listen();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("test.db");
    let nodes = Setup::new()
        .store(Store::sqlite(&file))
        .config(|config| {
            *config = Config::default();
            config.store.busy_timeout = Duration::from_millis(5);
        })
        .start(1)
        .await;
    let mut lines = Vec::new();
    for number in 0..CLIENTS {
        lines.push(nodes.open(&format!("user{number}")).await);
    }
    let leases = nodes.server().metrics().maintenance["lease"].runs;
    let mut database = SqliteConnection::establish(file.to_str().expect("text")).expect("opened");
    database
        .batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE")
        .expect("locked");
    let until = Instant::now() + AWAY; // the fault lasts
    let busy = lines.iter_mut().map(|line| async move {
        let mut told = 0;
        while Instant::now() < until {
            let cmid = line.send_to("test.take", json!({})).await;
            line.expect_id("RETRY", &cmid).await;
            told += 1;
        }
        told
    });
    let told: usize = futures_util::future::join_all(busy).await.iter().sum();
    assert!(
        told > 500,
        "{told} messages were told to retry: too few to prove anything"
    );
    let metrics = nodes.server().metrics();
    let attempts = metrics.maintenance["lease"].runs - leases;
    assert!(
        attempts <= 6,
        "{attempts} attempts to renew the lease within {AWAY:?}"
    );
    let written = LINES.0.lock().expect("no panic").clone();
    assert!(
        (1..=40).contains(&written.len()),
        "{} lines for {told} messages:\n{}",
        written.len(),
        written.join("\n")
    );
}

/// A client may have seen more than a database that was restored from a backup knows. It is told, and so is the operator;
/// what is published from then on reaches it.
#[actix_web::test]
async fn a_client_that_has_seen_more_than_there_is_is_one_line() {
    listen();
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let seen = "8000000000000000000.1800000000000";
    line.send(json!([{"t": "SUB", "eid": "news", "smid": seen}]))
        .await;
    assert_eq!(line.expect("SUB_LOST").await["eid"], "news");
    let published = nodes.server().publish("news", "t", &1).await;
    published.expect("stored");
    assert_eq!(line.expect("PUB").await["msg"], 1);
    let written = LINES.0.lock().expect("no panic").clone();
    let told = written
        .iter()
        .filter(|line| line.contains("has seen publication 8000000000000000000"));
    assert_eq!(told.count(), 1, "{written:?}");
}
