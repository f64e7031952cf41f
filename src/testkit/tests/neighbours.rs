//! The store's file: whom it belongs to, what is in it after a stop, and what happens to it in between.

use std::path::Path;
use std::time::Duration;

use super::{alice, builder};
use crate::config::Config;
use crate::error::SendError;
use crate::server::{Admin, MatsSocketServer, ServerBuilder};
use crate::store::{Store, StoreError};
use crate::testkit::any_user;

fn on(file: &Path) -> ServerBuilder {
    builder().store(Store::sqlite(file))
}

/// A handler that had captured the server's handle used to leave everything in the write-ahead log next to the file.
#[tokio::test]
async fn after_a_stop_the_file_alone_is_whole_whoever_has_a_handle() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    let server = on(&file).start().await.unwrap();
    let captured = server.clone();
    let client = alice(&server).await;
    let sid = client.session_id();
    server.send(&sid, "t", "Waits", &1).await.unwrap();
    server.stop().await;
    let copy = directory.path().join("copy.db");
    std::fs::copy(&file, &copy).unwrap();
    let admin = Admin::open_to_read(&Store::sqlite(&copy)).await.unwrap();
    let sessions = admin.sessions(Default::default(), 10).await.unwrap();
    assert_eq!(sessions[0].session_id, sid);
    let refused = captured.send(&sid, "t", "Late", &1).await;
    let Err(SendError::Store(StoreError::Stopped)) = refused else {
        panic!("{refused:?}")
    };
    let again = on(&file).start().await.expect("nobody has it any more");
    again.stop().await;
}

/// The other application used to get the sessions, topics and messages of the first.
#[tokio::test]
async fn another_application_is_refused_until_the_store_knows_its_new_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    on(&file).start().await.unwrap().stop().await;
    let renamed = || {
        MatsSocketServer::builder("bank\n")
            .store(Store::sqlite(&file))
            .authentication(any_user())
    };
    let refused = renamed().start().await.err().unwrap().to_string();
    for part in [
        "\"orders\"",
        "\"bank\\n\"",
        "Postgres::schema",
        "--rename-app",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let admin = Admin::open(&Store::sqlite(&file)).await.unwrap();
    let before = admin.rename_application("bank\n").await.unwrap();
    assert_eq!(before.as_deref(), Some("orders"));
    drop(admin);
    renamed().start().await.unwrap().stop().await;
    assert!(on(&file).start().await.is_err());
}

/// 278 messages were once acknowledged into a file that had been deleted, while the node stayed ready.
#[tokio::test]
async fn a_file_that_is_moved_away_is_noticed_by_a_node_that_has_nothing_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (file, away) = (
        directory.path().join("shop.db"),
        directory.path().join("away.db"),
    );
    let config = Config {
        lease_interval: Duration::from_millis(20),
        ..Config::default()
    };
    let server = on(&file).config(config).start().await.unwrap();
    let sid = alice(&server).await.session_id();
    std::fs::rename(&file, &away).unwrap();
    until(|| server.ready().is_err()).await;
    let refused = server.send(&sid, "t", "Lost", &1).await;
    let Err(SendError::Store(StoreError::Unable(why))) = refused else {
        panic!("{refused:?}")
    };
    assert!(why.contains("deleted or moved away"), "{why}");
    std::fs::rename(&away, &file).unwrap();
    until(|| server.ready().is_ok()).await;
    server.send(&sid, "t", "Kept", &1).await.unwrap();
    server.stop().await;
}

async fn until(met: impl Fn() -> bool) {
    let wait = async {
        while !met() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    waited.expect("it comes about");
}
