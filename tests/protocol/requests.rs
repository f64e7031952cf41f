//! The server asks its client: RESOLVE and REJECT, once each, and what happens when no answer comes.

use std::time::Duration;

use matssocket::ReplyTo;

use matssocket_testing::*;

fn reply_to() -> ReplyTo {
    ReplyTo::terminator("test.reply")
        .correlation_string("string ✓")
        .correlation_bytes([0_u8, 1, 255])
}

async fn ask(nodes: &Nodes, line: &mut Line, tid: &str) -> Value {
    nodes
        .server()
        .request(
            line.session(),
            tid,
            "client.endpoint",
            &json!({"asked": tid}),
            reply_to(),
        )
        .await
        .unwrap();
    line.expect_where("the REQUEST", |e| e["t"] == "REQUEST" && e["tid"] == tid)
        .await
}

#[actix_web::test]
async fn answers_reach_the_terminator_with_the_correlation_intact() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(1, "anna").await;
    for t in ["RESOLVE", "REJECT"] {
        let request = ask(&nodes, &mut line, t).await;
        assert_eq!(
            (&request["eid"], &request["msg"]["asked"]),
            (&json!("client.endpoint"), &json!(t))
        );
        line.ack(&request).await;
        let cmid = line.reply(t, &request, json!({"answer": 42})).await;
        line.expect_id("ACK", &cmid).await;
        let seen = nodes.control.called(t).await;
        assert_eq!(
            (seen.kind.as_str(), &seen.payload["answer"]),
            (t, &json!(42))
        );
        assert_eq!(seen.string.as_deref(), Some("string ✓"));
        assert_eq!(seen.bytes.as_deref(), Some(&[0, 1, 255][..]));
        assert_eq!(
            (seen.end, seen.session.as_str(), seen.user.as_str()),
            (None, line.session(), "anna")
        );
    }
}

#[actix_web::test]
async fn a_request_through_a_handlers_context() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send_to("test.ask", json!("question")).await;
    let request = line.expect("REQUEST").await;
    let cmid = line.reply("RESOLVE", &request, json!("answer")).await;
    line.expect_id("ACK", &cmid).await;
    let seen = nodes
        .control
        .wait("the reply", 1, |seen| seen.what == "test.reply")
        .await
        .remove(0);
    assert_eq!(
        (seen.payload, seen.string.as_deref()),
        (json!("answer"), Some("string ✓"))
    );
}

#[actix_web::test]
async fn an_answer_sent_twice_is_processed_once() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    let request = ask(&nodes, &mut line, "asked").await;
    let cmid = line.next_cmid();
    let answer =
        json!({"t": "RESOLVE", "cmid": cmid, "smid": request["smid"], "tid": "asked", "msg": {}});
    line.send(json!([answer, answer])).await;
    line.expect_id("ACK", &cmid).await;
    // Same id, on another node; then another id for the same request; then a REJECT behind the RESOLVE.
    let mut line = nodes.back(1, line.cut()).await;
    line.send(json!([answer])).await;
    assert!(
        line.expect_id("ACK", &cmid).await["desc"]
            .as_str()
            .unwrap()
            .contains("dupe")
    );
    for t in ["RESOLVE", "REJECT"] {
        let other = line.reply(t, &request, json!({})).await;
        assert!(
            line.expect_id("ACK", &other).await["desc"]
                .as_str()
                .unwrap()
                .contains("dupe")
        );
    }
    assert_eq!(nodes.control.runs("asked"), 1);
    // What the terminator sent through its context was sent once.
    line.expect("SEND").await;
    line.none("SEND").await;
}

#[actix_web::test]
async fn an_answer_without_acknowledgement_of_the_request_counts() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let request = ask(&nodes, &mut line, "asked").await;
    let cmid = line.reply("RESOLVE", &request, json!({})).await;
    line.expect_id("ACK", &cmid).await;
    // The outbox row is independent of the correlation: not acknowledged, it comes again.
    let mut line = nodes.back(0, line.cut()).await;
    assert_eq!(line.expect("REQUEST").await["smid"], request["smid"]);
    line.ack(&request).await;
    let other = line.reply("RESOLVE", &request, json!({})).await;
    assert!(
        line.expect_id("ACK", &other).await["desc"]
            .as_str()
            .unwrap()
            .contains("dupe")
    );
}

#[actix_web::test]
async fn an_answer_to_a_request_that_never_was_is_a_duplicate() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for smid in ["nonsense", "x-999999999999999999999", ""] {
        let cmid = line.next_cmid();
        line.send(json!([{"t": "RESOLVE", "cmid": cmid, "smid": smid, "tid": "t", "msg": 1}]))
            .await;
        let answer = line.answer(&cmid).await;
        assert_ne!(answer["t"], "RETRY", "clients throw on a RETRY of a reply");
    }
    let request = ask(&nodes, &mut line, "asked").await;
    // Another session cannot answer it.
    let mut other = nodes.open("berta").await;
    let cmid = other.reply("RESOLVE", &request, json!({})).await;
    other.answer(&cmid).await;
    assert_eq!(nodes.control.runs("asked"), 0);
    let cmid = line.reply("RESOLVE", &request, json!({})).await;
    line.expect_id("ACK", &cmid).await;
    assert_eq!(nodes.control.called("asked").await.session, line.session());
}

