//! Requests that are not valid upgrades are refused, and nothing after them is served.

use super::server::frame;
use super::*;

const GOOD: &str = "GET /matssocket HTTP/1.1\r\nhost: shop.example\r\nconnection: keep-alive, Upgrade\r\n\
                    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: matssocket\r\n";
const SECRET: &str = "GET /secret HTTP/1.1\r\nhost: shop.example\r\n\r\n";

/// The valid request, changed in one place.
fn but(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

fn with(header: &str) -> String {
    format!("{GOOD}{header}\r\n")
}

fn assert_refused(response: &str, status: u16, request: &str) {
    let expected = format!("HTTP/1.1 {status} ");
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((response, ""));
    assert!(head.starts_with(&expected), "{request}: {response}");
    let head = format!("{head}\r\n");
    for header in [
        "connection: close",
        "x-content-type-options: nosniff\r\n",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n",
        "cache-control: no-store\r\n",
    ] {
        assert!(head.contains(header), "{request}: {header}: {response}");
    }
    assert!(!body.contains("HTTP/1.1 "), "{request}: {response}");
}

#[actix_web::test]
async fn only_a_proper_upgrade_is_upgraded() {
    let server = Server::start(config());
    let bad = [
        but("GET", "POST"),
        but("GET", "PUT"),
        but("upgrade: websocket", "upgrade: websocket, foo"),
        but("upgrade: websocket", "upgrade: foo, websocket"),
        but("upgrade: websocket", "upgrade: websocket/13"),
        but("upgrade: websocket", "upgrade: websocket\u{e9}"),
        with("upgrade: websocket"),
        with("upgrade: h2c"),
        but("connection: keep-alive, Upgrade\r\n", ""),
        but("keep-alive, Upgrade", "keep-alive"),
        but("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        but("dGhlIHNhbXBsZSBub25jZQ==", ""),
        but("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="),
        but("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!!=="),
        with("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
        with("content-length: 5"),
        with("transfer-encoding: chunked"),
        but("sec-websocket-protocol: matssocket\r\n", ""),
    ];
    for request in bad {
        let whole = format!("{request}\r\n0\r\n\r\n{SECRET}");
        assert_refused(&server.raw(&[&whole]).await, 400, &request);
        let pieces = [&format!("{request}\r\n"), "0\r\n\r\n", SECRET];
        assert_refused(&server.raw(&pieces).await, 400, &request);
    }
    for request in [
        but("sec-websocket-version: 13\r\n", ""),
        but("13", "8"),
        but("13", "13, 8"),
    ] {
        let response = server.raw(&[&format!("{request}\r\n{SECRET}")]).await;
        assert_refused(&response, 426, &request);
        assert!(response.contains("sec-websocket-version: 13\r\n"));
    }
    assert_eq!(server.secrets(), 0, "nothing fell through, or was served");
}

/// HTTP/1.0 has no upgrade, and every HTTP/1.0 connection ends after its response.
#[actix_web::test]
async fn http_1_0_is_not_upgraded() {
    let server = Server::start(config());
    for request in [but("HTTP/1.1", "HTTP/1.0"), {
        but("GET /matssocket HTTP/1.1", "POST /matssocket HTTP/1.0")
    }] {
        let response = server.raw(&[&format!("{request}\r\n{SECRET}")]).await;
        assert!(response.starts_with("HTTP/1.0 400"), "{response}");
        assert!(!response.contains("secret"), "{response}");
    }
    assert_eq!(server.secrets(), 0);
}

#[actix_web::test]
async fn what_is_harmless_is_upgraded() {
    let server = Server::start(config());
    for request in [
        GOOD.to_owned(),
        but("upgrade: websocket", "UPGRADE:  WebSocket "),
        but("keep-alive, Upgrade", "UPGRADE"),
        with("content-length: 0"),
        but("matssocket\r\n", "other, matssocket\r\n"),
    ] {
        let mut client = server.socket().await;
        client.write(format!("{request}\r\n").as_bytes()).await;
        let mut head = [0; 12];
        let read = tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut head);
        server::within(read).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 101", "{request}");
    }
}

/// Every kind of refusal, with a body that seems to end before another request.
#[actix_web::test]
async fn nothing_behind_a_refusal_is_served() {
    let server = Server::start(Config {
        max_connections_before_hello: 0,
        ..config()
    });
    for (path, header, status) in [
        ("/matssocket", "origin: https://evil.example\r\n", 403),
        ("/matssocket", "", 503),
    ] {
        let request = but("/matssocket", path) + header;
        let response = server.raw(&[&format!("{request}\r\n{SECRET}")]).await;
        assert_refused(&response, status, &request);
    }
    let server = Server::start(config());
    let refused = but("/matssocket", "/matssocket?refuse");
    let response = server.raw(&[&format!("{refused}\r\n"), SECRET]).await;
    assert_refused(&response, 403, &refused);
    assert!(!response.contains("the query says so"), "{response}");
    assert_eq!(server.secrets(), 0);
}

/// Even without `on_connect`, the connection ends.
#[actix_web::test]
async fn nothing_behind_a_refusal_is_served_where_we_have_no_hook() {
    let server = Server::start_with(config(), false);
    let chunked = with("transfer-encoding: chunked");
    let response = server
        .raw(&[&format!("{chunked}\r\n0\r\n\r\n{SECRET}")])
        .await;
    assert_refused(&response, 400, &chunked);
    assert_eq!(server.secrets(), 0);
}

/// Everything after an upgrade belongs to the WebSocket, even after the close handshake.
#[actix_web::test]
async fn an_upgraded_connection_serves_no_other_request() {
    let mut server = Server::start(config());
    for hello in [true, false] {
        let mut client = match hello {
            true => established(&server).await,
            false => server.connect().await,
        };
        let close = frame(0x88, &1000_u16.to_be_bytes());
        client.write(&[&close, SECRET.as_bytes()].concat()).await;
        assert_eq!(client.read_close().await.0, 1000);
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, SECRET.as_bytes()).await;
        let mut rest = Vec::new();
        let end = tokio::io::AsyncReadExt::read_to_end(&mut client.stream, &mut rest);
        let _ = server::within(end).await;
        assert_eq!(rest, b"");
        assert_eq!(server.end().await, Event::Closed(Some(1000)));
    }
    // After the server's own Close.
    let mut client = established(&server).await;
    client.text("close:go").await;
    assert_eq!(client.read_close().await.0, 4002);
    let close = frame(0x88, &4002_u16.to_be_bytes());
    client.write(&[&close, SECRET.as_bytes()].concat()).await;
    client.assert_ends().await;
    // In place of frames.
    let mut client = server.connect().await;
    client.write(SECRET.repeat(3).as_bytes()).await;
    assert_eq!(client.read_close().await.0, 1008);
    assert_eq!(server.secrets(), 0);
}
