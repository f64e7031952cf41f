//! Closing: which code, which reason, what becomes of the session, and the handshake of the Close itself.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use matssocket_testing::*;

/// The session is gone: coming back is answered with 4001.
async fn assert_lost(nodes: &Nodes, client: Client) {
    let mut line = client.connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    let reason = line.expect_close(4001).await;
    assert!(!reason.is_empty(), "4001 says why");
}

#[actix_web::test]
async fn a_late_hello_is_closed_with_1001() {
    let nodes = Setup::new()
        .config(|config| config.hello_timeout = Duration::from_millis(200))
        .start(1)
        .await;
    let mut line = Line::bare(&nodes[0].url).await;
    line.expect_close(1001).await;
}

/// How long the authentication takes is not the client's doing.
#[actix_web::test]
async fn an_authentication_slower_than_the_timeout_of_hello_succeeds() {
    let nodes = Setup::new()
        .config(|config| config.hello_timeout = Duration::from_millis(200))
        .start(1)
        .await;
    nodes.control.set("slow authentication");
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    nodes.control.open("authentication", 1);
    line.expect("WELCOME").await;
}

/// It ends the line, and says nothing about the session.
#[actix_web::test]
async fn an_illegal_close_is_answered_with_1002_and_the_session_kept() {
    use tokio::io::AsyncWriteExt;
    let nodes = Nodes::one().await;
    let mut client = Client::new("anna");
    // A single byte; a code that must not be sent; a reason that is not UTF-8. The mask is 0.
    for close in [
        &b"\x88\x81\0\0\0\0\x03"[..],
        b"\x88\x82\0\0\0\0\x03\xed",
        b"\x88\x83\0\0\0\0\x03\xe8\xff",
    ] {
        let mut line = client.welcome(&nodes[0].url).await;
        let raw = line.socket.get_mut();
        raw.write_all(close).await.expect("the line is open");
        line.expect_close(1002).await;
        nodes.until_let_go(line.session()).await;
        client = line.cut();
    }
    nodes.back(0, client).await;
}