#[actix_web::test]
async fn a_request_that_times_out_is_told_as_a_reject() {
    let nodes = Setup::new()
        .config(|config| config.takeover_interval = Duration::from_millis(50))
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    let reply_to = reply_to().timeout(Duration::from_millis(200));
    nodes
        .server()
        .request(line.session(), "late", "client.endpoint", &1, reply_to)
        .await
        .unwrap();
    let request = line.expect("REQUEST").await;
    line.ack(&request).await;
    let seen = nodes.control.called("late").await;
    assert_eq!(
        (seen.kind.as_str(), seen.string.as_deref()),
        ("REJECT", Some("string ✓"))
    );
    assert!(
        seen.end.is_some_and(|reason| !reason.is_empty()),
        "says why"
    );
    // The answer that comes after all is a duplicate.
    line.expect("SEND").await;
    let cmid = line.reply("RESOLVE", &request, json!({})).await;
    assert!(
        line.expect_id("ACK", &cmid).await["desc"]
            .as_str()
            .unwrap()
            .contains("dupe")
    );
    assert_eq!(nodes.control.runs("late"), 1);
}

#[actix_web::test]
async fn a_refused_request_is_told_as_a_reject() {
    let nodes = Setup::new()
        .config(|config| config.takeover_interval = Duration::from_millis(50))
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    let request = ask(&nodes, &mut line, "refused").await;
    line.send(json!([{"t": "NACK", "smid": request["smid"], "desc": "no such endpoint"}]))
        .await;
    line.expect_id("ACK2", request["smid"].as_str().unwrap())
        .await;
    let seen = nodes.control.called("refused").await;
    assert_eq!((seen.kind.as_str(), seen.end.is_some()), ("REJECT", true));
    assert_eq!(nodes.control.runs("refused"), 1);
}

#[actix_web::test]
async fn closing_the_session_ends_its_requests_as_rejects() {
    let nodes = Setup::new()
        .config(|config| config.takeover_interval = Duration::from_millis(50))
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    ask(&nodes, &mut line, "open").await;
    nodes[1]
        .server
        .close_session(&session, "bye")
        .await
        .unwrap();
    let seen = nodes.control.called("open").await;
    assert_eq!(
        (seen.kind.as_str(), seen.session, seen.string.as_deref()),
        ("REJECT", session, Some("string ✓"))
    );
    assert!(seen.end.is_some());
}

/// Clients throw on a RETRY of a reply: one that cannot be taken now makes them reconnect, and send it again.
#[actix_web::test]
async fn a_reply_that_cannot_be_taken_now_is_closed_with_4002_and_sent_again() {
    let nodes = Setup::new()
        .config(|config| config.max_handlers = 1)
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    let request = ask(&nodes, &mut line, "asked").await;
    line.ack(&request).await;
    let busy = line.send_to("test.gate", json!({"gate": "g"})).await;
    nodes.control.called(&line.tid(&busy)).await;
    let cmid = line.next_cmid();
    let reply =
        json!({"t": "RESOLVE", "cmid": cmid, "smid": request["smid"], "tid": "asked", "msg": {}});
    line.send(json!([reply])).await;
    line.expect_close(4002).await;
    assert_eq!(line.waiting("RETRY"), 0);
    nodes.control.open("g", 1);
    let mut line = nodes.back(1, line.cut()).await;
    line.send(json!([reply])).await;
    line.expect_id("ACK", &cmid).await;
    assert_eq!(nodes.control.runs("asked"), 1);
}

/// One user with many sessions had many times as many handlers as one with a single session.
#[actix_web::test]
async fn the_sessions_of_a_user_share_his_handlers() {
    let nodes = Setup::new()
        .config(|config| config.max_handlers_per_user = 3)
        .start(1)
        .await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut line = nodes.open("anna").await;
        let busy = line.request("test.gate", json!({"gate": "g"})).await;
        nodes.control.called(&line.tid(&busy)).await;
        sessions.push((line, busy));
    }
    let mut fourth = nodes.open("anna").await;
    let refused = fourth.send_to("test.take", json!({})).await;
    let answer = fourth.expect_id("RETRY", &refused).await;
    let why = answer["desc"].as_str().unwrap_or_default();
    assert!(why.contains("this user"), "{answer}");
    let mut bystander = nodes.open("berta").await;
    let served = bystander.send_to("test.take", json!({})).await;
    bystander.expect_id("ACK", &served).await;
    nodes.control.open("g", 3);
    for (line, busy) in &mut sessions {
        line.expect_id("RESOLVE", busy).await;
    }
    let taken = fourth.send_to("test.take", json!({})).await;
    fourth.expect_id("ACK", &taken).await;
}

#[actix_web::test]
async fn the_terminator_of_a_timed_out_request_is_told_once_although_two_nodes_look() {
    let nodes = Setup::new()
        .config(|config| config.takeover_interval = Duration::from_millis(10))
        .start(3)
        .await;
    let line = nodes.open("anna").await;
    for number in 0..20 {
        let reply_to = reply_to().timeout(Duration::from_millis(50));
        nodes
            .server()
            .request(
                line.session(),
                &format!("late {number}"),
                "client.endpoint",
                &1,
                reply_to,
            )
            .await
            .unwrap();
    }
    nodes
        .control
        .wait("time-outs", 20, |seen| seen.what == "test.reply")
        .await;
    // What the terminator sent through its context came once each.
    let mut line = line;
    for _ in 0..20 {
        let effect = line.expect("SEND").await;
        line.ack(&effect).await;
    }
    line.none("SEND").await;
    assert_eq!(
        nodes.control.all(|seen| seen.what == "test.reply").len(),
        20
    );
}
