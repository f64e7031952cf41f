//! The files of an SQLite store: who may open them, and what is left of a visit.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use diesel::prelude::*;
use matssocket::testkit::TestClient;
use matssocket::{Admin, Store};
use matssocket_client::Client;
use serde_json::{Value, json};

use super::serving::{Served, serve};
use super::{assert_failed, done, json, leave_dead_letters, matssocket, node};
use matssocket_testing::program::{Program, run, within};

#[tokio::test]
async fn another_process_is_refused_by_whatever_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let store = Store::sqlite(there.join("matssocket.db"));
    let server = node(there, |builder| builder.store(store.clone())).await;
    let client = TestClient::connect(&server, "anna").await.expect("welcome");
    symlink(there.join("matssocket.db"), there.join("link.db")).expect("linked");
    fs::hard_link(there.join("matssocket.db"), there.join("hard.db")).expect("linked");
    for removed in [false, true] {
        let names = match cfg!(target_os = "linux") {
            true => &["matssocket.db", "link.db", "hard.db"][..],
            // Without the lock file, other systems have nothing to know the file by.
            false if removed => &[],
            false => &["matssocket.db", "link.db"],
        };
        for name in names {
            for command in [
                &["nodes"][..],
                &["sessions", "--count"],
                &["sessions", "close", "nobody"],
                &["migrate"],
                &["serve", "--listen", "127.0.0.1:0"],
            ] {
                let arguments = [command, &["--store", name]].concat();
                let output = run(&mut matssocket(there, &arguments));
                assert_failed(&output, 1, &[name, "in use", "stop the other process"]);
            }
        }
        if !removed {
            fs::remove_file(there.join("matssocket.db.lock")).expect("there");
        }
    }
    let nodes = Admin::open(&store).await.expect("open").nodes().await;
    let [node] = &nodes.expect("reads")[..] else {
        panic!("the node is known no more");
    };
    assert!(node.lives && node.sessions == 1, "{node:?}");
    client
        .request::<Value>("MatsSocket.matsSocketPing", &json!({}))
        .await
        .expect("answered");
    server.stop().await;
}

#[test]
fn files_are_their_owners_whatever_the_umask() {
    for umask in ["000", "277"] {
        let directory = tempfile::tempdir().expect("a directory");
        let there = directory.path();
        let command = matssocket(there, &["serve", "--listen", "127.0.0.1:0"]);
        let mut shell = Command::new("sh");
        shell.current_dir(there).arg("-c");
        shell.arg(format!("umask {umask}; exec \"$@\"")).arg("sh");
        shell.arg(command.get_program()).args(command.get_args());
        let mut program = Program::start(&mut shell);
        assert!(program.line().starts_with("ready "));
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let name = format!("matssocket.db{suffix}");
            let metadata = there.join(&name).metadata().expect("there");
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{name}, umask {umask}");
        }
    }
}

/// Names and contents.
fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("readable");
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("readable");
        let bytes = fs::read(entry.path()).expect("readable");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    };
    entries.map(file).collect()
}

/// Every command that only reads, and what it says; fails if one of them changes a file.
fn read_all(there: &Path) -> [Value; 4] {
    let before = contents(there);
    [
        &["nodes"][..],
        &["sessions"],
        &["sessions", "--count"],
        &["dead-letters", "list"],
    ]
    .map(|command| {
        let told = json(there, command);
        done(there, command);
        let after = contents(there);
        assert!(
            after.keys().eq(before.keys()),
            "{command:?}: {:?}",
            after.keys()
        );
        assert!(after == before, "{command:?} has changed a file");
        told
    })
}

#[tokio::test]
async fn what_only_reads_leaves_no_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    leave_dead_letters(there).await;
    for lock_file in [true, false] {
        if !lock_file {
            fs::remove_file(there.join("matssocket.db.lock")).expect("there");
        }
        let [nodes, sessions, count, letters] = read_all(there);
        assert_eq!(nodes, json!({"nodes": [], "unserved": []}));
        assert_eq!(sessions["count"], 2);
        assert_eq!(count["count"], 2);
        assert_eq!(letters["dead_letters"].as_array().expect("a list").len(), 2);
    }
    let missing = ["nodes", "--store", "missing.db"];
    assert_failed(
        &run(&mut matssocket(there, &missing)),
        1,
        &["missing.db", "--store"],
    );
    fs::write(there.join("empty.db"), "").expect("written");
    let before = contents(there);
    let empty = ["nodes", "--store", "empty.db"];
    assert_failed(
        &run(&mut matssocket(there, &empty)),
        1,
        &["empty.db", "matssocket migrate"],
    );
    assert!(contents(there) == before);
}

#[tokio::test]
async fn what_only_reads_leaves_what_a_crash_has_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let Served { program, told, .. } = serve(there, &[]);
    let client = Client::builder("Tests", "1")
        .url(told["url"].as_str().expect("a URL"))
        .authorization_value("Demo:anna")
        .build()
        .expect("a proper URL");
    let reply = client.request::<Value>("trace", "Demo.echo", &json!({"text": "hello"}));
    within("the reply", reply).await.expect("answered");
    drop(program); // kill -9
    for shared_memory in [true, false] {
        if !shared_memory {
            fs::remove_file(there.join("matssocket.db-shm")).expect("there");
        }
        let [nodes, sessions, ..] = read_all(there);
        // Opened to be written, it would know neither the node nor that the session was connected.
        assert_eq!(nodes["nodes"][0]["name"], told["node"]);
        assert_eq!(nodes["nodes"][0]["sessions"], 1);
        assert_eq!(sessions["sessions"][0]["user_id"], "anna");
    }
}

#[tokio::test]
async fn what_clients_say_of_themselves_does_nothing_to_a_terminal() {
    const EVIL: &str = "a\u{1b}[2J\u{7f}\u{202e}\u{200b}\u{e0041}b";
    const TAME: &str = r"a\u{1b}[2J\u{7f}\u{202e}\u{200b}\u{e0041}b";
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    leave_dead_letters(there).await;
    {
        let url = there.join("matssocket.db");
        let mut conn = diesel::SqliteConnection::establish(url.to_str().expect("text"))
            .expect("nobody else has it");
        for sql in [
            "UPDATE matssocket_session SET app_name = ?, app_version = ?1, user_id = ?1, client = ?1",
            "UPDATE matssocket_dead_letter SET reason = ?, tid = ?1",
        ] {
            diesel::sql_query(sql)
                .bind::<diesel::sql_types::Text, _>(EVIL)
                .execute(&mut conn)
                .expect("works");
        }
    }
    let steers = |text: &str| text.replace('\n', "").contains(matssocket::wire::steers);
    for (command, pointer) in [
        (&["sessions"][..], "/sessions/0/app_name"),
        (&["dead-letters", "list"], "/dead_letters/0/reason"),
    ] {
        let table = done(there, command);
        assert!(!steers(&table) && table.contains(TAME), "{table:?}");
        let text = done(there, &[command, &["--json"]].concat());
        assert!(!steers(&text) && text.contains(r"\udb40\udc41"), "{text:?}");
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(told.pointer(pointer), Some(&json!(EVIL)));
    }
    let output = run(&mut matssocket(there, &["sessions", "close", EVIL]));
    assert_failed(&output, 1, &[TAME]);
    assert!(!steers(&String::from_utf8_lossy(&output.stderr)));
}
