//! Connections, sessions, authorization and topics.

use super::*;

#[tokio::test]
async fn reauth_is_answered_by_the_callback() {
    let mock = Mock::start().await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let builder = Client::builder("App", "1.0")
        .url(&mock.url)
        .authorization(move |_| {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            async move { Ok(Authorization::new(format!("Auth:{nth}"))) }
        });
    let _client = builder.start().unwrap();
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.auth.as_deref(), Some("Auth:0"));
    line.send(r#"[{"t":"REAUTH"}]"#).await;
    assert_eq!(
        line.next(MessageType::Auth).await.auth.as_deref(),
        Some("Auth:1")
    );
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_built_in_endpoint_renews_the_authorization() {
    let mock = Mock::start().await;
    let builder = Client::builder("App", "1.0")
        .url(&mock.url)
        .authorization(|need| async move { Ok(Authorization::new(format!("Auth:{need:?}"))) });
    let _client = builder.start().unwrap();
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.auth.as_deref(), Some("Auth:First"));
    line.send(r#"[{"t":"REQUEST","smid":"s1","tid":"t","eid":"MatsSocket.renewAuth","msg":""}]"#)
        .await;
    assert_eq!(
        line.next(MessageType::Auth).await.auth.as_deref(),
        Some("Auth:Requested")
    );
    assert_eq!(
        line.next(MessageType::Resolve).await.smid.as_deref(),
        Some("s1")
    );
}

#[tokio::test]
async fn without_a_callback_reauth_is_told_to_the_application() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let mut events = client.connection_events();
    line.send(r#"[{"t":"REAUTH"}]"#).await;
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        ConnectionEvent::AuthorizationWanted
    );
    client.set_authorization("Auth:new", None);
    assert_eq!(
        line.next(MessageType::Auth).await.auth.as_deref(),
        Some("Auth:new")
    );
}

/// An expired value is replaced before messages are sent; a failing callback is called again.
#[tokio::test]
async fn expired_authorization_is_renewed_before_sending() {
    let mock = Mock::start().await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let builder = Client::builder("App", "1.0")
        .url(&mock.url)
        .reconnect_backoff(QUICK)
        .authorization(move |need| {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            async move {
                match nth {
                    0 => Err("no luck".into()),
                    // When the next message is sent, it is valid for less than the ten seconds that are required.
                    1 => Ok(Authorization::expiring(
                        "Auth:1",
                        SystemTime::now() + Duration::from_millis(11_100),
                    )),
                    _ => Ok(Authorization::new(format!("Auth:{need:?}"))),
                }
            }
        });
    let client = builder.start().unwrap();
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.auth.as_deref(), Some("Auth:1"));
    in_time(client.established()).await.unwrap();
    // The outage lasts until the value is old.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let _sending = client.send("t", "E", &1);
    let pipeline = line.pipeline().await;
    assert_eq!(
        (pipeline[0].t, pipeline[0].auth.as_deref()),
        (MessageType::Auth, Some("Auth:Expired"))
    );
    assert_eq!(pipeline[1].t, MessageType::Send);
}

#[tokio::test]
async fn a_failed_connect_rotates_to_the_next_url() {
    let (gone, mock) = (Mock::start().await, Mock::start().await);
    let refused = gone.url.clone();
    drop(gone);
    let client = Client::builder("App", "1.0")
        .urls([&refused, &mock.url])
        .shuffle(false)
        .reconnect_backoff(QUICK);
    let client = client.build().unwrap();
    let mut events = client.connection_events();
    client.reconnect();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        ConnectionEvent::Connecting {
            url: refused.clone()
        }
    );
    let failed = in_time(events.recv()).await.unwrap();
    assert!(matches!(failed, ConnectionEvent::ConnectFailed { url, .. } if url == refused));
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        ConnectionEvent::Connecting {
            url: mock.url.clone()
        }
    );
}

