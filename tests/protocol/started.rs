//! Work that handlers and the application start: in one transaction with the outcome, for nobody who waits.

use std::time::{Duration, SystemTime};

use matssocket::{
    Clock, Forward, HandlerError, IdempotencyKey, Incoming, Outcome, SendError, ServiceOptions,
};
use matssocket_testing::endpoints::start_all;
use matssocket_testing::*;

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn quick(config: &mut matssocket::Config) {
    config.service_backoff = Duration::from_millis(10);
    config.service_attempts = 3;
    config.takeover_interval = Duration::from_millis(20);
}

/// Calls of the service "work" by payload `n`.
pub fn works(nodes: &Nodes, n: &str) -> Vec<Seen> {
    let control = &nodes.control;
    control.all(|seen| seen.what == "work" && seen.payload["n"] == n)
}

pub async fn until_worked(nodes: &Nodes, n: &str, many: usize) -> Vec<Seen> {
    let what = format!("work {n}");
    let seen = |seen: &Seen| seen.what == "work" && seen.payload["n"] == n;
    nodes.control.wait(&what, many, seen).await
}

/// Work that is stored now is done: what was stored before has at least begun then, if it was stored at all.
pub async fn marker(nodes: &Nodes, n: &str) {
    let forward = Forward::to("work", &json!({"n": n}));
    nodes.server().start("marker", forward).await.unwrap();
    until_worked(nodes, n, 1).await;
}

#[actix_web::test]
async fn work_is_started_once_with_any_outcome_and_its_reply_is_dropped() {
    let nodes = Setup::new().config(quick).start(1).await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    let mut sent = Vec::new();
    for (t, decision, answer) in [
        ("REQUEST", "resolve", "RESOLVE"),
        ("REQUEST", "reject", "REJECT"),
        ("REQUEST", "deny", "NACK"),
        ("REQUEST", "forward", "ACK"),
        ("SEND", "done", "ACK"),
    ] {
        // What is forwarded waits, lest its reply come first and take the place of the ACK.
        let msg = json!({"do": decision, "work gate": "g", "start": [
            {"n": decision, "work": "resolve"},
            {"n": decision, "work": "reject"},
            {"n": decision, "work": "send"},
        ]});
        let cmid = line.next_cmid();
        let envelope = line.envelope(t, &cmid, "test.start", msg);
        line.send(json!([envelope])).await;
        assert_eq!(line.answer(&cmid).await["t"], answer, "{decision}");
        let seen = until_worked(&nodes, decision, 3).await;
        for seen in &seen {
            let of = (&*seen.session, &*seen.user, &*seen.kind, &*seen.tid);
            assert_eq!(of, (&*session, "anna", "SEND", &*line.tid(&cmid)));
        }
        let effect = line.expect("SEND").await;
        assert_eq!(effect["msg"]["n"], decision);
        line.ack(&effect).await;
        sent.push(envelope);
    }
    // The only reply of a service is that to the forwarded request.
    nodes.control.open("g", 1);
    let reply = line.expect("RESOLVE").await;
    assert_eq!(reply["msg"]["worked"]["do"], "forward");
    line.ack(&reply).await;
    line.none("RESOLVE").await;
    line.none("REJECT").await;

    // Sent again, also by way of a reconnect: nothing is started again.
    for _ in 0..2 {
        for envelope in &sent {
            line.send(json!([envelope])).await;
            let answer = line.answer(envelope["cmid"].as_str().unwrap()).await;
            assert!(answer["desc"].to_string().contains("dupe"), "{answer}");
        }
        line = nodes.back(0, line.cut()).await;
    }
    marker(&nodes, "end").await;
    for n in ["resolve", "reject", "deny", "forward", "done"] {
        assert_eq!(works(&nodes, n).len(), 3, "{n}");
    }
    assert!(nodes.server().dead_letters(0, 10).await.unwrap().is_empty());
}

