//! Behind PgBouncer in transaction mode: with a LISTEN line past it, or on the sweep alone.

use std::time::Duration;

use matssocket::{Config, Postgres};

use matssocket_testing::pooler::Pooler;
use matssocket_testing::postgres::{Schema, url};
use matssocket_testing::*;

async fn two_nodes(
    sweep: Duration,
    settings: impl Fn(Postgres) -> Postgres + 'static,
) -> (Nodes, Pooler) {
    let pooler = Pooler::start();
    let schema = Schema::new();
    let at = Postgres::at(pooler.url()).schema(schema.name());
    let nodes = Setup::new()
        .config(move |config: &mut Config| config.sweep_interval = sweep)
        .postgres(schema, settings(at))
        .start(2)
        .await;
    (nodes, pooler)
}

/// Messages, topics, a service and a reply cross from one node to the other.
async fn everything_crosses(nodes: &Nodes) {
    let mut line = nodes.open_on(0, "anna").await;
    for number in 0..20 {
        let sent = nodes[1]
            .server
            .send(line.session(), "t", "client.x", &number);
        sent.await.expect("sent");
    }
    for number in 0..20 {
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], number);
        line.ack(&mail).await;
    }
    let cmid = line.request("test.do", json!({"do": "forward"})).await;
    line.expect_id("RESOLVE", &cmid).await;
    // It moves while nobody tells it anything.
    let client = line.cut();
    nodes[0]
        .server
        .send(&client.session, "moved", "client.x", &1)
        .await
        .expect("sent");
    let mut line = nodes.back(1, client).await;
    assert_eq!(line.expect("SEND").await["tid"], "moved");
}

#[actix_web::test]
async fn on_the_sweep_alone() {
    let (nodes, _pooler) = two_nodes(Duration::from_millis(200), |at| at.pooled()).await;
    everything_crosses(&nodes).await;
}

#[actix_web::test]
async fn with_a_listen_line_past_it() {
    let never = Duration::from_secs(3600);
    let (nodes, _pooler) = two_nodes(never, |at| at.pooled().listen_url(url())).await;
    everything_crosses(&nodes).await;
}