#[tokio::test]
async fn connect_attempts_may_be_limited() {
    let gone = Mock::start().await;
    let client = builder(&gone).max_connect_attempts(2).build().unwrap();
    drop(gone);
    let error = in_time(client.send("t", "E", &1)).await.unwrap_err();
    assert!(
        matches!(
            error,
            SendError::SessionClosed(SessionClosed { code: None, .. })
        ),
        "{error}"
    );
}

#[tokio::test]
async fn restart_and_reconnect_codes_keep_the_session() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    for code in [1012, 4002, 1001] {
        let sending = client.send("t", "E", &code);
        let cmid = line.next(MessageType::Send).await.cmid.unwrap();
        line.close(code, "later").await;
        line = mock.accept().await;
        assert_eq!(
            line.welcome("S1").await.sid.as_deref(),
            Some("S1"),
            "{code}"
        );
        assert_eq!(line.next(MessageType::Send).await.cmid.unwrap(), cmid);
        line.send(&format!(r#"[{{"t":"ACK","cmid":"{cmid}"}}]"#))
            .await;
        in_time(sending).await.unwrap();
    }
}

#[tokio::test]
async fn a_closed_session_fails_what_is_outstanding() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let mut events = client.connection_events();
    let sending = client.send("t", "E", &1);
    let request = client.request::<()>("t", "E", &1).into_future();
    line.next(MessageType::Request).await;
    line.close(1008, "not you").await;
    let closed = SessionClosed {
        code: Some(1008),
        reason: "not you".into(),
    };
    assert_eq!(in_time(sending).await.unwrap_err(), closed.clone().into());
    assert_eq!(in_time(request).await.unwrap_err(), closed.clone().into());
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        ConnectionEvent::SessionClosed(closed.clone())
    );
    assert_eq!(client.send("t", "E", &1).await.unwrap_err(), closed.into());

    // Started again, with a new session.
    client.reconnect();
    let _sending = client.send("t", "E", &1);
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S2").await.sid, None);
    line.next(MessageType::Send).await;
    assert_eq!(in_time(client.established()).await.unwrap(), "S2");
}

#[tokio::test]
async fn who_was_sent_away_stays_away_until_there_is_something_to_say() {
    let mock = Mock::start().await;
    let (client, line) = established(&mock).await;
    let mut events = client.connection_events();
    line.close(4003, "same MatsSocketSessionId").await;
    assert!(matches!(
        in_time(events.recv()).await.unwrap(),
        ConnectionEvent::Disconnected { .. }
    ));
    assert_eq!(client.state(), ConnectionState::Idle);
    let _sending = client.send("t", "E", &1);
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.sid.as_deref(), Some("S1"));
    line.next(MessageType::Send).await;
}

#[tokio::test]
async fn close_and_drop_end_the_session_and_disconnect_keeps_it() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let sending = client.send("t", "E", &1);
    let (code, ()) = tokio::join!(line.close_code(), client.close("bye"));
    assert_eq!(code, (4000, "bye".to_owned()));
    assert!(matches!(sending.await, Err(SendError::SessionClosed(_))));

    let (client, mut line) = established(&mock).await;
    let (code, ()) = tokio::join!(line.close_code(), client.disconnect());
    assert_eq!(code.0, 4003);
    assert_eq!(client.session_id().as_deref(), Some("S1"));

    let (client, mut line) = established(&mock).await;
    drop(client);
    assert_eq!(line.close_code().await.0, 1001);
}

/// Otherwise it would count towards the user's limit until it times out.
#[tokio::test]
async fn a_session_without_a_line_is_closed_by_one_more_connection() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    tokio::join!(line.close_code(), client.disconnect());
    let server = async {
        let mut line = mock.accept().await;
        let hello = line.welcome("S1").await;
        assert_eq!(
            (hello.sid.as_deref(), hello.auth.as_deref()),
            (Some("S1"), Some("Auth:me"))
        );
        line.close_code().await
    };
    let (code, ()) = tokio::join!(server, client.close("bye"));
    assert_eq!(code, (4000, "bye".to_owned()));
    assert_eq!(client.session_id(), None);
}