#[actix_web::test]
async fn an_idle_line_is_closed_with_1001_and_the_session_kept() {
    let nodes = Setup::new()
        .config(|config| {
            config.idle_timeout = Duration::from_millis(300);
            config.ping_interval = Duration::from_millis(200);
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    // Until it reads, it does not answer a ping either.
    nodes.control.event("deregister", line.session()).await;
    line.expect_close(1001).await;
    nodes.until_let_go(line.session()).await;
    nodes.back(0, line.cut()).await;
}

#[actix_web::test]
async fn breaking_the_protocol_is_closed_with_4004_and_the_session_deleted() {
    let nodes = Nodes::one().await;
    let deep = format!(
        "[{{\"t\":{}1{}}}]",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let cases = [
        "",
        "no JSON",
        "[",
        "{\"t\":\"PING\",\"x\":\"1\"}",
        "\"PING\"",
        "[1]",
        "[[]]",
        "[null]",
        "[{}]",
        "[{\"t\":\"NONSENSE\"}]",
        "[{\"t\":1}]",
        "[{\"t\":\"ACK\"}]",
        "[{\"t\":\"ACK\",\"ids\":[]}]",
        "[{\"t\":\"NACK\",\"ids\":[]}]",
        "[{\"t\":\"ACK2\",\"ids\":[]}]",
        "[{\"t\":\"ACK2\"}]",
        "[{\"t\":\"ACK\",\"smid\":\"a\",\"ids\":[\"b\"]}]",
        "[{\"t\":\"ACK2\",\"cmid\":\"a\",\"ids\":[\"b\"]}]",
        "[{\"t\":\"ACK\",\"ids\":\"b\"}]",
        "[{\"t\":\"SEND\",\"eid\":\"test.take\",\"cmid\":\"1\",\"msg\":1}]",
        "[{\"t\":\"SEND\",\"eid\":\"test.take\",\"tid\":\"1\",\"msg\":1}]",
        "[{\"t\":\"RESOLVE\",\"cmid\":\"1\",\"tid\":\"1\",\"msg\":1}]",
        "[{\"t\":\"REJECT\",\"smid\":\"1\",\"tid\":\"1\",\"msg\":1}]",
        "[{\"t\":\"SUB\",\"eid\":\"\"}]",
        "[{\"t\":\"SUB\"}]",
        "[{\"t\":\"WELCOME\",\"sid\":\"1\"}]",
        "[{\"t\":\"PUB\",\"eid\":\"a\"}]",
        "[{\"t\":\"RETRY\",\"cmid\":\"a\"}]",
        "[{\"t\":\"REAUTH\"}]",
        deep.as_str(),
    ];
    for (number, text) in cases.into_iter().enumerate() {
        let mut line = nodes.open(&format!("anna{number}")).await;
        line.text(text).await;
        let shown = &text[..text.len().min(80)];
        let (code, reason) = line.close().await;
        assert_eq!(code, 4004, "for {shown}: {reason}");
        nodes.control.event("close", line.session()).await;
        nodes.until_stored(&format!("anna{number}"), 0).await;
        assert_lost(&nodes, line.cut()).await;
    }
}

#[actix_web::test]
async fn a_binary_message_is_closed_with_4004() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.message(Message::binary(b"[{\"t\":\"PING\",\"x\":\"1\"}]".to_vec()))
        .await;
    line.expect_close(4004).await;
    nodes.control.event("close", line.session()).await;
    let mut line = Line::bare(&nodes[0].url).await;
    line.message(Message::binary(vec![1, 2, 3])).await;
    line.expect_close(4004).await;
}

#[actix_web::test]
async fn what_needs_a_session_is_refused_before_hello() {
    let nodes = Nodes::one().await;
    for (text, expected) in [
        // Or a line could stay for ever without a session.
        ("[]", 1008),
        ("[{\"t\":\"AUTH\"}]", 1008),
        ("[{\"t\":\"AUTH\",\"auth\":\"anna:valid\"}]", 1008),
        ("[{\"t\":\"PING\",\"x\":\"1\"}]", 4004),
        ("[{\"t\":\"PONG\",\"x\":\"1\"}]", 4004),
        ("[{\"t\":\"ACK\",\"smid\":\"1\"}]", 4004),
        ("[{\"t\":\"ACK2\",\"cmid\":\"1\"}]", 4004),
        (
            "[{\"t\":\"SEND\",\"eid\":\"a\",\"cmid\":\"1\",\"tid\":\"1\",\"auth\":\"anna:valid\"}]",
            1008,
        ),
        (
            "[{\"t\":\"SUB\",\"eid\":\"a\",\"auth\":\"anna:valid\"}]",
            1008,
        ),
        ("[{\"t\":\"AUTH\",\"auth\":\"anna:valid\"}]", 1008),
        ("not JSON", 4004),
    ] {
        let mut line = Line::bare(&nodes[0].url).await;
        line.text(text).await;
        let (code, reason) = line.close().await;
        assert_eq!(code, expected, "{text}: {reason}");
    }
    nodes.until_stored("anna", 0).await;
}

#[actix_web::test]
async fn a_second_hello_is_closed_with_1008() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    line.expect_close(1008).await;
    nodes.control.event("close", line.session()).await;
    assert_lost(&nodes, line.cut()).await;
}

#[actix_web::test]
async fn closed_by_the_server_with_4000_from_any_node() {
    let nodes = Nodes::two().await;
    for node in [0, 1] {
        let mut line = nodes.open_on(0, "anna").await;
        let reason = "für immer ".repeat(30);
        assert!(
            nodes[node]
                .server
                .close_session(line.session(), &reason)
                .await
                .unwrap()
        );
        let came = line.expect_close(4000).await;
        assert!(
            came.len() <= 123 && came.len() > 118 && reason.starts_with(&came),
            "cut on a character: {came:?}"
        );
        nodes.until_stored("anna", 0).await;
        let session = line.session().to_owned();
        assert!(
            !nodes[node]
                .server
                .close_session(&session, "again")
                .await
                .unwrap(),
            "there is none any more"
        );
        let refused = nodes.server().send(&session, "t", "client.x", &1).await;
        assert!(
            matches!(refused, Err(matssocket::SendError::NoSession(_))),
            "{refused:?}"
        );
        assert_lost(&nodes, line.cut()).await;
    }
}

#[actix_web::test]
async fn a_session_that_is_not_connected_can_be_closed() {
    let nodes = Nodes::one().await;
    let client = nodes.open("anna").await.cut();
    nodes.control.event("deregister", &client.session).await;
    assert!(
        nodes
            .server()
            .close_session(&client.session, "gone")
            .await
            .unwrap()
    );
    assert_lost(&nodes, client).await;
}

#[actix_web::test]
async fn a_stopping_node_closes_with_1012_and_keeps_the_session() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    let stop = nodes[0].server.stop();
    let ((), reason) = tokio::join!(stop, line.expect_close(1012));
    assert!(!reason.is_empty());
    nodes[1]
        .server
        .send(line.session(), "t", "client.x", &"kept")
        .await
        .unwrap();
    assert_eq!(
        line::refused(&nodes[0].url, &[]).await,
        503,
        "a stopped node refuses the upgrade"
    );
    assert!(nodes[0].server.ready().is_err());
    let mut line = nodes.back(1, line.cut()).await;
    assert_eq!(line.expect("SEND").await["msg"], "kept");
    nodes[0].server.stop().await;
}

