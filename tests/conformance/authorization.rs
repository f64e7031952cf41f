//! The rules of `DummyAuth:<userId>:<expires>`.

use std::time::{SystemTime, UNIX_EPOCH};

use matssocket_client::{Client, ConnectionEvent, Message};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;

use matssocket_testing::program::{Server, collect, next, within};

fn client(server: &Server, authorization: &str) -> Client {
    server
        .builder()
        .authorization_value(authorization)
        .build()
        .expect("URLs are fine")
}

fn now() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis()
}

async fn wanted(events: &mut Receiver<ConnectionEvent>) {
    while within("REAUTH", events.recv()).await.expect("few events")
        != ConnectionEvent::AuthorizationWanted
    {}
}

#[tokio::test]
async fn initial_values_that_are_refused() {
    let server = Server::start();
    let expired = format!("DummyAuth:anna:{}", now() - 1_000);
    for refused in [
        "DummyAuth:anna",
        "DummyAuth:anna:1:2",
        "Other:anna:-1",
        "DummyAuth:fail_initialAuthentication:-1",
        &expired,
    ] {
        let client = client(&server, refused);
        client.reconnect();
        let closed = within("the close", client.established())
            .await
            .expect_err(refused);
        assert_eq!(closed.code, Some(1008), "{refused}: {closed}");
    }
    let later = client(&server, &format!("DummyAuth:anna:{}", now() + 60_000));
    later.reconnect();
    within("WELCOME", later.established())
        .await
        .expect("not yet expired");
}

#[tokio::test]
async fn messages_are_held_until_authorization_is_good_again() {
    let server = Server::start();
    let client = client(&server, "DummyAuth:anna:-1");
    let mut events = client.connection_events();
    client.reconnect();
    within("WELCOME", client.established()).await.expect("fine");
    client.set_authorization("DummyAuth:fail_reevaluateAuthentication:-1", None);
    let held = client.send("trace", "Test.server.send.thread", &json!({}));
    let mut arriving = collect(&client, "ClientSide.terminator");
    wanted(&mut events).await;
    client.set_authorization("DummyAuth:somebody_else:-1", None);
    within("the ACK", held).await.expect("handled in the end");
    next(&mut arriving).await;
}

#[tokio::test]
async fn outgoing_messages_are_held_until_authorization_is_good_again() {
    let server = Server::start();
    let client = client(&server, "DummyAuth:anna:-1");
    let mut events = client.connection_events();
    let mut arriving = collect(&client, "ClientSide.terminator");
    client.reconnect();
    within("WELCOME", client.established()).await.expect("fine");
    client.set_authorization(
        "DummyAuth:fail_reevaluateAuthenticationForOutgoingMessage:-1",
        None,
    );
    within(
        "the ACK",
        client.send("trace", "Bench.burst", &json!({"count": 2})),
    )
    .await
    .expect("incoming is allowed");
    wanted(&mut events).await;
    assert!(
        arriving.try_recv().is_err(),
        "nothing is delivered while authorization is bad"
    );
    client.set_authorization("DummyAuth:anna:-1", None);
    assert_eq!(next(&mut arriving).await.payload["number"], 0);
    assert_eq!(next(&mut arriving).await.payload["number"], 1);
}

#[tokio::test]
async fn the_server_asks_the_client_to_renew_its_authorization() {
    let server = Server::start();
    let client = client(&server, "DummyAuth:anna:-1");
    let mut arriving = collect(&client, "Client.renewAuth_terminator");
    // The client has this endpoint built in; replaced, because its authorization here is a fixed value.
    let renewing = client.clone();
    client.endpoint("MatsSocket.renewAuth", move |request: Message<Value>| {
        assert_eq!(request.payload, json!(""));
        renewing.set_authorization("DummyAuth:anna_renewed:-1", None);
        std::future::ready(Ok::<_, ()>(json!({})))
    });
    within(
        "the ACK",
        client.send("trace", "Test.renewAuth", &json!({})),
    )
    .await
    .expect("taken");
    assert_eq!(
        next(&mut arriving).await.payload,
        json!("DummyAuth:anna_renewed:-1")
    );
    client.close("the endpoint holds a clone").await;
}
