//! Messages in both directions.

use super::*;

#[tokio::test]
async fn hello_goes_first_and_the_rest_does_not_wait_for_welcome() {
    let mock = Mock::start().await;
    let client = builder(&mock)
        .header("Cookie", "a=b")
        .unwrap()
        .build()
        .unwrap();
    let (one, two) = (
        client.send("t1", "E", &json!({"n": 1})),
        client.send("t2", "E", "two"),
    );
    let mut line = mock.accept().await;
    assert_eq!(line.header("cookie"), "a=b");

    let first = line.pipeline().await;
    assert_eq!(first.len(), 1);
    let hello = &first[0];
    assert_eq!(
        (hello.t, hello.auth.as_deref(), hello.sid.as_deref()),
        (MessageType::Hello, Some("Auth:me"), None)
    );
    assert_eq!(
        (hello.an.as_deref(), hello.av.as_deref()),
        (Some("App"), Some("1.0"))
    );
    assert!(hello.clv.is_some());

    let second = line.text().await;
    let expected = r#"[{"t":"SEND","cmid":"1","tid":"t1","eid":"E","msg":{"n":1}},{"t":"SEND","cmid":"2","tid":"t2","eid":"E","msg":"two"}]"#;
    assert_eq!(second, expected);
    line.send(r#"[{"t":"WELCOME","sid":"S1"},{"t":"ACK","ids":["1","2"]}]"#)
        .await;
    in_time(one).await.unwrap();
    in_time(two).await.unwrap();
    assert_eq!(line.next(MessageType::Ack2).await.ids.unwrap(), ["1", "2"]);
    assert_eq!(client.session_id().as_deref(), Some("S1"));
}

#[tokio::test]
async fn after_a_cut_the_same_messages_go_again() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let mut events = client.connection_events();
    let one = client.send("t1", "E", &1);
    let two = tokio::spawn(client.send("t2", "E", &2));
    assert_eq!(
        line.next(MessageType::Send).await.cmid.as_deref(),
        Some("1")
    );
    assert_eq!(
        line.next(MessageType::Send).await.cmid.as_deref(),
        Some("2")
    );
    line.send(r#"[{"t":"ACK","cmid":"1"}]"#).await;
    in_time(one).await.unwrap();
    client.cut();

    let mut line = mock.accept().await;
    let hello = line.welcome("S1").await;
    assert_eq!(hello.sid.as_deref(), Some("S1"));
    assert_eq!(
        line.next(MessageType::Send).await.cmid.as_deref(),
        Some("2")
    );
    line.send(r#"[{"t":"ACK","cmid":"2"}]"#).await;
    in_time(two).await.unwrap().unwrap();
    assert!(matches!(
        events.recv().await.unwrap(),
        ConnectionEvent::Lost { .. }
    ));
    in_time(async {
        loop {
            if let ConnectionEvent::SessionEstablished {
                resumed,
                session_id,
            } = events.recv().await.unwrap()
            {
                assert_eq!((resumed, session_id.as_str()), (true, "S1"));
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_that_comes_twice_is_handled_once() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let mut handled = listen(&client, "T");
    let push = r#"[{"t":"SEND","smid":"s1","tid":"t","eid":"T","msg":"one"}]"#;
    line.send(push).await;
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s1")
    );
    line.send(push).await;
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s1")
    );
    // Also through a reconnect.
    client.cut();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.send(push).await;
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s1")
    );
    line.send(
        r#"[{"t":"ACK2","smid":"s1"},{"t":"SEND","smid":"s2","tid":"t","eid":"T","msg":"two"}]"#,
    )
    .await;
    assert_eq!(in_time(handled.recv()).await.unwrap(), "one");
    assert_eq!(in_time(handled.recv()).await.unwrap(), "two");
}

#[tokio::test]
async fn what_nobody_handles_is_refused() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    client.terminator("T", |_: Message<u32>| async {});
    line.send(r#"[{"t":"SEND","smid":"s1","tid":"t","eid":"Nope","msg":1}]"#)
        .await;
    assert_eq!(
        line.next(MessageType::Nack).await.desc.as_deref(),
        Some(r#"no terminator "Nope""#)
    );
    line.send(r#"[{"t":"SEND","smid":"s2","tid":"t","eid":"T","msg":"text"}]"#)
        .await;
    assert!(
        line.next(MessageType::Nack)
            .await
            .desc
            .unwrap()
            .contains("does not deserialise")
    );
}

/// Handlers of different speed must not reorder messages, and a panic must not lose the next one.
#[tokio::test]
async fn messages_are_handled_in_order() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let (sender, mut handled) = mpsc::unbounded_channel();
    client.terminator("T", move |message: Message<u64>| {
        let sender = sender.clone();
        async move {
            assert_ne!(message.payload, 3, "this handler panics");
            for _ in 0..20 - message.payload {
                tokio::task::yield_now().await;
            }
            let _ = sender.send(message.payload);
        }
    });
    for n in 0..8 {
        line.send(&format!(
            r#"[{{"t":"SEND","smid":"s{n}","tid":"t","eid":"T","msg":{n}}}]"#
        ))
        .await;
    }
    for n in [0, 1, 2, 4, 5, 6, 7] {
        assert_eq!(in_time(handled.recv()).await.unwrap(), n);
    }
}

#[tokio::test]
async fn limits_are_errors_not_memory() {
    let mock = Mock::start().await;
    let client = builder(&mock).max_outbox(2, 1 << 20).build().unwrap();
    let _kept = (client.send("t", "E", &1), client.send("t", "E", &2));
    let full = client.send("t", "E", &3).await.unwrap_err();
    assert!(
        matches!(full, SendError::OutboxFull { messages: 2, .. }),
        "{full}"
    );
    assert!(matches!(
        client.send("", "E", &3).await,
        Err(SendError::OutboxFull { .. })
    ));
    let client = builder(&mock).build().unwrap();
    assert!(matches!(
        client.send("", "E", &3).await,
        Err(SendError::InvalidId(_))
    ));
    assert!(matches!(
        client.request::<()>("t", "E\n", &3).await,
        Err(RequestError::Send(SendError::InvalidId(_)))
    ));
    assert!(Client::builder("App", "1.0").build().is_err());
    assert!(
        Client::builder("App", "1.0")
            .url("http://x")
            .build()
            .is_err()
    );
}

/// A slow handler must stop the reading, not fill the memory; the rest follows when it is done.
#[tokio::test]
async fn reading_stops_while_too_much_waits() {
    let mock = Mock::start().await;
    let client = builder(&mock)
        .max_waiting_messages(2)
        .ping_interval(Duration::from_millis(100))
        .build()
        .unwrap();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (sender, mut handled) = mpsc::unbounded_channel();
    let door = gate.clone();
    client.terminator("T", move |message: Message<u32>| {
        let (sender, door) = (sender.clone(), door.clone());
        async move {
            door.acquire().await.unwrap().forget();
            let _ = sender.send(message.payload);
        }
    });
    client.reconnect();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    for n in 0..10 {
        line.send(&format!(
            r#"[{{"t":"SEND","smid":"s{n}","tid":"t","eid":"T","msg":{n}}}]"#
        ))
        .await;
    }
    let mut acknowledged = 0;
    while acknowledged < 3 {
        let ack = line.next(MessageType::Ack).await;
        acknowledged += ack.ids.map_or(1, |ids| ids.len());
    }
    assert!(acknowledged < 10);
    gate.add_permits(10);
    for n in 0..10 {
        assert_eq!(in_time(handled.recv()).await.unwrap(), n);
    }
}

/// A server that remembers what it has handled, and a connection that is cut repeatedly: everything arrives once and in
/// order, in both directions.
#[tokio::test]
async fn cuts_lose_double_and_reorder_nothing() {
    const MESSAGES: u64 = 3_000;
    let mock = Mock::start().await;
    let client = builder(&mock).wait_for_welcome(true).build().unwrap();
    let mut pushed = listen(&client, "T");
    let cutter = client.clone();
    let server = tokio::spawn(async move {
        let mut handled: Vec<u64> = Vec::new();
        let mut unacknowledged: std::collections::BTreeSet<u64> = (0..MESSAGES).collect();
        let mut lines = 0;
        while (handled.len() as u64) < MESSAGES || !unacknowledged.is_empty() {
            let mut line = mock.accept().await;
            lines += 1;
            line.welcome("S1").await;
            let mut envelopes = 0;
            let push =
                |n: &u64| format!(r#"{{"t":"SEND","smid":"s{n}","tid":"t","eid":"T","msg":{n}}}"#);
            let pushes: Vec<String> = unacknowledged.iter().take(200).map(push).collect();
            if !pushes.is_empty() {
                line.send(&format!("[{}]", pushes.join(","))).await;
            }
            while let Some(pipeline) = line.try_pipeline().await {
                envelopes += pipeline.len();
                let mut acks = Vec::new();
                for envelope in pipeline {
                    match envelope.t {
                        MessageType::Send => {
                            let n = envelope.msg.unwrap().get().parse().unwrap();
                            if handled.last().is_none_or(|last| n > *last) {
                                handled.push(n);
                            }
                            acks.push(format!("\"{}\"", envelope.cmid.unwrap()));
                        }
                        MessageType::Ack => {
                            for smid in envelope
                                .smid
                                .into_iter()
                                .chain(envelope.ids.into_iter().flatten())
                            {
                                unacknowledged.remove(&smid[1..].parse().unwrap());
                            }
                        }
                        _ => {}
                    }
                }
                if envelopes > 150 && lines < 20 {
                    // What was just taken is not acknowledged.
                    cutter.cut();
                } else if !acks.is_empty() {
                    line.send(&format!(r#"[{{"t":"ACK","ids":[{}]}}]"#, acks.join(",")))
                        .await;
                }
                if (handled.len() as u64) == MESSAGES && lines >= 20 {
                    break;
                }
            }
        }
        handled
    });
    let sendings: Vec<Sending> = (0..MESSAGES).map(|n| client.send("t", "E", &n)).collect();
    let handled = in_time(server).await.unwrap();
    assert_eq!(handled, (0..MESSAGES).collect::<Vec<u64>>());
    for n in 0..MESSAGES {
        assert_eq!(in_time(pushed.recv()).await.unwrap(), n);
    }
    assert!(pushed.try_recv().is_err(), "nothing came twice");
    drop(sendings);
}
