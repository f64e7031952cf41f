//! Pipelines and envelopes: ids, pings, order, and what one message may do to others.

use matssocket_testing::*;

#[actix_web::test]
async fn message_ids_are_text_or_numbers() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send(json!([
        {"t": "REQUEST", "cmid": 17, "tid": "number", "eid": "test.do", "msg": {}},
        {"t": "REQUEST", "cmid": "id-ä 17", "tid": "text", "eid": "test.do", "msg": {}},
        {"t": "SEND", "cmid": 18, "tid": "send", "eid": "test.take", "msg": {}},
    ]))
    .await;
    assert_eq!(line.expect_id("RESOLVE", "17").await["tid"], "number");
    assert_eq!(line.expect_id("RESOLVE", "id-ä 17").await["tid"], "text");
    line.expect_id("ACK", "18").await;
    // The number and its text are the same id; an ACK2 may name it either way.
    line.send(
        json!([{"t": "REQUEST", "cmid": "17", "tid": "number", "eid": "test.do", "msg": {}}]),
    )
    .await;
    assert!(
        line.expect_id("RESOLVE", "17").await["desc"]
            .as_str()
            .unwrap()
            .contains("dupe")
    );
    line.send(json!([{"t": "ACK2", "cmid": 17}, {"t": "ACK2", "ids": ["id-ä 17", "unknown"]}]))
        .await;
    line.barrier().await;
}

#[actix_web::test]
async fn pings_are_echoed_with_their_id_as_it_came() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for x in [json!("p1"), json!(17), json!(0), json!("")] {
        line.send(json!([{"t": "PING", "x": x}])).await;
        assert_eq!(line.expect("PONG").await["x"], x);
    }
    line.send(json!([{"t": "PONG", "x": 1}])).await;
    line.barrier().await;
}

#[actix_web::test]
async fn unknown_fields_are_ignored() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{
        "t": "REQUEST", "cmid": 1, "tid": "t", "eid": "test.do", "msg": {"a": 1}, "to": 30_000,
        "future": {"t": ["SEND"]}, "ts": 12.5, "cid": null,
    }]))
    .await;
    assert_eq!(line.expect_id("RESOLVE", "1").await["msg"]["a"], 1);
}

#[actix_web::test]
async fn payloads_pass_through_untouched() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for payload in [
        "null",
        "1e400",
        "12345678901234567890123",
        "{\"b\":1,\"a\":[1.10,\"\\u00e9\"]}",
        "\"\"",
        "[]",
    ] {
        let payload: Box<serde_json::value::RawValue> = serde_json::from_str(payload).unwrap();
        nodes
            .server()
            .send(line.session(), "t", "client.x", &payload)
            .await
            .unwrap();
        let text = loop {
            use futures_util::StreamExt;
            let message = within("the SEND", line.socket.next())
                .await
                .unwrap()
                .unwrap();
            if let tokio_tungstenite::tungstenite::Message::Text(text) = message
                && text.contains("SEND")
            {
                break text;
            }
        };
        assert!(
            text.contains(&format!("\"msg\":{payload}")),
            "{payload} in {text}"
        );
    }
}

#[actix_web::test]
async fn a_slow_handler_does_not_delay_the_messages_behind_it() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let slow = line.envelope("REQUEST", "slow", "test.gate", json!({"gate": "g"}));
    let quick = line.envelope("REQUEST", "quick", "test.do", json!({}));
    line.send(json!([slow, quick])).await;
    line.expect_id("RESOLVE", "quick").await;
    let later = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &later).await;
    line.barrier().await;
    assert_eq!(line.waiting("RESOLVE"), 0, "the slow one still waits");
    nodes.control.open("g", 1);
    line.expect_id("RESOLVE", "slow").await;
}

#[actix_web::test]
async fn a_thousand_messages_in_one_pipeline() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let mut pipeline = Vec::new();
    for number in 0..1_000 {
        let (t, eid) = if number % 2 == 0 {
            ("SEND", "test.take")
        } else {
            ("REQUEST", "test.do")
        };
        pipeline.push(line.envelope(t, &format!("m{number}"), eid, json!({"number": number})));
    }
    line.send(Value::Array(pipeline)).await;
    for number in 0..1_000 {
        let id = format!("m{number}");
        if number % 2 == 0 {
            line.expect_id("ACK", &id).await;
        } else {
            assert_eq!(
                line.expect_id("RESOLVE", &id).await["msg"]["number"],
                number
            );
        }
    }
    assert_eq!(
        nodes
            .control
            .all(|seen| seen.what.starts_with("test."))
            .len(),
        1_000
    );
    let messages = line.pipelines.len();
    assert!(
        messages < 400,
        "answers are coalesced, but came in {messages} WebSocket messages"
    );
}

#[actix_web::test]
async fn the_same_id_while_its_handler_runs_attaches_to_it() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let envelope = line.envelope("REQUEST", "1", "test.gate", json!({"gate": "g"}));
    line.send(json!([envelope, envelope])).await;
    line.send(json!([envelope])).await;
    line.barrier().await;
    nodes.control.open("g", 10);
    line.expect_id("RESOLVE", "1").await;
    line.send(json!([envelope])).await;
    assert!(
        line.expect_where("the repeat", |e| e["desc"]
            .as_str()
            .unwrap_or("")
            .contains("dupe"))
            .await["t"]
            == "RESOLVE"
    );
    assert_eq!(nodes.control.runs(&line.tid("1")), 1);
}

