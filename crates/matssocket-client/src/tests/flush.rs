//! Waiting until nothing is outstanding.

use super::*;

/// Starts a flush; its future has been polled once when this returns.
async fn flushing(client: &Client) -> tokio::task::JoinHandle<Result<(), SessionClosed>> {
    let (client, (started, start)) = (client.clone(), tokio::sync::oneshot::channel());
    let flushing = tokio::spawn(async move {
        let mut flush = std::pin::pin!(client.flush());
        let first = futures_util::poll!(&mut flush);
        let _ = started.send(());
        match first {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => flush.await,
        }
    });
    in_time(start).await.unwrap();
    flushing
}

#[tokio::test]
async fn flush_returns_at_once_if_there_is_nothing() {
    let mock = Mock::start().await;
    let client = builder(&mock).build().unwrap();
    in_time(client.flush()).await.unwrap();
    assert_eq!(
        client.state(),
        ConnectionState::Idle,
        "and does not connect"
    );
    let (client, _line) = established(&mock).await;
    in_time(client.flush()).await.unwrap();
}

#[tokio::test]
async fn flush_waits_for_acknowledgements_and_sends_its_own() {
    let mock = Mock::start().await;
    let client = builder(&mock)
        // Long enough for the two to be batched.
        .ack_delay(Duration::from_millis(300))
        .start()
        .unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    drop(client.send("t", "E", &1));
    let request = client.request::<u32>("t", "E", &2).into_future();
    line.next(MessageType::Request).await;
    let flush = flushing(&client).await;
    // Sent later: not waited for.
    let _later = client.send("t", "E", &3);
    assert_eq!(
        line.next(MessageType::Send).await.cmid.as_deref(),
        Some("3")
    );
    line.send(r#"[{"t":"ACK","cmid":"1"},{"t":"PONG","x":1}]"#)
        .await;
    assert!(!flush.is_finished());
    // The request is acknowledged; its answer is not waited for.
    line.send(r#"[{"t":"ACK","cmid":"2"}]"#).await;
    in_time(flush).await.unwrap().unwrap();
    assert_eq!(line.next(MessageType::Ack2).await.ids.unwrap(), ["1", "2"]);
    drop(request);
}

#[tokio::test]
async fn flush_waits_for_replies_and_for_acknowledgements_alone() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    client.endpoint("E", |n: Message<u32>| async move { Ok::<_, ()>(n.payload) });
    line.send(r#"[{"t":"REQUEST","smid":"s1","tid":"t","eid":"E","msg":1}]"#)
        .await;
    let reply = line.next(MessageType::Resolve).await.cmid.unwrap();
    let flush = flushing(&client).await;
    assert!(!flush.is_finished());
    line.send(&format!(r#"[{{"t":"ACK","cmid":"{reply}"}}]"#))
        .await;
    in_time(flush).await.unwrap().unwrap();
    assert_eq!(
        line.next(MessageType::Ack2).await.cmid.as_deref(),
        Some(&*reply)
    );

    let mut handled = listen(&client, "T");
    line.send(r#"[{"t":"SEND","smid":"s2","tid":"t","eid":"T","msg":1}]"#)
        .await;
    in_time(handled.recv()).await.unwrap();
    in_time(client.flush()).await.unwrap();
    assert_eq!(
        line.next(MessageType::Ack).await.smid.as_deref(),
        Some("s2")
    );
}

#[tokio::test]
async fn flush_goes_through_reconnects_and_connects_who_was_disconnected() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    drop(client.send("t", "E", &1));
    line.next(MessageType::Send).await;
    let flush = flushing(&client).await;
    client.cut();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.next(MessageType::Send).await;
    assert!(!flush.is_finished());
    tokio::join!(line.close_code(), client.disconnect());
    let flush_too = flushing(&client).await;
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.next(MessageType::Send).await;
    line.send(r#"[{"t":"ACK","cmid":"1"}]"#).await;
    in_time(flush).await.unwrap().unwrap();
    in_time(flush_too).await.unwrap().unwrap();
}

#[tokio::test]
async fn flush_fails_with_the_session() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    drop(client.send("t", "E", &1));
    line.next(MessageType::Send).await;
    let flush = flushing(&client).await;
    line.close(1008, "not you").await;
    let closed = SessionClosed {
        code: Some(1008),
        reason: "not you".into(),
    };
    assert_eq!(in_time(flush).await.unwrap(), Err(closed.clone()));
    assert_eq!(client.flush().await, Err(closed));
}

/// A request that was withdrawn before it was sent is not waited for.
#[tokio::test]
async fn flush_does_not_wait_for_what_was_withdrawn() {
    let mock = Mock::start().await;
    let client = builder(&mock).wait_for_welcome(true).build().unwrap();
    let request = client.request::<()>("t", "E", &1).into_future();
    let flush = flushing(&client).await;
    assert!(!flush.is_finished());
    drop(request);
    in_time(flush).await.unwrap().unwrap();
}
