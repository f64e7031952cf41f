//! Messages that are worth delivering for some time only.

use std::time::Duration;

use matssocket::{Destination, Incoming, Outcome, ReplyTo, SendError};
use matssocket_testing::*;

const HOUR: Duration = Duration::from_secs(3600);

fn quick(config: &mut matssocket::Config) {
    config.takeover_interval = Duration::from_millis(20);
    config.sweep_interval = Duration::from_millis(20);
    config.lease = 10 * HOUR;
}

fn minute(id: &str) -> Destination {
    Destination::new(id).time_to_live(Duration::from_secs(60))
}

async fn until_expired(nodes: &Nodes, many: u64) {
    let all = || (0..2).map(|node| nodes[node].server.metrics().messages_expired);
    within("the messages to expire", async {
        while all().sum::<u64>() < many {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(all().sum::<u64>(), many);
}

#[actix_web::test]
async fn who_comes_back_too_late_does_not_get_it() {
    let nodes = Setup::new()
        .config(quick)
        .extend(|builder, control, node| {
            let control = control.clone();
            builder
                .endpoint("tell", async |incoming: Incoming<String>| {
                    let context = &incoming.context;
                    context.send_to_user(&incoming.payload, "t", minute("client.x"), "handler")?;
                    Ok(Outcome::resolve(()))
                })
                .terminator("heard", move |incoming: Incoming<Value>| {
                    control.ran(node, "heard", &incoming.context, &incoming.payload);
                    async { Ok(Outcome::done()) }
                })
        })
        .start(2)
        .await;
    let server = nodes.server();
    let mut line = nodes.open_on(1, "anna").await;
    let session = line.session().to_owned();
    // At once, for whoever is there.
    server
        .send(&session, "t", minute("client.x"), "there")
        .await
        .unwrap();
    let sent = line.expect("SEND").await;
    assert_eq!(sent["msg"], "there");
    line.ack(&sent).await;
    line.barrier().await;
    let client = line.cut();
    nodes.until_let_go(&session).await;

    let mut bert = nodes.open("bert").await;
    server
        .send(&session, "t", minute("client.x"), "short")
        .await
        .unwrap();
    server
        .send(&session, "t", "client.x", "for ever")
        .await
        .unwrap();
    let day = Destination::new("client.x").time_to_live(24 * HOUR);
    server.send_to_user("anna", "t", day, "day").await.unwrap();
    let reply_to = ReplyTo::terminator("heard").timeout(24 * HOUR);
    let asked = server.request(
        &session,
        "asked",
        minute("client.endpoint"),
        "asked",
        reply_to,
    );
    asked.await.unwrap();
    let cmid = bert.request("tell", json!("anna")).await;
    bert.expect_id("RESOLVE", &cmid).await;

    // Past its time, but not yet deleted from the store: it is not sent.
    nodes.clock.advance(Duration::from_secs(61));
    let mut line = nodes.back(0, client).await;
    for expected in ["for ever", "day"] {
        let sent = line.expect("SEND").await;
        assert_eq!(sent["msg"], expected);
        line.ack(&sent).await;
    }
    line.none("REQUEST").await;
    assert!(nodes.control.all(|seen| seen.what == "heard").is_empty());
    nodes.clock.advance(Duration::from_secs(10));
    until_expired(&nodes, 3).await;
    let heard = |seen: &Seen| seen.what == "heard";
    let seen = nodes.control.wait("the end of the request", 1, heard).await;
    let end = seen[0].end.as_deref().unwrap_or_default();
    assert!(end.contains("time to live"), "{end}");
    let again = nodes.back(1, line.cut()).await;
    let mut line = again;
    line.none("SEND").await;
}

/// What was sent in time may be acknowledged later, and is not sent again.
#[actix_web::test]
async fn what_was_sent_in_time_may_be_acknowledged_later() {
    let nodes = Setup::new().config(quick).start(2).await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    let server = nodes.server();
    server
        .send(&session, "t", minute("client.x"), &1)
        .await
        .unwrap();
    let sent = line.expect("SEND").await;
    nodes.clock.advance(Duration::from_secs(65));
    line.ack(&sent).await;
    server
        .send(&session, "t", minute("client.x"), &2)
        .await
        .unwrap();
    line.expect("SEND").await;
    nodes.clock.advance(Duration::from_secs(61));
    let mut line = nodes.back(0, line.cut()).await;
    line.none("SEND").await;
    nodes.clock.advance(Duration::from_secs(10));
    until_expired(&nodes, 1).await;
}

#[actix_web::test]
async fn a_time_to_live_of_zero_is_refused() {
    let nodes = Nodes::one().await;
    let line = nodes.open("anna").await;
    let never = || Destination::new("client.x").time_to_live(Duration::ZERO);
    let server = nodes.server();
    let refused = server.send(line.session(), "t", never(), &1).await;
    let Err(SendError::NoTimeToLive(id)) = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(id, "client.x");
    let refused = server.send_to_user("anna", "t", never(), &1).await;
    assert!(refused.is_err(), "{refused:?}");
}
