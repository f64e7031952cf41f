//! Authorization: requested, refused, expired, and never shown.

use std::sync::Mutex;

use super::*;

type Needs = mpsc::UnboundedReceiver<AuthorizationNeed>;

/// A client whose callback returns these answers, one after the other (the last one repeatedly), and a record of its
/// calls.
fn answering<F>(mock: &Mock, answer: F) -> (ClientBuilder, Needs)
where
    F: Fn(u32) -> Result<Authorization, AuthorizationError> + Send + Sync + 'static,
{
    let (sender, needs) = mpsc::unbounded_channel();
    let asked = AtomicU32::new(0);
    let builder = Client::builder("App", "1.0")
        .url(&mock.url)
        .reconnect_backoff(QUICK)
        .authorization(move |need| {
            let _ = sender.send(need);
            std::future::ready(answer(asked.fetch_add(1, Ordering::Relaxed)))
        });
    (builder, needs)
}

fn numbered(nth: u32) -> Result<Authorization, AuthorizationError> {
    Ok(Authorization::new(format!("Auth:{nth}")))
}

async fn refuse(mut line: Line, value: &str) -> Option<String> {
    let hello = line.next(MessageType::Hello).await;
    assert_eq!(hello.auth.as_deref(), Some(value));
    line.close(1008, "stale").await;
    hello.sid
}

async fn closed(client: &Client) -> SessionClosed {
    in_time(client.established()).await.unwrap_err()
}

async fn next_failure(events: &mut broadcast::Receiver<ConnectionEvent>) -> String {
    loop {
        if let ConnectionEvent::ConnectFailed { error, .. } = in_time(events.recv()).await.unwrap()
        {
            return error;
        }
    }
}

#[tokio::test]
async fn a_refused_value_is_replaced_and_the_session_goes_on() {
    let mock = Mock::start().await;
    let (builder, mut needs) = answering(&mock, numbered);
    let client = builder.start().unwrap();
    let mut events = client.connection_events();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    in_time(client.established()).await.unwrap();
    let sending = client.send("t", "E", &1);
    line.next(MessageType::Send).await;
    client.cut();

    let sid = refuse(mock.accept().await, "Auth:0").await;
    assert_eq!(sid.as_deref(), Some("S1"));
    assert!(next_failure(&mut events).await.contains("1008: stale"));
    let mut line = mock.accept().await;
    let hello = line.welcome("S1").await;
    assert_eq!(
        (hello.auth.as_deref(), hello.sid.as_deref()),
        (Some("Auth:1"), Some("S1"))
    );
    let cmid = line.next(MessageType::Send).await.cmid.unwrap();
    line.send(&format!(r#"[{{"t":"ACK","cmid":"{cmid}"}}]"#))
        .await;
    in_time(sending).await.unwrap(); // so WELCOME has come
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::First));
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::Refused));

    // WELCOME permits another retry.
    client.cut();
    refuse(mock.accept().await, "Auth:1").await;
    let hello = mock.accept().await.welcome("S1").await;
    assert_eq!(hello.auth.as_deref(), Some("Auth:2"));
}

#[tokio::test]
async fn a_second_refusal_ends_the_session() {
    let mock = Mock::start().await;
    let (builder, mut needs) = answering(&mock, numbered);
    let client = builder.start().unwrap();
    refuse(mock.accept().await, "Auth:0").await;
    refuse(mock.accept().await, "Auth:1").await;
    assert_eq!(closed(&client).await.code, Some(1008));

    // The refused value is not even tried when the application connects again.
    client.reconnect();
    refuse(mock.accept().await, "Auth:2").await;
    assert_eq!(closed(&client).await.code, Some(1008));
    for need in [
        AuthorizationNeed::First,
        AuthorizationNeed::Refused,
        AuthorizationNeed::Refused,
    ] {
        assert_eq!(needs.recv().await, Some(need));
    }
    assert!(needs.try_recv().is_err());
}

#[tokio::test]
async fn the_same_value_again_ends_the_session_without_another_connection() {
    let mock = Mock::start().await;
    let (builder, mut needs) = answering(&mock, |_| numbered(7));
    let client = builder.start().unwrap();
    refuse(mock.accept().await, "Auth:7").await;
    let refusal = SessionClosed {
        code: Some(1008),
        reason: "stale".into(),
    };
    assert_eq!(closed(&client).await, refusal);
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::First));
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::Refused));

    // The application wants a new session, for which the same value may be accepted.
    client.reconnect();
    let hello = mock.accept().await.welcome("S2").await;
    assert_eq!(hello.auth.as_deref(), Some("Auth:7"));
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::Refused));
    assert!(needs.try_recv().is_err(), "nothing was asked but once each");
}

