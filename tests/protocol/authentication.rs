//! Authorization that runs out: messages are held, asked for once, and go on in order.

use matssocket_testing::*;

async fn expired() -> (Nodes, Line) {
    expired_with(Setup::new()).await
}

async fn expired_with(setup: Setup) -> (Nodes, Line) {
    let nodes = setup.start(1).await;
    let line = nodes.open("anna").await;
    nodes.control.set("invalid:anna:valid");
    (nodes, line)
}

#[actix_web::test]
async fn messages_are_held_until_valid_authorization_comes() {
    let (nodes, mut line) = expired().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(line.request("test.do", json!({})).await);
    }
    line.send(json!([{"t": "SUB", "eid": "topic"}])).await;
    let publishing = line.send_to("test.publish", json!("topic")).await;
    line.expect("REAUTH").await;
    // The line lives on, PING needs no authorization, and REAUTH is said once.
    line.none("REAUTH").await;
    line.none("RESOLVE").await;
    assert_eq!(nodes.control.all(|seen| seen.what == "test.do").len(), 0);
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    for id in &ids {
        line.expect_id("RESOLVE", id).await;
    }
    line.expect_id("ACK", &publishing).await;
    line.expect("SUB_OK").await;
    assert_eq!(
        line.expect("PUB").await["msg"],
        "published by a handler",
        "the SUB was in force before the SEND"
    );
    let order: Vec<String> = nodes
        .control
        .all(|seen| seen.what == "test.do")
        .into_iter()
        .map(|seen| seen.tid)
        .collect();
    assert_eq!(
        order,
        ids.iter().map(|id| line.tid(id)).collect::<Vec<_>>(),
        "held messages are handled in order"
    );
}

#[actix_web::test]
async fn authorization_may_ride_on_any_envelope() {
    let (nodes, mut line) = expired().await;
    let held = line.request("test.do", json!({})).await;
    line.expect("REAUTH").await;
    let mut next = line.envelope("REQUEST", "next", "test.do", json!({}));
    next["auth"] = json!("anna:newer");
    line.send(json!([{"t": "PING", "x": 1, "auth": "anna:older"}, next]))
        .await;
    line.expect_id("RESOLVE", &held).await;
    line.expect_id("RESOLVE", "next").await;
    assert_eq!(nodes.control.all(|seen| seen.what == "test.do").len(), 2);
}

#[actix_web::test]
async fn new_authorization_that_is_invalid_too_is_asked_for_again() {
    let (nodes, mut line) = expired().await;
    let held = line.request("test.do", json!({})).await;
    // The last of them says the same once more.
    for bad in ["anna:bad", "anna:worse", "anna:worse"] {
        nodes.control.set(&format!("invalid:{bad}"));
        line.expect("REAUTH").await;
        line.none("REAUTH").await;
        line.send(json!([{"t": "AUTH", "auth": bad}])).await;
    }
    line.expect("REAUTH").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:good"}])).await;
    line.expect_id("RESOLVE", &held).await;
}

#[actix_web::test]
async fn acknowledgements_and_pings_need_no_authorization() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    let mail = line.expect("SEND").await;
    nodes.control.set("invalid:anna:valid");
    line.ack(&mail).await;
    line.none("REAUTH").await;
}

#[actix_web::test]
async fn the_outbox_is_kept_back_until_valid_authorization_comes() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    nodes.control.set("outgoing:anna:valid");
    for number in 0..50 {
        nodes
            .server()
            .send(line.session(), "t", "client.x", &number)
            .await
            .unwrap();
    }
    line.expect("REAUTH").await;
    line.none("SEND").await;
    // Incoming is still valid: requests are answered at once.
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
    line.none("REAUTH").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    for number in 0..50 {
        assert_eq!(line.expect("SEND").await["msg"], number);
    }
    line.none("REAUTH").await;
}

#[actix_web::test]
async fn one_reauth_serves_both_directions() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    nodes.control.set("outgoing:anna:valid");
    nodes.control.set("invalid:anna:valid");
    let cmid = line.request("test.do", json!({})).await;
    line.expect("REAUTH").await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    line.none("REAUTH").await;
    line.none("SEND").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    line.expect_id("RESOLVE", &cmid).await;
    line.expect("SEND").await;
}