#[actix_web::test]
async fn an_ack2_does_not_overtake_the_message_it_is_about() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let envelope = line.envelope("REQUEST", "1", "test.gate", json!({"gate": "g"}));
    line.send(json!([envelope])).await;
    nodes.control.called(&line.tid("1")).await;
    line.send(json!([envelope, {"t": "ACK2", "cmid": "1"}]))
        .await;
    line.barrier().await;
    nodes.control.open("g", 10);
    line.expect_id("RESOLVE", "1").await;
    assert_eq!(
        nodes.control.runs(&line.tid("1")),
        1,
        "the copy did not run the handler again"
    );
}

/// Ids of every wrong form: each is refused by itself; PostgreSQL's text would refuse a NUL and fail a whole batch.
#[actix_web::test]
async fn a_bad_id_harms_only_its_own_message() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let long = "i".repeat(256);
    for (field, bad) in [
        ("tid", long.as_str()),
        ("tid", "nul\0here"),
        ("tid", "line\nbreak"),
        ("eid", long.as_str()),
        ("eid", "nul\0here"),
        ("cmid", long.as_str()),
        ("cmid", "nul\0here"),
        ("cmid", "tab\there"),
    ] {
        let mut pipeline = Vec::new();
        for id in ["before", "bad", "behind"] {
            let cmid = format!("{id} {}", line.next_cmid());
            let mut envelope = line.envelope("SEND", &cmid, "test.take", json!(1));
            if id == "bad" {
                envelope[field] = json!(bad);
            }
            pipeline.push(envelope);
        }
        let ids: Vec<String> = pipeline
            .iter()
            .map(|e| e["cmid"].as_str().unwrap().to_owned())
            .collect();
        line.send(Value::Array(pipeline)).await;
        line.expect_id("ACK", &ids[0]).await;
        line.expect_id("ACK", &ids[2]).await;
        let refusal = line.expect_id("NACK", &ids[1]).await;
        assert!(
            refusal["desc"]
                .as_str()
                .is_some_and(|desc| !desc.is_empty()),
            "{field}: {refusal}"
        );
    }
    let payload = line
        .send_to("test.take", json!({"nul": "a\0b", "deep": [[[[[1]]]]]}))
        .await;
    line.expect_id("ACK", &payload).await;
}

#[actix_web::test]
async fn answers_without_description_are_merged_and_a_late_ack_never_follows_its_resolve() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let pipeline: Vec<Value> = (0..100)
        .map(|n| {
            line.envelope(
                "REQUEST",
                &format!("m{n}"),
                "test.do",
                json!({"do": "forward"}),
            )
        })
        .collect();
    line.send(Value::Array(pipeline)).await;
    let mut resolved = Vec::new();
    for number in 0..100 {
        resolved.push(line.expect_id("RESOLVE", &format!("m{number}")).await);
    }
    line.ack_all(&resolved).await;
    let mut seen = std::collections::HashSet::new();
    for envelope in line.pipelines.iter().flatten() {
        let ids = envelope["ids"]
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![envelope["cmid"].clone()]);
        for id in ids {
            match envelope["t"].as_str().unwrap() {
                "RESOLVE" => assert!(seen.insert(id.to_string())),
                "ACK" => assert!(
                    !seen.contains(&id.to_string()),
                    "the ACK of {id} came behind its RESOLVE"
                ),
                _ => {}
            }
        }
    }
}

#[actix_web::test]
async fn unknown_ids_are_acknowledged_again() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "ACK", "smid": "never-sent"}, {"t": "NACK", "ids": ["a", "b"]}]))
        .await;
    for id in ["never-sent", "a", "b"] {
        line.expect_id("ACK2", id).await;
    }
    line.send(json!([{"t": "ACK2", "ids": ["never", "sent"]}]))
        .await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    for t in ["ACK", "NACK", "ACK"] {
        let smid = match line.received.iter().find(|e| e["t"] == "SEND") {
            Some(envelope) => envelope["smid"].clone(),
            None => {
                let envelope = line.expect("SEND").await;
                line.received.push_back(envelope.clone());
                envelope["smid"].clone()
            }
        };
        line.send(json!([{"t": t, "smid": smid, "desc": "the client may say why"}]))
            .await;
        line.expect_id("ACK2", smid.as_str().unwrap()).await;
    }
}

/// A client answers a PING envelope wrongly: the server keeps lines alive by WebSocket pings.
#[actix_web::test]
async fn the_server_pings_by_websocket() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::Message;
    let interval = std::time::Duration::from_millis(20);
    let nodes = Setup::new()
        .config(|config| config.ping_interval = interval)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for _ in 0..3 {
        let message = within("a ping", line.socket.next()).await.unwrap().unwrap();
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
    line.barrier().await;
    assert_eq!(line.waiting("PING"), 0);
}

#[actix_web::test]
async fn the_clients_websocket_pings_are_answered() {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::Message;
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.message(Message::Ping("payload".into())).await;
    let message = within("a pong", line.socket.next()).await.unwrap().unwrap();
    assert_eq!(message, Message::Pong("payload".into()));
}

#[actix_web::test]
async fn fragments_are_joined() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let text = json!([line.envelope("REQUEST", "1", "test.do", json!({"text": "grün"}))])
        .to_string()
        .into_bytes();
    // Every cut, also within a character.
    let pieces: Vec<&[u8]> = text.chunks(1).collect();
    for (number, piece) in pieces.iter().enumerate() {
        let code = OpCode::Data(if number == 0 {
            Data::Text
        } else {
            Data::Continue
        });
        let frame = Frame::message(piece.to_vec(), code, number + 1 == pieces.len());
        line.socket.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(line.expect_id("RESOLVE", "1").await["msg"]["text"], "grün");
}
