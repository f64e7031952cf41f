//! Every endpoint of the conformance server's table that a client requests.

use matssocket::DebugOptions;
use matssocket_client::{Client, Outcome, RequestError, SendError};
use serde_json::{Value, json};

use matssocket_testing::program::{Server, within};

/// What became of a request: `Ok(RESOLVE)`, `Err(Some(REJECT))` or `Err(None)` when it was refused.
async fn ask(client: &Client, endpoint: &str, payload: Value) -> Result<Value, Option<Value>> {
    match within(
        endpoint,
        client.request::<Value>("trace", endpoint, &payload),
    )
    .await
    {
        Ok(reply) => match reply.outcome {
            Outcome::Resolved(value) => Ok(value),
            Outcome::Rejected(rejection) => Err(Some(rejection.payload().expect("JSON"))),
        },
        Err(RequestError::Send(SendError::Refused { .. })) => Err(None),
        Err(why) => panic!("{endpoint}: {why}"),
    }
}

fn data(number: f64, string: &str, sleep_time: i64) -> Value {
    json!({"number": number, "string": string, "sleepTime": sleep_time, "sleepIncoming": 0})
}

#[tokio::test]
async fn forwarded_requests_are_answered_by_their_services() {
    let server = Server::start();
    let client = server.client("anna");
    let single =
        json!({"string": "text", "number": 1.5, "requestTimestamp": 1_700_000_000_123_i64});
    let answer = json!({"number1": 15, "number2": 3.0, "requestTimestamp": 1_700_000_000_123_i64});
    assert_eq!(ask(&client, "Test.single", single).await, Ok(answer));
    // null:FromSingle
    let answer = json!({"number1": 15, "number2": 0.0, "requestTimestamp": 0});
    assert_eq!(ask(&client, "Test.single", json!({})).await, Ok(answer));

    let simple = json!({"number": 7, "string": "text", "sleepTime": 5});
    assert_eq!(
        ask(&client, "Test.simpleMats", simple).await,
        Ok(data(7.0, "text:FromSimpleMats", 5))
    );
    assert_eq!(
        ask(&client, "Test.simpleMats", Value::Null).await,
        Ok(data(0.0, "null:FromSimpleMats", 0))
    );

    let slow = json!({"number": 1, "string": "text", "sleepTime": 20, "sleepIncoming": 20});
    assert_eq!(
        ask(&client, "Test.slow", slow).await,
        Ok(data(1.0, "text:FromSlow", 20))
    );
}

#[tokio::test]
async fn handlers_decide_at_once() {
    let server = Server::start();
    let client = server.client("anna");
    let ping = json!({"payload": "p", "number": 2});
    let pong = json!({"payload": "p", "number": 2.0 * std::f64::consts::E});
    assert_eq!(ask(&client, "Test.matsSocketPing", ping).await, Ok(pong));
    let request = json!({"number": 2, "string": "text", "sleepTime": 3, "requestTimestamp": 99});
    let resolved = data(2.0, "text:From_resolveInIncomingHandler", 3);
    assert_eq!(
        ask(&client, "Test.resolveInIncomingHandler", request.clone()).await,
        Ok(resolved)
    );
    let rejected = json!({"number1": 3, "number2": 4.0, "requestTimestamp": 99});
    assert_eq!(
        ask(&client, "Test.rejectInIncomingHandler", request.clone()).await,
        Err(Some(rejected))
    );
    for refusing in [
        "Test.ignoreInIncomingHandler",
        "Test.denyInIncomingHandler",
        "Test.throwsInIncomingHandler",
    ] {
        assert_eq!(
            ask(&client, refusing, request.clone()).await,
            Err(None),
            "{refusing}"
        );
    }
    for wrong in ["Test.doesNotExist", "Test.server.send.thread"] {
        assert_eq!(
            ask(&client, wrong, request.clone()).await,
            Err(None),
            "{wrong}"
        );
    }
    let cookie = ask(
        &client,
        "Test.replyWithCookieAuthorization",
        json!({"number": 1}),
    )
    .await;
    assert_eq!(
        cookie,
        Ok(json!({"number": 1.0, "sleepTime": 0, "sleepIncoming": 0}))
    );
}

#[tokio::test]
async fn reply_adapters_decide() {
    let server = Server::start();
    let client = server.client("anna");
    let request = json!({"string": "text", "number": 1, "requestTimestamp": 5});
    let decided = json!({"number1": 1, "number2": 2.0, "requestTimestamp": 123});
    assert_eq!(
        ask(&client, "Test.resolveInReplyAdapter", request.clone()).await,
        Ok(decided.clone())
    );
    assert_eq!(
        ask(&client, "Test.rejectInReplyAdapter", request.clone()).await,
        Err(Some(decided))
    );
    for undecided in ["Test.ignoreInReplyAdapter", "Test.throwsInReplyAdapter"] {
        assert!(
            matches!(ask(&client, undecided, request.clone()).await, Err(Some(_))),
            "{undecided}: a REJECT"
        );
    }
}

#[tokio::test]
async fn debug_options_are_for_one_user_only() {
    let server = Server::start();
    let payload = json!({"string": "text"});
    for (user, allowed) in [("anna", false), ("enableAllDebugOptions", true)] {
        let client = server.client(user);
        let request = client
            .request::<Value>("trace", "Test.simpleMats", &payload)
            .debug_options(DebugOptions::ALL);
        let debug = within("the reply", request).await.expect("resolved").debug;
        assert_eq!(debug.is_some(), allowed, "{user}");
        if let Some(debug) = debug {
            assert_eq!(
                debug.cmrnn.as_deref(),
                Some(&*server.nodes[0]),
                "the ready line names the node"
            );
            assert!(debug.cmrts.is_some() && debug.mscts.is_some(), "{debug:?}");
        }
    }
}