#[tokio::test]
async fn subscriptions_are_renewed_from_what_was_last_seen() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let mut events = client.topic_events();
    let (sender, mut seen) = mpsc::unbounded_channel();
    client
        .subscribe("Topic", move |message: Message<String>| {
            let sender = sender.clone();
            async move { drop(sender.send(message.payload)) }
        })
        .unwrap();
    client
        .subscribe("Secret", |_: Message<()>| async {})
        .unwrap();
    client.subscribe("Old", |_: Message<()>| async {}).unwrap();
    for _ in 0..3 {
        assert_eq!(line.next(MessageType::Sub).await.smid, None);
    }
    client.unsubscribe("Old");
    assert_eq!(
        line.next(MessageType::Unsub).await.eid.as_deref(),
        Some("Old")
    );
    line.send(r#"[{"t":"SUB_OK","eid":"Topic"},{"t":"SUB_NO_AUTH","eid":"Secret"}]"#)
        .await;
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        TopicEvent::Subscribed {
            topic: "Topic".into()
        }
    );
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        TopicEvent::Denied {
            topic: "Secret".into()
        }
    );
    line.send(r#"[{"t":"PUB","smid":"p1","tid":"t","eid":"Topic","msg":"news"}]"#)
        .await;
    assert_eq!(in_time(seen.recv()).await.unwrap(), "news");
    line.close(1012, "").await;

    let mut line = mock.accept().await;
    let first = line.pipeline().await;
    assert_eq!(
        (first[0].t, first[1].t, first.len()),
        (MessageType::Hello, MessageType::Sub, 2)
    );
    assert_eq!(
        (first[1].eid.as_deref(), first[1].smid.as_deref()),
        (Some("Topic"), Some("p1"))
    );
    line.send(r#"[{"t":"WELCOME","sid":"S1"},{"t":"SUB_LOST","eid":"Topic"}]"#)
        .await;
    assert_eq!(
        in_time(events.recv()).await.unwrap(),
        TopicEvent::Lost {
            topic: "Topic".into()
        }
    );
    // It is not known whether it had arrived.
    assert_eq!(
        line.next(MessageType::Unsub).await.eid.as_deref(),
        Some("Old")
    );
}

#[tokio::test]
async fn a_line_without_pongs_is_cut() {
    let mock = Mock::start().await;
    let _client = builder(&mock)
        .ping_interval(Duration::from_millis(50))
        .start()
        .unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    let ping = line.next(MessageType::Ping).await;
    assert_eq!(ping.x, Some(matssocket_wire::PingId::Number(1)));
    line.send(r#"[{"t":"PONG","x":1}]"#).await;
    assert_eq!(
        line.next(MessageType::Ping).await.x,
        Some(matssocket_wire::PingId::Number(2))
    );
    // No answer.
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.sid.as_deref(), Some("S1"));
}

#[tokio::test]
async fn a_pipeline_that_cannot_be_read_costs_the_line_not_the_session() {
    let mock = Mock::start().await;
    let (_client, mut line) = established(&mock).await;
    line.send("nonsense").await;
    assert_eq!(line.close_code().await.0, 4002);
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.sid.as_deref(), Some("S1"));
}

/// Inside an actix system, whose runtime has one thread.
#[actix_rt::test]
async fn it_works_inside_actix() {
    let mock = Mock::start().await;
    let (client, mut line) = established(&mock).await;
    let request = client.request::<u32>("t", "E", &1).into_future();
    line.next(MessageType::Request).await;
    line.send(r#"[{"t":"RESOLVE","cmid":"1","msg":2}]"#).await;
    assert_eq!(in_time(request).await.unwrap().resolved().unwrap(), 2);
}
