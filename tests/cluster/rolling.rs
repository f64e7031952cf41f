//! Nodes that do not have the same services and endpoints, as in a rolling deploy: work waits for who can do it.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use matssocket::{
    Config, Forward, HandlerError, Incoming, Outcome, ServerBuilder, ServiceOptions, Store,
};

use crate::common::*;

/// One failed attempt is one too many.
fn strict(config: &mut Config) {
    config.service_attempts = 1;
    config.takeover_interval = Duration::from_millis(20);
    config.sweep_interval = Duration::from_millis(20);
    config.stop_grace = Duration::from_millis(200);
}

/// The endpoint `to bills`.
fn with_endpoint(builder: ServerBuilder) -> ServerBuilder {
    builder.endpoint("to bills", |incoming: Incoming<Value>| {
        let forward = Forward::to("bills", &incoming.payload);
        async move { Ok(Outcome::<Value>::forward(forward)) }
    })
}

/// The service `bills`, which resolves what it is given; or says `later`, if it is told to.
fn with_service(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
    let control = control.clone();
    builder.service("bills", move |incoming: Incoming<Value>| {
        control.ran(node, "bills", &incoming, &incoming.payload);
        async move {
            match incoming.payload["do"].as_str() {
                Some("later") => Ok(Outcome::later(Duration::from_secs(3600))),
                Some("reject") => Ok(Outcome::reject(json!({"refused": incoming.payload}))),
                _ => Ok(Outcome::resolve(json!({"paid": incoming.payload}))),
            }
        }
    })
}

/// Nodes of which only those from this number on have the service.
fn service_from(first: usize) -> Setup {
    Setup::new()
        .config(strict)
        .extend(move |builder, control, node| {
            let builder = with_endpoint(builder);
            match node >= first {
                true => with_service(builder, control, node),
                false => builder,
            }
        })
}

/// A request with the client's time-out.
async fn impatient(line: &mut Line, eid: &str, msg: Value, ms: u64) -> String {
    let cmid = line.next_cmid();
    let mut envelope = line.envelope("REQUEST", &cmid, eid, msg);
    envelope["to"] = json!(ms);
    line.send(json!([envelope])).await;
    cmid
}

async fn expect_reply(line: &mut Line, t: &str, cmid: &str) -> Value {
    let reply = line.expect_id(t, cmid).await;
    line.ack(&reply).await;
    reply
}

