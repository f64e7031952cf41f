//! Services keep their places, their time limits and their users apart.

use std::collections::HashSet;
use std::time::Duration;

use matssocket::{Forward, Incoming, Outcome, ServerBuilder, ServiceMetrics, ServiceOptions};

use matssocket_testing::*;

fn quick(config: &mut matssocket::Config) {
    config.service_backoff = Duration::from_millis(10);
    config.service_attempts = 5;
    config.takeover_interval = Duration::from_millis(20);
    config.stop_grace = Duration::from_millis(200);
}

/// Adds a service `name` that passes the gate `name`, if it is given, and the endpoint `to <name>` that forwards to it.
fn with_service(
    builder: ServerBuilder,
    control: &Control,
    node: usize,
    name: &'static str,
    options: ServiceOptions,
) -> ServerBuilder {
    let control = control.clone();
    builder
        .endpoint(&format!("to {name}"), move |incoming: Incoming<Value>| {
            let forward = Forward::to(name, &incoming.payload);
            async move { Ok(Outcome::<Value>::forward(forward)) }
        })
        .service_with(name, options, move |incoming: Incoming<Value>| {
            let control = control.clone();
            async move {
                control.ran(node, name, &incoming.context, &incoming.payload);
                if let Some(gate) = incoming.payload["gate"].as_str() {
                    control.pass(gate).await;
                }
                Ok(Outcome::resolve(incoming.payload.clone()))
            }
        })
}

fn metrics(nodes: &Nodes, node: usize, service: &str) -> ServiceMetrics {
    nodes[node].server.metrics().services[service].clone()
}

/// The trace ids for which this service has been called.
fn done(nodes: &Nodes, service: &str) -> HashSet<String> {
    let seen = nodes.control.all(|seen| seen.what == service);
    seen.into_iter().map(|seen| seen.tid).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A request to another service, and the built-in ping, are answered.
async fn others_are_served(line: &mut Line) {
    for (endpoint, msg) in [
        ("to quick", json!({"n": 1})),
        ("MatsSocket.matsPing", json!({"number": 1})),
    ] {
        let cmid = line.request(endpoint, msg).await;
        let reply = line.expect_id("RESOLVE", &cmid).await;
        line.ack(&reply).await;
    }
}

/// One slow service took every place, on one node after the other: all others waited for it.
#[actix_web::test]
async fn long_jobs_of_one_service_leave_the_others_untouched() {
    const JOBS: usize = 1_000;
    let nodes = Setup::new()
        .config(quick)
        .extend(|builder, control, node| {
            let options = ServiceOptions::default;
            let builder = with_service(builder, control, node, "quick", options());
            with_service(builder, control, node, "slow", options().max_running(10))
        })
        .start(2)
        .await;
    let mut anna = nodes.open_on(0, "anna").await;
    for part in 0..JOBS / 20 {
        let sends = (0..20).map(|job| {
            let id = format!("job {}", part * 20 + job);
            anna.envelope("SEND", &id, "to slow", json!({"gate": "slow"}))
        });
        let sends: Vec<Value> = sends.collect();
        anna.send(json!(sends)).await;
    }
    for job in 0..JOBS {
        anna.expect_id("ACK", &format!("job {job}")).await;
    }
    // Nothing ends on the first node, so what waits there goes to the second.
    until("each node to be full", || {
        (0..2).all(|node| metrics(&nodes, node, "slow").running == 10)
    })
    .await;
    others_are_served(&mut anna).await;
    let mut berta = nodes.open_on(1, "berta").await;
    others_are_served(&mut berta).await;
    until("what waits to be given back", || {
        metrics(&nodes, 0, "slow").waiting == 0
    })
    .await;

    let (_, _) = tokio::join!(nodes[0].server.stop(), anna.expect_close(1012));
    others_are_served(&mut berta).await;
    assert_eq!(metrics(&nodes, 1, "slow").running, 10);
    nodes.control.open("slow", 2 * JOBS);
    until("all of it to be done", || {
        done(&nodes, "slow").len() == JOBS && metrics(&nodes, 1, "slow").running == 0
    })
    .await;
    let calls = nodes.control.all(|seen| seen.what == "slow").len();
    assert_eq!(
        calls,
        JOBS + 10,
        "only what ran on the first node ran again"
    );
}

/// A thousand rows of one user made the one row of another wait for all of them.
#[actix_web::test]
async fn users_take_turns_at_a_service() {
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.takeover_interval = Duration::from_secs(3600))
        .extend(|builder, control, node| {
            let options = ServiceOptions::default().max_running(1);
            with_service(builder, control, node, "narrow", options)
        })
        .start(1)
        .await;
    let mut anna = nodes.open("anna").await;
    for _ in 0..100 {
        let cmid = anna.send_to("to narrow", json!({"gate": "g"})).await;
        anna.expect_id("ACK", &cmid).await;
    }
    let mut berta = nodes.open("berta").await;
    let cmid = berta.request("to narrow", json!({"gate": "g"})).await;
    berta.expect_id("ACK", &cmid).await;
    until("berta's to wait", || {
        metrics(&nodes, 0, "narrow").waiting == 100
    })
    .await;
    nodes.control.open("g", 3);
    let reply = berta.expect_id("RESOLVE", &cmid).await;
    berta.ack(&reply).await;
    until("the next to run", || {
        metrics(&nodes, 0, "narrow").attempts == 3
    })
    .await;
    assert!(done(&nodes, "narrow").len() <= 4);
    nodes.control.open("g", 100);
    until("all of it to be done", || {
        metrics(&nodes, 0, "narrow").attempts == 101
    })
    .await;
}

