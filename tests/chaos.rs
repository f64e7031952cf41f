//! The chaos checker, `tests/tools/chaos`, at a small scale: every scenario keeps every promise; and with a promise broken
//! on purpose, it says so.
#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};

/// Leases and a whole cluster for each of them: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs the example, which `cargo test` builds beside the tests.
fn chaos(arguments: &str) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut path: PathBuf = std::env::current_exe().expect("known");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("examples/chaos");
    assert!(
        path.exists(),
        "{} is not there: run `cargo build --features postgres,sabotage --example chaos`",
        path.display()
    );
    let small = "--clients 40 --messages 2000 --every 500 --think 100 --lease 1500";
    let mut command = Command::new(path);
    command
        .arg("run")
        .args(small.split(' '))
        .args(arguments.split(' '))
        .stdin(Stdio::null());
    command.output().expect("the program was built")
}

fn keeps_its_promises(arguments: &str) {
    let output = chaos(arguments);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// How often a broken promise may go unnoticed by chance: a fault shows it only where it meets a message in the midst
/// of being processed, and a slow machine has few of those.
const ATTEMPTS: usize = 5;

/// With this promise broken, the checker says that messages were `said`.
fn is_noticed(arguments: &str, said: &str) {
    let mut texts = String::new();
    for _ in 0..ATTEMPTS {
        let output = chaos(&format!("--patience 4 {arguments}"));
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(1) && text.contains(&format!("\n{said}: ")) {
            return;
        }
        texts += &text;
        texts += &String::from_utf8_lossy(&output.stderr);
    }
    panic!("in {ATTEMPTS} runs, nothing {said:?} was noticed: {texts}");
}

#[test]
fn nodes_are_killed() {
    keeps_its_promises("--scenario kill --faults 12");
}

#[test]
fn the_database_is_restarted_in_the_midst_of_it() {
    keeps_its_promises("--scenario database --faults 4 --every 1500");
}

#[test]
fn the_nodes_lose_their_listen_lines() {
    keeps_its_promises("--scenario listen --faults 12");
}

#[test]
fn nodes_are_stopped_for_longer_than_their_lease() {
    keeps_its_promises("--scenario pause --faults 2");
}

#[test]
fn nodes_are_restarted_one_after_the_other() {
    keeps_its_promises("--scenario rolling --faults 6");
}

/// Up, in the midst of the load, and back down again: nodes of both versions work on tables that have changed under them.
#[test]
fn nodes_are_upgraded_and_rolled_back() {
    keeps_its_promises("--scenario upgrade --faults 6");
}

#[test]
fn an_upgraded_file_is_served_by_the_version_before() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("chaos.db");
    keeps_its_promises(&format!(
        "--scenario upgrade --faults 4 --store {}",
        file.display()
    ));
    let file = file.to_str().expect("plain");
    let mut conn = SqliteConnection::establish(file).expect("it is there");
    conn.batch_execute("SELECT id FROM matssocket_next_version")
        .expect("it was upgraded");
}

#[test]
fn a_node_dies_at_each_step_of_a_transactional_message() {
    keeps_its_promises("--scenario steps");
}

#[test]
fn the_lines_to_the_database_fall_silent() {
    keeps_its_promises("--scenario silent --faults 4 --every 1500");
}

#[test]
fn a_standby_takes_over() {
    keeps_its_promises("--scenario failover --faults 2");
}

#[test]
fn the_database_cannot_be_written_to_for_a_while() {
    keeps_its_promises("--scenario read-only --faults 3");
}

#[test]
fn the_nodes_get_too_few_connections() {
    keeps_its_promises("--scenario slots --faults 4 --every 1500");
}

#[test]
fn without_deduplication_the_checker_sees_messages_processed_twice() {
    is_noticed(
        "--sabotage deduplication --scenario kill --faults 6",
        "processed twice",
    );
}

#[test]
fn without_fencing_the_checker_sees_messages_processed_twice() {
    is_noticed(
        "--sabotage fencing --scenario pause --faults 2",
        "processed twice",
    );
}

#[test]
fn without_redelivery_the_checker_sees_messages_lost() {
    is_noticed("--sabotage redelivery --scenario kill --faults 6", "lost");
}
