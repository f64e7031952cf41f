//! A service with a journal is killed at random, again and again, while it places numbered orders and takes numbered
//! messages: each of them is handled once, and in order.
//!
//! More rounds than here: `MATSSOCKET_TEST_KILLS=2000 cargo test --test client_restart -- --nocapture`.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::{App, HttpServer, rt};
use matssocket::{Incoming, MatsSocketServer, Outcome, Principal, Store, Verdict, auth_fn};
use matssocket_client::{Backoff, Client, Correlated, Journal, Message};
use matssocket_testing::within;
use tokio::time::sleep;

/// Set in the child: the server's URL, and the directory for its files.
const URL: &str = "MATSSOCKET_TEST_URL";
const DIRECTORY: &str = "MATSSOCKET_TEST_DIRECTORY";

/// How often the child is killed.
fn kills() -> usize {
    let wanted = std::env::var("MATSSOCKET_TEST_KILLS").ok();
    wanted.map_or(20, |kills| {
        kills.parse().expect("MATSSOCKET_TEST_KILLS is a number")
    })
}

/// Run as a test, nothing; in the child, the service.
#[test]
fn child() {
    if let (Ok(url), Ok(directory)) = (std::env::var(URL), std::env::var(DIRECTORY)) {
        rt::System::new().block_on(service(&url, Path::new(&directory)));
    }
}

async fn service(url: &str, directory: &Path) {
    let journal = Journal::open(directory.join("journal"), "the test")
        .await
        .expect("it is free");
    let last = journal
        .last_trace_id()
        .map_or("0", |id| id.trim_start_matches("order-"));
    let mut number: u64 = last.parse().expect("the number of an order");
    let quick = Backoff::new(Duration::from_millis(20), Duration::from_millis(100));
    let client = Client::builder("Service", "1")
        .url(url)
        .authorization_value("service")
        .reconnect_backoff(quick)
        .journal(journal)
        .build()
        .expect("the URL is fine");
    let told = Arc::new(directory.join("told"));
    client.terminator("Service.told", move |told_of: Message<u64>| {
        note(&told, told_of.payload, told_of.redelivered);
        std::future::ready(())
    });
    let answered = Arc::new(directory.join("answered"));
    client.reply_terminator("Service.answered", move |answer: Correlated<u64, u64>| {
        let number = answer.reply.resolved().expect("it is resolved");
        assert_eq!(number, answer.correlation);
        note(&answered, number, answer.redelivered);
        std::future::ready(())
    });
    client.reconnect();
    while !directory.join("stop").exists() {
        number += 1;
        let id = format!("order-{number}");
        let mut placed = match number % 3 {
            0 => client.request_with(id, "Orders.ask", &number, "Service.answered", &number),
            _ => client.send(id, "Orders.place", &number),
        };
        // Not after each, so that several are on their way to the file.
        if number.is_multiple_of(5) {
            placed.stored().await.expect("the disk has room");
            sleep(Duration::from_millis(1)).await;
        }
    }
    client.flush().await.expect("the session lasts");
    assert!(
        client
            .unresolved()
            .await
            .expect("the journal is there")
            .is_empty()
    );
    fs::write(directory.join("last.new"), number.to_string()).expect("it is written");
    fs::rename(directory.join("last.new"), directory.join("last")).expect("it is there");
    std::future::pending().await
}

/// Notes the number. If an earlier process was perhaps given it, only if that did not note it.
fn note(path: &Path, number: u64, redelivered: bool) {
    if redelivered && numbers(path).contains(&number) {
        return;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("it opens");
    file.write_all(format!("{number}\n").as_bytes())
        .expect("it is written");
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| line.parse().expect("a number"))
        .collect()
}

/// Killed when dropped, with SIGKILL.
struct Service(Child);

