//! Nodes that do not have the same services and endpoints, as in a rolling deploy: work waits for who can do it.

use std::time::Duration;

use matssocket::{Config, Forward, Incoming, Outcome, ReplyTo, ServerBuilder};

use matssocket_testing::*;

/// One failed attempt is one too many.
pub fn strict(config: &mut Config) {
    config.service_attempts = 1;
    config.takeover_interval = Duration::from_millis(20);
    config.sweep_interval = Duration::from_millis(20);
    config.stop_grace = Duration::from_millis(200);
}

/// The endpoint `to bills`.
pub fn with_endpoint(builder: ServerBuilder) -> ServerBuilder {
    builder.endpoint("to bills", |incoming: Incoming<Value>| {
        let forward = Forward::to("bills", &incoming.payload);
        async move { Ok(Outcome::<Value>::forward(forward)) }
    })
}

/// The service `bills`, which resolves what it is given; or says `later`, if it is told to.
fn with_service(builder: ServerBuilder, control: &Control, node: usize) -> ServerBuilder {
    let control = control.clone();
    builder.service("bills", move |incoming: Incoming<Value>| {
        control.ran(node, "bills", &incoming.context, &incoming.payload);
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
pub async fn impatient(line: &mut Line, eid: &str, msg: Value, ms: u64) -> String {
    let cmid = line.next_cmid();
    let mut envelope = line.envelope("REQUEST", &cmid, eid, msg);
    envelope["to"] = json!(ms);
    line.send(json!([envelope])).await;
    cmid
}

pub async fn expect_reply(line: &mut Line, t: &str, cmid: &str) -> Value {
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
    // The other node looks by itself.
    within("what waits to be seen by the other node", async {
        while nodes[1].server.metrics().unserved.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
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

/// A client's reply that came to a node without its terminator was refused, and nobody was told.
#[actix_web::test]
async fn a_clients_reply_reaches_its_terminator_wherever_it_comes_in() {
    let nodes = Setup::new()
        .config(strict)
        .extend(|builder, control, node| {
            if node == 0 {
                return builder;
            }
            let control = control.clone();
            builder.terminator("only here", move |reply: Incoming<Value>| {
                control.ran(node, "only here", &reply.context, &reply.payload);
                async move {
                    let (session, tid) = (reply.context.session_id(), reply.context.trace_id());
                    reply
                        .context
                        .send(session, tid, "client.effect", &reply.payload)?;
                    Ok(Outcome::done())
                }
            })
        })
        .start(2)
        .await;
    let mut line = nodes.open_on(0, "anna").await;
    for kind in ["RESOLVE", "REJECT"] {
        let reply_to = ReplyTo::terminator("only here")
            .correlation_string("table 7")
            .correlation_bytes([0_u8, 255]);
        let server = &nodes[1].server;
        let asked = server.request(line.session(), "asked", "client.x", &1, reply_to);
        asked.await.expect("stored");
        let request = line.expect("REQUEST").await;
        let cmid = line.reply(kind, &request, json!({"said": kind})).await;
        line.expect_id("ACK", &cmid).await;
        line.ack(&request).await;
        let heard = nodes.control.wait("the terminator", 1, |seen| {
            seen.what == "only here" && seen.kind == kind
        });
        let heard = heard.await.remove(0);
        assert_eq!((heard.node, heard.end), (1, None));
        assert_eq!(heard.string.as_deref(), Some("table 7"));
        assert_eq!(heard.bytes.as_deref(), Some(&[0, 255][..]));
        assert_eq!(heard.payload, json!({"said": kind}));
        expect_effect(&mut line, json!({"said": kind})).await;
    }
    line.none("SEND").await;
    assert_eq!(nodes.control.all(|seen| seen.what == "only here").len(), 2);
}

/// What the adapter sends goes along with what it decides.
async fn expect_effect(line: &mut Line, msg: Value) {
    let sent = line.expect("SEND").await;
    assert_eq!(sent["msg"], msg);
    line.ack(&sent).await;
}

/// Two nodes, of which the first has the endpoint, with an adapter, and the second the service.
fn adapted() -> Setup {
    Setup::new()
        .config(strict)
        .extend(|builder, control, node| match node {
            0 => builder.endpoint_with_adapter(
                "to bills",
                |incoming: Incoming<Value>| {
                    let forward = Forward::to("bills", &incoming.payload).correlation(&"table 7");
                    async move { Ok(Outcome::<Value>::forward(forward)) }
                },
                |reply: Incoming<Value>| async move {
                    let (session, tid) = (reply.context.session_id(), reply.context.trace_id());
                    reply
                        .context
                        .send(session, tid, "client.effect", &reply.payload)?;
                    let adapted = json!({
                        "of": reply.context.message_type().name(),
                        "for": reply.context.correlation::<String>()?,
                        "is": reply.payload,
                    });
                    Ok(Outcome::resolve(adapted))
                },
            ),
            _ => with_service(builder, control, node),
        })
}

/// The node where the service ran did not have the endpoint: the reply reached the client as it was, without its adapter.
#[actix_web::test]
async fn a_reply_passes_through_the_adapter_wherever_the_service_ran() {
    let nodes = adapted().start(2).await;
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
        expect_effect(&mut line, is).await;
    }
    let asked = line.request("to bills", json!({"do": "later"})).await;
    let tid = line.tid(&asked);
    let seen = nodes.control.wait("the service", 1, |seen| seen.tid == tid);
    let token = seen.await.remove(0).token.expect("a service has one");
    nodes[1].server.reply(&token, &1).await.unwrap();
    let reply = expect_reply(&mut line, "RESOLVE", &asked).await;
    let expected = json!({"of": "RESOLVE", "for": "table 7", "is": 1});
    assert_eq!(reply["msg"], expected);
    expect_effect(&mut line, json!(1)).await;
    line.none("RESOLVE").await;
}

/// One of the version before claims whatever there is, and fails what it does not know: beside it, all goes as it did then.
#[cfg(feature = "postgres")]
#[actix_web::test]
async fn nothing_is_handed_on_beside_a_node_of_an_earlier_version() {
    use diesel::connection::SimpleConnection;
    use diesel::{Connection, PgConnection};
    let schema = postgres::Schema::new();
    let (name, settings) = (schema.name().to_owned(), schema.settings());
    let nodes = adapted().postgres(schema, settings).start(2).await;
    let mut conn = PgConnection::establish(&postgres::url()).expect("PostgreSQL is there");
    let mut run = |sql: String| conn.batch_execute(&sql).expect("done");
    let mut line = nodes.open_on(0, "anna").await;
    run(format!(
        "INSERT INTO {name}.node (name, lease_until) VALUES ('old', 9000000000000)"
    ));
    let asked = line.request("to bills", json!({})).await;
    let reply = expect_reply(&mut line, "RESOLVE", &asked).await;
    assert_eq!(reply["msg"], json!({"paid": {}}), "as it is");
    run(format!("DELETE FROM {name}.node WHERE name = 'old'"));
    let asked = line.request("to bills", json!({})).await;
    let reply = expect_reply(&mut line, "RESOLVE", &asked).await;
    assert_eq!(reply["msg"]["is"], json!({"paid": {}}));
}
