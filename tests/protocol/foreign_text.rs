//! What comes from clients and cannot be meant: it harms only itself, and is shown escaped and cut.

use matssocket_testing::*;

/// A NACK's description, as a client gets it.
async fn refused(line: &mut Line, cmid: &str) -> String {
    let nack = line.expect_id("NACK", cmid).await;
    nack["desc"].as_str().expect("it says why").to_owned()
}

/// Half an emoji in one field got the whole session deleted, with its outbox.
#[actix_web::test]
async fn a_field_that_cannot_be_read_harms_only_its_message() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let sent = nodes.server().send(line.session(), "t", "client.x", &1);
    sent.await.expect("stored");
    for (number, field) in [
        r#""tid":"order \ud83d","eid":"test.do""#,
        r#""tid":"t","eid":"test.do\udc00""#,
        r#""tid":7,"eid":"test.do""#,
        r#""tid":"t","eid":{"a":1}"#,
    ]
    .iter()
    .enumerate()
    {
        let bad = format!(r#"{{"t":"REQUEST","cmid":"bad{number}",{field},"msg":{{}}}}"#);
        let good = format!(
            r#"{{"t":"REQUEST","cmid":"good{number}","tid":"t","eid":"test.do","msg":{{}}}}"#
        );
        line.text(&format!("[{bad},{good}]")).await;
        let why = refused(&mut line, &format!("bad{number}")).await;
        assert!(why.contains("tid") || why.contains("eid"), "{why}");
        line.expect_id("RESOLVE", &format!("good{number}")).await;
    }
    assert!(nodes.server().metrics().client_mistakes >= 4);
    line.expect("SEND").await;
}

#[actix_web::test]
async fn what_a_message_can_do_without_is_ignored() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for (number, field) in [
        r#""rd":-1"#,
        r#""rd":"3""#,
        r#""to":"5000""#,
        r#""to":null"#,
        r#""desc":7"#,
        r#""\ud83d":1"#,
        r#""unknown":"\ud83d""#,
        r#""smid":"\ud83d""#,
    ]
    .iter()
    .enumerate()
    {
        let request = format!(
            r#"[{{"t":"REQUEST","cmid":"{number}","tid":"t","eid":"test.do","msg":{{}},{field}}}]"#
        );
        line.text(&request).await;
        // A server message id is nothing that a REQUEST needs; but it is no text either.
        let t = if field.contains("smid") {
            "NACK"
        } else {
            "RESOLVE"
        };
        line.expect_id(t, &number.to_string()).await;
    }
    for x in ["12.5", "true", r#""\ud83d""#] {
        line.text(&format!(r#"[{{"t":"PING","x":{x}}}]"#)).await;
        // What is half an emoji here cannot be read by this test's client either.
        if !x.contains("ud83d") {
            let pong = line.expect("PONG").await;
            assert_eq!(pong["x"].to_string(), x);
        }
    }
}

#[actix_web::test]
async fn acknowledgements_that_cannot_be_read_acknowledge_nothing() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let sent = nodes.server().send(line.session(), "t", "client.x", &1);
    sent.await.expect("stored");
    let mail = line.expect("SEND").await;
    line.text(
        r#"[{"t":"ACK","smid":"\ud83d"},{"t":"NACK","smid":{}},{"t":"ACK2","ids":["\ud83d"]}]"#,
    )
    .await;
    line.barrier().await;
    line.ack(&mail).await;
}

#[actix_web::test]
async fn topics_that_cannot_be_read_are_not_for_the_client() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.text(r#"[{"t":"SUB","eid":"a\ud83d"},{"t":"SUB","eid":"b\u0007"},{"t":"UNSUB","eid":7}]"#)
        .await;
    assert_eq!(line.expect("SUB_NO_AUTH").await["eid"], "a\u{fffd}");
    assert_eq!(line.expect("SUB_NO_AUTH").await["eid"], "b\u{7}");
    line.barrier().await;
    let refused = nodes.server().publish("b\u{7}", "t", &1).await;
    assert!(refused.unwrap_err().to_string().contains(r"b\u{7}"));
}

