//! `migrate`, `sessions`, `users`, `dead-letters` and `nodes`.

use std::fs;
use std::path::Path;

use matssocket::testkit::TestClient;
use matssocket::{Incoming, Outcome};
use serde_json::{Value, json};

use super::{assert_failed, done, end, json, leave_dead_letters, matssocket, node};
use matssocket_testing::program::{run, within};

#[test]
fn every_command_explains_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let whole = done(directory.path(), &["--help"]);
    for command in [
        "demo",
        "serve",
        "migrate",
        "sessions",
        "users",
        "dead-letters",
        "nodes",
    ] {
        assert!(
            whole.contains(&format!("\n  {command} ")),
            "{command} is not in: {whole}"
        );
        for help in ["--help", "-h"] {
            let help = done(directory.path(), &[command, help]);
            assert!(
                help.contains(&format!("Usage: matssocket {command}")) || command == "demo",
                "{help}"
            );
        }
    }
    assert_eq!(
        done(directory.path(), &["--version"]),
        concat!("matssocket ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let left = directory.path().read_dir().expect("readable").count();
    assert_eq!(left, 0, "help touches nothing");
}

#[test]
fn shells_and_man_are_told_all_commands_and_settings() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = done(there, &["completions", shell]);
        for word in ["dead-letters", "rename-app", "max-inbox"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    done(there, &["man", "."]);
    let page = fs::read_to_string(there.join("matssocket-serve.1")).expect("written");
    assert!(page.contains("max\\-inbox"), "{page}");
    let pages = there.read_dir().expect("readable").count();
    assert!(pages >= 10, "{pages}");
    let output = run(&mut matssocket(there, &["man", "nowhere"]));
    assert_failed(&output, 1, &["nowhere"]);
    let output = run(&mut matssocket(there, &["completions", "cmd"]));
    assert_failed(&output, 2, &["cmd", "bash"]);
}

#[test]
fn what_is_not_understood_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    for (arguments, contains) in [
        (&["surplus"][..], &["surplus", "dead-letters"][..]),
        (
            &["nodes", "surplus"],
            &["surplus", "matssocket nodes --help"],
        ),
        (&["nodes", "--colour"], &["--colour"]),
        (&["nodes", "--listen", "127.0.0.1:0"], &["--listen"]),
        (&["nodes", "--store"], &["--store"]),
        (
            &["nodes", "--store", "mysql://anna:secret@host/x"],
            &["mysql", "postgres://", "--store"],
        ),
        (
            &["nodes", "--store", "host=db password=secret"],
            &["host=db password=***", "postgres://", "--store"],
        ),
        (
            &["migrate", "--store", "sqlite:password='a secret'"],
            &["postgres://", "--store"],
        ),
        (
            &["serve", "--store", "postgres:anna:secret@host/x"],
            &["postgres://", "--store"],
        ),
        (
            &["nodes", "postgres://anna:secret@host/x?pass%77ord=secret"],
            &["postgres://anna:***@host/x", "pass%77ord=***"],
        ),
        (
            &["postgres://anna:secret@host/x"],
            &["postgres://anna:***@host/x"],
        ),
        (
            &["demo", "--ports", "8080,postgres://anna:secret@host/x"],
            &["--ports", "list of ports"],
        ),
        (
            &["serve", "--config", "postgres://anna:secret@host/x"],
            &["postgres://anna:***@host/x", "cannot be read"],
        ),
        (
            &["nodes", "--json=postgres://anna:secret@host/x"],
            &["--json"],
        ),
        (
            &["sessions", "--limit", "postgres://anna:secret@host/x"],
            &["postgres://anna:***@host/x"],
        ),
        (
            &["dead-letters", "drop", "postgres://anna:secret@host/x"],
            &["postgres://anna:***@host/x"],
        ),
        (
            &["serve", "--listen", "postgres://anna:secret@host/x"],
            &["--listen"],
        ),
        (&["nodes", "--schema", "x"], &["schema", "PostgreSQL"]),
        (&["--ports", "0", "serve"], &["serve", "--ports"]),
        (&["sessions", "close"], &["close SID"]),
        (&["sessions", "close", "a", "b"], &["\"b\""]),
        (&["sessions", "--limit", "many"], &["many"]),
        (&["sessions", "--count", "close", "a"], &["close"]),
        (&["sessions", "close", "a", "--user", "anna"], &["--user"]),
        (&["dead-letters"], &["list", "redrive", "drop"]),
        (&["dead-letters", "redrive"], &["--all"]),
        (&["dead-letters", "redrive", "1", "--all"], &["--all"]),
        (
            &["dead-letters", "drop", "--all", "--limit", "1"],
            &["--limit"],
        ),
        (&["dead-letters", "drop", "x"], &["\"x\""]),
        (
            &["serve", "--print-config", "--lease", "3s"],
            &["lease_interval = 5s", "--lease"],
        ),
        (&["serve", "--listen", "nowhere"], &["nowhere", "--listen"]),
    ] {
        let output = run(&mut matssocket(directory.path(), arguments));
        assert_failed(&output, 2, contains);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("secret"), "{stderr}");
    }
    let left = directory.path().read_dir().expect("readable").count();
    assert_eq!(left, 0, "nothing is named after a connection string");
}

