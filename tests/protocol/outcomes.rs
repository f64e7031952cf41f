//! The outcome table: what a client is told for what a handler decides.

use matssocket_testing::endpoints::SECRET;
use matssocket_testing::*;

/// Handler's decision, answer to a SEND, answer to a REQUEST.
const TABLE: [(&str, &str, &str); 9] = [
    ("done", "ACK", "NACK"),
    ("deny", "NACK", "NACK"),
    ("deny_with", "NACK", "NACK"),
    ("resolve", "NACK", "RESOLVE"),
    ("reject", "NACK", "REJECT"),
    ("forward", "ACK", "ACK"),
    ("error", "NACK", "NACK"),
    ("public", "NACK", "NACK"),
    ("panic", "NACK", "NACK"),
];

fn description(envelope: &Value) -> &str {
    envelope["desc"].as_str().unwrap_or_default()
}

/// Sends the same message again: the same answer must come, marked, and no handler run.
async fn again(nodes: &Nodes, line: &mut Line, envelope: &Value, first: &Value) {
    let cmid = envelope["cmid"].as_str().unwrap();
    let runs = nodes
        .control
        .runs_of("test.do", envelope["tid"].as_str().unwrap());
    line.send(json!([envelope])).await;
    let dupe = line.answer(cmid).await;
    assert_eq!(
        dupe["t"], first["t"],
        "the answer to the repeat of {envelope}"
    );
    assert_eq!(
        dupe["msg"], first["msg"],
        "the payload of the repeat of {envelope}"
    );
    assert!(
        description(&dupe).contains("dupe"),
        "a repeat is marked in desc: {dupe}"
    );
    assert_eq!(
        nodes
            .control
            .runs_of("test.do", envelope["tid"].as_str().unwrap()),
        runs,
        "ran again: {envelope}"
    );
}

/// Drops a message from the inbox and sends it again until the handler runs afresh.
async fn fresh_after_ack2(nodes: &Nodes, line: &mut Line, envelope: &Value) {
    let (cmid, tid) = (
        envelope["cmid"].as_str().unwrap(),
        envelope["tid"].as_str().unwrap(),
    );
    let runs = nodes.control.runs_of("test.do", tid);
    for _ in 0..100 {
        line.send(json!([{"t": "ACK2", "cmid": cmid}])).await;
        line.send(json!([envelope])).await;
        let answer = line.answer(cmid).await;
        if !description(&answer).contains("dupe") {
            assert_eq!(
                nodes.control.runs_of("test.do", tid),
                runs + 1,
                "a fresh message runs the handler: {answer}"
            );
            return;
        }
    }
    panic!("after ACK2, {cmid} is still taken for a duplicate");
}

async fn whole_table(t: &str, expected: impl Fn(&(&str, &str, &str)) -> String) {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let mut done = Vec::new();
    for row in &TABLE {
        let cmid = line.next_cmid();
        // A reply that comes before the ACK of its request takes its place: so the service waits.
        let envelope = line.envelope(
            t,
            &cmid,
            "test.do",
            json!({"do": row.0, "work gate": "closed"}),
        );
        line.send(json!([envelope])).await;
        let answer = line.answer(&cmid).await;
        assert_eq!(answer["t"], expected(row), "{t} with {}: {answer}", row.0);
        assert_eq!(nodes.control.runs_of("test.do", &line.tid(&cmid)), 1);
        again(&nodes, &mut line, &envelope, &answer).await;
        done.push((envelope, answer));
    }
    let mut line = nodes.back(0, line.cut()).await;
    for (envelope, answer) in &done {
        again(&nodes, &mut line, envelope, answer).await;
    }
    for (envelope, _) in &done {
        fresh_after_ack2(&nodes, &mut line, envelope).await;
    }
}

#[actix_web::test]
async fn every_outcome_of_a_send_is_answered_and_remembered() {
    whole_table("SEND", |row| row.1.to_owned()).await;
}

#[actix_web::test]
async fn every_outcome_of_a_request_is_answered_and_remembered() {
    whole_table("REQUEST", |row| row.2.to_owned()).await;
}

#[actix_web::test]
async fn every_outcome_of_a_reply_to_the_server_is_answered_and_remembered() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let table = [
        (None, "ACK"),
        (Some("done"), "ACK"),
        (Some("deny"), "NACK"),
        (Some("resolve"), "NACK"),
        (Some("reject"), "NACK"),
        (Some("forward"), "ACK"),
        (Some("error"), "NACK"),
        (Some("panic"), "NACK"),
    ];
    for kind in ["RESOLVE", "REJECT"] {
        for (decision, expected) in table {
            let session = line.session().to_owned();
            let tid = format!("{kind} {decision:?}");
            let reply_to = matssocket::ReplyTo::terminator("test.reply");
            nodes
                .server()
                .request(&session, &tid, "client.endpoint", &1, reply_to)
                .await
                .unwrap();
            let request = line.expect("REQUEST").await;
            line.ack(&request).await;
            let msg = decision.map_or(json!({}), |decision| json!({"do": decision}));
            let cmid = line.next_cmid();
            let reply =
                json!({"t": kind, "cmid": cmid, "smid": request["smid"], "tid": tid, "msg": msg});
            line.send(json!([reply])).await;
            let answer = line.answer(&cmid).await;
            assert_eq!(answer["t"], expected, "{tid}: {answer}");
            assert!(!answer.to_string().contains(SECRET), "leaks: {answer}");
            line.send(json!([reply])).await;
            let dupe = line.answer(&cmid).await;
            assert_eq!(dupe["t"], expected, "the repeat of {tid}: {dupe}");
            assert!(
                description(&dupe).contains("dupe"),
                "a repeat is marked: {dupe}"
            );
            assert_eq!(nodes.control.runs_of("test.reply", &tid), 1, "{tid}");
            assert_eq!(nodes.control.called(&tid).await.kind, kind);
        }
    }
}

