use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Notes, alice, builder};
use crate::endpoint::{Incoming, Outcome};
use crate::error::HandlerError;
use crate::message::ReplyTo;
use crate::server::ServerBuilder;
use crate::store::operation::SessionFilter;
use crate::testkit::{Error, Reply, TestClient};
use crate::wire::MessageType;

/// An endpoint that does what the payload says.
fn obedient(builder: ServerBuilder) -> ServerBuilder {
    builder.endpoint("Do", |told: Incoming<String>| async move {
        match told.payload.as_str() {
            "resolve" => Ok(Outcome::resolve(17)),
            "reject" => Ok(Outcome::reject("no")),
            "deny" => Ok(Outcome::deny_with("denied")),
            "retry" => Ok(Outcome::retry_with("later")),
            "done" => Ok(Outcome::done()),
            "panic" => panic!("told to"),
            what => Err(HandlerError::public(format!("cannot {what}"))),
        }
    })
}

#[tokio::test]
async fn a_request_is_settled_as_the_handler_says() {
    let server = obedient(builder()).start().await.unwrap();
    let client = alice(&server).await;
    let told = |what: &'static str| client.request::<u32>("Do", what);
    assert_eq!(told("resolve").await, Ok(Reply::Resolved(17)));
    assert_eq!(told("reject").await, Ok(Reply::Rejected("no".into())));
    assert_eq!(told("deny").await, Err(Error::Nack("denied".into())));
    assert_eq!(told("retry").await, Err(Error::Retry("later".into())));
    assert_eq!(
        told("juggle").await,
        Err(Error::Nack("cannot juggle".into()))
    );
    assert!(matches!(told("panic").await, Err(Error::Nack(_))));
    assert!(matches!(told("done").await, Err(Error::Nack(_))));
    assert_eq!(client.send("Do", "done").await, Ok(()));
    let unknown = client.request::<u32>("Undo", "it").await;
    assert!(matches!(unknown, Err(Error::Nack(why)) if why.contains("\"Undo\"")));
    let wrong = client.request::<u32>("Do", &1).await;
    assert!(matches!(wrong, Err(Error::Nack(why)) if why.contains("deserialise")));
    let wrong = client.request::<String>("Do", "resolve").await;
    assert!(matches!(wrong, Err(Error::Payload(why)) if why.contains("String")));
    server.stop().await;
}

#[actix_web::test]
async fn held_acks_bring_a_message_again_but_only_once_to_the_application() {
    let server = builder().start().await.unwrap();
    let client = alice(&server).await;
    let sid = client.session_id();
    client.hold_acks(true).unwrap();
    for number in 1..=3 {
        server.send(&sid, "t", "Number", &number).await.unwrap();
    }
    let mut numbers = Vec::new();
    for _ in 1..=3 {
        let push = client.next_message().await.unwrap();
        assert_eq!(push.message_type, MessageType::Send);
        numbers.push(push.payload::<i32>().unwrap());
    }
    assert_eq!(numbers, [1, 2, 3]);
    client.lose_line();
    assert!(matches!(
        client.send("Do", "it").await,
        Err(Error::NoLine(_))
    ));
    client.reconnect().await.unwrap();
    assert_eq!(client.session_id(), sid);
    server.send(&sid, "t", "Number", &4).await.unwrap();
    assert_eq!(client.next_message().await.unwrap().payload(), Ok(4));
    client.hold_acks(false).unwrap();
    assert!(client.try_next_message().await.is_none());
    server.stop().await;
}