impl Service {
    fn start(url: &str, directory: &Path) -> Service {
        let mut command = Command::new(std::env::current_exe().expect("known"));
        command
            .args(["--exact", "child", "--nocapture"])
            .env(URL, url)
            .env(DIRECTORY, directory);
        Service(command.stdout(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let ended = self.0.try_wait().expect("a child of ours");
        self.0.kill().and_then(|()| self.0.wait()).expect("it ends");
        if !std::thread::panicking() {
            assert!(ended.is_none(), "it ended by itself: {ended:?}");
        }
    }
}

type Numbers = Arc<Mutex<Vec<u64>>>;

/// A server that notes the orders. Returns it, and its URL.
async fn server(placed: &Numbers, asked: &Numbers) -> (MatsSocketServer, String) {
    let (placed, asked) = (placed.clone(), asked.clone());
    let server = MatsSocketServer::builder("orders")
        .store(Store::sqlite_in_memory())
        .authentication(auth_fn(async |user: String| {
            Ok(Verdict::Authenticated(Principal::user(&user)))
        }))
        .terminator("Orders.place", move |incoming: Incoming<u64>| {
            placed.lock().expect("no panic").push(incoming.payload);
            async { Ok(Outcome::done()) }
        })
        .endpoint("Orders.ask", move |incoming: Incoming<u64>| {
            asked.lock().expect("no panic").push(incoming.payload);
            async move { Ok(Outcome::resolve(incoming.payload)) }
        })
        .start()
        .await
        .expect("it starts");
    let mounted = server.clone();
    let http = HttpServer::new(move || App::new().configure(mounted.mount("/matssocket")))
        .on_connect(matssocket::on_connect)
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .expect("a free port");
    let url = format!("ws://{}/matssocket", http.addrs()[0]);
    rt::spawn(http.run());
    (server, url)
}

/// Sends numbered messages until the file `stop` is there. Returns how many.
async fn tell(server: MatsSocketServer, stop: PathBuf) -> u64 {
    let mut number = 0;
    while !stop.exists() {
        let id = format!("told-{}", number + 1);
        let sent = server
            .send_to_user("service", &id, "Service.told", &(number + 1))
            .await;
        match sent.expect("the store is there").sessions {
            0 => sleep(Duration::from_millis(10)).await,
            1 => number += 1,
            sessions => panic!("{sessions} sessions instead of one"),
        }
        sleep(Duration::from_millis(2)).await;
    }
    number
}

#[actix_web::test]
async fn a_killed_service_neither_repeats_nor_forgets() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let (placed, asked) = (Numbers::default(), Numbers::default());
    let (server, url) = server(&placed, &asked).await;
    let telling = rt::spawn(tell(server.clone(), directory.join("stop")));
    for _ in 0..kills() {
        let service = Service::start(&url, directory);
        sleep(Duration::from_millis(rand::random_range(30..400))).await;
        drop(service);
    }
    let service = Service::start(&url, directory);
    sleep(Duration::from_millis(200)).await;
    fs::write(directory.join("stop"), "").expect("it is written");
    let told = telling.await.expect("it did not panic");
    let done = async {
        let count = |name: &str| numbers(&directory.join(name)).len();
        while !directory.join("last").exists()
            || count("told") < told as usize
            || count("answered") < asked.lock().expect("no panic").len()
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    within("everything to arrive", done).await;
    drop(service);

    let last = numbers(&directory.join("last"))[0];
    println!("{last} orders, {told} messages, {} kills", kills());
    let expected = |asked: bool| {
        (1..=last)
            .filter(|number| (number % 3 == 0) == asked)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        *placed.lock().expect("no panic"),
        expected(false),
        "each once, in order"
    );
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(
        (asked.len(), sorted(asked)),
        (expected(true).len(), expected(true)),
        "each once"
    );
    assert_eq!(
        numbers(&directory.join("told")),
        (1..=told).collect::<Vec<_>>(),
        "each once, in order"
    );
    let answered = numbers(&directory.join("answered"));
    assert_eq!(
        (answered.len(), sorted(answered)),
        (expected(true).len(), expected(true)),
        "each once"
    );
    server.stop().await;
}

fn sorted(numbers: Vec<u64>) -> Vec<u64> {
    numbers
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
