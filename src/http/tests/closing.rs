//! Both sides' close handshakes, and ends without one.

use std::time::Duration;

use actix_web::rt::time::{Instant, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{frame, within};
use super::*;

#[actix_web::test]
async fn the_client_closes() {
    client_closes(Server::start(config())).await;
}

#[actix_web::test]
async fn the_client_closes_where_we_have_no_hook() {
    client_closes(Server::start_with(config(), false)).await;
}

async fn client_closes(mut server: Server) {
    let mut client = established(&server).await;
    client.write(&frame(0x88, b"\x0f\xa2bye")).await;
    assert_eq!(client.read_close().await, (4002, String::new()));
    client.assert_ends().await;
    assert_eq!(server.end().await, Event::Closed(Some(4002)));

    let mut client = established(&server).await;
    client.write(&frame(0x88, b"")).await;
    assert_eq!(client.read_frame().await, (0x88, vec![]));
    client.assert_ends().await;
    assert_eq!(server.end().await, Event::Closed(None));
}

/// An invalid Close ends the connection with 1002, and does not affect the session: that is kept.
#[actix_web::test]
async fn the_client_closes_illegally() {
    let mut server = Server::start(config());
    let illegal = [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
    let codes = illegal.map(|code| code.to_be_bytes().to_vec());
    let others = [vec![3], b"\x03\xe8\xff".to_vec(), b"\x0f\xa0\xc3".to_vec()];
    for payload in codes.into_iter().chain(others) {
        let mut client = established(&server).await;
        client.write(&frame(0x88, &payload)).await;
        let close = client.read_close().await;
        assert_eq!(close, (1002, String::new()), "{payload:?}");
        client.assert_ends().await;
        assert_eq!(server.end().await, Event::Closed(Some(1002)), "{payload:?}");
    }
    // Unusual but legal codes.
    for code in [1000_u16, 1003, 1007, 1014, 3000, 4999] {
        let mut client = established(&server).await;
        client.write(&frame(0x88, &code.to_be_bytes())).await;
        assert_eq!(client.read_close().await.0, code);
        assert_eq!(server.end().await, Event::Closed(Some(code)));
    }
}

#[actix_web::test]
async fn the_client_vanishes() {
    let mut server = Server::start(config());
    let client = established(&server).await;
    drop(client);
    assert_eq!(server.end().await, Event::Lost);

    // By a reset.
    let client = established(&server).await;
    socket2::SockRef::from(&client.stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    assert_eq!(server.end().await, Event::Lost);
}

#[actix_web::test]
async fn the_server_closes_while_the_client_floods() {
    server_closes(Server::start(config())).await;
}

#[actix_web::test]
async fn the_server_closes_where_we_have_no_hook() {
    server_closes(Server::start_with(config(), false)).await;
}

/// A socket dropped with unread data is reset, and the client never learns the code.
async fn server_closes(mut server: Server) {
    let client = established(&server).await;
    let (mut read, mut write) = client.stream.into_split();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let flood = actix_web::rt::spawn(async move {
        let noise = frame(0x81, &[b' '; 50_000]);
        write
            .write_all(&frame(0x81, b"close:go away"))
            .await
            .unwrap();
        // Only whole frames: the Close must be found after them.
        while stopped.try_recv().is_err() {
            write.write_all(&noise).await.unwrap();
        }
        write
    });
    let mut close = [0; 4 + 7];
    within(read.read_exact(&mut close)).await.unwrap();
    assert_eq!(&close, b"\x88\x09\x0f\xa2go away");
    // The server keeps reading.
    actix_web::rt::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    let mut write = within(flood).await.unwrap();
    write.write_all(&frame(0x88, &close[2..4])).await.unwrap();
    let end = timeout(Duration::from_millis(200), read.read(&mut close)).await;
    assert!(matches!(end, Ok(Ok(0))), "{end:?}");
    // The session sent Close itself, so it gets no further message.
    drop(write);
    server
        .fake
        .down
        .store(true, std::sync::atomic::Ordering::SeqCst);
    while let Ok(Some(event)) = timeout(Duration::from_millis(50), server.next()).await {
        assert!(matches!(event, Event::Text(_)), "{event:?}");
    }
}

/// After our Close, nothing is too long or too frequent: input is only skipped, to find the client's Close.
#[actix_web::test]
async fn closes_while_reading_is_paused_and_the_client_breaks_rules() {
    let server = Server::start(Config {
        max_message: 100_000,
        ..config()
    });
    let mut client = established(&server).await;
    client.text("pause-close:x").await;
    assert_eq!(client.read_close().await, (4002, "x".into()));
    client.write(&frame(0x81, &[b' '; 100_001])).await;
    client.write(&frame(0x83, b"unknown")).await;
    client.write(&frame(0x89, b"").repeat(1_000)).await;
    client.finish(4002).await;
}

#[actix_web::test]
async fn what_was_written_before_close_arrives_and_nothing_after() {
    let server = Server::start(config());
    let mut client = established(&server).await;
    client.text("flood-close:now").await;
    for _ in 0..100 {
        assert_eq!(client.read_text().await.len(), 10_000);
    }
    assert_eq!(client.read_close().await, (4002, "now".into()));
    client.finish(4002).await;
}

#[actix_web::test]
async fn a_client_that_does_not_answer_close_is_ended() {
    let server = Server::start(Config {
        close_timeout: Duration::from_millis(200),
        ..config()
    });
    let mut client = established(&server).await;
    let start = Instant::now();
    client.text("close:x").await;
    assert_eq!(client.read_close().await.0, 4002);
    let mut byte = [0];
    within(client.stream.read(&mut byte)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[actix_web::test]
async fn a_session_that_does_not_answer_is_not_waited_for() {
    let mut server = Server::start(config());
    let mut client = established(&server).await;
    client.text("mute").await;
    client.write(&frame(0x83, b"")).await;
    assert!(matches!(server.end().await, Event::Violation(4004, _)));
    assert_eq!(client.read_close().await.0, 4004);
    client.finish(4004).await;
    assert_eq!(server.end().await, Event::Lost);
}

#[actix_web::test]
async fn a_session_that_died_closes_its_line() {
    let mut server = Server::start(config());
    let mut client = established(&server).await;
    client.text("stop").await;
    assert_eq!(server.event().await, Event::Text(5));
    assert_eq!(server.event().await, Event::Text(4));
    client.text("anybody?").await;
    assert_eq!(client.read_close().await.0, 4002);
    client.finish(4002).await;
}