#[actix_web::test]
async fn a_handler_that_fails_or_says_retry_starts_nothing() {
    let nodes = Setup::new().config(quick).start(1).await;
    let mut line = nodes.open("anna").await;
    for (decision, answer) in [("error", "NACK"), ("panic", "NACK"), ("retry", "RETRY")] {
        let msg = json!({"do": decision, "start": [{"n": decision}]});
        let cmid = line.request("test.start", msg).await;
        assert_eq!(line.answer(&cmid).await["t"], answer, "{decision}");
    }
    marker(&nodes, "end").await;
    for n in ["error", "panic", "retry"] {
        assert_eq!(works(&nodes, n).len(), 0, "{n}");
    }
}

/// A handler that starts more than a client may have outstanding: nothing of its outcome is kept, and the client tries
/// again. If the handler alone starts more than that, no later try can be better: it was repeated for ever.
#[actix_web::test]
async fn more_than_may_be_outstanding_is_refused_as_a_whole() {
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.store.max_forwarded_per_session = 3)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let start =
        |n: &str, many: usize| json!({"start": vec![json!({"n": n}); many], "after": 3_600_000});
    for (n, many, told) in [
        ("two", 2, "RESOLVE"),
        ("two more", 2, "RETRY"),
        ("four", 4, "NACK"),
    ] {
        let cmid = line.request("test.start", start(n, many)).await;
        let answer = line.answer(&cmid).await;
        assert_eq!(answer["t"], told, "{answer}");
    }
    let metrics = nodes.server().metrics();
    assert_eq!((metrics.forwards_refused, metrics.handler_failures), (1, 1));
    nodes.clock.advance(2 * HOUR);
    until_worked(&nodes, "two", 2).await;
    marker(&nodes, "end").await;
    assert_eq!(
        works(&nodes, "two more").len() + works(&nodes, "four").len(),
        0
    );
}

