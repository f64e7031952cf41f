//! Messages and requests for all sessions of a user.

use std::collections::HashSet;

use matssocket::{Context, IdempotencyKey, Incoming, Outcome, ReplyTo, SendError};

use matssocket_testing::*;

#[actix_web::test]
async fn every_session_gets_it_once_wherever_it_is() {
    let nodes = Nodes::two().await;
    let mut here = nodes.open_on(0, "anna").await;
    let mut there = nodes.open_on(1, "anna").await;
    let away = nodes.open_on(1, "anna").await;
    let mut bob = nodes.open_on(0, "bob").await;
    let session = away.session().to_owned();
    let client = away.cut();
    nodes.until_let_go(&session).await;
    for node in [0, 1] {
        let server = &nodes[node].server;
        let tid = format!("from {node}");
        let sent = server.send_to_user("anna", &tid, "client.x", &node).await;
        let sent = sent.unwrap();
        assert_eq!((sent.sessions, sent.is_repeat), (3, false));
        assert!(sent.full.is_empty());
    }
    let mut back = nodes.back(0, client).await;
    for line in [&mut here, &mut there, &mut back] {
        for node in [0, 1] {
            let mail = line.expect("SEND").await;
            assert_eq!(
                (&mail["eid"], &mail["msg"], &mail["tid"]),
                (
                    &json!("client.x"),
                    &json!(node),
                    &json!(format!("from {node}"))
                )
            );
            line.ack(&mail).await;
        }
        line.none("SEND").await;
    }
    bob.none("SEND").await;
}

#[actix_web::test]
async fn order_is_that_of_the_commits_beside_single_sends() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(1, "anna").await;
    let session = line.session().to_owned();
    for number in 0..60 {
        let server = &nodes[number % 2].server;
        if number % 3 == 0 {
            let sent = server.send_to_user("anna", "t", "client.x", &number).await;
            assert_eq!(sent.unwrap().sessions, 1);
        } else {
            let sent = server.send(&session, "t", "client.x", &number).await;
            sent.unwrap();
        }
    }
    for number in 0..60 {
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], number);
        line.ack(&mail).await;
    }
}

#[actix_web::test]
async fn a_user_without_sessions_is_an_outcome_and_bad_ids_are_errors() {
    let nodes = Nodes::one().await;
    let server = nodes.server();
    let sent = server.send_to_user("nobody", "t", "client.x", &1).await;
    assert_eq!(sent.unwrap().sessions, 0);
    for (user, tid, terminator) in [
        ("", "t", "c"),
        ("a\nb", "t", "c"),
        ("u", "", "c"),
        ("u", "t", ""),
    ] {
        let sent = server.send_to_user(user, tid, terminator, &1).await;
        assert!(matches!(sent, Err(SendError::InvalidId(_))), "{sent:?}");
    }
    let reply_to = ReplyTo::terminator("nowhere");
    let asked = server.request_user("anna", "t", "client.endpoint", &1, reply_to);
    assert!(matches!(asked.await, Err(SendError::Unknown(_))));
}

#[actix_web::test]
async fn a_repeat_with_the_same_key_does_nothing() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    for (node, is_repeat) in [(0, false), (1, true)] {
        let key = IdempotencyKey::new("order-17");
        let server = &nodes[node].server;
        let sent = server.send_to_user_once(key, "anna", "t", "client.x", &node);
        let sent = sent.await.unwrap();
        assert_eq!(sent.is_repeat, is_repeat);
        assert_eq!(sent.sessions, u64::from(!is_repeat));
    }
    assert_eq!(line.expect("SEND").await["msg"], 0);
    line.none("SEND").await;
}

#[actix_web::test]
async fn a_full_outbox_keeps_it_from_no_other_session() {
    let nodes = Setup::new()
        .config(|config| config.store.max_outbox = 2)
        .extend(with_announce)
        .start(1)
        .await;
    let away = nodes.open("anna").await;
    let session = away.session().to_owned();
    let client = away.cut();
    nodes.until_let_go(&session).await;
    for number in [1, 2] {
        let sent = nodes.server().send(&session, "t", "client.x", &number);
        sent.await.unwrap();
    }
    let mut here = nodes.open("anna").await;
    let sent = nodes.server().send_to_user("anna", "t", "client.x", &3);
    let sent = sent.await.unwrap();
    assert_eq!((sent.sessions, sent.full.len()), (1, 1));
    assert_eq!(sent.full[0].session_id, session);
    let mail = here.expect("SEND").await;
    assert_eq!(mail["msg"], 3);
    here.ack(&mail).await;
    // A handler's outcome does not depend on it.
    let cmid = here.request("announce", json!(4)).await;
    here.expect_id("RESOLVE", &cmid).await;
    assert_eq!(here.expect("SEND").await["msg"], 4);
    assert_eq!(nodes.server().metrics().messages_without_room, 1);
    let mut back = nodes.back(0, client).await;
    for number in [1, 2] {
        let mail = back.expect("SEND").await;
        assert_eq!(mail["msg"], number);
        back.ack(&mail).await;
    }
    back.none("SEND").await;
}

