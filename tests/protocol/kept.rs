//! Messages for users who have no session, kept until they come.

use std::time::Duration;

use matssocket::{Incoming, Outcome, SendError, UserRecipient};
use matssocket_testing::*;

const HOUR: Duration = Duration::from_secs(3600);

fn anna() -> UserRecipient {
    UserRecipient::new("anna").keep_for(HOUR)
}

/// Receives and acknowledges these messages, and no others.
async fn gets(line: &mut Line, messages: &[&str]) {
    for expected in messages {
        let sent = line.expect("SEND").await;
        assert_eq!(sent["msg"], *expected, "{sent}");
        line.ack(&sent).await;
    }
    line.none("SEND").await;
}

#[actix_web::test]
async fn whoever_comes_later_gets_it_once_on_any_node() {
    let nodes = Setup::new()
        .extend(|builder, _, _| {
            builder.endpoint("tell", async |incoming: Incoming<String>| {
                let context = &incoming.context;
                context.send_to_user(anna(), "t", "client.x", &incoming.payload)?;
                Ok(Outcome::resolve(()))
            })
        })
        .start(2)
        .await;
    let server = nodes.server();
    let sent = server.send_to_user(anna(), "t", "client.x", "first").await;
    let sent = sent.unwrap();
    assert_eq!((sent.sessions, sent.is_kept), (0, true));
    let sent = server.send_to_user("anna", "t", "client.x", "lost").await;
    assert!(!sent.unwrap().is_kept);
    let mut bert = nodes.open("bert").await;
    let cmid = bert.request("tell", json!("second")).await;
    bert.expect_id("RESOLVE", &cmid).await;

    let mut line = nodes.open_on(1, "anna").await;
    let sent = server.send_to_user(anna(), "t", "client.x", "third").await;
    let sent = sent.unwrap();
    assert_eq!((sent.sessions, sent.is_kept), (1, false), "she is there");
    gets(&mut line, &["first", "second", "third"]).await;
    let mut other = nodes.open_on(0, "anna").await;
    gets(&mut other, &[]).await;
    gets(&mut bert, &[]).await;
    line.leave(4000).await;
    other.leave(4000).await;
    nodes.until_stored("anna", 0).await;
    gets(&mut nodes.open("anna").await, &[]).await;
}

/// The line breaks before the client has read WELCOME: it cannot come back to that session, and opens another one.
#[actix_web::test]
async fn a_session_that_its_client_never_heard_of_keeps_nothing_from_it() {
    let nodes = Nodes::two().await;
    let server = nodes.server();
    let sent = server.send_to_user(anna(), "t", "client.x", "kept").await;
    sent.unwrap();
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    line.say_hello().await;
    nodes.until_stored("anna", 1).await;
    drop(line);
    gets(&mut nodes.open_on(1, "anna").await, &["kept"]).await;
}

#[actix_web::test]
async fn who_comes_too_late_does_not_get_it() {
    let nodes = Setup::new()
        .config(|config| {
            config.takeover_interval = Duration::from_millis(20);
            config.sweep_interval = Duration::from_millis(20);
            config.lease = 10 * HOUR;
        })
        .start(1)
        .await;
    let server = nodes.server();
    for message in ["dropped", "too"] {
        let sent = server.send_to_user(anna(), "t", "client.x", message).await;
        sent.unwrap();
    }
    assert_eq!(server.drop_kept("anna").await.unwrap(), 2);
    let sent = server.send_to_user(anna(), "t", "client.x", "short").await;
    sent.unwrap();
    let all = UserRecipient::new("anna").keep_for_every_session(2 * HOUR);
    let sent = server.send_to_user(all, "t", "client.x", "long").await;
    sent.unwrap();
    nodes.clock.advance(HOUR);
    within("the message to expire", async {
        while server.metrics().messages_expired < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..2 {
        gets(&mut nodes.open("anna").await, &["long"]).await;
    }
}

#[actix_web::test]
async fn keeping_for_no_time_is_refused() {
    let nodes = Nodes::one().await;
    let never = UserRecipient::new("anna").keep_for(Duration::ZERO);
    let refused = nodes
        .server()
        .send_to_user(never, "t", "client.x", &1)
        .await;
    let Err(SendError::InvalidId(why)) = &refused else {
        panic!("{refused:?}");
    };
    let why = why.to_string();
    assert!(why.contains("\"anna\"") && why.contains("no time"), "{why}");
    let refused = nodes.server().drop_kept("").await;
    assert!(refused.is_err(), "{refused:?}");
}
