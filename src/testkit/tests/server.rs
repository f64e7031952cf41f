use std::time::Duration;

use tokio::sync::mpsc;

use super::{Notes, alice, builder};
use crate::config::Config;
use crate::endpoint::{Incoming, Outcome, ServiceOptions};
use crate::error::SendError;
use crate::events::SessionChange;
use crate::message::{IdempotencyKey, ReplyTo};
use crate::server::MatsSocketServer;
use crate::store::Store;
use crate::store::operation::SessionFilter;
use crate::testkit::any_user;
use crate::wire::MessageType;

#[tokio::test]
async fn a_repeat_with_the_same_key_is_not_sent() {
    let server = builder().start().await.unwrap();
    let client = alice(&server).await;
    let sid = client.session_id();
    for (key, number) in [("a", 1), ("a", 2), ("b", 3)] {
        let key = IdempotencyKey::new(key);
        let sent = server.send_once(key, &sid, "t", "Number", &number).await;
        sent.unwrap();
    }
    for number in [1, 3] {
        assert_eq!(client.next_message().await.unwrap().payload(), Ok(number));
    }
    let nobody = server.send("nobody", "t", "Number", &1).await;
    assert!(matches!(nobody, Err(SendError::NoSession(sid)) if sid == "nobody"));
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_ends_without_reply_is_told_to_its_terminator() {
    let (ends, mut ended) = mpsc::unbounded_channel();
    let config = Config {
        takeover_interval: Duration::from_millis(20),
        ..Config::default()
    };
    let server = builder()
        .config(config)
        .terminator("Answer", move |answer: Incoming<Option<u32>>| {
            let reason = answer.context.end_reason().map(str::to_owned);
            let correlation = answer.context.correlation_string().map(str::to_owned);
            let told = ends.send((answer.context.message_type(), correlation, reason));
            async move {
                told?;
                Ok(Outcome::done())
            }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    let sid = client.session_id();
    let to = || ReplyTo::terminator("Answer");
    let brief = to()
        .correlation_string("brief")
        .timeout(Duration::from_millis(1));
    server.request(&sid, "t", "Ask", &(), brief).await.unwrap();
    let (kind, correlation, reason) = ended.recv().await.unwrap();
    assert_eq!(
        (kind, correlation.as_deref()),
        (MessageType::Reject, Some("brief"))
    );
    assert!(reason.is_some());

    let closed = to().correlation_string("closed");
    server.request(&sid, "t", "Ask", &(), closed).await.unwrap();
    client.close().await.unwrap();
    let (kind, correlation, reason) = ended.recv().await.unwrap();
    assert_eq!(
        (kind, correlation.as_deref()),
        (MessageType::Reject, Some("closed"))
    );
    assert!(reason.is_some());
    server.stop().await;
}

#[tokio::test]
async fn listeners_and_introspection_see_what_goes_on() {
    let (sessions, messages) = (Notes::default(), Notes::default());
    let (changed, passed) = (sessions.clone(), messages.clone());
    let server = builder()
        .endpoint("Echo", |text: Incoming<String>| async move {
            let (text, _) = text.into_parts();
            Ok(Outcome::resolve(text))
        })
        .on_session(move |event| {
            assert_eq!(event.user_id, "alice");
            let app = event.client.as_ref().map(|client| &*client.app_name);
            assert_eq!(app, Some("testkit"), "{:?}", event.change);
            changed.add(format!("{:?} {:?}", event.change, event.close_code));
        })
        .on_message(move |event| {
            let way = if event.incoming { "in" } else { "out" };
            passed.add(format!("{way} {}", event.message_type));
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    client.request::<String>("Echo", "hi").await.unwrap();
    client.subscribe("prices").await.unwrap();

    let live = server.live_sessions().await;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].session_id, client.session_id());
    assert_eq!((live[0].user_id.as_str(), live[0].handlers), ("alice", 0));
    assert_eq!(live[0].topics, ["prices"]);
    let recent = |t| {
        live[0]
            .recent
            .iter()
            .any(|envelope| envelope.message_type == t)
    };
    assert!(recent(MessageType::Request) && recent(MessageType::Resolve));

    client.lose_line();
    client.reconnect().await.unwrap();
    client.close().await.unwrap();
    use SessionChange::{Close, Deregister, New, Reconnect};
    let expected = [
        (New, None),
        (Deregister, None),
        (Reconnect, None),
        (Close, Some(4000)),
    ];
    let expected = expected.map(|(change, code)| format!("{change:?} {code:?}"));
    assert_eq!(sessions.all(), expected);
    let messages = messages.all();
    for expected in [
        "in HELLO",
        "out WELCOME",
        "in REQUEST",
        "out RESOLVE",
        "in SUB",
    ] {
        assert!(
            messages.iter().any(|seen| seen == expected),
            "{expected}: {messages:?}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn every_actor_is_metered() {
    let server = builder().start().await.unwrap();
    let client = alice(&server).await;
    let sid = client.session_id();
    server.send(&sid, "t", "Number", &1).await.unwrap();
    client.next_message().await.unwrap();
    let metrics = serde_json::to_value(server.metrics()).unwrap();
    let actors = [
        "store",
        "registry",
        "cluster",
        "services",
        "maintenance",
        "session",
        "connection",
    ];
    for actor in actors {
        assert!(
            metrics["actors"][actor]["handled"].is_u64(),
            "{actor}: {metrics}"
        );
    }
    for actor in ["store", "registry", "services", "session", "connection"] {
        let handled = metrics["actors"][actor]["handled"].as_u64();
        assert!(handled > Some(0), "{actor}: {metrics}");
    }
    assert_eq!(metrics["app"], "orders");
    assert_eq!(metrics["ready"], true);
    server.stop().await;
}

#[tokio::test]
async fn mistakes_of_the_builder_are_named() {
    let echo = |text: Incoming<String>| async move {
        let (text, _) = text.into_parts();
        Ok(Outcome::resolve(text))
    };
    let start = async |builder: crate::server::ServerBuilder| {
        builder.start().await.err().unwrap().to_string()
    };
    let text = start(
        builder()
            .endpoint("MatsSomething", echo)
            .endpoint("Twice", echo)
            .endpoint("Twice", echo)
            .service("ms.service", echo)
            .service_with("Never", ServiceOptions::default().max_running(0), echo)
            .service_with(
                "AtOnce",
                ServiceOptions::default().time_limit(Duration::ZERO),
                echo,
            )
            .endpoint("", echo)
            .allowed_origins(["https://shop.example", "shop.example", "https://*.example"])
            .allowed_hosts(["shop.example:8443", "https://shop.example"])
            .trusted_proxies(["10.0.0.0/8", "::1", "proxy.example"]),
    )
    .await;
    for part in [
        "\"MatsSomething\" is reserved",
        "\"Twice\" is registered twice",
        "\"ms.service\" is reserved",
        "the service \"Never\": max_running is 0",
        "the service \"AtOnce\": time_limit is zero",
        "endpoint is empty",
        "\"shop.example\" has no scheme",
        "\"https://*.example\" has a wildcard",
        "the allowed host \"https://shop.example\" never matches",
        "the trusted proxy \"proxy.example\" is no address",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = start(MatsSocketServer::builder("app").authentication(any_user())).await;
    assert!(text.contains("store is missing"), "{text}");
    let text = start(MatsSocketServer::builder("app").store(Store::sqlite_in_memory())).await;
    assert!(text.contains("authentication is missing"), "{text}");
}

#[tokio::test]
async fn mistakes_of_the_configuration_are_named_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.db");
    let mut config = Config {
        window: 0,
        lease: Duration::from_secs(5),
        ..Config::default()
    };
    config.store.batch = 0;
    let builder = MatsSocketServer::builder("app")
        .store(Store::sqlite(&file))
        .config(config);
    let text = builder.start().await.err().unwrap().to_string();
    for part in [
        "window = 0 must",
        "half of lease = 5s",
        "store.batch = 0 must",
        "authentication is missing",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!file.exists(), "the store was opened");
}

#[tokio::test]
async fn a_node_is_freed_after_its_stop_although_handlers_had_its_handle() {
    let server = builder()
        .data("state".to_owned())
        .endpoint("Count", async |asked: Incoming<()>| {
            let server = asked.context.server();
            let many = server.count_sessions(SessionFilter::default()).await?;
            Ok(Outcome::resolve(many))
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    let many = client.request::<u64>("Count", &()).await.unwrap();
    assert_eq!(many.resolved(), Ok(1));
    let node = std::sync::Arc::downgrade(&server.node);
    server.stop().await;
    drop((client, server));
    let freed = async {
        // Its own thread may be about to end.
        while node.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let freed = tokio::time::timeout(Duration::from_secs(10), freed).await;
    freed.expect("nothing holds the node");
}
