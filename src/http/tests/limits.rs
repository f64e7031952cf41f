//! Input that is too late, too long or too frequent.

use std::time::Duration;

use super::server::{frame, within};
use super::*;

/// Checks the violation reported to the session, and the Close sent to the client.
async fn assert_violation(server: &mut Server, client: &mut Client, code: u16, text: &str) {
    let (seen, reason) = client.read_close().await;
    assert_eq!(seen, code, "{reason}");
    assert!(reason.contains(text), "{reason}");
    assert_eq!(server.end().await, Event::Violation(code, reason));
}

#[actix_web::test]
async fn hello_is_late() {
    let mut server = Server::start(Config {
        hello_timeout: Duration::from_millis(100),
        ..config()
    });
    let mut client = server.connect().await;
    assert_violation(&mut server, &mut client, 1001, "HELLO").await;
    client.finish(1001).await;
}

#[actix_web::test]
async fn idle() {
    let mut server = Server::start(Config {
        idle_timeout: Duration::from_millis(150),
        ping_interval: Duration::from_millis(40),
        ..config()
    });
    let mut client = established(&server).await;
    // Pongs keep the connection alive.
    for _ in 0..6 {
        assert_eq!(client.read_frame().await, (0x89, vec![]));
        client.write(&frame(0x8a, b"")).await;
    }
    assert_violation(&mut server, &mut client, 1001, "nothing was received").await;
    client.finish(1001).await;
}

#[actix_web::test]
async fn a_pause_of_the_sessions_making_is_not_idle() {
    let server = Server::start(Config {
        idle_timeout: Duration::from_millis(200),
        ..config()
    });
    let mut client = established(&server).await;
    client.text("pause").await;
    assert_eq!(client.read_text().await, "resumed");
    client.text("echo:alive").await;
    assert_eq!(client.read_text().await, "alive");
}

#[actix_web::test]
async fn binary_and_bad_text() {
    let mut server = Server::start(config());
    let mut client = established(&server).await;
    client.write(&frame(0x82, b"binary")).await;
    assert_eq!(client.read_close().await, (4004, "binary".into()));
    assert_eq!(server.end().await, Event::Binary);
    client.finish(4004).await;

    let mut client = established(&server).await;
    client.write(&frame(0x81, b"\xff\xfe")).await;
    assert_violation(&mut server, &mut client, 4004, "UTF-8").await;

    // A character may be split over fragments; an invalid one is detected in the whole message.
    let mut client = established(&server).await;
    client.write(&frame(0x01, b"echo:\xc3")).await;
    client.write(&frame(0x80, b"\xa9")).await;
    assert_eq!(client.read_text().await, "é");
    client.write(&frame(0x01, b"\xc3")).await;
    client.write(&frame(0x80, b"x")).await;
    assert_violation(&mut server, &mut client, 4004, "UTF-8").await;
}

#[actix_web::test]
async fn fragments_are_joined() {
    let server = Server::start(config());
    let mut client = established(&server).await;
    client.write(&frame(0x01, b"echo:a")).await;
    client.write(&frame(0x89, b"ping")).await;
    client.write(&frame(0x00, b"b")).await;
    client.write(&frame(0x80, b"c")).await;
    assert_eq!(client.read_frame().await, (0x8a, b"ping".to_vec()));
    assert_eq!(client.read_text().await, "abc");
}

#[actix_web::test]
async fn violations_of_framing() {
    let mut server = Server::start(config());
    for (bytes, text) in [
        (&b"\x81\x02hi"[..], "not masked"),
        (&frame(0xc1, b"x"), "reserved bits"),
        (&frame(0x83, b"x"), "unknown opcode"),
        (&frame(0x80, b"x"), "out of order"),
        (&frame(0x09, b"x"), "fragmented"),
        (&frame(0x89, &[0; 126]), "125 bytes"),
    ] {
        let mut client = established(&server).await;
        client.write(bytes).await;
        assert_violation(&mut server, &mut client, 4004, text).await;
    }
}

#[actix_web::test]
async fn floods_of_frames_that_bring_nothing() {
    let mut server = Server::start(config());
    for (start, filler) in [
        (frame(0x01, b"x"), frame(0x00, b"")),
        (vec![], frame(0x89, b"")),
        (vec![], frame(0x8a, b"pong")),
        (vec![], frame(0x81, b"")),
    ] {
        let mut client = established(&server).await;
        client.write(&start).await;
        client.write(&filler.repeat(100_000)).await;
        assert_violation(&mut server, &mut client, 4004, "more than 200 control").await;
        client.finish(4004).await;
    }
}

#[actix_web::test]
async fn too_long_before_hello() {
    let mut server = Server::start(config());
    // 50 MiB, and the client keeps sending it: it still sees the Close.
    let client = server.connect().await;
    let (mut read, mut write) = client.stream.into_split();
    let sending = actix_web::rt::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let _ = write.write_all(&frame(0x81, &vec![b' '; 50 << 20])).await;
        write
    });
    let mut close = [0; 4];
    within(tokio::io::AsyncReadExt::read_exact(&mut read, &mut close))
        .await
        .unwrap();
    assert_eq!((close[0], &close[2..]), (0x88, &1008_u16.to_be_bytes()[..]));
    let Event::Violation(1008, reason) = server.end().await else {
        panic!("a violation");
    };
    assert!(reason.contains("limit before HELLO is 524288"), "{reason}");
    within(sending).await.unwrap();

    // In fragments.
    let mut client = server.connect().await;
    client.write(&frame(0x01, &[b' '; 500_000])).await;
    client.write(&frame(0x00, &[b' '; 24_289])).await;
    assert_violation(&mut server, &mut client, 1008, "524289 bytes").await;
}

#[actix_web::test]
async fn as_long_as_allowed_before_hello() {
    let mut server = Server::start(config());
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write(&frame(0x01, &[b' '; 10_000])).await;
    }
    assert_violation(&mut server, &mut client, 1008, "out of order").await;
    let mut client = server.connect().await;
    client.write(&frame(0x01, &[b' '; 262_144])).await;
    client.write(&frame(0x80, &[b' '; 262_144])).await;
    assert_eq!(server.event().await, Event::Text(524_288));
}

#[actix_web::test]
async fn declared_terabyte() {
    let mut server = Server::start(config());
    let mut client = established(&server).await;
    let mut header = vec![0x81, 0xff];
    header.extend((1_u64 << 40).to_be_bytes());
    client.write(&header).await;
    client.write(&[0; 100_000]).await;
    assert_violation(&mut server, &mut client, 1009, "1099511627776 bytes").await;
}

/// Clients send HELLO and, without waiting for WELCOME, everything queued, which may be large.
#[actix_web::test]
async fn a_large_second_message_waits_for_hello() {
    let mut server = Server::start(Config {
        max_message: 1 << 20,
        ..config()
    });
    let mut client = server.connect().await;
    client.text("slow-hello").await;
    client.write(&frame(0x81, &vec![b' '; 1 << 20])).await;
    assert_eq!(server.event().await, Event::Text("slow-hello".len()));
    assert_eq!(client.read_text().await, "welcome");
    assert_eq!(server.event().await, Event::Text(1 << 20));

    let mut client = server.connect().await;
    client.text("slow-hello").await;
    client.write(&frame(0x81, &vec![b' '; (1 << 20) + 1])).await;
    assert_eq!(client.read_text().await, "welcome");
    assert_violation(&mut server, &mut client, 1009, "limit is 1048576").await;
}
