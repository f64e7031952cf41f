//! Forwarded work: services, adapters, retries, dead letters, and replies that come later.

use std::time::Duration;

use matssocket::SendError;

use matssocket_testing::*;

fn quick(config: &mut matssocket::Config) {
    config.service_backoff = Duration::from_millis(10);
    config.service_attempts = 5;
    config.takeover_interval = Duration::from_millis(20);
}

async fn settle(line: &mut Line, cmid: &str, t: &str) -> Value {
    let reply = line.expect_id(t, cmid).await;
    assert!(
        reply["smid"].is_string() && reply["tid"] == line.tid(cmid),
        "{reply}"
    );
    line.ack(&reply).await;
    reply
}

#[actix_web::test]
async fn what_a_service_does_is_what_the_client_is_told() {
    let nodes = Setup::new().config(quick).start(1).await;
    let mut line = nodes.open("anna").await;
    for (work, t, part) in [
        ("resolve", "RESOLVE", "worked"),
        ("reject", "REJECT", "refused"),
        ("onwards", "RESOLVE", "other worked"),
        ("fail twice", "RESOLVE", "\"attempts\":3"),
        ("retry once", "RESOLVE", "\"attempts\":2"),
        ("later briefly", "RESOLVE", "\"attempts\":2"),
        ("fail", "REJECT", ""),
        ("panic", "REJECT", ""),
        ("done", "REJECT", ""),
        ("deny", "REJECT", ""),
    ] {
        let cmid = line
            .request("test.do", json!({"do": "forward", "work": work}))
            .await;
        let reply = settle(&mut line, &cmid, t).await;
        assert!(reply.to_string().contains(part), "{work}: {reply}");
        assert!(!reply.to_string().contains("hunter2"), "leaks: {reply}");
    }
    line.none("RESOLVE").await;
    line.none("REJECT").await;
}

#[actix_web::test]
async fn the_adapter_decides() {
    let nodes = Setup::new().config(quick).start(1).await;
    let mut line = nodes.open("anna").await;
    for (work, adapter, t, part) in [
        ("resolve", "resolve", "RESOLVE", "\"type\":\"RESOLVE\""),
        ("reject", "resolve", "RESOLVE", "\"type\":\"REJECT\""),
        ("resolve", "reject", "REJECT", "rejected"),
        ("resolve", "done", "REJECT", ""),
        ("resolve", "deny", "REJECT", ""),
        ("resolve", "error", "REJECT", ""),
        ("resolve", "panic", "REJECT", ""),
    ] {
        let cmid = line
            .request("test.adapted", json!({"work": work, "adapter": adapter}))
            .await;
        let reply = settle(&mut line, &cmid, t).await;
        assert!(
            reply.to_string().contains(part),
            "{work}, {adapter}: {reply}"
        );
        assert!(!reply.to_string().contains("hunter2"), "leaks: {reply}");
    }
}

#[actix_web::test]
async fn a_send_that_always_fails_becomes_a_dead_letter_after_its_attempts() {
    let nodes = Setup::new()
        .config(quick)
        .config(|config| config.service_attempts = 3)
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    let cmid = line
        .send_to("test.do", json!({"do": "forward", "work": "fail"}))
        .await;
    line.expect_id("ACK", &cmid).await;
    let tid = line.tid(&cmid);
    nodes
        .control
        .wait("attempts", 3, |seen| seen.what == "work" && seen.tid == tid)
        .await;
    let dead = nodes.until_dead_letters().await;
    assert_eq!(
        (dead[0].origin.as_str(), dead[0].endpoint.as_deref()),
        ("service", Some("work"))
    );
    assert_eq!(
        (dead[0].trace_id.as_str(), dead[0].deliveries),
        (tid.as_str(), 3)
    );
    assert_eq!(nodes.control.runs_of("work", &tid), 3);
    assert!(
        nodes[1]
            .server
            .redrive_dead_letter(dead[0].id)
            .await
            .unwrap()
    );
    nodes
        .control
        .wait("another attempt", 4, |seen| {
            seen.what == "work" && seen.tid == tid
        })
        .await;
}