/// A reply is sent once: refused, it cost the client its connection, again and again.
#[actix_web::test]
async fn what_a_reply_starts_is_not_limited() {
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.store.max_forwarded_per_session = 1)
        .extend(|builder, _, _| {
            builder.terminator("start", async |incoming: Incoming<Value>| {
                start_all(&incoming)?;
                Ok(Outcome::done())
            })
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let waits = json!({"start": [{"n": "waits"}], "after": 3_600_000});
    let cmid = line.request("test.start", waits).await;
    line.expect_id("RESOLVE", &cmid).await;
    let (server, session) = (nodes.server(), line.session().to_owned());
    let reply_to = matssocket::ReplyTo::terminator("start");
    let asked = server.request(&session, "asked", "client.endpoint", &1, reply_to);
    asked.await.unwrap();
    let request = line.expect("REQUEST").await;
    let msg = json!({"start": [{"n": "reply"}, {"n": "reply"}]});
    let cmid = line.reply("RESOLVE", &request, msg).await;
    line.expect_id("ACK", &cmid).await;
    until_worked(&nodes, "reply", 2).await;
    assert_eq!(server.metrics().forwards_refused, 0);
}

#[actix_web::test]
async fn services_adapters_and_terminators_start_work() {
    let nodes = Setup::new()
        .config(quick)
        .extend(|builder, _, _| {
            builder
                .endpoint_with_adapter(
                    "start in adapter",
                    async |incoming: Incoming<Value>| {
                        Ok(Outcome::forward(Forward::to("work", &incoming.payload)))
                    },
                    async |incoming: Incoming<Value>| {
                        let work = json!({"n": "by the adapter"});
                        incoming.context.start(Forward::to("work", &work))?;
                        Ok(Outcome::resolve("adapted"))
                    },
                )
                .terminator("start in terminator", async |incoming: Incoming<Value>| {
                    start_all(&incoming)?;
                    Ok(Outcome::done())
                })
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let work = json!({"work": "start", "fails once": true, "start": [{"n": "by the service"}]});
    let msg = json!({"do": "resolve", "start": [work]});
    let cmid = line.request("test.start", msg).await;
    line.expect_id("RESOLVE", &cmid).await;
    until_worked(&nodes, "by the service", 1).await;

    let cmid = line.request("start in adapter", json!({})).await;
    let reply = line.expect_id("RESOLVE", &cmid).await;
    assert_eq!(reply["msg"], "adapted");
    line.ack(&reply).await;
    until_worked(&nodes, "by the adapter", 1).await;

    let reply_to = matssocket::ReplyTo::terminator("start in terminator");
    let session = line.session().to_owned();
    let asked = nodes
        .server()
        .request(&session, "asked", "client.endpoint", &1, reply_to);
    asked.await.unwrap();
    let request = line.expect("REQUEST").await;
    let msg = json!({"start": [{"n": "by the terminator"}]});
    let cmid = line.next_cmid();
    let reply =
        json!({"t": "RESOLVE", "cmid": cmid, "smid": request["smid"], "tid": "t", "msg": msg});
    line.send(json!([reply])).await;
    line.expect_id("ACK", &cmid).await;
    until_worked(&nodes, "by the terminator", 1).await;
    marker(&nodes, "end").await;
    for n in ["by the service", "by the adapter", "by the terminator"] {
        assert_eq!(works(&nodes, n).len(), 1, "{n}");
    }
}

/// What is delayed waits for its time; the clock is the test's.
#[actix_web::test]
async fn delayed_work_begins_when_it_is_due() {
    let clock = Clock::fixed(SystemTime::now());
    let ended = clock.clone();
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.lease = 10 * HOUR)
        .clock(&clock)
        .extend(move |builder, _, _| {
            let clock = ended.clone();
            builder.endpoint("at", move |incoming: Incoming<Value>| {
                let at = clock.now() + Duration::from_secs(120);
                let forward = Forward::to("work", &incoming.payload).at(at);
                async move { Ok(Outcome::<Value>::forward(forward)) }
            })
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let msg = json!({"start": [{"n": "after"}], "after": 60_000});
    let started = line.request("test.start", msg).await;
    line.expect_id("RESOLVE", &started).await;
    let forwarded = line.request("at", json!({"n": "at"})).await;
    line.expect_id("ACK", &forwarded).await;
    let past = Forward::to("work", &json!({"n": "past"})).at(SystemTime::UNIX_EPOCH);
    nodes.server().start("past", past).await.unwrap();
    until_worked(&nodes, "past", 1).await;

    clock.advance(Duration::from_secs(59));
    looked(&nodes, "first").await;
    assert_eq!(works(&nodes, "after").len(), 0, "not due");
    clock.advance(Duration::from_secs(1));
    until_worked(&nodes, "after", 1).await;
    looked(&nodes, "second").await;
    assert_eq!(works(&nodes, "at").len(), 0, "not due");
    clock.advance(Duration::from_secs(60));
    let reply = line.expect_id("RESOLVE", &forwarded).await;
    line.ack(&reply).await;
    for n in ["after", "at"] {
        assert_eq!(works(&nodes, n).len(), 1, "{n}");
    }
}

/// Work that failed is tried again, so the node has looked for rows that are due.
async fn looked(nodes: &Nodes, n: &str) {
    let failing = json!({"n": n, "work": "fail"});
    let failing = Forward::to("work", &failing);
    nodes.server().start("failing", failing).await.unwrap();
    nodes.clock.advance(Duration::from_millis(100));
    let clock = nodes.clock.clone();
    within("another attempt", async {
        while works(nodes, n).len() < 2 {
            clock.advance(Duration::from_millis(1));
            actix_web::rt::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// An early look made later ones be forgotten, so that work waited for the next interval.
#[actix_web::test]
async fn a_node_looks_just_when_work_is_due() {
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.takeover_interval = HOUR)
        .start(1)
        .await;
    for (n, after) in [("late", 60), ("early", 10), ("later", 120)] {
        let forward = Forward::to("work", &json!({"n": n}));
        let forward = forward.after(Duration::from_millis(after));
        nodes.server().start("delayed", forward).await.unwrap();
    }
    for n in ["early", "late", "later"] {
        until_worked(&nodes, n, 1).await;
    }
}

#[actix_web::test]
async fn the_application_starts_work_for_no_session() {
    let nodes = Setup::new()
        .config(quick)
        .extend(|builder, control, node| {
            let control = control.clone();
            let options = ServiceOptions::default().attempts(1);
            builder.service_with("lonely", options, move |incoming: Incoming<Value>| {
                control.ran(node, "lonely", &incoming.context, &incoming.payload);
                let context = incoming.context;
                async move {
                    context.send(context.session_id(), "t", "client.lonely", &1)?;
                    Err::<Outcome<()>, HandlerError>("unreachable".into())
                }
            })
        })
        .start(1)
        .await;
    let server = nodes.server();
    let forward = || Forward::to("lonely", &json!({})).correlation(&"beside");
    server.start("lonely", forward()).await.unwrap();
    let seen = nodes.control.called("lonely").await;
    assert_eq!((&*seen.session, &*seen.user, &*seen.kind), ("", "", "SEND"));
    let dead = nodes.until_dead_letters().await;
    assert_eq!((&*dead[0].session_id, &*dead[0].trace_id), ("", "lonely"));
    assert_eq!(dead[0].endpoint.as_deref(), Some("lonely"));
    assert!(
        dead[0].reason.contains("session id is empty"),
        "{}",
        dead[0].reason
    );
    assert!(server.redrive_dead_letter(dead[0].id).await.unwrap());
    let again = |seen: &Seen| seen.what == "lonely";
    nodes.control.wait("another attempt", 2, again).await;

    for (trace_id, service) in [("", "work"), ("t", ""), ("t", "a\nb")] {
        let refused = server.start(trace_id, Forward::to(service, &1)).await;
        assert!(
            matches!(refused, Err(SendError::InvalidId(_))),
            "{refused:?}"
        );
    }
}

#[actix_web::test]
async fn the_same_key_starts_work_once_on_whatever_node() {
    let nodes = Setup::new().config(quick).start(2).await;
    for round in 0..10 {
        let n = format!("round {round}");
        let start = |node: usize| {
            let key = IdempotencyKey::new(&n);
            let forward = Forward::to("work", &json!({"n": n, "work": "resolve"}));
            nodes[node].server.start_once(key, "once", forward)
        };
        let (one, other, repeated) = tokio::join!(start(0), start(1), start(0));
        for started in [one, other, repeated] {
            started.unwrap();
        }
        start(1).await.unwrap();
        until_worked(&nodes, &n, 1).await;
    }
    marker(&nodes, "end").await;
    for round in 0..10 {
        assert_eq!(works(&nodes, &format!("round {round}")).len(), 1);
    }
}

/// The application's rows and the work are one.
#[actix_web::test]
async fn a_transactional_handler_starts_work_in_its_transaction() {
    use diesel::SqliteConnection;
    let nodes = Setup::new()
        .store(matssocket::Store::sqlite_in_memory())
        .config(quick)
        .extend(|builder, _, _| {
            builder.transactional(
                "tx.start",
                |_: &mut SqliteConnection, incoming: Incoming<Value>| {
                    start_all(&incoming)?;
                    match incoming.payload["do"].as_str() {
                        Some("error") => Err("it fails".into()),
                        Some("reject") => Ok(Outcome::reject("no")),
                        Some("deny") => Ok(Outcome::deny()),
                        _ => Ok(Outcome::resolve(1)),
                    }
                },
            )
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for (decision, answer) in [
        ("error", "NACK"),
        ("reject", "REJECT"),
        ("deny", "NACK"),
        ("resolve", "RESOLVE"),
    ] {
        let msg = json!({"do": decision, "start": [{"n": decision}, {"n": decision}]});
        let cmid = line.next_cmid();
        let envelope = line.envelope("REQUEST", &cmid, "tx.start", msg);
        for _ in 0..2 {
            line.send(json!([envelope])).await;
            assert_eq!(line.answer(&cmid).await["t"], answer, "{decision}");
        }
    }
    until_worked(&nodes, "resolve", 2).await;
    marker(&nodes, "end").await;
    let counts = ["error", "reject", "deny", "resolve"].map(|n| works(&nodes, n).len());
    assert_eq!(counts, [0, 0, 0, 2]);
}
