//! Server to client: order, redelivery, acknowledgement, window and limits.

use std::collections::HashSet;

use matssocket::{IdempotencyKey, SendError};

use matssocket_testing::*;

/// Receives so many SENDs, acknowledging as it goes.
async fn receive(line: &mut Line, many: usize) -> Vec<Value> {
    let mut mails = Vec::new();
    while mails.len() < many {
        let mail = line.expect("SEND").await;
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
        mails.push(mail);
    }
    mails
}

#[actix_web::test]
async fn a_thousand_messages_of_concurrent_senders_on_two_nodes_arrive_in_order() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(1, "anna").await;
    let session = line.session().to_owned();
    let senders = (0..4).map(|sender: usize| {
        let (server, session) = (nodes[sender % 2].server.clone(), session.clone());
        async move {
            for number in 0..250 {
                server
                    .send(&session, "t", "client.x", &json!([sender, number]))
                    .await
                    .unwrap();
            }
        }
    });
    let sending = futures_util::future::join_all(senders);
    let (_, mails) = within("1,000 messages", async {
        tokio::join!(sending, receive(&mut line, 1_000))
    })
    .await;
    let mut next = [0; 4];
    let mut smids = HashSet::new();
    for mail in &mails {
        let (sender, number) = (
            mail["msg"][0].as_u64().unwrap() as usize,
            mail["msg"][1].as_u64().unwrap(),
        );
        assert_eq!(number, next[sender], "of sender {sender}");
        next[sender] += 1;
        assert!(
            smids.insert(mail["smid"].as_str().unwrap().to_owned()),
            "{mail} came twice"
        );
    }
    let most = line
        .pipelines
        .iter()
        .map(|pipeline| pipeline.iter().filter(|e| e["t"] == "SEND").count())
        .max()
        .unwrap();
    assert!(most <= 20, "{most} messages in one WebSocket message");
}

#[actix_web::test]
async fn what_is_not_acknowledged_comes_again_in_order_with_the_same_ids() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    for number in 0..50 {
        nodes
            .server()
            .send(line.session(), "t", "client.x", &number)
            .await
            .unwrap();
    }
    let mut mails = Vec::new();
    for _ in 0..50 {
        mails.push(line.expect("SEND").await);
    }
    let acked: Vec<Value> = mails.iter().step_by(2).cloned().collect();
    let unacked: Vec<Value> = mails.iter().skip(1).step_by(2).cloned().collect();
    line.ack_all(&acked).await;
    for (round, node) in [1, 1, 0].into_iter().enumerate() {
        let session = line.session().to_owned();
        let client = line.cut();
        nodes
            .control
            .events("deregister", &session, round + 1)
            .await;
        nodes
            .server()
            .send(&session, "t", "client.x", &format!("late {round}"))
            .await
            .unwrap();
        line = nodes.back(node, client).await;
        for mail in &unacked {
            let again = line.expect("SEND").await;
            assert_eq!(
                (&again["smid"], &again["msg"]),
                (&mail["smid"], &mail["msg"]),
                "round {round}"
            );
        }
        for late in 0..=round {
            assert_eq!(line.expect("SEND").await["msg"], format!("late {late}"));
        }
    }
    let all: Vec<Value> = unacked.clone();
    line.ack_all(&all).await;
    line.none("SEND").await;
}

#[actix_web::test]
async fn the_window_bounds_what_is_sent_and_not_acknowledged() {
    let nodes = Setup::new()
        .config(|config| config.window = 30)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for number in 0..100 {
        nodes
            .server()
            .send(line.session(), "t", "client.x", &number)
            .await
            .unwrap();
    }
    let mut first = Vec::new();
    for number in 0..30 {
        first.push(line.expect("SEND").await);
        assert_eq!(first[number]["msg"], number);
    }
    line.none("SEND").await;
    line.ack_all(&first).await;
    for (number, mail) in receive(&mut line, 70).await.iter().enumerate() {
        assert_eq!(mail["msg"], number + 30);
    }
}

#[actix_web::test]
async fn the_window_counts_bytes_and_lets_one_message_through() {
    let nodes = Setup::new()
        .config(|config| config.window_bytes = 10_000)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for number in 0..4 {
        let payload = json!([number, "x".repeat(20_000)]);
        nodes
            .server()
            .send(line.session(), "t", "client.x", &payload)
            .await
            .unwrap();
    }
    for number in 0..4 {
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"][0], number);
        line.none("SEND").await;
        line.send(json!([{"t": "ACK", "smid": mail["smid"]}])).await;
    }
}