#[actix_web::test]
async fn a_stopping_node_lets_its_handlers_finish() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    let cmid = line.request("test.gate", json!({"gate": "g"})).await;
    nodes.control.called(&line.tid(&cmid)).await;
    let server = nodes[0].server.clone();
    let stopping = actix_web::rt::spawn(async move { server.stop().await });
    nodes.control.open("g", 1);
    let early = line.expect_where("the answer, or the Close", |envelope| {
        envelope["cmid"] == cmid
    });
    let answered = tokio::time::timeout(PATIENCE, early).await.is_ok();
    assert!(answered, "the handler's answer comes before the Close");
    line.expect_close(1012).await;
    within("the stop", stopping).await.unwrap();
}

/// A browser closes with 1001 when a page crashes, whatever the page would like.
#[actix_web::test]
async fn a_page_that_keeps_its_session_may_go_away() {
    let nodes = Nodes::one().await;
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let mut hello = line.client.hello();
    hello["keep"] = json!(true);
    line.send(json!([hello])).await;
    let welcome = line.expect("WELCOME").await;
    let session = welcome["sid"].as_str().unwrap().to_owned();
    line.leave(1001).await;
    nodes.control.event("deregister", &session).await;
    nodes.until_stored("anna", 1).await;
}

#[actix_web::test]
async fn what_the_client_says_in_its_close_decides_about_the_session() {
    let nodes = Nodes::one().await;
    for (code, kept) in [
        (1001, false),
        (4000, false),
        (1000, true),
        (1011, true),
        (4002, true),
        (4003, true),
        (4999, true),
    ] {
        let user = format!("anna{code}");
        let mut line = nodes.open(&user).await;
        let (answered, _) = line.leave(code).await;
        assert_eq!(answered, code, "a Close is answered with its own code");
        let end = line.end_of_tcp().await;
        assert!(
            end < Duration::from_millis(1_500),
            "TCP ended {end:?} after the client's Close"
        );
        let event = if kept { "deregister" } else { "close" };
        nodes.control.event(event, line.session()).await;
        nodes.until_let_go(line.session()).await;
        nodes.until_stored(&user, usize::from(kept)).await;
    }
}

#[actix_web::test]
async fn lost_lines_keep_the_session() {
    let nodes = Nodes::one().await;
    let client = nodes.open("anna").await.cut();
    nodes.control.event("deregister", &client.session).await;
    let client = nodes.back(0, client).await.reset();
    nodes.control.events("deregister", &client.session, 2).await;
    nodes.until_let_go(&client.session).await;
    let session = client.session.clone();
    let line = nodes.back(0, client).await;
    assert_eq!(line.session(), session);
    nodes.control.events("reconnect", &session, 2).await;
}

