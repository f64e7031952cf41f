//! The database is away for a while: nothing is lost, nobody restarts anything by hand.

use std::path::Path;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use matssocket::{SendError, Store};

use matssocket_testing::*;

/// Keeps every writer out until dropped.
fn lock(file: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(file.to_str().expect("a path of ours"))
        .expect("the file is there");
    connection
        .batch_execute("PRAGMA busy_timeout = 10000; BEGIN IMMEDIATE")
        .expect("the lock");
    connection
}

async fn nodes_on(file: &Path, lease: Duration) -> Nodes {
    let impatient = move |config: &mut matssocket::Config| {
        config.store.busy_timeout = Duration::from_millis(20);
        config.store_away_delay = Duration::from_millis(50);
        config.lease = lease;
        config.lease_interval = Duration::from_millis(20);
    };
    Setup::new()
        .store(Store::sqlite(file))
        .config(impatient)
        .start(1)
        .await
}

async fn until_let_in(url: &str) -> Line {
    within("the upgrade to be let in", async {
        loop {
            match Line::try_connect(url, &[]).await {
                Ok(line) => return line,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

#[actix_web::test]
async fn clients_are_told_to_retry_and_to_come_back_and_keep_everything() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let nodes = nodes_on(&file, Duration::from_secs(2)).await;
    let mut line = nodes.open("anna").await;
    nodes
        .server()
        .send(line.session(), "before", "client.x", &1)
        .await
        .unwrap();
    line.expect("SEND").await;
    let mut fresh = Line::bare(&nodes[0].url).await;
    let locked = lock(&file);
    // A message is told to come again, a HELLO to come back.
    let cmid = line.send_to("test.take", json!({})).await;
    line.expect_id("RETRY", &cmid).await;
    fresh.client = Client::new("bert");
    let hello = fresh.client.hello();
    fresh.send(json!([hello])).await;
    fresh.expect_close(1012).await;
    let lost = nodes
        .server()
        .send(line.session(), "never", "client.x", &2)
        .await;
    assert!(matches!(lost, Err(SendError::Store(_))), "{lost:?}");
    // New ones are refused, and when the lease has run out, the others are sent away.
    within("upgrades to be refused", async {
        while refused_or_let_in(&nodes[0].url).await != 503 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    line.expect_close(1012).await;
    let client = line.cut();
    drop(locked);
    let mut line = until_let_in(&nodes[0].url).await;
    line.client = client;
    line.hello().await;
    assert_eq!(
        line.expect("SEND").await["tid"],
        "before",
        "the session was kept"
    );
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
}

async fn refused_or_let_in(url: &str) -> u16 {
    match Line::try_connect(url, &[]).await {
        Ok(_) => 101,
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("neither let in nor refused: {error}"),
    }
}

/// The handler ran, but its outcome could not be stored: told to retry, the client sends it again, and it is handled as
/// if it came for the first time.
#[actix_web::test]
async fn what_could_not_be_stored_is_handled_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let nodes = nodes_on(&file, Duration::from_secs(600)).await;
    let mut line = nodes.open("anna").await;
    let locked = lock(&file);
    let cmid = line.next_cmid();
    let request = line.envelope("REQUEST", &cmid, "test.do", json!({}));
    line.send(json!([request])).await;
    line.expect_id("RETRY", &cmid).await;
    drop(locked);
    line.send(json!([request])).await;
    let answer = line.expect_id("RESOLVE", &cmid).await;
    assert!(answer["desc"].is_null(), "no duplicate: {answer}");
}

/// The client's acknowledgement came while the store was away: it was kept, and its ACK2 came when the store was back.
#[actix_web::test]
async fn acknowledgements_wait_for_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    let nodes = nodes_on(&file, Duration::from_secs(600)).await;
    let mut line = nodes.open("anna").await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    let mail = line.expect("SEND").await;
    let locked = lock(&file);
    line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
    line.none("ACK2").await;
    drop(locked);
    line.expect("ACK2").await;
    let client = line.cut();
    let mut line = nodes.back(0, client).await;
    line.none("SEND").await;
}
