//! `serve`.

use std::net::TcpListener;
use std::path::Path;

use matssocket_client::Client;
use serde_json::{Value, json};

use super::{assert_failed, done, matssocket};
use matssocket_testing::program::{Program, http, run, within};

pub struct Served {
    pub program: Program,
    pub told: Value,
    pub port: u16,
}

pub fn serve(directory: &Path, arguments: &[&str]) -> Served {
    let arguments = [&["serve", "--listen", "127.0.0.1:0", "--json"], arguments].concat();
    let mut program = Program::start(&mut matssocket(directory, &arguments));
    let told: Value = serde_json::from_str(&program.line()).expect("JSON");
    let port = told["http"]
        .as_str()
        .and_then(|http| http.rsplit(':').next());
    let port = port.and_then(|port| port.parse().ok()).expect("a port");
    Served {
        program,
        told,
        port,
    }
}

#[tokio::test]
async fn it_serves_and_stops_in_good_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let served = serve(there, &["--node-name", "blue", "--introspection"]);
    assert_eq!(served.told["store"], "sqlite:matssocket.db");
    let node = served.told["node"].as_str().expect("a name");
    assert!(node.starts_with("blue-"), "{node}");
    let client = Client::builder("Tests", "1")
        .url(served.told["url"].as_str().expect("a URL"))
        .authorization_value("Demo:anna")
        .build()
        .expect("a proper URL");
    let reply = client.request::<Value>("trace", "Demo.echo", &json!({"text": "hello"}));
    let reply = within("the reply", reply).await.expect("answered");
    assert_eq!(
        reply.resolved().expect("resolved"),
        json!({"text": "hello", "node": "blue"})
    );

    let port = served.port;
    assert_eq!(http(port, "GET /health", &[]).body, "up\n");
    assert_eq!(http(port, "GET /ready", &[]).status, 200);
    assert_eq!(http(port, "GET /metrics", &[]).json()["node"], node);
    assert_eq!(
        http(port, "GET /sessions", &[]).json()[0]["user_id"],
        "anna"
    );
    let another = run(&mut matssocket(
        there,
        &["serve", "--listen", &format!("127.0.0.1:{port}")],
    ));
    assert_failed(&another, 1, &["in use", "--listen"]);
    let another = run(&mut matssocket(
        there,
        &["serve", "--listen", "127.0.0.1:0"],
    ));
    assert_failed(&another, 1, &["matssocket.db", "in use"]);

    assert_eq!(served.program.end("TERM").code(), Some(0));
    assert_eq!(
        done(there, &["sessions", "--count"]),
        "1\n",
        "its session is kept"
    );
}

/// A load balancer learns it first; nobody is refused or sent away meanwhile.
#[tokio::test]
async fn it_says_that_it_stops_before_it_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let served = serve(directory.path(), &["--stop-delay", "1h"]);
    let url = served.told["url"].as_str().expect("a URL").to_owned();
    let (port, program) = (served.port, served.program);
    program.signal("TERM");
    while http(port, "GET /ready", &[]).status != 503 {
        tokio::task::yield_now().await;
    }
    let client = Client::builder("Tests", "1")
        .url(url)
        .authorization_value("Demo:anna")
        .build()
        .expect("a proper URL");
    let reply = client.request::<Value>("trace", "Demo.echo", &json!({"text": "late"}));
    let reply = within("the reply", reply).await.expect("answered");
    assert!(reply.resolved().is_ok(), "a new client is served");
    assert_eq!(
        program.end("TERM").code(),
        Some(0),
        "a second signal ends it at once"
    );
}

#[test]
fn who_is_connected_is_told_only_if_that_is_wanted() {
    let directory = tempfile::tempdir().expect("a directory");
    let served = serve(directory.path(), &[]);
    assert_eq!(http(served.port, "GET /sessions", &[]).status, 404);
    assert_eq!(served.program.end("INT").code(), Some(0));
}

#[test]
fn it_greets_people_with_where_everything_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut program = Program::start(&mut matssocket(
        directory.path(),
        &["serve", "--listen", "127.0.0.1:0"],
    ));
    let line = program.line();
    assert!(
        line.starts_with("ready ws://127.0.0.1:") && line.contains(" node="),
        "{line}"
    );
}

#[test]
fn the_demo_has_a_name_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let output = run(&mut matssocket(
        directory.path(),
        &["demo", "--ports", &port],
    ));
    assert_failed(&output, 2, &[&port, "in use", "--ports"]);
    let mut program = Program::start(&mut matssocket(directory.path(), &["demo", "--ports", "0"]));
    assert!(program.line().starts_with("MatsSocket demo"));
    assert!(directory.path().join("matssocket-demo.db").exists());
}

/// The exit code said that it might go better next time, and systemd began again for ever.
#[test]
fn wrong_settings_end_it_for_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let arguments = ["serve", "--lease", "10s", "--lease-interval", "20s"];
    let ended = run(&mut matssocket(directory.path(), &arguments));
    assert_failed(&ended, 2, &["lease_interval"]);
}