#[actix_web::test]
async fn a_request_resolved_at_once_is_its_own_acknowledgement() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for (decision, t) in [("resolve", "RESOLVE"), ("reject", "REJECT")] {
        let cmid = line
            .request("test.do", json!({"do": decision, "text": "grün \u{1F600}"}))
            .await;
        let answer = line.expect(t).await;
        assert_eq!(answer["cmid"], cmid);
        assert_eq!(answer["tid"], line.tid(&cmid));
        assert!(
            answer.get("smid").is_none(),
            "a reply at once has no smid: {answer}"
        );
        assert!(
            answer.get("debug").is_none(),
            "no debug was asked for: {answer}"
        );
    }
    // A request to the reserved ping is answered likewise, number × e.
    let cmid = line
        .request(
            "MatsSocket.matsSocketPing",
            json!({"payload": "p", "number": 2}),
        )
        .await;
    let answer = line.expect_id("RESOLVE", &cmid).await;
    assert_eq!(answer["msg"]["payload"], "p");
    assert!(
        (answer["msg"]["number"].as_f64().unwrap() - 2.0 * std::f64::consts::E).abs() < 1e-9,
        "{answer}"
    );
    assert_eq!(
        line.waiting("ACK"),
        0,
        "no ACK beside the RESOLVE: {:?}",
        line.received
    );
}

#[actix_web::test]
async fn refusals_say_why_and_nothing_internal() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for (t, eid, msg, part) in [
        ("SEND", "test.unknown", json!(1), "test.unknown"),
        ("REQUEST", "test.unknown", json!(1), "test.unknown"),
        ("REQUEST", "test.take", json!(1), "test.take"),
        ("REQUEST", "test.strict", json!({"number": "seven"}), ""),
        ("SEND", "test.strict", json!([1, 2, 3]), ""),
        ("SEND", "test.do", json!({"do": "error"}), ""),
        ("REQUEST", "test.do", json!({"do": "panic"}), ""),
        (
            "REQUEST",
            "test.do",
            json!({"do": "public"}),
            "out of stock",
        ),
        (
            "SEND",
            "test.do",
            json!({"do": "deny_with"}),
            "for a reason",
        ),
    ] {
        let cmid = line.next_cmid();
        let envelope = line.envelope(t, &cmid, eid, msg);
        for repeat in [false, true] {
            line.send(json!([envelope])).await;
            let answer = line.answer(&cmid).await;
            assert_eq!(answer["t"], "NACK", "{envelope}: {answer}");
            let desc = description(&answer);
            assert!(
                !desc.is_empty() && desc.contains(part),
                "desc of {envelope}: {desc:?}"
            );
            assert!(!answer.to_string().contains("hunter2"), "leaks: {answer}");
            assert_eq!(
                desc.contains("dupe"),
                repeat,
                "each refusal is remembered: {answer}"
            );
        }
    }
    line.barrier().await;
}

#[actix_web::test]
async fn a_handler_that_says_retry_leaves_nothing_behind() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for t in ["SEND", "REQUEST"] {
        let cmid = line.next_cmid();
        let envelope = line.envelope(t, &cmid, "test.effect", json!({"do": "retry"}));
        line.send(json!([envelope])).await;
        let answer = line.answer(&cmid).await;
        assert_eq!(answer["t"], "RETRY", "{answer}");
        line.send(json!([envelope])).await;
        let answer = line.answer(&cmid).await;
        assert_eq!(
            (&answer["t"], description(&answer).contains("dupe")),
            (&json!("RETRY"), false),
            "{answer}"
        );
        assert_eq!(nodes.control.runs(&line.tid(&cmid)), 2);
    }
    line.none("SEND").await;
}

/// Anybody may ping, and what a ping brings goes back, and into the store: 20 MiB of it as well as 20 bytes.
#[actix_web::test]
async fn a_ping_takes_a_few_kib_at_most() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for eid in ["MatsSocket.matsPing", "MatsSocket.matsSocketPing"] {
        let fits = json!({"payload": "x".repeat(4_000)});
        let cmid = line.request(eid, fits.clone()).await;
        assert_eq!(line.answer(&cmid).await["msg"], fits, "{eid}");
        let cmid = line.request(eid, json!({"other": "x".repeat(5_000)})).await;
        let nack = line.answer(&cmid).await;
        assert_eq!(nack["t"], "NACK", "{eid}: {nack}");
        let why = nack["desc"].to_string();
        assert!(why.contains("at most 4096"), "{eid}: {why}");
    }
}