/// A failure of the callback is not an answer: it is called again, and the retry is not used up.
#[tokio::test]
async fn a_callback_that_fails_after_a_refusal_is_asked_again() {
    let mock = Mock::start().await;
    let (builder, mut needs) = answering(&mock, |nth| match nth {
        1 => Err("away".into()),
        nth => numbered(nth),
    });
    let _client = builder.start().unwrap();
    refuse(mock.accept().await, "Auth:0").await;
    let hello = mock.accept().await.welcome("S1").await;
    assert_eq!(hello.auth.as_deref(), Some("Auth:2"));
    for need in [
        AuthorizationNeed::First,
        AuthorizationNeed::Refused,
        AuthorizationNeed::Refused,
    ] {
        assert_eq!(needs.recv().await, Some(need));
    }
}

#[tokio::test]
async fn a_refusal_ends_the_session_after_welcome_and_without_a_callback() {
    let mock = Mock::start().await;
    let (builder, mut needs) = answering(&mock, numbered);
    let client = builder.start().unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    in_time(client.established()).await.unwrap();
    line.close(1008, "not you").await;
    let mut states = client.watch_state();
    let is_closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed(_));
    in_time(states.wait_for(is_closed)).await.unwrap();
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::First));
    assert!(needs.try_recv().is_err());

    let client = super::builder(&mock).start().unwrap();
    refuse(mock.accept().await, "Auth:me").await;
    assert_eq!(closed(&client).await.code, Some(1008));
}

#[tokio::test]
async fn an_expired_answer_of_the_callback_is_a_failure() {
    let mock = Mock::start().await;
    let (builder, mut needs) = answering(&mock, |nth| match nth {
        0 | 2 => Ok(Authorization::expiring("Auth:old", SystemTime::now())),
        nth => numbered(nth),
    });
    let client = builder.build().unwrap();
    let mut events = client.connection_events();
    client.reconnect();
    let error = next_failure(&mut events).await;
    assert!(error.contains("already expired"), "{error}");
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.auth.as_deref(), Some("Auth:1"));

    line.send(r#"[{"t":"REAUTH"}]"#).await;
    assert_eq!(
        line.next(MessageType::Auth).await.auth.as_deref(),
        Some("Auth:3")
    );
    for need in [
        AuthorizationNeed::First,
        AuthorizationNeed::Expired,
        AuthorizationNeed::Requested,
        AuthorizationNeed::Requested,
    ] {
        assert_eq!(needs.recv().await, Some(need));
    }
}

/// The server is slow to accept, and the value expires in the meantime.
#[tokio::test]
async fn a_value_that_dies_while_connecting_is_not_sent() {
    let mock = Mock::start().await;
    let life = Duration::from_millis(150);
    let (builder, mut needs) = answering(&mock, move |nth| match nth {
        0 => Ok(Authorization::expiring(
            "Auth:short",
            SystemTime::now() + life,
        )),
        nth => numbered(nth),
    });
    let _client = builder.start().unwrap();
    assert_eq!(in_time(needs.recv()).await, Some(AuthorizationNeed::First));
    // The outage lasts until the value is old.
    tokio::time::sleep(life).await;
    let mut line = mock.accept().await;
    assert!(line.try_pipeline().await.is_none(), "it leaves at once");
    let hello = mock.accept().await.welcome("S1").await;
    assert_eq!(hello.auth.as_deref(), Some("Auth:1"));
    assert_eq!(needs.recv().await, Some(AuthorizationNeed::Expired));
}

#[tokio::test]
async fn without_a_callback_an_expired_value_is_told_and_not_sent() {
    let mock = Mock::start().await;
    // So slow that only the new value can make it connect in time.
    let slow = Backoff {
        first: Duration::from_secs(3_600),
        longest: Duration::from_secs(3_600),
    };
    let client = Client::builder("App", "1.0")
        .url(&mock.url)
        .reconnect_backoff(slow)
        .build()
        .unwrap();
    let mut events = client.connection_events();
    client.set_authorization("Auth:old", Some(SystemTime::now()));
    let wanted = ConnectionEvent::AuthorizationWanted;
    assert_eq!(in_time(events.recv()).await.unwrap(), wanted);
    client.reconnect();
    assert!(matches!(
        in_time(events.recv()).await.unwrap(),
        ConnectionEvent::Connecting { .. }
    ));
    assert_eq!(in_time(events.recv()).await.unwrap(), wanted);
    let error = next_failure(&mut events).await;
    assert!(error.contains("has expired"), "{error}");

    let soon = SystemTime::now() + Duration::from_secs(60);
    client.set_authorization("Auth:new", Some(soon));
    let mut line = mock.accept().await;
    assert_eq!(line.welcome("S1").await.auth.as_deref(), Some("Auth:new"));
    in_time(client.established()).await.unwrap();

    // While connected: it is not sent, and does not replace the valid one.
    client.set_authorization("Auth:old", Some(SystemTime::now()));
    while in_time(events.recv()).await.unwrap() != wanted {}
    let _sending = client.send("t", "E", &1);
    assert_eq!(
        line.next_of(&[MessageType::Auth, MessageType::Send])
            .await
            .t,
        MessageType::Send
    );
    client.cut();
    client.reconnect();
    let hello = mock.accept().await.welcome("S1").await;
    assert_eq!(hello.auth.as_deref(), Some("Auth:new"));
}

