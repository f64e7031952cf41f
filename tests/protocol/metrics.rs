//! The figures of a node, as JSON and as Prometheus reads them.

use std::collections::HashMap;

use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use matssocket::testkit::{TestClient, any_user};
use matssocket::{HandlerError, Incoming, MatsSocketServer, Outcome, Store};
use matssocket_testing::*;
use serde_json::json;

#[actix_web::test]
async fn metrics_show_every_actor() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("test.do", json!({"do": "forward"})).await;
    line.expect_id("RESOLVE", &cmid).await;
    nodes.server().publish("topic", "t", &1).await.unwrap();
    let metrics = serde_json::to_value(nodes.server().metrics()).unwrap();
    let text = metrics.to_string().to_lowercase();
    for actor in [
        "registry",
        "store",
        "cluster",
        "session",
        "connection",
        "service",
    ] {
        assert!(text.contains(actor), "no {actor} in {metrics:#}");
    }
}

/// What a scrape shows: each figure, by its name and labels.
async fn scrape(server: &MatsSocketServer) -> HashMap<String, f64> {
    let app = App::new().route("/metrics", server.prometheus_scrape());
    let app = init_service(app.default_service(web::to(async || "nothing"))).await;
    let request = TestRequest::get().uri("/metrics").to_request();
    let response = call_service(&app, request).await;
    let kind = response.headers().get("content-type").expect("it says");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let body = read_body(response).await;
    let text = std::str::from_utf8(&body).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Waits until so many sessions are shown: the registry learns of them a moment after others.
async fn connected(server: &MatsSocketServer, many: f64) {
    while scrape(server).await["matssocket_sessions_connected"] != many {
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn a_scrape_shows_sessions_and_what_became_of_messages() {
    let nodes = Nodes::one().await;
    let before = scrape(nodes.server()).await;
    assert_eq!(before["matssocket_sessions_connected"], 0.0);
    let mut line = nodes.open("anna").await;
    let mut others = nodes.open("bertha").await;
    for todo in ["resolve", "resolve", "reject", "error", "forward"] {
        let cmid = line.request("test.do", json!({"do": todo})).await;
        line.answer(&cmid).await;
    }
    connected(nodes.server(), 2.0).await;
    let shown = scrape(nodes.server()).await;
    let calls = |outcome: &str| {
        shown[&format!(
            "matssocket_endpoint_calls_total{{endpoint=\"test.do\",outcome=\"{outcome}\"}}"
        )]
    };
    assert_eq!(
        ["resolved", "rejected", "failed", "forwarded", "done"].map(calls),
        [2.0, 1.0, 1.0, 1.0, 0.0]
    );
    let handling = |what: &str| shown[&format!("matssocket_endpoint_handling_seconds_{what}")];
    let took = handling(r#"sum{endpoint="test.do"}"#);
    assert!(took > 0.0 && took < 60.0, "{took} s");
    assert_eq!(handling(r#"count{endpoint="test.do"}"#), 5.0);
    assert_eq!(handling(r#"bucket{endpoint="test.do",le="+Inf"}"#), 5.0);
    assert!(handling(r#"bucket{endpoint="test.do",le="0.000025"}"#) <= 5.0);
    for stage in ["parse", "handler", "store_wait", "commit", "send"] {
        let times = shown[&format!("matssocket_stage_seconds_count{{stage=\"{stage}\"}}")];
        assert!(times >= 1.0, "{stage}: {times}");
    }
    assert_eq!(shown["matssocket_ready"], 1.0);
    assert!(shown["matssocket_store_transactions_total"] > 0.0);
    assert!(shown["matssocket_mailbox_handled_total{actor=\"session\"}"] > 0.0);
    others.leave(1001).await;
    nodes.control.event("close", others.session()).await;
    connected(nodes.server(), 1.0).await;
    let closed = scrape(nodes.server()).await;
    assert_eq!(
        closed[r#"matssocket_closes_total{by="client",code="1001"}"#],
        1.0
    );
    assert!(closed["matssocket_lease_age_seconds"] < 60.0);
    assert!(closed["matssocket_store_connections"] >= 1.0);
}

#[actix_web::test]
async fn a_scrape_shows_refusals_closes_and_how_many_a_publication_reaches() {
    let nodes = Nodes::one().await;
    let (mut anna, mut bertha) = (nodes.open("anna").await, nodes.open("bertha").await);
    for line in [&mut anna, &mut bertha] {
        line.send(json!([{"t": "SUB", "eid": "news"}])).await;
        line.expect("SUB_OK").await;
    }
    nodes
        .server()
        .publish("news", "t", &1)
        .await
        .expect("stored");
    for line in [&mut anna, &mut bertha] {
        line.expect("PUB").await;
    }
    anna.send(json!([{"t": "SUB", "eid": "denied"}])).await;
    anna.expect("SUB_NO_AUTH").await;
    let mut refused = Client::with_auth("nobody").connect(&nodes[0].url).await;
    refused.say_hello().await;
    refused.expect_close(1008).await;
    let shown = scrape(nodes.server()).await;
    let seen = [
        "matssocket_publications_total",
        "matssocket_publications_delivered_total",
        r#"matssocket_refusals_total{of="topic"}"#,
        r#"matssocket_refusals_total{of="login"}"#,
        r#"matssocket_refusals_total{of="delivery"}"#,
        r#"matssocket_closes_total{by="server",code="1008"}"#,
        "matssocket_sweep_finds_total",
    ];
    assert_eq!(
        seen.map(|name| shown[name]),
        [1.0, 2.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    );
}

/// It is called by a thread of the store, which catches the panic.
#[cfg(feature = "sqlite")]
#[actix_web::test]
async fn a_transactional_handler_that_panics_counts_as_failed() {
    let panics = |_: &mut diesel::SqliteConnection, _: Incoming<u8>| -> Result<Outcome<u8>, _> {
        if true {
            panic!("on purpose");
        }
        Err(HandlerError::public("not reached"))
    };
    let server = MatsSocketServer::builder("metrics")
        .store(Store::sqlite_in_memory())
        .authentication(any_user())
        .transactional("Panics", panics)
        .start();
    let server = server.await.expect("starts");
    let client = TestClient::connect(&server, "anna").await.expect("welcome");
    assert!(client.request::<u8>("Panics", &1).await.is_err());
    let shown = scrape(&server).await;
    let failed = r#"matssocket_endpoint_calls_total{endpoint="Panics",outcome="failed"}"#;
    assert_eq!(shown[failed], 1.0);
    server.stop().await;
}
