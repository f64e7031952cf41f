//! Limits on clients before they have authenticated.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::rt::time::{Instant, sleep};

use super::*;
use crate::http::Access;
use crate::request::Network;

const PROTOCOL: &str = "sec-websocket-protocol: matssocket\r\n";

async fn assert_full(server: &Server, headers: &str) {
    let headers = format!("{PROTOCOL}{headers}");
    let (_, head) = server.upgrade("/matssocket", &headers).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(head.contains("retry-after: 1\r\n"), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
}

/// Upgrades, as soon as there is room again.
async fn connect(server: &Server, headers: &str) -> Client {
    let headers = format!("{PROTOCOL}{headers}");
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let (client, head) = server.upgrade("/matssocket", &headers).await;
        if head.starts_with("HTTP/1.1 101") {
            return client;
        }
        assert!(Instant::now() < until, "{head}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[actix_web::test]
async fn connections_before_hello_are_limited() {
    let server = Server::start(Config {
        max_connections_before_hello: 2,
        max_connections_before_hello_per_address: 1,
        ..config()
    });
    // Without trusted proxies, all may seem to come from one address.
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    assert_full(&server, "").await;
    // HELLO frees the place for others, while the connection stays.
    first.text("hello").await;
    assert_eq!(first.read_text().await, "welcome");
    let third = connect(&server, "").await;
    assert_full(&server, "").await;
    // So does the end of a connection, however it ends.
    drop(third);
    let _fourth = connect(&server, "").await;
    assert_full(&server, "").await;
    second.write(&server::frame(0x88, b"")).await;
    second.read_frame().await;
    let _fifth = connect(&server, "").await;
    // A refused upgrade does not affect the other connections.
    first.text("echo:still here").await;
    assert_eq!(first.read_text().await, "still here");
}

#[actix_web::test]
async fn a_refused_handshake_gives_its_place_back() {
    let server = Server::start(Config {
        max_connections_before_hello: 1,
        ..config()
    });
    for _ in 0..3 {
        let (_, head) = server.upgrade("/matssocket?refuse", PROTOCOL).await;
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    }
    server.connect().await;
}

#[actix_web::test]
async fn connections_before_hello_are_limited_by_client_address() {
    let config = Config {
        max_connections_before_hello_per_address: 1,
        ..config()
    };
    let access = |proxies: &[&str]| Access {
        proxies: Some(proxies.iter().map(|p| Network::parse(p).unwrap()).collect()),
        ..Access::default()
    };
    let (one, two) = (
        "x-forwarded-for: 192.0.2.1\r\n",
        "x-forwarded-for: 192.0.2.2\r\n",
    );
    let server = Server::start_for(config.clone(), access(&["127.0.0.0/8"]));
    let first = connect(&server, one).await;
    assert_full(&server, one).await;
    assert_full(&server, "x-forwarded-for: 192.0.2.2, ::ffff:192.0.2.1\r\n").await;
    let _second = connect(&server, two).await;
    drop(first);
    connect(&server, one).await;
    // A proxy that names no client stands for all its clients.
    let _some = [
        connect(&server, "x-forwarded-proto: https\r\n").await,
        connect(&server, "x-forwarded-for: unknown\r\n").await,
    ];
    // The headers of clients that connect directly are ignored.
    let server = Server::start_for(config, access(&[]));
    let _first = connect(&server, one).await;
    assert_full(&server, two).await;
}

#[actix_web::test]
async fn a_handshake_has_a_time_limit() {
    let server = Server::start(Config {
        authentication_timeout: Duration::from_millis(100),
        max_authentications_pending: 1,
        ..config()
    });
    for _ in 0..2 {
        let (_, head) = server.upgrade("/matssocket?hang", PROTOCOL).await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert!(head.contains("retry-after: 1\r\n"), "{head}");
    }
    let (begun, ended) = &*server.fake.handshakes;
    assert_eq!(
        (begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst)),
        (2, 2)
    );
}

#[actix_web::test]
async fn handshakes_under_way_are_limited_and_end_with_their_client() {
    let server = Server::start(Config {
        max_authentications_pending: 1,
        ..config()
    });
    let (begun, ended) = &*server.fake.handshakes;
    let pause = Duration::from_millis(10);
    let mut hanging = server.socket().await;
    let request = format!(
        "GET /matssocket?hang HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{PROTOCOL}\r\n",
        server.address
    );
    hanging.write(request.as_bytes()).await;
    while begun.load(Ordering::SeqCst) == 0 {
        sleep(pause).await;
    }
    assert_full(&server, "").await;
    assert_eq!(ended.load(Ordering::SeqCst), 0);
    drop(hanging);
    connect(&server, "").await;
    assert_eq!(begun.load(Ordering::SeqCst), ended.load(Ordering::SeqCst));
}

/// A client may send HELLO before it is answered.
#[actix_web::test]
async fn what_comes_during_the_handshake_is_not_lost() {
    let server = Server::start(config());
    let mut client = server.socket().await;
    let mut request = format!(
        "GET /matssocket?slow HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{PROTOCOL}\r\n",
        server.address
    )
    .into_bytes();
    request.extend(server::frame(0x81, b"hello"));
    client.write(&request).await;
    sleep(Duration::from_millis(50)).await;
    client.text("echo:later").await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = tokio::io::AsyncReadExt::read_u8(&mut client.stream);
        head.push(server::within(read).await.unwrap());
    }
    assert_eq!(client.read_text().await, "welcome");
    assert_eq!(client.read_text().await, "later");
}

/// An authenticator may take longer than HELLO may take to arrive.
#[actix_web::test]
async fn the_timer_of_hello_ends_when_it_has_arrived() {
    let mut server = Server::start(Config {
        hello_timeout: Duration::from_millis(100),
        ..config()
    });
    let mut client = server.connect().await;
    client.text("slow-hello").await;
    assert_eq!(client.read_text().await, "welcome");
    client.text("echo:alive").await;
    assert_eq!(client.read_text().await, "alive");
    // A part of it is not HELLO.
    let mut client = server.connect().await;
    client.write(&server::frame(0x01, b"slow-")).await;
    assert_eq!(client.read_close().await.0, 1001);
    assert!(matches!(server.end().await, Event::Violation(1001, _)));
}