#[actix_web::test]
async fn what_a_service_sends_is_one_with_the_settling() {
    let nodes = Setup::new().config(quick).start(1).await;
    let mut line = nodes.open("anna").await;
    let cmid = line
        .request("test.do", json!({"do": "forward", "work": "send"}))
        .await;
    settle(&mut line, &cmid, "RESOLVE").await;
    let sent = line.expect("SEND").await;
    assert_eq!(sent["tid"], "from service");
    line.ack(&sent).await;
    line.none("SEND").await;
}

#[actix_web::test]
async fn a_reply_that_comes_later_from_another_node_and_twice() {
    let nodes = Setup::new().config(quick).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    for (t, endpoint) in [
        ("RESOLVE", "test.do"),
        ("REJECT", "test.do"),
        ("RESOLVE", "test.adapted"),
    ] {
        let msg = json!({"do": "forward", "work": "later", "adapter": "resolve"});
        let cmid = line.request(endpoint, msg).await;
        line.expect_id("ACK", &cmid).await;
        let tid = line.tid(&cmid);
        let seen = nodes
            .control
            .wait("the service", 1, |seen| {
                seen.what == "work" && seen.tid == tid
            })
            .await
            .remove(0);
        // Through an external queue: the token is serialisable.
        let token =
            serde_json::to_string(&seen.token.expect("a service has a reply token")).unwrap();
        let token = serde_json::from_str(&token).unwrap();
        let server = &nodes[1].server;
        let (first, second) = match t {
            "RESOLVE" => (
                server.reply(&token, &json!({"late": 1})).await,
                server.reply(&token, &2).await,
            ),
            _ => (
                server.reject(&token, &json!({"late": 1})).await,
                nodes[0].server.reply(&token, &2).await,
            ),
        };
        first.unwrap();
        assert!(
            matches!(second, Ok(()) | Err(SendError::AlreadyReplied)),
            "{second:?}"
        );
        let reply = settle(&mut line, &cmid, t).await;
        assert!(reply.to_string().contains("late"), "{reply}");
    }
    line.none("RESOLVE").await;
    line.none("REJECT").await;
}

#[actix_web::test]
async fn a_reply_arrives_after_a_reconnect_on_another_node() {
    let nodes = Setup::new().config(quick).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    let cmid = line
        .request("test.do", json!({"do": "forward", "work gate": "g"}))
        .await;
    line.expect_id("ACK", &cmid).await;
    let session = line.session().to_owned();
    let client = line.cut();
    nodes.control.event("deregister", &session).await;
    let mut line = nodes.back(1, client).await;
    nodes.control.open("g", 1);
    settle(&mut line, &cmid, "RESOLVE").await;
    assert_eq!(nodes.control.runs_of("work", &line.tid(&cmid)), 1);
}

/// Closing a session while its work is on the way must neither fail the service again and again nor bring a reply
/// to a session that is gone.
#[actix_web::test]
async fn work_for_a_session_that_is_gone_is_finished_once() {
    let nodes = Setup::new().config(quick).start(1).await;
    let mut line = nodes.open("anna").await;
    let cmid = line
        .request(
            "test.do",
            json!({"do": "forward", "work": "send", "work gate": "g"}),
        )
        .await;
    line.expect_id("ACK", &cmid).await;
    let tid = line.tid(&cmid);
    nodes
        .control
        .wait("the service", 1, |seen| {
            seen.what == "work" && seen.tid == tid
        })
        .await;
    line.leave(4000).await;
    nodes.control.event("close", line.session()).await;
    nodes.control.open("g", 10);
    // Other work behind it is done, and this one not tried again.
    let mut line = nodes.open("berta").await;
    for _ in 0..3 {
        let cmid = line.request("test.do", json!({"do": "forward"})).await;
        settle(&mut line, &cmid, "RESOLVE").await;
    }
    assert_eq!(nodes.control.runs_of("work", &tid), 1);
    assert!(nodes.server().dead_letters(0, 10).await.unwrap().is_empty());
}

#[actix_web::test]
async fn the_built_in_ping_through_a_service() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let cmid = line
        .request("MatsSocket.matsPing", json!({"payload": "p", "number": 2}))
        .await;
    let reply = settle(&mut line, &cmid, "RESOLVE").await;
    assert_eq!(reply["msg"]["payload"], "p");
    assert!(
        (reply["msg"]["number"].as_f64().unwrap() - 2.0 * std::f64::consts::PI).abs() < 1e-9,
        "{reply}"
    );
}
