//! The commands beside running servers, which only PostgreSQL allows.

use std::path::Path;

use matssocket_client::{Client, ConnectionState};
use serde_json::{Value, json};

use super::serving::serve;
use super::{assert_failed, done, json, matssocket};
use matssocket_testing::postgres as server;
use matssocket_testing::program::{run, within};

/// A schema of a test's own.
struct Cluster {
    url: String,
    schema: server::Schema,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster {
            url: server::url(),
            schema: server::Schema::new(),
        }
    }

    fn arguments<'a>(&'a self, of: &[&'a str]) -> Vec<&'a str> {
        [of, &["--store", &self.url, "--schema", self.schema.name()]].concat()
    }
}

/// Name without its random part, whether it lives, and its sessions.
fn nodes(there: &Path, cluster: &Cluster) -> Vec<(String, bool, u64)> {
    let listed = json(there, &cluster.arguments(&["nodes"]));
    let node = |node: &Value| {
        let name = node["name"].as_str()?.rsplit_once('-')?.0;
        Some((
            name.to_owned(),
            node["lives"].as_bool()?,
            node["sessions"].as_u64()?,
        ))
    };
    let nodes = listed["nodes"].as_array().expect("a list").iter();
    nodes.map(|listed| node(listed).expect("a node")).collect()
}

#[tokio::test]
async fn a_cluster_is_looked_after_while_it_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let cluster = Cluster::new();
    let early = run(&mut matssocket(there, &cluster.arguments(&["nodes"])));
    assert_failed(&early, 1, &["matssocket migrate"]);
    let ran = |text: &str| text.matches("ran ").count();
    let first = done(there, &cluster.arguments(&["migrate"]));
    assert!(
        ran(&first) > 0 && first.ends_with(" is up to date\n"),
        "{first}"
    );
    assert_eq!(
        json(there, &cluster.arguments(&["migrate"]))["ran"],
        json!([])
    );

    let quick = [
        "--lease",
        "2s",
        "--lease-interval",
        "500ms",
        "--sweep-interval",
        "500ms",
    ];
    let node = |name| {
        let own = [&quick[..], &["--node-name", name]].concat();
        serve(there, &cluster.arguments(&own))
    };
    let (alpha, beta) = (node("alpha"), node("beta"));
    let client = Client::builder("Tests", "1")
        .url(alpha.told["url"].as_str().expect("a URL"))
        .authorization_value("Demo:anna")
        .build()
        .expect("a proper URL");
    let mut states = client.watch_state();
    client.reconnect();
    within("WELCOME", client.established()).await.expect("fine");
    let both = [("alpha".into(), true, 1), ("beta".into(), true, 0)];
    assert_eq!(nodes(there, &cluster), both);
    let table = done(there, &cluster.arguments(&["nodes"]));
    assert!(
        table.starts_with("NODE ") && table.ends_with("\n\n2 nodes up\n"),
        "{table}"
    );
    let connected = json(there, &cluster.arguments(&["sessions", "--connected"]));
    assert_eq!(connected["sessions"][0]["node"], alpha.told["node"]);

    let sid = client.session_id().expect("it has one");
    let connected = json(there, &cluster.arguments(&["users", "--connected"]));
    let user = &connected["users"][0];
    let session = &user["sessions"][0];
    assert_eq!(
        (&session["session_id"], &session["node"]),
        (&json!(sid), &alpha.told["node"])
    );
    assert!(session["since"].as_i64().is_some(), "{session}");
    let name = user["user_id"].as_str().expect("a name");
    let one = json(there, &cluster.arguments(&["users", "--user", name]));
    assert_eq!(one["users"], connected["users"]);
    let table = done(there, &cluster.arguments(&["users", "--connected"]));
    assert!(
        table.starts_with("USER ") && table.ends_with("\n\n1 user connected\n"),
        "{table}"
    );
    done(there, &cluster.arguments(&["sessions", "close", &sid]));
    let closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed(_));
    let state = within("the close", states.wait_for(closed)).await;
    let ConnectionState::Closed(why) = state.expect("the client is there").clone() else {
        unreachable!("waited for");
    };
    // The sweep found it gone.
    assert_eq!(why.code, Some(4001), "{why}");

    drop(alpha); // kill -9
    within("the end of its lease", async {
        while nodes(there, &cluster) != [("alpha".into(), false, 0), ("beta".into(), true, 0)] {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let table = done(there, &cluster.arguments(&["nodes"]));
    assert!(
        table.contains(" gone ") && table.ends_with("\n1 node up\n"),
        "{table}"
    );
    assert_eq!(beta.program.end("TERM").code(), Some(0));
    assert_eq!(nodes(there, &cluster).len(), 1, "it signed off");
}

/// The sessions, topics and messages of both were mixed.
#[test]
fn a_schema_that_belongs_to_another_application_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let there = directory.path();
    let cluster = Cluster::new();
    let migrate = ["migrate", "--rename-app", "shop"];
    done(there, &cluster.arguments(&migrate));
    let serve = cluster.arguments(&["serve", "--listen", "127.0.0.1:0"]);
    let refused = run(&mut matssocket(there, &serve));
    assert_failed(&refused, 1, &["\"shop\"", "Postgres::schema"]);
}

#[test]
fn a_password_that_libpq_would_misread_is_not_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    for url in [
        "postgres://anna:sec/ret@127.0.0.1:1/app",
        "postgres://anna:sec@ret@127.0.0.1:1/app",
    ] {
        for arguments in [
            &["nodes", "--store", url][..],
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--store",
                "postgres://127.0.0.1:1/app",
                "--listen-url",
                url,
            ],
        ] {
            let output = run(&mut matssocket(directory.path(), arguments));
            assert_failed(&output, 1, &["%40", "%2F"]);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                !stderr.contains("sec") && !stderr.contains("ret@"),
                "{stderr}"
            );
        }
    }
}
