//! Nodes that pause, stop or fall silent: their leases run out, and others take over what they held.

use std::time::Duration;

use matssocket::Clock;

use matssocket_testing::*;

fn quick(config: &mut matssocket::Config) {
    config.lease = Duration::from_secs(3);
    config.lease_interval = Duration::from_millis(50);
    config.takeover_interval = Duration::from_millis(50);
    config.service_backoff = Duration::from_millis(10);
    config.service_attempts = 5;
    config.stop_grace = Duration::from_millis(200);
}

/// A node that was paused for longer than its lease (a suspended virtual machine, say) believed that it still held
/// its sessions and its work.
#[actix_web::test]
async fn a_node_that_was_paused_comes_back_as_a_new_incarnation() {
    let clock = Clock::system();
    let nodes = Setup::new().config(quick).clock(&clock).start(1).await;
    let mut line = nodes.open("anna").await;
    let name = nodes.server().node_name();
    nodes
        .server()
        .send(line.session(), "kept", "client.x", &1)
        .await
        .unwrap();
    line.expect("SEND").await;
    clock.advance(Duration::from_secs(60));
    line.expect_close(1012).await;
    // The client comes back as soon as it is let in.
    let client = line.cut();
    let mut line = within("the upgrade to be let in", async {
        loop {
            match Line::try_connect(&nodes[0].url, &[]).await {
                Ok(line) => return line,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    line.client = client;
    line.hello().await;
    assert_eq!(line.expect("SEND").await["tid"], "kept");
    assert_ne!(
        nodes.server().node_name(),
        name,
        "another incarnation has another name"
    );
    let cmid = line.request("test.do", json!({"do": "forward"})).await;
    line.expect_id("RESOLVE", &cmid).await;
    nodes
        .server()
        .send(line.session(), "after", "client.x", &1)
        .await
        .unwrap();
    line.expect_where("what is sent now", |e| e["tid"] == "after")
        .await;
}

/// Such a node claimed its own work again under its new name, and began it beside the attempt in progress, whose end then
/// freed the place of the new one, so that the row was claimed yet again: without end, if the service took longer than a
/// lease.
#[actix_web::test]
async fn work_in_progress_is_not_begun_beside_itself_when_the_lease_is_lost() {
    let clock = Clock::system();
    let nodes = Setup::new().config(quick).clock(&clock).start(1).await;
    let mut line = nodes.open("anna").await;
    let msg = json!({"do": "forward", "work": "send", "work gate": "g"});
    let cmid = line.request("test.do", msg).await;
    line.expect_id("ACK", &cmid).await;
    let tid = line.tid(&cmid);
    let works = |seen: &Seen| seen.what == "work" && seen.tid == tid;
    nodes.control.wait("the service", 1, works).await;
    for round in 1..=2 {
        clock.advance(Duration::from_secs(60));
        line.expect_close(1012).await;
        let looked = || nodes.server().metrics().maintenance["takeover"].runs;
        within("a new incarnation that has looked for work", async {
            while nodes.server().metrics().incarnations < round {
                tokio::task::yield_now().await;
            }
            let before = looked();
            while looked() < before + 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        line = nodes.back(0, line.cut()).await;
    }
    assert_eq!(nodes.control.all(works).len(), 1, "it is still in progress");
    // Its claim is void: what it has done does not count.
    nodes.control.open("g", 1);
    nodes.control.wait("the next attempt", 2, works).await;
    nodes.control.open("g", 1);
    let reply = line.expect_id("RESOLVE", &cmid).await;
    line.ack(&reply).await;
    let sent = line.expect("SEND").await;
    line.ack(&sent).await;
    line.none("SEND").await;
    assert_eq!(nodes.control.all(works).len(), 2);
}

#[actix_web::test]
async fn work_of_a_node_that_stops_is_taken_over_and_done_once() {
    let nodes = Setup::new().config(quick).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        let msg = json!({"do": "forward", "work": "send", "work gate": "g"});
        ids.push(line.request("test.do", msg).await);
    }
    for id in &ids {
        line.expect_id("ACK", id).await;
    }
    nodes
        .control
        .wait("services", 10, |seen| seen.what == "work" && seen.node == 0)
        .await;
    let (_, _) = tokio::join!(nodes[0].server.stop(), line.expect_close(1012));
    let mut line = nodes.back(1, line.cut()).await;
    nodes
        .control
        .wait("services on the other node", 10, |seen| {
            seen.what == "work" && seen.node == 1
        })
        .await;
    nodes.control.open("g", 100);
    for id in &ids {
        let reply = line.expect_id("RESOLVE", id).await;
        line.ack(&reply).await;
    }
    // What the services sent through their context came once each.
    for _ in &ids {
        let sent = line.expect("SEND").await;
        line.ack(&sent).await;
    }
    line.none("SEND").await;
    line.none("RESOLVE").await;
}

#[actix_web::test]
async fn sending_to_a_session_of_a_stopped_node_waits_for_its_client() {
    let nodes = Setup::new().config(quick).start(2).await;
    let line = nodes.open_on(0, "anna").await;
    let client = line.cut();
    nodes[0].server.stop().await;
    for number in 0..5 {
        nodes[1]
            .server
            .send(&client.session, "t", "client.x", &number)
            .await
            .unwrap();
    }
    let mut line = nodes.back(1, client).await;
    for number in 0..5 {
        assert_eq!(line.expect("SEND").await["msg"], number);
    }
}

/// A service that still worked when its node stopped was cut off at once: another node began its work again, though it
/// was nearly done.
#[actix_web::test]
async fn a_stopping_node_lets_its_services_finish() {
    let patient = |config: &mut matssocket::Config| {
        quick(config);
        config.stop_grace = Duration::from_secs(60);
    };
    let nodes = Setup::new().config(patient).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    let cmid = line
        .request("test.do", json!({"do": "forward", "work gate": "g"}))
        .await;
    line.expect_id("ACK", &cmid).await;
    let client = line.cut();
    let stop = nodes[0].server.stop();
    let (_, ()) = tokio::join!(stop, async {
        within("the node to stop", async {
            while nodes[0].server.ready().is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        nodes.control.open("g", 1);
    });
    let mut line = nodes.back(1, client).await;
    // It began once: had the other node begun it again, the gate would keep it.
    line.expect_id("RESOLVE", &cmid).await;
}

#[actix_web::test]
async fn nodes_are_listed_until_they_leave() {
    let nodes = Setup::new().config(quick).start(2).await;
    let _anna = nodes.open("anna").await;
    let listed = nodes[1].server.nodes().await.unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|node| (&*node.name, node.lives, node.sessions))
        .collect();
    let names = [0, 1].map(|at| nodes[at].server.node_name());
    assert_eq!(listed, [(&*names[0], true, 1), (&*names[1], true, 0)]);
    nodes[0].server.stop().await;
    assert_eq!(nodes[1].server.nodes().await.unwrap().len(), 1);
}