/// The last connection, which closes a session that has none, does not send an expired value either.
#[tokio::test]
async fn a_farewell_asks_for_a_fresh_value() {
    let mock = Mock::start().await;
    let life = Duration::from_millis(1_100);
    let (builder, _needs) = answering(&mock, move |nth| match nth {
        0 => Ok(Authorization::expiring(
            "Auth:short",
            SystemTime::now() + life,
        )),
        nth => numbered(nth),
    });
    let client = builder.start().unwrap();
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    in_time(client.established()).await.unwrap();
    tokio::join!(line.close_code(), client.disconnect());
    tokio::time::sleep(life).await;
    let server = async {
        let mut line = mock.accept().await;
        let hello = line.welcome("S1").await;
        assert_eq!(hello.auth.as_deref(), Some("Auth:1"));
        line.close_code().await
    };
    let (code, ()) = tokio::join!(server, client.close("bye"));
    assert_eq!(code.0, 4000);
}

/// Every log line of our own code in this process.
struct Logged(Mutex<Vec<String>>);

impl log::Log for Logged {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("matssocket") {
            let line = format!("{} {}", record.level(), record.args());
            self.0.lock().unwrap().push(line);
        }
    }

    fn flush(&self) {}
}

static LOGGED: Logged = Logged(Mutex::new(Vec::new()));

/// Servers, callbacks and URLs that contain secrets: nothing of them is logged, at any level.
#[tokio::test]
async fn no_secret_is_shown() {
    log::set_logger(&LOGGED).expect("the only logger among the unit tests");
    log::set_max_level(log::LevelFilter::Trace);
    let mock = Mock::start().await;
    let url = mock.url.replace("ws://", "ws://me:s3cret-url@") + "?token=s3cret-url";
    let builder = Client::builder("App", "1.0")
        .url(&url)
        .reconnect_backoff(QUICK)
        .header("Cookie", "s3cret-cookie")
        .unwrap()
        .authorization({
            let asked = AtomicU32::new(0);
            move |_| {
                std::future::ready(match asked.fetch_add(1, Ordering::Relaxed) {
                    0 => Ok(Authorization::new("s3cret-value")),
                    1 => Err("the issuer does not like s3cret-value".into()),
                    _ => Ok(Authorization::new("s3cret-other")),
                })
            }
        });
    let shown = format!("{builder:?} {:?}", builder.config.headers);
    assert!(!shown.contains("s3cret"), "{shown}");
    let wrong = builder
        .clone()
        .header("s3cret cookie", "Cookie")
        .unwrap_err();
    let nowhere = builder.clone().url("http://me:s3cret@x").build();
    let wrong = format!("{wrong:?} {wrong} {:?}", nowhere.unwrap_err());
    assert!(!wrong.contains("s3cret"), "{wrong}");

    let client = builder.build().unwrap();
    let mut events = client.connection_events();
    client.reconnect();
    let mut line = mock.accept().await;
    assert_eq!(line.header("cookie"), "s3cret-cookie");
    line.next(MessageType::Hello).await;
    line.close(1008, "s3cret-value is stale").await;
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.send(r#"["s3cret-other"]"#).await;
    line.close_code().await;
    let mut line = mock.accept().await;
    line.welcome("S1").await;
    line.close(1008, "s3cret-other is worse").await;

    let mut told = String::new();
    while !told.contains("SessionClosed") {
        told += &format!("{:?}\n", in_time(events.recv()).await.unwrap());
    }
    assert!(!told.contains("s3cret"), "{told}");
    assert!(told.contains("<hidden> is stale") && told.contains("like <hidden>"));
    let logged = LOGGED.0.lock().unwrap().join("\n");
    assert!(logged.contains("refused with 1008: <hidden> is stale"));
    assert!(!logged.contains("s3cret"), "{logged}");
}