#[actix_web::test]
async fn message_ids_are_unique_across_sessions_and_printable() {
    let nodes = Nodes::two().await;
    let mut smids = HashSet::new();
    for number in 0..6 {
        let mut line = nodes.open_on(number % 2, "anna").await;
        for _ in 0..5 {
            nodes
                .server()
                .send(line.session(), "t", "client.x", &1)
                .await
                .unwrap();
            let smid = line.expect("SEND").await["smid"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(
                smid.bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'),
                "{smid}"
            );
            assert!(smids.insert(smid));
        }
    }
}

#[actix_web::test]
async fn a_full_outbox_is_told_to_the_sender() {
    let nodes = Setup::new()
        .config(|config| config.store.max_outbox = 5)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let other = nodes.open("berta").await;
    for number in 0..5 {
        nodes
            .server()
            .send(line.session(), "t", "client.x", &number)
            .await
            .unwrap();
    }
    let full = nodes
        .server()
        .send(line.session(), "t", "client.x", &5)
        .await;
    assert!(
        matches!(&full, Err(SendError::OutboxFull(full)) if full.session_id == line.session()),
        "{full:?}"
    );
    nodes
        .server()
        .send(other.session(), "t", "client.x", &5)
        .await
        .unwrap();
    let mails: Vec<Value> = vec![line.expect("SEND").await];
    line.ack_all(&mails).await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &6)
        .await
        .unwrap();
}

/// Messages were counted, but not what is in them: 10,000 of any size.
#[actix_web::test]
async fn an_outbox_that_is_full_of_bytes_is_told_to_the_sender() {
    let nodes = Setup::new()
        .config(|config| config.store.max_outbox_bytes = 10_000)
        .start(1)
        .await;
    let (server, mut line) = (nodes.server(), nodes.open("anna").await);
    let session = line.session().to_owned();
    let large = "x".repeat(6_000);
    server
        .send(&session, "t", "client.x", &large)
        .await
        .unwrap();
    let full = server.send(&session, "t", "client.x", &large).await;
    let why = full.expect_err("it is full").to_string();
    assert!(why.contains(&session), "{why}");
    assert!(why.contains("store.max_outbox_bytes)"), "{why}");
    // A handler that would send it is done again later.
    let cmid = line.request("test.effect", json!({"x": large})).await;
    let retry = line.answer(&cmid).await;
    assert_eq!(retry["t"], "RETRY", "{retry}");
    assert!(
        retry["desc"].to_string().contains("max_outbox_bytes"),
        "{retry}"
    );
    let mail = line.expect("SEND").await;
    line.ack(&mail).await;
    server
        .send(&session, "t", "client.x", &large)
        .await
        .unwrap();
}

#[actix_web::test]
async fn sending_to_nobody_or_with_bad_ids_is_told_to_the_sender() {
    let nodes = Nodes::one().await;
    let line = nodes.open("anna").await;
    let server = nodes.server();
    let nobody = server.send("NoSuchSession", "t", "client.x", &1).await;
    assert!(matches!(nobody, Err(SendError::NoSession(_))), "{nobody:?}");
    let long = "x".repeat(256);
    for (session, tid, eid) in [
        ("", "t", "e"),
        (line.session(), "", "e"),
        (line.session(), "t\0", "e"),
        (line.session(), "t", &long),
    ] {
        let refused = server.send(session, tid, eid, &1).await;
        assert!(
            matches!(refused, Err(SendError::InvalidId(_))),
            "{refused:?}"
        );
    }
    let reply_to = matssocket::ReplyTo::terminator("nobody");
    let unknown = server.request(line.session(), "t", "e", &1, reply_to).await;
    assert!(matches!(unknown, Err(SendError::Unknown(_))), "{unknown:?}");
}

#[actix_web::test]
async fn an_idempotency_key_makes_a_second_send_harmless() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open("anna").await;
    for node in [0, 1, 0] {
        nodes[node]
            .server
            .send_once(
                IdempotencyKey::new("key 1"),
                line.session(),
                "t",
                "client.x",
                &"once",
            )
            .await
            .unwrap();
    }
    nodes
        .server()
        .send_once(
            IdempotencyKey::new("key 2"),
            line.session(),
            "t",
            "client.x",
            &"other",
        )
        .await
        .unwrap();
    assert_eq!(line.expect("SEND").await["msg"], "once");
    assert_eq!(line.expect("SEND").await["msg"], "other");
    line.none("SEND").await;
}

/// What is read at a time has a bound, and room is made for it before; a message that is larger is read alone.
#[actix_web::test]
async fn a_message_that_is_larger_than_what_is_read_at_a_time_arrives() {
    let nodes = Setup::new()
        .config(|config| {
            config.window_bytes = 20_000;
        })
        .start(1)
        .await;
    let mut away = Vec::new();
    for user in ["anna", "berta", "clara", "dora"] {
        let line = nodes.open(user).await;
        let session = line.session().to_owned();
        away.push(line.cut());
        nodes.control.events("deregister", &session, 1).await;
        for number in 0..6 {
            let length = if number == 2 { 80_000 } else { 9_000 };
            let payload = json!([number, "x".repeat(length)]);
            let server = nodes.server();
            server
                .send(&session, "t", "client.x", &payload)
                .await
                .unwrap();
        }
    }
    let back = away.into_iter().map(async |client| {
        let mut line = nodes.back(0, client).await;
        receive(&mut line, 6).await
    });
    for mails in futures_util::future::join_all(back).await {
        let numbers: Vec<_> = mails.iter().map(|mail| mail["msg"][0].clone()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }
}
