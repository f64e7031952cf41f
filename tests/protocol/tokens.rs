//! Authorization by tokens that expire.

use std::time::{Duration, SystemTime};

use matssocket::{Clock, Principal, token_auth};

use matssocket_testing::*;

/// Tokens of the form `<user>:<seconds since the epoch>`.
fn with_tokens(clock: &Clock) -> Setup {
    let token = |value: &str| {
        let (user, end) = value.split_once(':').ok_or("not of the form user:end")?;
        let end = end.parse().map_err(|_| "its end is not a number")?;
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(end);
        Ok::<_, &str>((Principal::user(user), end))
    };
    Setup::new()
        .clock(clock)
        .extend(move |builder, _, _| builder.authentication(token_auth(token)))
}

fn at(seconds: u64) -> Clock {
    Clock::fixed(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[actix_web::test]
async fn a_token_that_has_expired_opens_nothing_until_another_one_comes() {
    let clock = at(1_000);
    let nodes = with_tokens(&clock).start(1).await;
    let mut line = Client::with_auth("anna:2000").welcome(&nodes[0].url).await;
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
    clock.advance(Duration::from_secs(1_000));
    let held = line.request("test.do", json!({})).await;
    let sent = nodes.server().send(line.session(), "t", "client.news", &1);
    sent.await.unwrap();
    line.expect("REAUTH").await;
    line.none("RESOLVE").await;
    line.none("SEND").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:3000"}])).await;
    line.expect_id("RESOLVE", &held).await;
    line.expect("SEND").await;
}

#[actix_web::test]
async fn a_publication_is_not_delivered_after_the_token_has_expired() {
    let clock = at(1_000);
    let nodes = with_tokens(&clock).start(1).await;
    let mut line = Client::with_auth("anna:2000").welcome(&nodes[0].url).await;
    line.send(json!([{"t": "SUB", "eid": "prices"}])).await;
    line.expect("SUB_OK").await;
    nodes.server().publish("prices", "t", &1).await.unwrap();
    line.expect("PUB").await;
    clock.advance(Duration::from_secs(1_000));
    nodes.server().publish("prices", "t", &2).await.unwrap();
    line.expect("REAUTH").await;
    line.none("PUB").await;
    line.send(json!([{"t": "AUTH", "auth": "anna:3000"}])).await;
    assert_eq!(line.expect("PUB").await["msg"], json!(2));
}

#[actix_web::test]
async fn a_token_that_has_expired_before_it_is_offered_is_refused() {
    let nodes = with_tokens(&at(2_000)).start(1).await;
    for (token, why) in [("anna:2000", "has expired"), ("anna:soon", "not a number")] {
        let mut line = Client::with_auth(token).connect(&nodes[0].url).await;
        line.say_hello().await;
        let reason = line.expect_close(1008).await;
        assert!(reason.contains(why), "{reason}");
    }
}
