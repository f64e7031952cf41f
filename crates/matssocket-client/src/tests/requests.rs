//! Requests, their answers, and what goes again.

use super::*;

#[tokio::test]
async fn retry_sends_again_until_attempts_run_out() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let one = client.send("t", "E", &1);
    line.next(MessageType::Send).await;
    line.send(r#"[{"t":"RETRY","cmid":"1"}]"#).await;
    assert_eq!(
        line.next(MessageType::Send).await.cmid.as_deref(),
        Some("1")
    );
    line.send(r#"[{"t":"ACK","cmid":"1"}]"#).await;
    in_time(one).await.unwrap();

    let two = client.request::<()>("t", "E", &2).into_future();
    for _ in 0..10 {
        assert_eq!(
            line.next(MessageType::Request).await.cmid.as_deref(),
            Some("2")
        );
        line.send(r#"[{"t":"RETRY","cmid":"2","desc":"busy"}]"#)
            .await;
    }
    let exhausted = SendError::RetriesExhausted {
        attempts: 10,
        desc: "busy".into(),
    };
    assert_eq!(
        in_time(two).await.unwrap_err(),
        RequestError::Send(exhausted)
    );
}

#[tokio::test]
async fn requests_are_resolved_rejected_and_refused() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let resolved = client
        .request::<u32>("t", "E", &1)
        .timeout(Duration::from_secs(9))
        .into_future();
    assert_eq!(line.next(MessageType::Request).await.to, Some(9_000));
    // Without smid the reply stands for the ACK.
    line.send(r#"[{"t":"RESOLVE","cmid":"1","tid":"t","msg":42,"debug":{"resd":1,"mscts":5}}]"#)
        .await;
    let reply = in_time(resolved).await.unwrap();
    assert_eq!(reply.debug.as_ref().unwrap().mscts, Some(5));
    assert_eq!(reply.resolved().unwrap(), 42);
    assert_eq!(
        line.next(MessageType::Ack2).await.cmid.as_deref(),
        Some("1")
    );

    // With smid it is a message of its own; the request counts as taken as well.
    let rejected = client.request::<u32>("t", "E", &1).into_future();
    line.next(MessageType::Request).await;
    let reject = r#"[{"t":"REJECT","cmid":"2","smid":"s1","tid":"t","msg":{"why":7}}]"#;
    line.send(reject).await;
    let rejection = in_time(rejected).await.unwrap().resolved().unwrap_err();
    assert_eq!(rejection.payload::<Value>().unwrap(), json!({"why": 7}));
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s1")
    );
    assert_eq!(
        line.next(MessageType::Ack2).await.cmid.as_deref(),
        Some("2")
    );
    line.send(reject).await;
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s1")
    );

    let refused = client.request::<u32>("t", "E", &1).into_future();
    line.next(MessageType::Request).await;
    line.send(r#"[{"t":"NACK","cmid":"3","desc":"no"}]"#).await;
    let error = RequestError::Send(SendError::Refused { desc: "no".into() });
    assert_eq!(in_time(refused).await.unwrap_err(), error);
}

#[tokio::test]
async fn a_late_answer_is_ignored_but_acknowledged() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let timeout = Duration::from_millis(30);
    let answer = client.request::<u32>("t", "E", &1).timeout(timeout).await;
    assert_eq!(answer.unwrap_err(), RequestError::Timeout(timeout));
    line.next(MessageType::Request).await;
    line.send(r#"[{"t":"RESOLVE","cmid":"1","smid":"s1","tid":"t","msg":42}]"#)
        .await;
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s1")
    );
    assert_eq!(
        line.next(MessageType::Ack2).await.cmid.as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn the_answers_to_server_requests_go_again_until_acknowledged() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    client.endpoint("E", |message: Message<u32>| async move {
        match message.payload {
            0 => Err("zero".to_owned()),
            1 => panic!("one"),
            n => Ok(n * 2),
        }
    });
    for n in 0..3 {
        line.send(&format!(
            r#"[{{"t":"REQUEST","smid":"s{n}","tid":"t","eid":"E","msg":{n}}}]"#
        ))
        .await;
    }
    let mut replies = Vec::new();
    for _ in 0..3 {
        let reply = line
            .next_of(&[MessageType::Resolve, MessageType::Reject])
            .await;
        replies.push((
            reply.smid.unwrap(),
            reply.t,
            reply.msg.map(|msg| msg.get().to_owned()),
            reply.cmid.unwrap(),
        ));
    }
    replies.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        (replies[0].1, replies[0].2.as_deref()),
        (MessageType::Reject, Some(r#""zero""#))
    );
    assert_eq!(
        (replies[1].1, replies[1].2.as_deref()),
        (MessageType::Reject, None)
    );
    assert_eq!(
        (replies[2].1, replies[2].2.as_deref()),
        (MessageType::Resolve, Some("4"))
    );
    line.send(&format!(
        r#"[{{"t":"ACK","ids":["{}","{}"]}}]"#,
        replies[0].3, replies[1].3
    ))
    .await;
    line.next(MessageType::Ack2).await;
    drop(line);

    let mut line = mock.accept().await;
    line.welcome("S1").await;
    assert_eq!(
        line.next_of(&[MessageType::Resolve, MessageType::Reject])
            .await
            .cmid
            .unwrap(),
        replies[2].3
    );
}
