use std::time::Duration;

use tokio::sync::mpsc;

use super::{alice, builder};
use crate::config::Config;
use crate::endpoint::{Forward, Incoming, Outcome, ReplyToken};
use crate::error::{HandlerError, SendError};
use crate::message::ReplyTo;
use crate::testkit::Reply;
use crate::wire::MessageType;

#[tokio::test]
async fn a_service_replies_through_the_endpoints_adapter() {
    let server = builder()
        .endpoint_with_adapter(
            "Square",
            |number: Incoming<i64>| async move {
                let forward = Forward::to("squares", &number.payload);
                Ok(Outcome::forward(forward.correlation(&"kept")))
            },
            |square: Incoming<i64>| async move {
                let kept: Option<String> = square.context.correlation()?;
                let text = format!("{} {}", square.payload, kept.unwrap_or_default());
                match square.context.message_type() {
                    MessageType::Resolve => Ok(Outcome::resolve(text)),
                    _ => Ok(Outcome::reject(text)),
                }
            },
        )
        .service("squares", |number: Incoming<i64>| async move {
            match number.payload {
                0 => Ok(Outcome::reject(-1)),
                number => Ok(Outcome::resolve(number * number)),
            }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    let reply = client.request::<String>("Square", &4).await;
    assert_eq!(reply, Ok(Reply::Resolved("16 kept".into())));
    let reply = client.request::<String>("Square", &0).await;
    assert_eq!(reply, Ok(Reply::Rejected("-1 kept".into())));
    server.stop().await;
}

#[tokio::test]
async fn a_reply_comes_later_by_its_token() {
    let (tokens, mut told) = mpsc::unbounded_channel::<ReplyToken>();
    let server = builder()
        .endpoint("Ship", |order: Incoming<u32>| async move {
            Ok(Outcome::<()>::forward(Forward::to(
                "shipping",
                &order.payload,
            )))
        })
        .service("shipping", move |order: Incoming<u32>| {
            let tokens = tokens.clone();
            async move {
                let token = order.context.reply_token().cloned();
                let token = token.ok_or_else(|| HandlerError::internal("no token"))?;
                tokens.send(token)?;
                Ok(Outcome::<()>::later(Duration::from_secs(60)))
            }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    for resolve in [true, false] {
        let reply = async {
            let token = told.recv().await.unwrap();
            // It survives being stored.
            let stored = serde_json::to_string(&token).unwrap();
            let token: ReplyToken = serde_json::from_str(&stored).unwrap();
            let replied = match resolve {
                true => server.reply(&token, "shipped").await,
                false => server.reject(&token, "lost").await,
            };
            replied.unwrap();
            let again = server.reply(&token, "again").await;
            assert!(matches!(again, Err(SendError::AlreadyReplied)), "{again:?}");
        };
        let (settled, ()) = tokio::join!(client.request::<String>("Ship", &1), reply);
        let expected = match resolve {
            true => Reply::Resolved("shipped".to_owned()),
            false => Reply::Rejected("lost".into()),
        };
        assert_eq!(settled, Ok(expected));
    }
    server.stop().await;
}

// Sent before the outcome is known; stored only with a good one.
#[tokio::test]
async fn what_a_handler_sends_is_one_unit_with_its_outcome() {
    let server = builder()
        .terminator("Answered", |_: Incoming<()>| async { Ok(Outcome::done()) })
        .endpoint("Tell", |how: Incoming<String>| async move {
            let sid = how.context.session_id();
            how.context.send(sid, "t", "Sent", &how.payload)?;
            let to = ReplyTo::terminator("Answered");
            how.context.request(sid, "t", "Asked", &how.payload, to)?;
            how.context.publish("news", "t", &how.payload)?;
            match how.payload.as_str() {
                "fail" => Err(HandlerError::internal("it failed")),
                "panic" => panic!("told to"),
                _ => Ok(Outcome::resolve(())),
            }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    client.subscribe("news").await.unwrap();
    for how in ["fail", "panic"] {
        let refused = client.request::<()>("Tell", how).await;
        assert!(refused.is_err(), "{how}");
    }
    client.request::<()>("Tell", "well").await.unwrap();
    for endpoint in ["Sent", "Asked"] {
        let push = client.next_message().await.unwrap();
        assert_eq!(push.endpoint, endpoint);
        assert_eq!(push.payload::<String>().unwrap(), "well");
        if push.message_type == MessageType::Request {
            client.resolve(&push, &()).await.unwrap();
        }
    }
    let publication = client.next_publication().await.unwrap();
    assert_eq!(publication.payload::<String>().unwrap(), "well");
    assert!(client.try_next_message().await.is_none());
    server.stop().await;
}

// A failing SEND's work is a dead letter; redriven, it is done; dropped, it is gone.
#[tokio::test]
async fn dead_letters_are_listed_redriven_and_dropped() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let config = Config {
        service_attempts: 1,
        takeover_interval: Duration::from_millis(20),
        ..Config::default()
    };
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let server = builder()
        .config(config)
        .terminator("Print", |text: Incoming<String>| async move {
            Ok(Outcome::forward(Forward::to("printer", &text.payload)))
        })
        .service("printer", move |text: Incoming<String>| {
            let broken = is_broken.load(Ordering::SeqCst);
            async move {
                if broken {
                    return Err(HandlerError::public("no paper"));
                }
                text.context
                    .send(text.context.session_id(), "t", "Printed", &text.payload)?;
                Ok(Outcome::<()>::done())
            }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    for text in ["one", "two"] {
        client.send("Print", text).await.unwrap();
    }
    let letters = loop {
        let letters = server.dead_letters(0, 10).await.unwrap();
        if letters.len() == 2 {
            break letters;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(letters[0].origin, "service");
    assert_eq!(letters[0].session_id, client.session_id());
    assert!(letters[0].reason.contains("no paper"), "{:?}", letters[0]);

    broken.store(false, Ordering::SeqCst);
    assert!(server.drop_dead_letter(letters[0].id).await.unwrap());
    assert!(!server.drop_dead_letter(letters[0].id).await.unwrap());
    assert!(server.redrive_dead_letter(letters[1].id).await.unwrap());
    assert!(!server.redrive_dead_letter(letters[1].id).await.unwrap());
    let printed = client.next_message().await.unwrap();
    let payload = letters[1].payload.clone().unwrap();
    assert_eq!(
        serde_json::to_string(&printed.payload::<String>().unwrap()).unwrap(),
        payload
    );
    assert!(server.dead_letters(0, 10).await.unwrap().is_empty());
    server.stop().await;
}
