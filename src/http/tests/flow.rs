//! What waits in either direction is bounded.

use std::time::Duration;

use actix_web::rt::time::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{frame, within};
use super::session::FLOOD;
use super::*;

#[actix_web::test]
async fn a_client_that_does_not_read_holds_up_only_its_own_flood() {
    let mut server = Server::start(Config {
        max_unsent: 100_000,
        ..config()
    });
    let mut client = established(&server).await;
    assert_eq!(server.event().await, Event::Text(5));
    client.text("flood").await;
    assert_eq!(server.event().await, Event::Text(5));
    // Until the kernel's buffers are full as well, the flood pauses and is drained in turn.
    while !matches!(server.event().await, Event::Paused(_)) {}
    loop {
        match timeout(Duration::from_millis(300), server.event()).await {
            Ok(Event::Paused(unsent)) => {
                assert!(unsent <= 100_000 + FLOOD, "{unsent}");
            }
            Ok(Event::Drained) => {}
            Ok(event) => panic!("{event:?}"),
            Err(_) => break,
        }
    }
    // Others are served in the meantime.
    let mut other = established(&server).await;
    assert_eq!(server.event().await, Event::Text(5));
    other.text("echo:here").await;
    assert_eq!(other.read_text().await, "here");
    assert_eq!(server.event().await, Event::Text(9));
    // Once it reads, the flood continues.
    for _ in 0..50 {
        assert_eq!(client.read_text().await.len(), FLOOD);
    }
    assert_eq!(server.event().await, Event::Drained);
}

/// Time-outs work on the connection of a client that does not read.
#[actix_web::test]
async fn a_client_that_does_not_read_is_closed_and_ended() {
    let mut server = Server::start(Config {
        max_unsent: 100_000,
        idle_timeout: Duration::from_millis(500),
        close_timeout: Duration::from_millis(200),
        ..config()
    });
    let mut client = established(&server).await;
    client.text("mute").await;
    client.text("flood").await;
    loop {
        match server.end().await {
            Event::Paused(_) | Event::Drained => {}
            Event::Violation(1001, _) => break,
            event => panic!("{event:?}"),
        }
    }
    loop {
        match server.end().await {
            Event::Lost => break,
            Event::Paused(_) | Event::Drained => {}
            event => panic!("{event:?}"),
        }
    }
    // Its socket is closed as well: writing to it fails, although the client has read nothing.
    let noise = frame(0x81, &[b' '; 60_000]);
    within(async { while client.stream.write_all(&noise).await.is_ok() {} }).await;
}

/// Everything that was written is eventually counted as sent, with or without pings and pongs in between.
#[actix_web::test]
async fn the_count_of_unsent_bytes_does_not_drift() {
    let mut server = Server::start(Config {
        max_unsent: 2_000,
        ping_interval: Duration::from_millis(1),
        ..config()
    });
    let mut client = established(&server).await;
    for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
        for _ in 0..3 {
            client.write(&frame(0x89, b"ping")).await;
            client.text(&format!("echo:{}", "y".repeat(length))).await;
            loop {
                let (first, payload) = client.read_frame().await;
                if first == 0x81 {
                    assert_eq!(payload.len(), length);
                    break;
                }
            }
        }
    }
    client.text("unsent").await;
    loop {
        if let Event::Unsent(unsent) = server.event().await {
            assert_eq!(unsent, 0);
            break;
        }
    }
}

#[actix_web::test]
async fn reading_pauses_while_much_is_unprocessed() {
    let mut server = Server::start(Config {
        max_unprocessed: 1_000,
        ..config()
    });
    let mut client = established(&server).await;
    assert_eq!(server.event().await, Event::Text(5));
    client.text(&format!("keep{}", "x".repeat(1_000))).await;
    client.text("echo:behind").await;
    // The second message is read only after the first was processed.
    assert_eq!(client.read_text().await, "took");
    assert_eq!(client.read_text().await, "behind");
}

/// A client that keeps writing while the session processes nothing is held back by TCP.
#[actix_web::test]
async fn a_flood_waits_in_the_socket() {
    let server = Server::start(Config {
        max_unprocessed: 1_000,
        ..config()
    });
    let mut client = established(&server).await;
    client.text("pause").await;
    let noise = frame(0x81, &[b' '; 60_000]);
    let flood = async {
        for _ in 0..1_000 {
            client.stream.write_all(&noise).await.unwrap();
        }
    };
    let sent = timeout(Duration::from_millis(250), flood).await;
    assert!(sent.is_err(), "60 MB were taken");
}

/// Messages of two bytes cost more than two bytes.
#[actix_web::test]
async fn many_tiny_messages_wait_as_well() {
    let mut server = Server::start(config());
    let mut client = established(&server).await;
    client.text("keep").await;
    client.write(&frame(0x81, b"[]").repeat(5_000)).await;
    let Event::Kept(texts) = server.end().await else {
        panic!("one is kept");
    };
    assert!((1_000..1_100).contains(&texts), "{texts}");
    // The rest follows.
    for _ in texts..5_002 {
        assert_eq!(server.event().await, Event::Text(2));
    }
}

#[actix_web::test]
async fn large_and_many_messages_pass() {
    let server = Server::start(config());
    let client = established(&server).await;
    let (mut read, mut write) = client.stream.into_split();
    let large = format!("echo:{}", "z".repeat((50 << 20) - 5));
    let sending = actix_web::rt::spawn(async move {
        write
            .write_all(&frame(0x81, large.as_bytes()))
            .await
            .unwrap();
        let batch = frame(0x81, b"echo:abc").repeat(100);
        for _ in 0..200 {
            write.write_all(&batch).await.unwrap();
        }
        write
    });
    let mut answers = vec![0; 10 + (50 << 20) - 5 + 20_000 * 5];
    within(read.read_exact(&mut answers)).await.unwrap();
    let many = answers.len() - 20_000 * 5;
    assert!(
        answers[many..]
            .chunks(5)
            .all(|answer| answer == b"\x81\x03abc")
    );
    within(sending).await.unwrap();
}