#[cfg(not(feature = "postgres"))]
#[test]
fn a_program_without_postgresql_says_how_to_get_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = run(&mut matssocket(
        directory.path(),
        &["nodes", "--store", "postgres://host/x"],
    ));
    assert_failed(&output, 2, &["--features postgres"]);
}

#[test]
fn an_empty_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let output = run(&mut matssocket(there, &["nodes"]));
    assert_failed(&output, 1, &["matssocket.db", "--store"]);
    assert_eq!(
        done(there, &["migrate"]),
        "sqlite:matssocket.db is up to date\n"
    );
    assert_eq!(json(there, &["migrate"])["store"], "sqlite:matssocket.db");
    assert_eq!(
        json(there, &["migrate", "--rename-app", "shop"])["renamed"],
        json!({"from": null, "to": "shop"})
    );
    assert_eq!(
        done(there, &["migrate", "--rename-app", "bank"]),
        "the application \"shop\" is called \"bank\" now\nsqlite:matssocket.db is up to date\n"
    );
    assert_eq!(done(there, &["nodes"]), "0 nodes up\n");
    assert_eq!(
        json(there, &["nodes"]),
        json!({"nodes": [], "unserved": []})
    );
    assert_eq!(done(there, &["sessions"]), "0 sessions\n");
    assert_eq!(done(there, &["users"]), "0 users\n");
    assert_eq!(
        done(there, &["users", "--connected"]),
        "0 users connected\n"
    );
    assert_eq!(
        json(there, &["sessions"]),
        json!({"sessions": [], "count": 0})
    );
    assert_eq!(done(there, &["dead-letters", "list"]), "0 dead letters\n");
    assert_eq!(
        json(there, &["dead-letters", "list"]),
        json!({"dead_letters": [], "more": false})
    );
    assert_eq!(
        json(there, &["dead-letters", "redrive", "--all"]),
        json!({"redriven": [], "left": []})
    );
}

#[tokio::test]
async fn sessions_are_listed_counted_and_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let [anna, bert] = leave_dead_letters(there).await;
    let listed = json(there, &["sessions", "--user", "anna"]);
    assert_eq!(listed["count"], 1);
    let session = &listed["sessions"][0];
    assert_eq!(
        (&session["session_id"], &session["user_id"]),
        (&json!(anna), &json!("anna"))
    );
    assert_eq!(
        (&session["app_name"], &session["node"]),
        (&json!("Shop"), &json!(null))
    );

    let of = |user: &str| json!({"user_id": user, "sessions": 1, "connected": 0});
    assert_eq!(
        json(there, &["users", "--limit", "1"]),
        json!({"users": [of("anna")], "more": true})
    );
    assert_eq!(
        json(there, &["users", "--after", "anna"]),
        json!({"users": [of("bert")], "more": false})
    );
    for options in [&["--connected"][..], &["--user", "anna"]] {
        let asked = [&["users"], options].concat();
        let none = json!({"users": [], "more": false});
        assert_eq!(json(there, &asked), none, "their server has stopped");
    }

    assert_eq!(
        json(there, &["sessions", "--app", "Shop", "--count"]),
        json!({"count": 1})
    );
    assert_eq!(done(there, &["sessions", "--count"]), "2\n");
    assert_eq!(done(there, &["sessions", "--connected"]), "0 sessions\n");
    let table = done(there, &["sessions", "--limit", "1"]);
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0].starts_with("SESSION ") && lines[1].starts_with(&anna),
        "{table}"
    );
    assert!(
        lines[1].contains("Shop 1.2") && lines[1].contains(" s ago"),
        "{table}"
    );
    assert_eq!(lines[2..], ["", "1 of 2 sessions (--limit shows more)"]);

    assert_eq!(
        json(there, &["sessions", "close", &bert]),
        json!({"closed": bert})
    );
    let output = run(&mut matssocket(there, &["sessions", "close", &bert]));
    assert_failed(&output, 1, &[&bert]);
    assert_eq!(done(there, &["sessions", "--count"]), "1\n");
}

