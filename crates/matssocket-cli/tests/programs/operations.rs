//! The commands of an operator.

mod commands;
mod configuration;
mod deploy;
mod files;
mod monitoring;
#[cfg(feature = "postgres")]
mod postgres;
mod remote;
mod serving;

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use matssocket::testkit::{TestClient, any_user};
use matssocket::{
    Config, Forward, HandlerError, Incoming, MatsSocketServer, Outcome, ServerBuilder, Store,
};
use serde_json::Value;

use matssocket_testing::program::{run, within};

/// `matssocket` with these arguments, in a directory, and with nothing of ours in its environment.
pub(super) fn matssocket(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matssocket"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MATSSOCKET_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).args(arguments);
    command
}

/// What a command prints that does what it is asked for.
pub(super) fn done(directory: &Path, arguments: &[&str]) -> String {
    said(&run(&mut matssocket(directory, arguments)))
}

/// The same, as JSON.
fn json(directory: &Path, arguments: &[&str]) -> Value {
    let text = done(directory, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Fails unless the command ends with this exit code, and one line that contains all of these.
pub(super) fn assert_failed(output: &Output, code: i32, contains: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.starts_with("matssocket: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    for text in contains {
        assert!(stderr.contains(text), "{text:?} is not in: {stderr}");
    }
}

/// A node on `matssocket.db`, which is what the commands take by default.
async fn node(
    directory: &Path,
    extend: impl FnOnce(ServerBuilder) -> ServerBuilder,
) -> MatsSocketServer {
    let mut config = Config::default();
    config.service_attempts = 1;
    config.max_redeliveries = 1;
    config.redelivery_evidence = Duration::ZERO;
    config.stop_spread = Duration::ZERO;
    let builder = MatsSocketServer::builder("tests")
        .store(Store::sqlite(directory.join("matssocket.db")))
        .authentication(any_user())
        .config(config)
        .terminator("Tests.work", async |work: Incoming<String>| {
            Ok(Outcome::forward(Forward::to("Tests.work", &work.payload)))
        });
    extend(builder).start().await.expect("the node starts")
}

/// Stops a node whose clients are gone. Other processes may have the file then, although the server is still there.
async fn end(server: MatsSocketServer, directory: &Path) {
    server.stop().await;
    let lock = File::open(directory.join("matssocket.db.lock")).expect("it was made");
    lock.try_lock().expect("the file was let go of");
    // Closing it would not do: a process that another test is just starting may have a copy.
    lock.unlock().expect("it was locked");
}

/// Leaves two sessions on `matssocket.db`, those of Anna and Bert, and two dead letters of Anna's. Returns the ids of
/// the sessions.
async fn leave_dead_letters(directory: &Path) -> [String; 2] {
    let server = node(directory, |builder| {
        builder.service("Tests.work", async |_: Incoming<String>| {
            Err::<Outcome<()>, _>(HandlerError::internal("no, not today"))
        })
    })
    .await;
    let anna = TestClient::builder(&server)
        .app("Shop", "1.2")
        .authorization("anna");
    let anna = anna.connect().await.expect("welcome");
    let bert = TestClient::connect(&server, "bert").await.expect("welcome");
    for work in ["first", "second"] {
        anna.send("Tests.work", work).await.expect("taken");
    }
    within("two dead letters", async {
        while server.dead_letters(0, 10).await.expect("a store").len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let sessions = [anna.session_id(), bert.session_id()];
    drop((anna, bert));
    end(server, directory).await;
    sessions
}
