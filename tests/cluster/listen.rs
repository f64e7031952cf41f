//! Nodes that hear each other through PostgreSQL, whatever they store in.

use matssocket::{Cluster, Store};

use matssocket_testing::postgres::{Schema, Server, url};
use matssocket_testing::*;

#[actix_web::test]
async fn nodes_tell_each_other_everything() {
    let schema = Schema::new();
    let name = schema.name().to_owned();
    let nodes = Setup::new()
        // As in processes of their own.
        .extend(move |builder, _, _| builder.cluster(Cluster::postgres(url(), &name)))
        .start(2)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    let other = &nodes[1].server;
    for number in 0..10 {
        let sent = other.send(line.session(), "t", "client.x", &number).await;
        sent.expect("stored");
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], number);
        line.ack(&mail).await;
    }
    line.send(json!([{"t": "SUB", "eid": "topic"}])).await;
    line.expect("SUB_OK").await;
    other.publish("topic", "t", &"news").await.expect("stored");
    assert_eq!(line.expect("PUB").await["msg"], "news");
    let mut moved = nodes.back(1, line.client.clone()).await;
    line.expect_close(4003).await;
    let closed = nodes.server().close_session(moved.session(), "bye").await;
    assert!(closed.expect("the store works"));
    moved.close().await;

    let [first, second] = [0, 1].map(|node| nodes[node].server.metrics().cluster);
    assert!(
        first.received >= 3 && second.sent >= 3,
        "{first:?} {second:?}"
    );
    assert!(second.statements <= second.sent, "{second:?}");
    assert_eq!((first.reconnects, second.reconnects), (0, 0));
}

/// A role that can do nothing but connect: anybody's, in many a company.
struct Stranger(String);

impl Stranger {
    fn new() -> Stranger {
        let name = format!("stranger_{:016x}", rand::random::<u64>());
        run(&url(), &format!("CREATE ROLE {name} LOGIN"));
        Stranger(name)
    }

    fn notifies(&self, channel: &str, payload: &Value) {
        let at = url().find('@').expect("a URL with a user");
        let url = format!("postgres://{}{}", self.0, &url()[at..]);
        run(&url, &format!("SELECT pg_notify('{channel}', '{payload}')"));
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        run(&url(), &format!("DROP ROLE {}", self.0));
    }
}

fn run(url: &str, sql: &str) {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, PgConnection};
    let mut conn = PgConnection::establish(url).expect("PostgreSQL is there");
    conn.batch_execute(sql).expect(sql);
}

/// By one NOTIFY each, everybody was logged out.
#[actix_web::test]
async fn a_stranger_in_the_database_logs_nobody_out() {
    let schema = Schema::new();
    let name = schema.name().to_owned();
    let nodes = Setup::new()
        .store(Store::sqlite_in_memory())
        .extend(move |builder, _, _| builder.cluster(Cluster::postgres(url(), &name)))
        .start(1)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    until(&nodes, "its line", |metrics| {
        metrics.maintenance["sweep"].runs == 1
    })
    .await;
    let stranger = Stranger::new();
    let channel = format!("matssocket-node:{}", nodes.server().node_name());
    let forged = [
        json!({"kind": "closed", "session": 1, "reason": "bye"}),
        json!({"kind": "taken_over", "session": 1, "connection": i64::MAX, "by": "nobody"}),
        json!({"kind": "taken_over", "session": 1, "connection": 2, "by": "nobody"}),
        json!({"kind": "come_back", "session": 1}),
        json!({"kind": "released", "session": 1, "connection": i64::MIN}),
        json!({"kind": "stored", "sessions": [1, 2, 3]}),
        json!({"kind": "unheard of"}),
    ];
    for payload in &forged {
        stranger.notifies(&channel, payload);
    }
    until(&nodes, "what was forged", |metrics| {
        metrics.cluster.received >= 6
    })
    .await;
    line.barrier().await;
    let sent = nodes.server().send(line.session(), "t", "client.x", &1);
    sent.await.expect("stored");
    let mail = line.expect("SEND").await;
    line.ack(&mail).await;
    // Nor is it kept from coming back.
    let mut back = nodes.back(0, line.client.clone()).await;
    line.expect_close(4003).await;
    back.barrier().await;
}

/// A node's sweep comes once an hour here, but at once when its line is back.
#[actix_web::test]
async fn what_was_told_while_the_line_was_lost_is_found_when_it_is_back() {
    let postgres = Server::new(false);
    let listening = Cluster::postgres(postgres.url(), "matssocket");
    let nodes = Setup::new()
        .store(Store::sqlite_in_memory())
        .extend(move |builder, _, node| match node {
            0 => builder.cluster(listening.clone()),
            _ => builder.cluster(Cluster::local()),
        })
        .start(2)
        .await;
    until(&nodes, "its line", |metrics| {
        metrics.maintenance["sweep"].runs == 1
    })
    .await;
    let mut line = nodes.open_on(0, "anna").await;
    let nobody_hears = nodes[1].server.send(line.session(), "t", "client.x", &1);
    nobody_hears.await.expect("stored");
    postgres.restart_immediate();
    assert_eq!(line.expect("SEND").await["msg"], 1);
    let metrics = nodes.server().metrics();
    assert_eq!(metrics.cluster.reconnects, 1);
    assert_eq!(metrics.maintenance["sweep"].runs, 2);
}

async fn until(nodes: &Nodes, what: &str, reached: impl Fn(&matssocket::Metrics) -> bool) {
    within(what, async {
        while !reached(&nodes.server().metrics()) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
}