// A handler continues while its connection is gone; the message repeated after the reconnect attaches to it.
#[tokio::test]
async fn a_request_outlives_its_line_and_is_handled_once() {
    let (notes, begun, go) = (
        Notes::default(),
        Arc::new(Notify::new()),
        Arc::new(Notify::new()),
    );
    let (noted, begin, gone) = (notes.clone(), begun.clone(), go.clone());
    let server = builder()
        .endpoint("Slow", move |_: Incoming<()>| {
            let (noted, begin, gone) = (noted.clone(), begin.clone(), gone.clone());
            async move {
                noted.add("ran");
                begin.notify_one();
                gone.notified().await;
                Ok(Outcome::resolve("done"))
            }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    let lose = async {
        begun.notified().await;
        client.lose_line();
        client.reconnect().await.unwrap();
        go.notify_one();
    };
    let (reply, ()) = tokio::join!(client.request::<String>("Slow", &()), lose);
    assert_eq!(reply, Ok(Reply::Resolved("done".into())));
    assert_eq!(notes.all(), ["ran"]);
    server.stop().await;
}

#[tokio::test]
async fn requests_of_the_server_are_answered() {
    let notes = Notes::default();
    let noted = notes.clone();
    let server = builder()
        .terminator("Answer", move |answer: Incoming<Option<u32>>| {
            let correlation = answer.context.correlation_string().unwrap_or_default();
            noted.add(format!(
                "{} {:?} {correlation}",
                answer.context.message_type(),
                answer.payload
            ));
            async { Ok(Outcome::done()) }
        })
        .start()
        .await
        .unwrap();
    let client = alice(&server).await;
    for correlation in ["one", "two"] {
        let to = ReplyTo::terminator("Answer").correlation_string(correlation);
        let sid = client.session_id();
        server.request(&sid, "t", "Ask", &(), to).await.unwrap();
        let push = client.next_message().await.unwrap();
        assert_eq!(push.message_type, MessageType::Request);
        match correlation {
            "one" => client.resolve(&push, &1).await.unwrap(),
            _ => client.reject(&push, &2).await.unwrap(),
        }
    }
    assert_eq!(notes.all(), ["RESOLVE Some(1) one", "REJECT Some(2) two"]);
    let nobody = ReplyTo::terminator("Nobody");
    let refused = server
        .request(&client.session_id(), "t", "Ask", &(), nobody)
        .await;
    assert!(refused.unwrap_err().to_string().contains("\"Nobody\""));
    server.stop().await;
}

#[tokio::test]
async fn topics_stay_with_the_session() {
    let server = builder().start().await.unwrap();
    let client = alice(&server).await;
    client.subscribe("prices").await.unwrap();
    server.publish("prices", "t1", &1).await.unwrap();
    let publication = client.next_publication().await.unwrap();
    assert_eq!(
        (publication.topic.as_str(), publication.payload()),
        ("prices", Ok(1))
    );
    client.lose_line();
    server.publish("prices", "t2", &2).await.unwrap();
    client.reconnect().await.unwrap();
    server.publish("prices", "t3", &3).await.unwrap();
    for number in [2, 3] {
        assert_eq!(
            client.next_publication().await.unwrap().payload(),
            Ok(number)
        );
    }
    assert!(client.lost_topics().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_refused_authorization_holds_messages_until_a_good_one() {
    let server = obedient(builder()).start().await.unwrap();
    let client = alice(&server).await;
    client.authorization("").unwrap();
    let renew = async {
        client.next_reauth().await.unwrap();
        client.authorization("alice").unwrap();
    };
    let (reply, ()) = tokio::join!(client.request::<u32>("Do", "resolve"), renew);
    assert_eq!(reply, Ok(Reply::Resolved(17)));
    client.authorization("mallory").unwrap();
    assert_eq!(client.closed().await.unwrap().0, 1008);
    server.stop().await;
}

#[tokio::test]
async fn sessions_end_by_either_side() {
    let server = builder().start().await.unwrap();
    let refused = TestClient::connect(&server, "").await.err();
    assert!(matches!(refused, Some(Error::Closed { code: 1008, .. })));

    let left = alice(&server).await;
    left.close().await.unwrap();
    let none = server.count_sessions(SessionFilter::default()).await;
    assert_eq!(none.unwrap(), 0);

    let thrown_out = alice(&server).await;
    let sid = thrown_out.session_id();
    assert!(server.close_session(&sid, "enough").await.unwrap());
    assert_eq!(thrown_out.closed().await, Ok((4000, "enough".into())));
    let lost = thrown_out.reconnect().await;
    assert!(matches!(lost, Err(Error::Closed { code: 4001, .. })));

    let rude = alice(&server).await;
    rude.send_raw("[{").unwrap();
    assert_eq!(rude.closed().await.unwrap().0, 4004);

    let stopped = alice(&server).await;
    server.stop().await;
    assert_eq!(stopped.closed().await.unwrap().0, 1012);
    let refused = stopped.reconnect().await;
    assert!(matches!(refused, Err(Error::Stopped | Error::Refused(_))));
}

#[tokio::test]
async fn what_does_not_come_is_named() {
    let server = builder().start().await.unwrap();
    let client = TestClient::builder(&server)
        .authorization("alice")
        .timeout(Duration::from_millis(20))
        .app("shop", "1.2")
        .connect()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let error = client.next_message().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a message of the server did not come within 20ms"
    );
    server.stop().await;
}