#[actix_web::test]
async fn too_many_held_messages_get_retry() {
    let (_nodes, mut line) = expired_with(Setup::new().config(|config| config.max_held = 3)).await;
    let ids: Vec<String> = {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(line.request("test.do", json!({})).await);
        }
        ids
    };
    for id in &ids[3..] {
        line.expect_id("RETRY", id).await;
    }
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    for id in &ids[..3] {
        line.expect_id("RESOLVE", id).await;
    }
}

#[actix_web::test]
async fn the_first_message_is_held_whatever_its_size() {
    let (_nodes, mut line) =
        expired_with(Setup::new().config(|config| config.max_held_bytes = 1_000)).await;
    let big = "x".repeat(5_000);
    let first = line.request("test.do", json!({"big": big})).await;
    let second = line.request("test.do", json!({})).await;
    line.expect_id("RETRY", &second).await;
    line.send(json!([{"t": "AUTH", "auth": "anna:new"}])).await;
    line.expect_id("RESOLVE", &first).await;
}

#[actix_web::test]
async fn too_many_messages_while_held_are_closed_with_1008() {
    let limits = |config: &mut matssocket::Config| {
        config.max_received_while_held = 10;
        config.max_held = 3;
    };
    let (nodes, mut line) = expired_with(Setup::new().config(limits)).await;
    let pipeline: Vec<Value> = (0..12)
        .map(|n| line.envelope("SEND", &format!("m{n}"), "test.take", json!(n)))
        .collect();
    line.send(Value::Array(pipeline)).await;
    line.expect_close(1008).await;
    nodes.control.event("close", line.session()).await;
}

#[actix_web::test]
async fn too_many_held_subscriptions_are_closed_with_1008() {
    let (nodes, mut line) = expired_with(Setup::new().config(|config| {
        config.max_topics = 10;
        config.max_held_subscriptions = 10;
    }))
    .await;
    let pipeline: Vec<Value> = (0..12)
        .map(|n| json!({"t": "SUB", "eid": format!("topic{n}")}))
        .collect();
    line.send(Value::Array(pipeline)).await;
    line.expect_close(1008).await;
    nodes.control.event("close", line.session()).await;
}

/// An authenticator whose database is away is no refusal: a 1008 would make clients throw away their session.
#[actix_web::test]
async fn a_failing_authenticator_closes_with_1012_and_keeps_the_session() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    nodes.control.set("broken:anna:valid");
    let cmid = line.send_to("test.take", json!(1)).await;
    let reason = line.expect_close(1012).await;
    assert!(
        !reason.contains("database"),
        "not the client's business: {reason}"
    );
    assert_eq!(nodes.control.runs(&line.tid(&cmid)), 0);
    nodes.control.event("deregister", line.session()).await;
    // At HELLO likewise.
    let client = line.cut();
    let mut line = client.clone().connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    line.expect_close(1012).await;
    nodes.control.unset("broken:anna:valid");
    let mut line = nodes.back(0, client).await;
    // Before delivery likewise, and for a topic.
    nodes.control.set("outgoing broken:anna:valid");
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    line.expect_close(1012).await;
    nodes.control.unset("outgoing broken:anna:valid");
    let mut line = nodes.back(0, line.cut()).await;
    line.expect("SEND").await;
    line.send(json!([{"t": "SUB", "eid": "broken"}])).await;
    line.expect_close(1012).await;
    nodes.until_stored("anna", 1).await;
}

#[actix_web::test]
async fn a_session_belongs_to_one_user_for_life() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "AUTH", "auth": "berta:valid"}]))
        .await;
    line.expect_close(1008).await;
    nodes.control.event("close", line.session()).await;

    let nodes = Setup::new()
        .config(|config| config.allow_user_change = true)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "AUTH", "auth": "berta:valid"}]))
        .await;
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
    let session = line.session().to_owned();
    drop(line);
    // The session stays whose it was: nobody else could come back to it.
    let event = nodes.control.event("deregister", &session).await;
    assert_eq!(event.user, "anna");
}
