//! The commands by the admin API of a running server, whose SQLite file is not open to them.

use std::fs;
use std::path::Path;
use std::process::Command;

use matssocket_client::Client;
use serde_json::{Value, json};

use super::serving::{Served, serve};
use super::{assert_failed, matssocket, said};
use matssocket_testing::program::{http, run, within};

const TOKEN: &str = "a long random token";

/// A server that is administered by the token, and where.
fn administered(directory: &Path) -> (Served, String) {
    fs::write(directory.join("token"), format!("{TOKEN}\n")).expect("written");
    let served = serve(directory, &["--admin-token-file", "token"]);
    let url = format!("http://127.0.0.1:{}/admin", served.port);
    assert_eq!(served.told["admin"], format!("{url}/"));
    (served, url)
}

/// `matssocket` with these arguments, by the server.
fn by_server(directory: &Path, url: &str, arguments: &[&str]) -> Command {
    let arguments = [arguments, &["--server", url, "--token-file", "token"]].concat();
    matssocket(directory, &arguments)
}

async fn log_in(served: &Served, user: &str) -> Client {
    let client = Client::builder("Tests", "1")
        .url(served.told["url"].as_str().expect("a URL"))
        .authorization_value(format!("Demo:{user}"))
        .build()
        .expect("a proper URL");
    let reply = client.request::<Value>("trace", "Demo.echo", &json!({"text": "hello"}));
    within("the reply", reply).await.expect("answered");
    client
}

#[tokio::test]
async fn a_running_node_on_sqlite_is_administered_by_its_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let (served, url) = administered(there);
    let (anna, _bert) = (log_in(&served, "anna").await, log_in(&served, "bert").await);
    let by_file = run(&mut matssocket(there, &["sessions"]));
    assert_failed(&by_file, 1, &["matssocket.db", "in use"]);

    let done = |arguments: &[&str]| said(&run(&mut by_server(there, &url, arguments)));
    assert_eq!(done(&["sessions", "--count"]), "2\n");
    let page: Value =
        serde_json::from_str(&done(&["sessions", "--limit", "1", "--json"])).expect("JSON");
    assert_eq!(
        (&page["count"], page["sessions"].as_array().map(Vec::len)),
        (&json!(2), Some(1))
    );
    assert_eq!(page["sessions"][0]["user_id"], "anna");
    assert!(done(&["users"]).contains("bert         1          1"));
    let node = served.told["node"].as_str().expect("a name");
    for arguments in [&["users", "--connected"][..], &["users", "--user", "bert"]] {
        let connected = done(arguments);
        assert!(
            connected.contains("bert") && connected.contains(node),
            "{connected}"
        );
    }
    assert!(done(&["nodes"]).contains(node));
    assert_eq!(done(&["dead-letters", "list"]), "0 dead letters\n");
    assert_eq!(
        done(&["dead-letters", "drop", "--all"]),
        "0 dead letters dropped\n"
    );
    let left = run(&mut by_server(
        there,
        &url,
        &["dead-letters", "redrive", "7"],
    ));
    assert_failed(&left, 1, &["dead letter 7: there is none"]);

    assert_eq!(
        done(&["sessions", "revoke", "--user", "bert"]),
        "the authorization of bert is revoked\n"
    );
    let mine = page["sessions"][0]["session_id"].as_str().expect("an id");
    assert_eq!(
        done(&["sessions", "close", mine]),
        format!("session {mine} is closed\n")
    );
    let again = run(&mut by_server(there, &url, &["sessions", "close", mine]));
    assert_failed(&again, 1, &["no session", mine]);
    assert_eq!(
        done(&["sessions", "close", "--user", "bert"]),
        "1 session of bert closed\n"
    );
    drop(anna);

    // The same by the environment, by which the token may be given as well.
    let mut command = matssocket(there, &["sessions", "--count"]);
    command
        .env("MATSSOCKET_SERVER", format!("{url}/"))
        .env("MATSSOCKET_TOKEN", TOKEN);
    assert_eq!(said(&run(&mut command)), "0\n");
}

#[test]
fn what_is_wrong_with_a_server_or_its_token_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let (served, url) = administered(there);
    fs::write(there.join("wrong"), "another token").expect("written");
    fs::write(there.join("empty"), "\n").expect("written");
    let elsewhere = format!("http://127.0.0.1:{}/elsewhere", served.port);
    for (arguments, code, contains) in [
        (
            &["nodes", "--server", &url][..],
            1,
            &["refuses the token", "--token-file"][..],
        ),
        (
            &["nodes", "--server", &url, "--token-file", "wrong"],
            1,
            &["refuses the token"],
        ),
        (
            &["nodes", "--server", &url, "--token-file", "empty"],
            2,
            &["empty"],
        ),
        (
            &["nodes", "--server", &url, "--token-file", "none"],
            2,
            &["none", "cannot be read"],
        ),
        (&["nodes", "--token-file", "token"], 2, &["--server"]),
        (
            &["nodes", "--server", &elsewhere],
            1,
            &["/elsewhere", "no admin API"],
        ),
        (
            &["nodes", "--server", "http://127.0.0.1:1/admin"],
            1,
            &["127.0.0.1:1", "does not answer"],
        ),
        (
            &["nodes", "--server", "shop.example"],
            2,
            &["http://", "https://"],
        ),
        (
            &["nodes", "--server", "http://anna:secret@shop.example"],
            2,
            &["anna:***@", "--token-file"],
        ),
        (
            &["nodes", "--server", &url, "--store", "a.db"],
            2,
            &["--server", "--store"],
        ),
        (
            &["migrate", "--server", &url],
            2,
            &["migrate", "leave out --server"],
        ),
    ] {
        assert_failed(&run(&mut matssocket(there, arguments)), code, contains);
    }
    fs::write(there.join("short"), "guess").expect("written");
    let short = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin-token-file",
        "short",
    ];
    assert_failed(
        &run(&mut matssocket(there, &short)),
        2,
        &["short", "5 characters", "openssl"],
    );
}

#[test]
fn the_dashboard_is_served_only_with_a_token_and_to_whoever_has_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let without = serve(directory.path(), &["--store", "other.db"]);
    assert_eq!(http(without.port, "GET /admin/", &[]).status, 404);
    assert_eq!(without.told["admin"], Value::Null);
    let (served, _) = administered(directory.path());
    assert_eq!(http(served.port, "GET /admin/", &[]).status, 401);
    let authorization = format!("Authorization: Bearer {TOKEN}");
    let page = http(served.port, "GET /admin/", &[&authorization]);
    assert_eq!((page.status, page.body.contains("<main")), (200, true));
}
