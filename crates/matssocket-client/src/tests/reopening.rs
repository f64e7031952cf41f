//! Lost sessions and restarting nodes.

use tokio::time::Instant;

use super::*;

async fn next_event(events: &mut broadcast::Receiver<ConnectionEvent>) -> ConnectionEvent {
    loop {
        let event = in_time(events.recv()).await.unwrap();
        let of_the_line = matches!(
            event,
            ConnectionEvent::Connecting { .. } | ConnectionEvent::Connected { .. }
        );
        if !of_the_line {
            return event;
        }
    }
}

async fn reopening(mock: &Mock) -> (Client, Line) {
    established_with(builder(mock).reopen_session(true), mock).await
}

fn gone(code: u16) -> SessionClosed {
    SessionClosed {
        code: Some(code),
        reason: "gone".into(),
    }
}

#[tokio::test]
async fn a_lost_session_is_replaced_and_its_subscriptions_go_along() {
    let mock = Mock::start().await;
    let (client, mut line) = reopening(&mock).await;
    client
        .subscribe("Topic", |_: Message<String>| async {})
        .unwrap();
    line.next(MessageType::Sub).await;
    let (sending, request) = (
        client.send("t", "E", &1),
        client.request::<()>("t", "E", &2).into_future(),
    );
    line.next(MessageType::Request).await;
    let mut events = client.connection_events();
    client.cut();

    let mut line = mock.accept().await;
    assert_eq!(
        line.next(MessageType::Hello).await.sid.as_deref(),
        Some("S1")
    );
    line.close(4001, "gone").await;
    assert_eq!(in_time(sending).await.unwrap_err(), gone(4001).into());
    assert_eq!(in_time(request).await.unwrap_err(), gone(4001).into());
    let next = client.send("t", "E", &3);
    let mut line = mock.accept().await;
    let first = line.pipeline().await;
    assert_eq!(
        (first[0].t, first[0].sid.as_deref()),
        (MessageType::Hello, None)
    );
    assert_eq!(
        (first[1].t, first[1].eid.as_deref()),
        (MessageType::Sub, Some("Topic"))
    );
    line.send(r#"[{"t":"WELCOME","sid":"S2"}]"#).await;
    let send = line.next(MessageType::Send).await;
    assert_eq!(
        (send.cmid.as_deref(), send.msg.unwrap().get()),
        (Some("3"), "3")
    );
    line.send(r#"[{"t":"ACK","cmid":"3"}]"#).await;
    in_time(next).await.unwrap();

    assert!(matches!(
        next_event(&mut events).await,
        ConnectionEvent::Lost { .. }
    ));
    assert_eq!(
        next_event(&mut events).await,
        ConnectionEvent::SessionClosed(gone(4001))
    );
    let established = ConnectionEvent::SessionEstablished {
        session_id: "S2".into(),
        resumed: false,
    };
    assert_eq!(next_event(&mut events).await, established);
}

#[tokio::test]
async fn a_session_that_the_server_gave_up_is_replaced() {
    let mock = Mock::start().await;
    let (client, line) = reopening(&mock).await;
    line.close(1011, "gone").await;
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S2").await.sid, None);
    let states = &mut client.watch_state();
    let second = ConnectionState::Established("S2".into());
    in_time(states.wait_for(|state| *state == second))
        .await
        .unwrap();
}

/// If the new session keeps being refused, attempts continue, ever more slowly.
#[tokio::test]
async fn a_new_session_that_is_refused_backs_off() {
    let mock = Mock::start().await;
    let backoff = Backoff {
        first: Duration::from_millis(100),
        longest: Duration::from_secs(1),
    };
    let builder = builder(&mock)
        .reopen_session(true)
        .reconnect_backoff(backoff)
        .max_connect_attempts(4);
    let (client, _line) = established_with(builder, &mock).await;
    let mut events = client.connection_events();
    client.cut();
    let mut line = mock.accept().await;
    line.next(MessageType::Hello).await;
    line.close(4001, "gone").await;
    assert!(matches!(
        next_event(&mut events).await,
        ConnectionEvent::Lost { .. }
    ));
    assert_eq!(
        next_event(&mut events).await,
        ConnectionEvent::SessionClosed(gone(4001))
    );
    // It waits for a session that is accepted.
    let sending = client.send("t", "E", &1);
    let start = Instant::now();
    for code in [4001, 1011, 1011, 1011] {
        let mut line = mock.accept().await;
        assert_eq!(line.next(MessageType::Hello).await.sid, None);
        line.close(code, "gone").await;
        let failed = next_event(&mut events).await;
        assert!(
            matches!(failed, ConnectionEvent::ConnectFailed { .. }),
            "{failed:?}"
        );
    }
    assert!(start.elapsed() >= Duration::from_millis(100 + 200 + 400));
    // That was the last attempt.
    let closed = closed_event(&mut events).await;
    assert_eq!(closed.code, None);
    assert_eq!(in_time(sending).await.unwrap_err(), closed.into());
}

async fn closed_event(events: &mut broadcast::Receiver<ConnectionEvent>) -> SessionClosed {
    match next_event(events).await {
        ConnectionEvent::SessionClosed(closed) => closed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_session_ended_on_purpose_or_refused_stays_closed() {
    let mock = Mock::start().await;
    for code in [1008, 4000, 4004] {
        let (client, line) = reopening(&mock).await;
        let mut events = client.connection_events();
        line.close(code, "gone").await;
        assert_eq!(closed_event(&mut events).await, gone(code));
        let error = client.send("t", "E", &1).await.unwrap_err();
        assert_eq!(error, gone(code).into());
        assert_eq!(client.state(), ConnectionState::Closed(gone(code)));
    }
    // And by default after 4001 as well.
    let (client, line) = established(&mock).await;
    let mut events = client.connection_events();
    line.close(4001, "gone").await;
    assert_eq!(closed_event(&mut events).await, gone(4001));
    assert_eq!(client.state(), ConnectionState::Closed(gone(4001)));
}

#[tokio::test]
async fn a_restart_leads_to_another_node_first() {
    let (one, two) = (Mock::start().await, Mock::start().await);
    let client = Client::builder("App", "1.0")
        .urls([&one.url, &two.url])
        .shuffle(false)
        .reconnect_backoff(QUICK)
        .start()
        .unwrap();
    let mut line = one.accept().await;
    line.welcome("S1").await;
    in_time(client.established()).await.unwrap();
    line.close(1012, "restart").await;
    let mut line = two.accept().await;
    assert_eq!(line.welcome("S1").await.sid.as_deref(), Some("S1"));
    line.close(1012, "restart").await;
    let mut line = one.accept().await;
    assert_eq!(line.welcome("S1").await.sid.as_deref(), Some("S1"));
    // After other lost connections it returns to the first URL.
    line.close(4002, "").await;
    assert_eq!(
        one.accept().await.welcome("S1").await.sid.as_deref(),
        Some("S1")
    );
}
