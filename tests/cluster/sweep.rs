//! Notices are hints: with every one of them lost, doubled or late, all still arrives, once and in order.

use std::time::{Duration, Instant};

use matssocket::testkit::{Faults, faulty_cluster};

use matssocket_testing::control::holder_of;
use matssocket_testing::*;

/// Sweeps often; what is found by it must come within a second.
const INTERVAL: Duration = Duration::from_millis(100);

async fn silent() -> Nodes {
    faulty(Faults::default().drop(1.0)).await
}

async fn faulty(faults: Faults) -> Nodes {
    Setup::new()
        .cluster(faulty_cluster(faults))
        .config(|config| {
            config.sweep_interval = INTERVAL;
            config.takeover_interval = INTERVAL;
            // Shorter than the sweep, as by default.
            config.takeover_wait = INTERVAL / 2;
        })
        .start(2)
        .await
}

#[actix_web::test]
async fn untold_messages_are_found() {
    let nodes = silent().await;
    let mut line = nodes.open_on(0, "anna").await;
    let mut longest = Duration::ZERO;
    for number in 0..5 {
        let from = Instant::now();
        nodes[1]
            .server
            .send(line.session(), "t", "client.x", &number)
            .await
            .unwrap();
        let mail = line.expect("SEND").await;
        longest = longest.max(from.elapsed());
        assert_eq!(mail["msg"], number);
        line.ack(&mail).await;
    }
    assert!(
        longest < Duration::from_secs(2),
        "a lost notice delays by one sweep, not by {longest:?}"
    );
    let cmid = line.request("test.do", json!({"do": "forward"})).await;
    line.expect_id("RESOLVE", &cmid).await;
}

#[actix_web::test]
async fn an_untold_take_over_is_found() {
    let nodes = silent().await;
    let mut old = nodes.open_on(0, "anna").await;
    let mut new = nodes.back(1, old.client.clone()).await;
    assert!(
        old.expect_close(4003)
            .await
            .contains("same MatsSocketSessionId")
    );
    nodes[0]
        .server
        .send(new.session(), "t", "client.x", &1)
        .await
        .unwrap();
    new.expect("SEND").await;
    assert_eq!(
        holder_of(nodes.server(), new.session()).await,
        Some(nodes[1].server.node_name())
    );
}

/// Until the sweep finds the lost take-over, two nodes believe to hold the session: the fence must keep the older one
/// from changing anything.
#[actix_web::test]
async fn a_node_that_was_not_told_of_a_take_over_changes_nothing() {
    let nodes = Setup::new()
        .cluster(faulty_cluster(Faults::default().drop(1.0)))
        .config(|config| {
            config.sweep_interval = Duration::from_secs(3600);
            config.takeover_wait = Duration::from_millis(10);
        })
        .start(2)
        .await;
    let mut old = nodes.open_on(0, "anna").await;
    nodes[0]
        .server
        .send(old.session(), "t", "client.x", &"mail")
        .await
        .unwrap();
    let mail = old.expect("SEND").await;
    let mut new = nodes.back(1, old.client.clone()).await;
    assert_eq!(new.expect("SEND").await["smid"], mail["smid"]);
    // The old line acknowledges, and sends with an effect: neither may count.
    let envelope = old.envelope("REQUEST", "from the old", "test.effect", json!({}));
    old.text(&json!([{"t": "ACK", "smid": mail["smid"]}, envelope]).to_string())
        .await;
    old.expect_close(4003).await;
    assert_eq!(
        old.waiting("ACK2"),
        0,
        "ACK2 only after a delete that passed the fence"
    );
    assert_eq!(old.waiting("RESOLVE"), 0);
    let mut newest = nodes.back(1, new.cut()).await;
    assert_eq!(
        newest.expect("SEND").await["smid"],
        mail["smid"],
        "not acknowledged by its holder"
    );
    newest.ack(&mail).await;
    newest.send(json!([envelope])).await;
    newest.expect_id("RESOLVE", "from the old").await;
    newest.expect("SEND").await;
    newest.none("SEND").await;
}

#[actix_web::test]
async fn untold_publications_are_found() {
    let nodes = silent().await;
    let mut lines = Vec::new();
    for node in [0, 1] {
        let mut line = nodes.open_on(node, "anna").await;
        line.send(json!([{"t": "SUB", "eid": "topic"}])).await;
        line.expect("SUB_OK").await;
        lines.push(line);
    }
    for number in 0..20 {
        nodes[number % 2]
            .server
            .publish("topic", "t", &number)
            .await
            .unwrap();
    }
    for line in &mut lines {
        for number in 0..20 {
            assert_eq!(line.expect("PUB").await["msg"], number);
        }
    }
}

#[actix_web::test]
async fn an_untold_close_is_found() {
    let nodes = silent().await;
    let mut line = nodes.open_on(0, "anna").await;
    assert!(
        nodes[1]
            .server
            .close_session(line.session(), "bye")
            .await
            .unwrap()
    );
    let (code, _) = line.close().await;
    assert!(matches!(code, 4000 | 4001), "closed with {code}");
    nodes.until_stored("anna", 0).await;
}

#[actix_web::test]
async fn doubled_and_late_notices_do_no_harm() {
    let faults = Faults::default()
        .drop(0.3)
        .duplicate(0.5)
        .delay(Duration::from_millis(30));
    let nodes = faulty(faults).await;
    let mut line = nodes.open_on(0, "anna").await;
    line.send(json!([{"t": "SUB", "eid": "topic"}])).await;
    line.expect("SUB_OK").await;
    for number in 0..100 {
        let server = &nodes[number % 2].server;
        server
            .send(line.session(), "t", "client.x", &number)
            .await
            .unwrap();
        server.publish("topic", "t", &number).await.unwrap();
        if number % 25 == 24 {
            let node = number / 25 % 2;
            let old = line.client.clone();
            line = nodes.back(node, old).await;
        }
    }
    let mut next = 0;
    while next < 100 {
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], next);
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
        next += 1;
    }
    // The subscription is in force again for whatever is handled behind HELLO.
    line.barrier().await;
    nodes[1]
        .server
        .publish("topic", "t", &"last")
        .await
        .unwrap();
    let mut last = -1;
    loop {
        let publication = line.expect("PUB").await;
        if publication["msg"] == "last" {
            break;
        }
        let number = publication["msg"].as_i64().unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}
