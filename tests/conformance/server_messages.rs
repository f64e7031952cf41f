//! What the conformance server sends unasked: messages, requests, topics, and the end of a session.

use matssocket_client::{Message, TopicEvent};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use matssocket_testing::program::{Server, collect, http, next, within};

#[tokio::test]
async fn messages_are_sent_from_a_service_and_from_a_task() {
    let server = Server::start();
    let client = server.client("anna");
    let mut arriving = collect(&client, "ClientSide.terminator");
    for (terminator, suffix, sleep_time) in [
        ("Test.server.send.matsStage", "SentFromMatsStage", 1),
        ("Test.server.send.thread", "SentFromThread", 2),
    ] {
        within(
            "the ACK",
            client.send("trace", terminator, &json!({"number": 5})),
        )
        .await
        .expect("taken");
        let message = next(&mut arriving).await;
        assert_eq!(message.trace_id, format!("trace:{suffix}"));
        let expected = json!({
            "number": 5.0, "string": client.session_id(), "sleepTime": sleep_time, "sleepIncoming": 0,
        });
        assert_eq!(message.payload, expected);
    }
}

#[tokio::test]
async fn requests_to_the_client_come_back_as_what_it_decided() {
    let server = Server::start();
    let client = server.client("anna");
    let mut arriving = collect(&client, "ClientSide.terminator");
    client.endpoint("ClientSide.endpoint", async |request: Message<Value>| {
        assert_eq!(request.trace_id, "trace");
        if request.payload["string"] == "please" {
            Ok(request.payload)
        } else {
            Err(request.payload)
        }
    });
    for terminator in ["Test.server.request.direct", "Test.server.request.viaMats"] {
        for (string, reply) in [("please", "RESOLVE"), ("never", "REJECT")] {
            let payload = json!({"number": 6, "string": string, "sleepTime": 7});
            within("the ACK", client.send("trace", terminator, &payload))
                .await
                .expect("taken");
            let message = next(&mut arriving).await;
            assert_eq!(message.trace_id, "trace");
            let expected = json!({
                "number": 6.0, "string": format!("{string}:{reply}"), "sleepTime": 7, "sleepIncoming": 0,
            });
            assert_eq!(message.payload, expected, "{terminator}");
        }
    }
}

#[tokio::test]
async fn a_burst_arrives_once_and_in_order_through_cut_lines() {
    const COUNT: u64 = 500;
    let server = Server::start();
    let client = server.client("anna");
    let mut arriving = collect(&client, "ClientSide.terminator");
    within(
        "the ACK",
        client.send(
            "trace",
            "Bench.burst",
            &json!({"count": COUNT, "size": 100}),
        ),
    )
    .await
    .expect("taken");
    for number in 0..COUNT {
        let message = next(&mut arriving).await;
        assert_eq!(
            message.payload,
            json!({"number": number, "string": "x".repeat(100)})
        );
        if number % 200 == 100 {
            client.cut();
        }
    }
}

#[tokio::test]
async fn a_topic_is_heard_from_both_nodes_and_from_http() {
    let server = Server::start();
    let listening = server.client("anna");
    let mut answers = listening.topic_events();
    let (sender, mut arriving) = unbounded_channel();
    let heard = move |message: Message<Value>| {
        let _ = sender.send(message);
        std::future::ready(())
    };
    listening
        .subscribe("Test.topic", heard)
        .expect("a proper topic");
    listening.reconnect();
    let answer = within("SUB_OK", answers.recv()).await;
    assert_eq!(
        answer,
        Ok(TopicEvent::Subscribed {
            topic: "Test.topic".into()
        })
    );

    let [_, elsewhere] = server.urls();
    let publishing = server
        .builder()
        .urls([elsewhere])
        .authorization_value("DummyAuth:bert:-1")
        .build()
        .expect("fine");
    within(
        "the ACK",
        publishing.send("trace", "Test.publish", "Test.topic"),
    )
    .await
    .expect("taken");
    let expected = json!({
        "number": std::f64::consts::PI, "string": "Test from server!", "sleepTime": 42, "sleepIncoming": 0,
    });
    assert_eq!(next(&mut arriving).await.payload, expected);
    let response = http(
        server.ports[1],
        "GET /matssocket/sendMessageOnTestTopic?topic=Test.topic",
        &[],
    );
    assert_eq!(response.status, 204);
    assert_eq!(next(&mut arriving).await.payload, expected);
}

#[tokio::test]
async fn a_session_closes_itself() {
    let server = Server::start();
    let client = server.client("anna");
    let mut states = client.watch_state();
    within(
        "the ACK",
        client.send("trace", "Test.closeThisSession", &json!({})),
    )
    .await
    .expect("taken");
    let closed = |state: &_| matches!(state, matssocket_client::ConnectionState::Closed(_));
    let state = within("the close", states.wait_for(closed))
        .await
        .expect("the client is there")
        .clone();
    let matssocket_client::ConnectionState::Closed(closed) = state else {
        unreachable!()
    };
    assert_eq!(closed.code, Some(4000), "{closed}");
}