#[tokio::test]
async fn a_redriven_dead_letter_reaches_its_service() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let [anna, _] = leave_dead_letters(there).await;
    let listed = json(there, &["dead-letters", "list", "--limit", "1"]);
    assert_eq!(listed["more"], true);
    let letter = &listed["dead_letters"][0];
    assert_eq!(
        (&letter["origin"], &letter["payload"]),
        (&json!("service"), &json!("\"first\""))
    );
    assert_eq!(letter["session_id"], json!(anna));
    let first = letter["id"].to_string();
    let rest = json(there, &["dead-letters", "list", "--after", &first]);
    let second = rest["dead_letters"][0]["id"].to_string();
    let table = done(there, &["dead-letters", "list"]);
    assert!(
        table.contains("no, not today") && table.ends_with("\n2 dead letters\n"),
        "{table}"
    );

    assert_eq!(
        done(there, &["dead-letters", "redrive", &second]),
        "1 dead letter redriven\n"
    );
    let output = run(&mut matssocket(
        there,
        &["dead-letters", "drop", &second, &first],
    ));
    assert_failed(
        &output,
        1,
        &[&format!("dead letter {second}: there is none")],
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 dead letter dropped\n"
    );
    assert_eq!(done(there, &["dead-letters", "list"]), "0 dead letters\n");

    let (working, mut worked) = tokio::sync::mpsc::unbounded_channel();
    let server = node(there, |builder| {
        builder.service("Tests.work", move |work: Incoming<String>| {
            let _ = working.send(work.payload.clone());
            std::future::ready(Ok(Outcome::<()>::done()))
        })
    })
    .await;
    let work = within("the redriven work", worked.recv()).await;
    assert_eq!(work.as_deref(), Some("second"));
    let output = run(&mut matssocket(there, &["dead-letters", "list"]));
    assert_failed(
        &output,
        1,
        &["matssocket.db", "in use", "stop the other process"],
    );
    server.stop().await;
}

/// A message that its client does not acknowledge, connection after connection.
async fn leave_undelivered(directory: &Path) -> String {
    let server = node(directory, |builder| builder).await;
    let anna = TestClient::builder(&server)
        .authorization("anna")
        .hold_acks();
    let anna = anna.connect().await.expect("welcome");
    let sid = anna.session_id();
    server
        .send(&sid, "trace", "Tests.news", &1)
        .await
        .expect("stored");
    anna.next_message().await.expect("delivered");
    within("the dead letter", async {
        while server.dead_letters(0, 1).await.expect("a store").is_empty() {
            // The client lives on: it is not the line that is bad.
            anna.request::<Value>("MatsSocket.matsSocketPing", &json!({}))
                .await
                .expect("answered");
            anna.reconnect().await.expect("welcome back");
        }
    })
    .await;
    drop(anna);
    end(server, directory).await;
    sid
}

/// Nobody could see that messages waited for a service that no node had.
#[tokio::test]
async fn work_that_no_node_can_do_is_listed() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let server = node(there, |builder| builder).await;
    let anna = TestClient::connect(&server, "anna").await.expect("welcome");
    for _ in 0..2 {
        anna.send("Tests.work", "waits").await.expect("taken");
    }
    within("both to be stored", async {
        while server
            .unserved()
            .await
            .expect("a store")
            .first()
            .map(|it| it.messages)
            != Some(2)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let nodes = server.nodes().await.expect("a store");
    let services = nodes[0].services.clone().expect("published");
    let has = |name: &str| services.iter().any(|it| it == name);
    assert!(
        has("MatsSocket.matsPing") && !has("Tests.work"),
        "{services:?}"
    );
    drop(anna);
    end(server, there).await;
    let listed = json(there, &["nodes"]);
    let work = &listed["unserved"][0];
    assert_eq!(
        (&work["service"], &work["messages"]),
        (&json!("Tests.work"), &json!(2))
    );
    assert!(work["oldest"].as_i64() > Some(0), "{work}");
    let told = done(there, &["nodes"]);
    let rest = told.strip_prefix(
        "0 nodes up\n\nMessages are waiting for services that no running node has:\n",
    );
    let table = rest.unwrap_or_else(|| panic!("{told}"));
    assert!(
        table.starts_with("SERVICE     MESSAGES  OLDEST\nTests.work         2  "),
        "{told}"
    );
}

#[tokio::test]
async fn a_dead_letter_of_a_session_that_is_gone_can_only_be_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let sid = leave_undelivered(there).await;
    assert_eq!(
        json(there, &["dead-letters", "list"])["dead_letters"][0]["origin"],
        "outbox"
    );
    done(there, &["sessions", "close", &sid]);
    let output = run(&mut matssocket(
        there,
        &["dead-letters", "redrive", "--all", "--json"],
    ));
    assert_failed(&output, 1, &[&sid, "gone", "dropped"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&told["redriven"], &told["left"][0]["id"]),
        (&json!([]), &json!(1))
    );
    assert_eq!(
        done(there, &["dead-letters", "drop", "--all"]),
        "1 dead letter dropped\n"
    );
}
