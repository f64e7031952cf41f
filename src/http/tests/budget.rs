//! Announced bytes are reserved before they are read, but not for ever.

use std::time::Duration;

use super::server::frame;
use super::*;

const MIB: usize = 1 << 20;

/// The header of a text frame that announces this many bytes.
fn announced(first: u8, bytes: usize) -> Vec<u8> {
    let mut header = vec![first, 0xff];
    header.extend((bytes as u64).to_be_bytes());
    header.extend([0; 4]);
    header
}

async fn hello(server: &Server, user: &str) -> Client {
    let mut client = server.connect().await;
    client.text(&format!("hello:{user}")).await;
    assert_eq!(client.read_text().await, "welcome");
    client
}

/// Waits until this many readers are waiting.
async fn until_waiting(server: &Server, readers: usize) {
    let waits = async {
        while server.fake.budget.in_use().readers_waiting != readers {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    };
    server::within(waits).await;
}

/// Forty of them once took 3.9 GiB.
#[actix_web::test]
async fn unfinished_frames_take_no_more_than_their_users_share() {
    let server = Server::start(config());
    let mut greedy = Vec::new();
    for _ in 0..40 {
        let mut client = hello(&server, "greedy").await;
        client.write(&announced(0x81, 50 * MIB)).await;
        client.write(&[b' '; 100_000]).await;
        greedy.push(client);
    }
    until_waiting(&server, 38).await;
    let in_use = server.fake.budget.in_use();
    assert!(
        (99 * MIB..=128 * MIB).contains(&in_use.incoming),
        "{in_use:?}"
    );
    // Another user is served, even with a large message; and so is another connection of the same user, with a small
    // one.
    let mut other = hello(&server, "anna").await;
    let big = format!("echo:{}", "x".repeat(2 * MIB));
    for text in ["echo:here", &big] {
        other.text(text).await;
        assert_eq!(other.read_text().await, text["echo:".len()..]);
    }
    let mut little = hello(&server, "greedy").await;
    little.text("echo:here").await;
    assert_eq!(little.read_text().await, "here");
    // When the first two leave, two more have their turn.
    greedy.drain(..2);
    until_waiting(&server, 36).await;
    drop(greedy);
    until_waiting(&server, 0).await;
    server::within(async {
        while server.fake.budget.in_use().incoming > 0 {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_web::test]
async fn what_waits_is_read_when_there_is_room() {
    let mut server = Server::start(Config {
        max_user_bytes: 3 * MIB,
        max_unprocessed: 10 * MIB,
        ..config()
    });
    let mut first = hello(&server, "anna").await;
    let second = hello(&server, "anna").await;
    let text = frame(0x81, &vec![b' '; 2 * MIB]);
    let (most, last) = text.split_at(text.len() - 1);
    first.write(most).await;
    let (mut read, mut write) = second.stream.into_split();
    let sending = actix_web::rt::spawn(async move {
        let echo = frame(0x81, format!("echo:{}", "x".repeat(2 * MIB)).as_bytes());
        tokio::io::AsyncWriteExt::write_all(&mut write, &echo)
            .await
            .unwrap();
        write
    });
    until_waiting(&server, 1).await;
    first.write(last).await;
    for length in [10, 10, 2 * MIB, 2 * MIB + 5] {
        assert_eq!(server.event().await, Event::Text(length));
    }
    let mut echoed = vec![0; 10 + 2 * MIB];
    server::within(tokio::io::AsyncReadExt::read_exact(&mut read, &mut echoed))
        .await
        .unwrap();
    sending.await.unwrap();
    let in_use = server.fake.budget.in_use();
    assert_eq!((in_use.incoming, in_use.readers_waiting), (0, 0));
}

/// Otherwise, connections that each hold a part would wait for each other for ever.
#[actix_web::test]
async fn a_message_that_waits_in_its_midst_is_given_up() {
    let mut server = Server::start(Config {
        max_user_bytes: MIB,
        max_fragment_wait: Duration::from_millis(200),
        ..config()
    });
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = hello(&server, "anna").await;
        assert_eq!(server.event().await, Event::Text(10));
        client.write(&frame(0x01, &[b' '; 250_000])).await;
        clients.push(client);
    }
    let (reading, mut both) = (server.fake.budget.clone(), clients.iter_mut());
    server::within(async {
        while reading.in_use().incoming < 2 * 2 * 250_000 - 3 * 1_024 {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (first, second) = (both.next().unwrap(), both.next().unwrap());
    for client in [&mut *first, &mut *second] {
        client.write(&announced(0x00, 100_000)).await;
    }
    // One gives up, or both do.
    let (code, reason) = first.read_close().await;
    assert_eq!((code, &*reason), (4002, "there is no room for a message"));
    assert_eq!(server.end().await, Event::Violation(4002, reason));
    drop(clients);
    server::within(async {
        while server.fake.budget.in_use().incoming > 0 {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_web::test]
async fn a_message_that_comes_too_slowly_is_given_up() {
    let mut server = Server::start(Config {
        min_receive_rate: 1_000_000,
        receive_grace: Duration::from_millis(200),
        ..config()
    });
    for (established, code) in [(true, 4002), (false, 1008)] {
        for start in [announced(0x81, 300_000), frame(0x01, b"begun")] {
            let mut client = match established {
                true => hello(&server, "anna").await,
                false => server.connect().await,
            };
            client.write(&start).await;
            let (seen, reason) = client.read_close().await;
            assert_eq!(seen, code, "{reason}");
            assert!(reason.contains("too slowly"), "{reason}");
            assert_eq!(server.end().await, Event::Violation(code, reason));
        }
    }
    // At a sufficient rate, it may take long.
    let mut client = hello(&server, "anna").await;
    let text = frame(0x81, format!("echo:{}", "x".repeat(1_000_000)).as_bytes());
    for part in text.chunks(text.len() / 4) {
        client.write(part).await;
        actix_web::rt::time::sleep(Duration::from_millis(100)).await; // it comes slowly
    }
    assert_eq!(client.read_text().await.len(), 1_000_000);
}

/// While the session does not process earlier input, it is not the client that is slow.
#[actix_web::test]
async fn a_pause_of_our_making_is_not_slow() {
    let server = Server::start(Config {
        min_receive_rate: 1_000_000,
        receive_grace: Duration::from_millis(200),
        ..config()
    });
    let mut client = hello(&server, "anna").await;
    let text = frame(0x81, format!("echo:{}", "x".repeat(100_000)).as_bytes());
    let (front, rest) = text.split_at(1_000);
    client.write(&frame(0x81, b"pause")).await;
    client.write(front).await;
    assert_eq!(client.read_text().await, "resumed");
    client.write(rest).await;
    assert_eq!(client.read_text().await.len(), 100_000);
}

#[actix_web::test]
async fn before_hello_there_is_a_budget_of_its_own() {
    let server = Server::start(Config {
        max_bytes_before_hello: 2 * MIB,
        hello_timeout: Duration::from_millis(500),
        ..config()
    });
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.write(&announced(0x81, 400_000)).await;
        clients.push(client);
    }
    until_waiting(&server, 15).await;
    let in_use = server.fake.budget.in_use();
    assert!(in_use.before_hello <= 2 * MIB, "{in_use:?}");
    let mut anna = hello(&server, "anna").await;
    anna.text("echo:here").await;
    assert_eq!(anna.read_text().await, "here");
    for client in &mut clients {
        assert_eq!(client.read_close().await.0, 1001, "HELLO is late");
    }
}