/// Adds the endpoint `announce`, which sends its payload to all sessions of its user, and the terminator `ask all`, which
/// asks them.
fn with_announce(
    builder: matssocket::ServerBuilder,
    _: &Control,
    _: usize,
) -> matssocket::ServerBuilder {
    fn announce(context: &Context, payload: &Value) -> Result<(), SendError> {
        context.send_to_user(context.user_id(), context.trace_id(), "client.x", payload)
    }
    builder
        .endpoint("announce", |incoming: Incoming<Value>| async move {
            announce(&incoming.context, &incoming.payload)?;
            Ok(Outcome::resolve(()))
        })
        .terminator("ask all", |incoming: Incoming<Value>| async move {
            let reply_to = ReplyTo::terminator("test.reply").correlation_string("all");
            let context = &incoming.context;
            context.request_user(
                context.user_id(),
                "asked",
                "client.endpoint",
                &incoming.payload,
                reply_to,
            )?;
            Ok(Outcome::done())
        })
}

#[actix_web::test]
async fn a_handler_sends_it_once_with_its_outcome() {
    let nodes = Setup::new().extend(with_announce).start(2).await;
    let mut here = nodes.open_on(0, "anna").await;
    let mut there = nodes.open_on(1, "anna").await;
    let cmid = here.next_cmid();
    let request = here.envelope("REQUEST", &cmid, "announce", json!("news"));
    for _ in 0..2 {
        here.send(json!([request])).await;
        here.expect_id("RESOLVE", &cmid).await;
    }
    for line in [&mut here, &mut there] {
        let mail = line.expect("SEND").await;
        assert_eq!(mail["msg"], "news");
        line.none("SEND").await;
    }
}

/// Asks all sessions of anna, has one reply, and closes another: each ends on its own.
async fn each_answers(nodes: &Nodes, lines: &mut [Line; 3], tid: &str) {
    let mut requests = Vec::new();
    for line in lines.iter_mut() {
        let request = line.expect("REQUEST").await;
        line.ack(&request).await;
        requests.push(request);
    }
    let [first, second, third] = lines;
    let cmid = first.reply("RESOLVE", &requests[0], json!("yes")).await;
    first.expect_id("ACK", &cmid).await;
    let cmid = second.reply("REJECT", &requests[1], json!("no")).await;
    second.expect_id("ACK", &cmid).await;
    let closed = nodes.server().close_session(third.session(), "gone").await;
    assert!(closed.unwrap());
    let replies = |seen: &Seen| seen.what == "test.reply" && seen.tid.contains(tid);
    let seen = nodes.control.wait("the replies", 3, replies).await;
    let of: HashSet<_> = seen
        .iter()
        .map(|seen| (&*seen.session, &*seen.kind, seen.end.is_some()))
        .collect();
    let expected = [
        (first.session(), "RESOLVE", false),
        (second.session(), "REJECT", false),
        (third.session(), "REJECT", true),
    ];
    assert_eq!(of, expected.into());
    assert!(
        seen.iter()
            .all(|seen| seen.string.as_deref() == Some("all"))
    );
}

#[actix_web::test]
async fn each_session_answers_a_request_for_itself() {
    let nodes = Setup::new().extend(with_announce).start(2).await;
    let mut lines = [
        nodes.open_on(0, "anna").await,
        nodes.open_on(1, "anna").await,
        nodes.open_on(1, "anna").await,
    ];
    let reply_to = ReplyTo::terminator("test.reply").correlation_string("all");
    let server = nodes.server();
    let asked = server.request_user("anna", "by the server", "client.endpoint", &1, reply_to);
    assert_eq!(asked.await.unwrap().sessions, 3);
    each_answers(&nodes, &mut lines, "by the server").await;

    let [first, second, _] = lines;
    let mut lines = [first, second, nodes.open_on(0, "anna").await];
    lines[0].send_to("ask all", json!(2)).await;
    each_answers(&nodes, &mut lines, "asked").await;
}

#[actix_web::test]
async fn users_are_listed_with_their_sessions() {
    let nodes = Nodes::two().await;
    let _anna = [
        nodes.open_on(0, "anna").await,
        nodes.open_on(1, "anna").await,
    ];
    let bob = nodes.open_on(1, "bob").await;
    let session = bob.session().to_owned();
    drop(bob.cut());
    nodes.until_let_go(&session).await;
    let server = nodes.server();
    let users = server.users(None, 10).await.unwrap();
    let counted: Vec<_> = users
        .iter()
        .map(|user| (&*user.user_id, user.sessions, user.connected))
        .collect();
    assert_eq!(counted, [("anna", 2, 2), ("bob", 1, 0)]);
    assert_eq!(server.users(Some("anna"), 10).await.unwrap(), users[1..]);
    assert_eq!(server.users(None, 1).await.unwrap(), users[..1]);
}
