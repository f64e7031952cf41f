//! kill -9 of a node whose users are present, on PostgreSQL and by the clock of the machine.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use matssocket::Postgres;
use matssocket_testing::postgres::{Schema, url};
use matssocket_testing::*;

/// Set in the child: its schema.
const SCHEMA: &str = "MATSSOCKET_TEST_PRESENCE_SCHEMA";
const LEASE: Duration = Duration::from_secs(2);

fn nodes_on(schema: &str) -> Setup {
    Setup::new()
        .at(Postgres::at(url()).schema(schema))
        .config(|config| {
            config.lease = LEASE;
            config.lease_interval = Duration::from_millis(200);
            config.presence_interval = Duration::from_millis(20);
            config.presence_grace = Duration::from_millis(500);
        })
        .extend(|builder, _, _| builder.presence_topic("presence"))
}

/// In the child: a node that is killed.
#[test]
fn child() {
    let Ok(schema) = std::env::var(SCHEMA) else {
        return;
    };
    actix_web::rt::System::new().block_on(async {
        let nodes = nodes_on(&schema).start(1).await;
        println!("child at {}", nodes[0].url);
        std::future::pending::<()>().await;
    });
}

struct Killed(Child);

impl Killed {
    fn start(schema: &str) -> (Killed, String) {
        let mut child = Command::new(std::env::current_exe().expect("this executable"))
            .args(["presence_killed::child", "--exact", "--nocapture"])
            .env(SCHEMA, schema)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let url = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("child at ")?.1.to_owned()));
        (Killed(child), url.expect("the child is ready"))
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Nobody says good-bye: its users leave when its lease has expired and the grace is over, but for those who have come
/// back elsewhere.
#[actix_web::test]
async fn users_of_a_killed_node_leave_unless_they_come_back() {
    let schema = Schema::new();
    let nodes = nodes_on(schema.name()).start(1).await;
    let (mut killed, url) = Killed::start(schema.name());
    let mut watcher = nodes.open("watcher").await;
    watcher.send(json!([{"t": "SUB", "eid": "presence"}])).await;
    watcher.expect("SUB_OK").await;
    let stays = Client::new("stays").welcome(&url).await;
    let _goes = Client::new("goes").welcome(&url).await;
    let mut joined = BTreeSet::new();
    while !(joined.contains("stays") && joined.contains("goes")) {
        let change = watcher.expect("PUB").await["msg"].clone();
        let users = change["joined"].as_array().expect("joined").iter();
        joined.extend(users.map(|it| it["user"].as_str().expect("a name").to_owned()));
    }
    killed.kill();
    let when = std::time::Instant::now();
    let _stays = nodes.back(0, stays.cut()).await;
    let change = watcher.expect("PUB").await["msg"].clone();
    assert_eq!(
        (&change["joined"], &change["left"]),
        (&json!([]), &json!(["goes"]))
    );
    // It was renewed at most so long before.
    let least = LEASE - Duration::from_millis(200);
    assert!(
        when.elapsed() > least - Duration::from_millis(300),
        "{:?}",
        when.elapsed()
    );
    watcher.none("PUB").await;
    let here = nodes.server().connected_users(None, 10).await.unwrap();
    let here: Vec<_> = here.iter().map(|user| &*user.user_id).collect();
    assert_eq!(here, ["stays", "watcher"]);
}