async fn until_unserved(nodes: &Nodes, expected: &[(&str, u64)]) {
    let expected = expected
        .iter()
        .map(|(name, many)| ((*name).to_owned(), *many));
    let expected = expected.collect();
    within("what waits to be seen", async {
        while nodes.server().metrics().unserved != expected {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn assert_nothing_given_up(nodes: &Nodes, line: &mut Line) {
    line.none("REJECT").await;
    assert!(nodes.server().dead_letters(0, 10).await.unwrap().is_empty());
}

/// A node took work for a service that it did not have, and that counted as a failed attempt: in a rolling deploy,
/// requests were rejected and messages given up within half a minute.
#[actix_web::test]
async fn a_node_without_the_service_leaves_the_work_to_one_that_has_it() {
    let nodes = service_from(1).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    let mut asked = Vec::new();
    for _ in 0..20 {
        asked.push(line.request("to bills", json!({})).await);
        let sent = line.send_to("to bills", json!({"sent": 1})).await;
        line.expect_id("ACK", &sent).await;
    }
    for cmid in &asked {
        expect_reply(&mut line, "RESOLVE", cmid).await;
    }
    let ran = nodes
        .control
        .wait("all of it", 40, |seen| seen.what == "bills");
    let ran = ran.await;
    assert!(ran.len() == 40 && ran.iter().all(|seen| seen.node == 1));
    assert_nothing_given_up(&nodes, &mut line).await;
    assert!(nodes.server().unserved().await.unwrap().is_empty());
}

/// As above, without waiting for the next look of that node.
async fn at_once(setup: Setup) {
    let nodes = setup
        .config(|config| {
            config.takeover_interval = Duration::from_secs(3600);
            config.sweep_interval = Duration::from_secs(3600);
        })
        .start(2)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    for _ in 0..3 {
        let asked = line.request("to bills", json!({})).await;
        expect_reply(&mut line, "RESOLVE", &asked).await;
    }
}

#[actix_web::test]
async fn a_node_that_has_the_service_is_told_of_work_at_once() {
    at_once(service_from(1)).await;
}

#[cfg(feature = "postgres")]
#[actix_web::test]
async fn a_node_that_has_the_service_is_told_of_work_at_once_by_postgres() {
    let schema = postgres::Schema::new();
    let settings = schema.settings();
    at_once(service_from(1).postgres(schema, settings)).await;
}

/// As above, as long as no node has the service at all: the work waits, whoever stored it, and that can be seen.
#[actix_web::test]
async fn work_that_no_node_can_do_waits_is_shown_and_is_done_when_one_comes() {
    let mut nodes = service_from(2).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    // However impatient its client is: what was acknowledged is worked on.
    let asked = impatient(&mut line, "to bills", json!({}), 1).await;
    let sent = line.send_to("to bills", json!({"sent": 1})).await;
    line.expect_id("ACK", &sent).await;
    until_unserved(&nodes, &[("bills", 2)]).await;
    let unserved = nodes[1].server.unserved().await.unwrap();
    let [work] = &unserved[..] else {
        panic!("one service: {unserved:?}")
    };
    assert_eq!((&*work.service, work.messages), ("bills", 2));

    // The one that stored it goes; another one like it holds on.
    let client = line.cut();
    nodes[0].server.stop().await;
    let mut line = nodes.back(1, client).await;
    let sees_it = nodes[1].server.metrics().unserved;
    assert_eq!(sees_it, [("bills".to_owned(), 2)].into());
    assert_nothing_given_up_on(&nodes[1], &mut line).await;

    let third = nodes.add().await;
    expect_reply(&mut line, "RESOLVE", &asked).await;
    let ran = nodes
        .control
        .wait("both", 2, |seen| seen.what == "bills")
        .await;
    assert!(ran.len() == 2 && ran.iter().all(|seen| seen.node == third));
    within("nothing to be left", async {
        while !nodes[1].server.metrics().unserved.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_nothing_given_up_on(&nodes[1], &mut line).await;
}

async fn assert_nothing_given_up_on(node: &Node, line: &mut Line) {
    line.none("REJECT").await;
    assert!(node.server.dead_letters(0, 10).await.unwrap().is_empty());
}

/// A service's own forwarding, too, reaches a service that only another node has.
#[actix_web::test]
async fn a_service_forwards_to_one_that_its_node_does_not_have() {
    let nodes = Setup::new()
        .config(strict)
        .extend(|builder, control, node| match node {
            0 => builder
                .endpoint("check in", |incoming: Incoming<Value>| {
                    let forward = Forward::to("desk", &incoming.payload);
                    async move { Ok(Outcome::<Value>::forward(forward)) }
                })
                .service("desk", |incoming: Incoming<Value>| {
                    let forward = Forward::to("bills", &incoming.payload);
                    async move { Ok(Outcome::<Value>::forward(forward)) }
                }),
            _ => with_service(builder, control, node),
        })
        .start(2)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    let asked = line.request("check in", json!({})).await;
    let reply = expect_reply(&mut line, "RESOLVE", &asked).await;
    assert_eq!(reply["msg"], json!({"paid": {}}));
}

/// The node where the service ran did not have the endpoint: the reply reached the client as it was, without its adapter.
#[actix_web::test]
async fn a_reply_passes_through_the_adapter_wherever_the_service_ran() {
    let nodes = Setup::new()
        .config(strict)
        .extend(|builder, control, node| match node {
            0 => builder.endpoint_with_adapter(
                "to bills",
                |incoming: Incoming<Value>| {
                    let forward = Forward::to("bills", &incoming.payload).correlation(&"table 7");
                    async move { Ok(Outcome::<Value>::forward(forward)) }
                },
                |reply: Incoming<Value>| async move {
                    let adapted = json!({
                        "of": reply.message_type().name(),
                        "for": reply.correlation::<String>()?,
                        "is": reply.payload,
                    });
                    Ok(Outcome::resolve(adapted))
                },
            ),
            _ => with_service(builder, control, node),
        })
        .start(2)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    for (msg, of, is) in [
        (json!({}), "RESOLVE", json!({"paid": {}})),
        (
            json!({"do": "reject"}),
            "REJECT",
            json!({"refused": {"do": "reject"}}),
        ),
    ] {
        let asked = line.request("to bills", msg).await;
        let reply = expect_reply(&mut line, "RESOLVE", &asked).await;
        let expected = json!({"of": of, "for": "table 7", "is": is});
        assert_eq!(reply["msg"], expected);
    }
    let asked = line.request("to bills", json!({"do": "later"})).await;
    let tid = line.tid(&asked);
    let seen = nodes.control.wait("the service", 1, |seen| seen.tid == tid);
    let token = seen.await.remove(0).token.expect("a service has one");
    nodes[1].server.reply(&token, &1).await.unwrap();
    let reply = expect_reply(&mut line, "RESOLVE", &asked).await;
    let expected = json!({"of": "RESOLVE", "for": "table 7", "is": 1});
    assert_eq!(reply["msg"], expected);
    line.none("RESOLVE").await;
}

/// A service that fails, with these options.
fn failing(options: ServiceOptions) -> Setup {
    Setup::new()
        .config(strict)
        .extend(move |builder, control, node| {
            let control = control.clone();
            with_endpoint(builder).service_with(
                "bills",
                options.clone(),
                move |incoming: Incoming<Value>| {
                    control.ran(node, "bills", &incoming, &incoming.payload);
                    async { Err::<Outcome<()>, _>(HandlerError::internal("hunter2\0")) }
                },
            )
        })
}

fn patient() -> ServiceOptions {
    let ms = Duration::from_millis;
    ServiceOptions::default()
        .attempts(1_000_000)
        .backoff(ms(10), ms(100_000))
}

/// A failing service was tried again although its client had stopped waiting.
#[actix_web::test]
async fn a_request_is_given_up_when_its_client_would_no_longer_wait() {
    let nodes = failing(patient()).start(1).await;
    let mut line = nodes.open("anna").await;
    let asked = impatient(&mut line, "to bills", json!({}), 200).await;
    let reply = expect_reply(&mut line, "REJECT", &asked).await;
    let attempts = nodes.control.runs_of("bills", &line.tid(&asked));
    assert!((2..=7).contains(&attempts), "{attempts} attempts");
    let text = format!("the service \"bills\" failed {attempts} times");
    assert_eq!(reply["msg"], json!(text));
}

#[actix_web::test]
async fn a_service_is_retried_for_as_long_as_it_says() {
    let for_a_while = patient().retry_for(Duration::from_millis(200));
    let nodes = failing(for_a_while).start(1).await;
    let mut line = nodes.open("anna").await;
    let sent = line.send_to("to bills", json!({})).await;
    line.expect_id("ACK", &sent).await;
    let dead = within("the dead letter", async {
        loop {
            let dead = nodes.server().dead_letters(0, 10).await.unwrap();
            if !dead.is_empty() {
                return dead;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!((2..=8).contains(&dead[0].deliveries), "{dead:?}");
    assert_eq!(dead[0].reason, r"bills: hunter2\u{0}");
}

#[actix_web::test]
async fn the_application_says_what_a_client_is_told_whose_request_is_given_up() {
    let options = ServiceOptions::default().attempts(2).on_failure(|failure| {
        json!({
            "code": "TRY_TOMORROW",
            "what": [failure.service, failure.endpoint],
            "tries": failure.attempts,
            "why": failure.reason,
        })
    });
    let nodes = failing(options).config(|config| config.service_backoff = Duration::from_millis(5));
    let nodes = nodes.start(1).await;
    let mut line = nodes.open("anna").await;
    let asked = line.request("to bills", json!({})).await;
    let reply = expect_reply(&mut line, "REJECT", &asked).await;
    let expected = json!({
        "code": "TRY_TOMORROW",
        "what": ["bills", "to bills"],
        "tries": 2,
        "why": r"hunter2\u{0}",
    });
    assert_eq!(reply["msg"], expected);
}

#[actix_web::test]
async fn options_that_cannot_be_meant_are_refused() {
    let second = Duration::from_secs(1);
    for (options, part) in [
        (ServiceOptions::default().attempts(0), "attempts is 0"),
        (
            ServiceOptions::default().backoff(Duration::ZERO, second),
            "first back-off is zero",
        ),
        (
            ServiceOptions::default().backoff(2 * second, second),
            "longer than its longest",
        ),
        (
            ServiceOptions::default().retry_for(Duration::ZERO),
            "retry_for is zero",
        ),
    ] {
        let builder = matssocket::MatsSocketServer::builder("test").service_with(
            "bills",
            options,
            |_: Incoming<Value>| async { Ok(Outcome::<()>::done()) },
        );
        let Err(refused) = builder.start().await else {
            panic!("not refused: {part}")
        };
        let text = refused.to_string();
        assert!(text.contains("\"bills\"") && text.contains(part), "{text}");
    }
}

/// Makes the database refuse a second text of this kind.
fn refuse_two(file: &std::path::Path, table: &str, column: &str) {
    let mut db = SqliteConnection::establish(&file.display().to_string()).expect("a database");
    let named = [table.to_owned(), format!("matssocket_{table}")];
    let index = |name: &str| {
        format!(
            "CREATE UNIQUE INDEX poison_of_{table} ON {name} (CASE WHEN {column} LIKE '%poison%' THEN 1 END)"
        )
    };
    let made = named
        .iter()
        .any(|name| db.batch_execute(&index(name)).is_ok());
    assert!(made, "there is no table {table}");
}

/// One bad value made a row that was neither settled nor given up: it held a place of its service for ever.
#[actix_web::test]
async fn what_the_database_refuses_is_a_failed_attempt_and_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("test.db");
    let options = ServiceOptions::default()
        .attempts(2)
        .max_running(1)
        .on_failure(|_| "poison");
    let nodes = Setup::new()
        .store(Store::sqlite(&file))
        .config(strict)
        .config(|config| config.service_backoff = Duration::from_millis(5))
        .extend(move |builder, control, node| {
            let control = control.clone();
            let bills = move |incoming: Incoming<Value>| {
                control.ran(node, "bills", &incoming, &incoming.payload);
                async move {
                    for _ in 0..2 {
                        let (session, tid) = (incoming.session_id(), incoming.trace_id());
                        incoming.send(session, tid, "client.x", &incoming.payload)?;
                    }
                    match incoming.payload["fail"].as_str() {
                        Some(why) => Err(HandlerError::internal(why)),
                        None => Ok(Outcome::resolve("paid")),
                    }
                }
            };
            with_endpoint(builder).service_with("bills", options.clone(), bills)
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    refuse_two(&file, "outbox", "msg");
    refuse_two(&file, "dead_letter", "reason");
    let send = nodes
        .server()
        .send(line.session(), "t", "client.x", "poison");
    send.await.expect("the first is taken");
    line.expect("SEND").await;

    // Its effects are refused, then the application's REJECT: what remains is the plain one.
    let asked = line.request("to bills", json!("poison")).await;
    let reply = expect_reply(&mut line, "REJECT", &asked).await;
    assert_eq!(reply["msg"], json!("the service \"bills\" failed 2 times"));
    assert_eq!(nodes.control.runs_of("bills", &line.tid(&asked)), 2);

    // Of two dead letters the second one's reason is refused: it is buried without.
    for _ in 0..2 {
        let sent = line.send_to("to bills", json!({"fail": "poison"})).await;
        line.expect_id("ACK", &sent).await;
    }
    let dead = within("two dead letters", async {
        loop {
            let dead = nodes.server().dead_letters(0, 10).await.unwrap();
            if dead.len() == 2 {
                return dead;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(dead[0].reason, "bills: poison");
    assert!(dead[1].reason.starts_with("given up"), "{dead:?}");

    // The one place is free.
    let asked = line.request("to bills", json!(1)).await;
    expect_reply(&mut line, "RESOLVE", &asked).await;
}