/// More than can wait here goes back, and is done all the same: each once, without waiting for an interval.
#[actix_web::test]
async fn what_cannot_wait_is_given_back_and_done() {
    let nodes = Setup::new()
        .config(|config| {
            config.max_waiting_per_service = 3;
            config.takeover_interval = Duration::from_secs(3600);
        })
        .extend(|builder, control, node| {
            let options = ServiceOptions::default().max_running(2);
            with_service(builder, control, node, "narrow", options)
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(line.request("to narrow", json!({"gate": "g"})).await);
    }
    for id in &ids {
        line.expect_id("ACK", id).await;
    }
    until("some to be given back", || {
        // As soon as some were given back, what comes is not even claimed any more: it waits behind them in the store.
        let seen = metrics(&nodes, 0, "narrow");
        (seen.running, seen.waiting) == (2, 3) && seen.given_back > 0
    })
    .await;
    nodes.control.open("g", 50);
    for id in &ids {
        let reply = line.expect_id("RESOLVE", id).await;
        line.ack(&reply).await;
    }
    assert_eq!(nodes.control.all(|seen| seen.what == "narrow").len(), 50);
}

/// A service that never ended held its place for as long as the node lived.
#[actix_web::test]
async fn an_attempt_that_takes_too_long_is_dropped_and_counts() {
    let limit = Duration::from_millis(30);
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.service_attempts = 2)
        .extend(move |builder, control, node| {
            let options = ServiceOptions::default().time_limit(limit);
            with_service(builder, control, node, "hangs", options)
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let asked = line.request("to hangs", json!({"gate": "never"})).await;
    let reply = line.expect_id("REJECT", &asked).await;
    line.ack(&reply).await;
    assert_eq!(nodes.control.runs_of("hangs", &line.tid(&asked)), 2);
    nodes.control.until_waiting("never", 0).await;

    let sent = line.send_to("to hangs", json!({"gate": "never"})).await;
    line.expect_id("ACK", &sent).await;
    let dead = nodes.until_dead_letters().await;
    let reason = &dead[0].reason;
    assert!(
        reason.contains("\"hangs\" took longer than its time limit of 30ms"),
        "{reason}"
    );
    until("the place to be free", || {
        metrics(&nodes, 0, "hangs").running == 0
    })
    .await;
    let seen = metrics(&nodes, 0, "hangs");
    assert_eq!((seen.attempts, seen.failed, seen.timed_out), (4, 4, 4));
}