#[actix_web::test]
async fn an_integral_number_is_one_id_however_it_is_spelled() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for spelled in ["1000", "1e3", "1000.0"] {
        let request =
            format!(r#"[{{"t":"REQUEST","cmid":{spelled},"tid":"t","eid":"test.do","msg":{{}}}}]"#);
        line.text(&request).await;
        line.expect_id("RESOLVE", "1000").await;
    }
    assert_eq!(nodes.control.runs("t"), 1);
    line.text(r#"[{"t":"REQUEST","cmid":1.5,"tid":"t","eid":"test.do"}]"#)
        .await;
    line.expect_close(4004).await;
}

/// A wrong-typed string of 5 MiB made a log line, a NACK and an inbox row of 5 MiB.
#[actix_web::test]
async fn what_a_client_sent_is_quoted_cut_and_escaped() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let long = "\u{1b}[31m".to_owned() + &"x".repeat(3 << 20);
    let cmid = line.request("test.strict", json!({"number": long})).await;
    let why = refused(&mut line, &cmid).await;
    assert!(why.chars().count() <= 301, "{} characters", why.len());
    assert!(
        why.contains(r"\u{1b}[31mxxx") && why.ends_with('…'),
        "{why}"
    );
    // So it was stored.
    let again = line.envelope("REQUEST", &cmid, "test.strict", json!({}));
    line.send(json!([again])).await;
    let why = refused(&mut line, &cmid).await;
    assert!(why.chars().count() <= 320, "{} characters", why.len());

    let cmid = line.request("no\u{202e}such", json!({})).await;
    let why = refused(&mut line, &cmid).await;
    assert!(why.contains(r"no\u{202e}such"), "{why}");
    line.text("[{\"t\":\"\\u001b]0;title\\u0007\"}]").await;
    let reason = line.expect_close(4004).await;
    assert!(reason.contains(r"\u{1b}]0;title"), "{reason}");
}

#[actix_web::test]
async fn the_texts_of_a_hello_are_repaired_and_escaped() {
    let nodes = Nodes::one().await;
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    line.text(
        r#"[{"t":"HELLO","clv":"lib \ud83d","an":"A\u001b[2J","av":"1\u202e","tid":"\udc00","auth":"anna:valid"}]"#,
    )
    .await;
    line.expect("WELCOME").await;
    let filter = matssocket::SessionFilter::default();
    let stored = nodes.server().sessions(filter, 1).await;
    let stored = stored.expect("the store works").remove(0);
    assert_eq!(
        [&*stored.client, &*stored.app_name, &*stored.app_version],
        ["lib \u{fffd}", r"A\u{1b}[2J", r"1\u{202e}"]
    );
}

/// The application waited for its time-out, and the session was gone.
#[actix_web::test]
async fn a_malformed_reply_is_refused_and_its_request_ends() {
    let nodes = Setup::new()
        .config(|config| config.takeover_interval = std::time::Duration::from_millis(50))
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for (number, wrong) in [r#""tid":"\ud83d""#, r#""tid":"a\u0000b""#]
        .into_iter()
        .enumerate()
    {
        let tid = format!("asked {number}");
        let reply_to = matssocket::ReplyTo::terminator("test.reply");
        let asked = nodes
            .server()
            .request(line.session(), &tid, "client.x", &1, reply_to);
        asked.await.expect("stored");
        let request = line.expect("REQUEST").await;
        let smid = &request["smid"];
        let cmid = line.next_cmid();
        line.text(&format!(
            r#"[{{"t":"RESOLVE","cmid":"{cmid}","smid":{smid},{wrong},"msg":1}}]"#
        ))
        .await;
        line.expect_id("NACK", &cmid).await;
        let told = nodes
            .control
            .wait("the reply terminator", 1, |seen| {
                seen.what == "test.reply" && seen.tid == tid
            })
            .await
            .remove(0);
        assert_eq!(told.kind, "REJECT");
        assert_eq!(
            told.end.as_deref(),
            Some("the client's reply cannot be read")
        );
    }
}