/// A socket dropped with unread data is reset by the kernel, and the code never reaches the client: it showed as
/// 1006 in clients that were sending while they were closed.
#[actix_web::test]
async fn code_and_reason_arrive_although_the_client_is_sending() {
    let nodes = Nodes::one().await;
    for _ in 0..5 {
        let line = nodes.open("anna").await;
        let session = line.session().to_owned();
        let (mut sink, mut stream) = line.socket.split();
        let filler = "x".repeat(10_000);
        let flood = async {
            for number in 0_u64.. {
                let envelope = json!([{"t": "SEND", "cmid": number, "tid": "t", "eid": "test.take", "msg": filler}]);
                if sink
                    .send(Message::text(envelope.to_string()))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        };
        let mut taken = 0;
        let closed = async {
            loop {
                match stream.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return (u16::from(frame.code), frame.reason.to_string());
                    }
                    Some(Ok(_)) => taken += 1,
                    other => {
                        panic!("the line ended without a Close after {taken} messages: {other:?}")
                    }
                }
            }
        };
        let close = async {
            nodes
                .control
                .wait("SENDs", 20, |seen| {
                    seen.what == "test.take" && seen.session == session
                })
                .await;
            assert!(
                nodes
                    .server()
                    .close_session(&session, "told while sending")
                    .await
                    .unwrap()
            );
        };
        let ((), closed) = within("the Close", async {
            tokio::select! {
                () = flood => panic!("the flood ended before the Close came"),
                both = async { tokio::join!(close, closed) } => both,
            }
        })
        .await;
        assert_eq!(closed, (4000, "told while sending".to_owned()));
    }
}

#[actix_web::test]
async fn tcp_ends_promptly_after_the_clients_answer() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    nodes
        .server()
        .close_session(line.session(), "bye")
        .await
        .unwrap();
    line.expect_close(4000).await;
    let end = line.end_of_tcp().await;
    assert!(
        end < Duration::from_millis(1_500),
        "TCP ended {end:?} after the closing handshake"
    );
}

/// Listeners were told that a session had ended, and neither why nor whose it was.
#[actix_web::test]
async fn listeners_are_told_who_it_was_and_why_it_ended() {
    use matssocket::{SessionChange, SessionEvent};
    let (tell, told) = std::sync::mpsc::channel();
    let nodes = Setup::new()
        .extend(move |builder, _, _| {
            let tell = tell.clone();
            builder.on_session(move |event: &SessionEvent| drop(tell.send(event.clone())))
        })
        .start(1)
        .await;
    let next = |change: SessionChange| {
        let event = told
            .recv_timeout(Duration::from_secs(15))
            .expect("an event");
        assert_eq!(event.change, change, "{event:?}");
        event
    };
    let mut line = nodes.open("anna").await;
    let new = next(SessionChange::New);
    let client = new.client.expect("it is connected");
    assert_eq!(
        (&*client.app_name, new.close_code, new.reason),
        ("TestApp", None, None)
    );

    // Lost without a word.
    let session = line.session().to_owned();
    let client = line.cut();
    let lost = next(SessionChange::Deregister);
    assert_eq!(
        (lost.session_id, lost.close_code, lost.reason),
        (session, None, None)
    );
    assert!(lost.client.is_some());

    // Closed by this server.
    line = nodes.back(0, client).await;
    next(SessionChange::Reconnect);
    nodes
        .server()
        .close_session(line.session(), "unpaid")
        .await
        .expect("closed");
    let closed = next(SessionChange::Close);
    let reason = closed.reason.unwrap_or_default();
    assert!(reason.contains("unpaid"), "{reason}");
    assert_eq!(closed.close_code, Some(4000));

    // By its client.
    let mut line = nodes.open("bert").await;
    next(SessionChange::New);
    line.leave(4000).await;
    let left = next(SessionChange::Close);
    assert_eq!((&*left.user_id, left.close_code), ("bert", Some(4000)));

    // By a violation.
    let mut line = nodes.open("clara").await;
    next(SessionChange::New);
    line.text("no JSON").await;
    let (code, why) = line.close().await;
    let violated = next(SessionChange::Close);
    assert_eq!(
        (violated.close_code, violated.reason),
        (Some(code), Some(why))
    );
}
