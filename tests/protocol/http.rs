//! What stands beside the WebSocket, and the upgrade.

use std::time::Duration;

use matssocket_testing::line::{http, refused};
use matssocket_testing::*;

#[actix_web::test]
async fn close_session_answers_204_whatever_it_is_given() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    for node in [0, 1] {
        for query in ["?session_id=unknown", "?session_id=", "", "?session_id=%00"] {
            let (status, response) = http(
                nodes[node].address,
                &format!("POST /matssocket/close_session{query} HTTP/1.1"),
            )
            .await;
            assert_eq!(status, 204, "{query}: {response}");
        }
    }
    line.barrier().await;
    // A text that the database refuses would fail everybody's write group.
    assert_eq!(nodes.server().metrics().store.failures, 0);
}

fn close_of(session: &str) -> String {
    format!("POST /matssocket/close_session?session_id={session} HTTP/1.1")
}

/// Sessions that are to be closed are looked for all the time.
fn closing(grace: Duration) -> Setup {
    Setup::new().config(move |config| {
        config.close_session_grace = grace;
        config.sweep_interval = Duration::from_millis(50);
    })
}

/// A page that has gone away cannot wait; but who knows no more than the id must not destroy what is outstanding.
#[actix_web::test]
async fn a_session_closed_from_outside_is_kept_by_a_client_that_is_there() {
    let nodes = closing(Duration::from_secs(3600)).start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    let sent = nodes
        .server()
        .send(line.session(), "t", "client.x", &"kept");
    sent.await.expect("stored");
    line.expect("SEND").await;
    // Told on whatever node.
    assert_eq!(
        http(nodes[1].address, &close_of(line.session())).await.0,
        204
    );
    line.expect_close(4002).await;
    let mut line = nodes.back(1, line.cut()).await;
    assert_eq!(line.expect("SEND").await["msg"], "kept");
}

#[actix_web::test]
async fn a_session_closed_from_outside_goes_if_nobody_comes_back() {
    let nodes = closing(Duration::from_millis(300)).start(1).await;
    let mut line = nodes.open("anna").await;
    let mut stays = nodes.open("anna").await;
    for line in [&mut line, &mut stays] {
        assert_eq!(
            http(nodes[0].address, &close_of(line.session())).await.0,
            204
        );
        line.expect_close(4002).await;
    }
    let mut stays = nodes.back(0, stays.cut()).await;
    nodes.control.event("close", line.session()).await;
    nodes.until_stored("anna", 1).await;
    stays.barrier().await;
    // Also where no line was open.
    let gone = stays.session().to_owned();
    drop(stays);
    nodes.until_let_go(&gone).await;
    assert_eq!(http(nodes[0].address, &close_of(&gone)).await.0, 204);
    nodes.until_stored("anna", 0).await;
}

#[actix_web::test]
async fn closing_from_outside_asks_for_the_page_and_takes_the_id_in_the_body() {
    let nodes = closing(Duration::from_secs(3600)).start(1).await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    for headers in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
    ] {
        let head = format!("{}\r\n{headers}", close_of(&session));
        assert_eq!(http(nodes[0].address, &head).await.0, 204, "{headers}");
    }
    line.barrier().await;
    let beacon = "Origin: null\r\nSec-Fetch-Site: same-origin";
    let bodies = [
        format!("session_id={session}"),
        session.clone(),
        format!("  {session}\n"),
    ];
    for body in bodies {
        let posted = post(nodes[0].address, beacon, &body).await;
        assert_eq!(posted, 204, "{body}");
        line.expect_close(4002).await;
        line = nodes.back(0, line.cut()).await;
    }
    for body in [
        "x".repeat(100_000),
        "session_id=%00".to_owned(),
        "\0".to_owned(),
    ] {
        let posted = post(nodes[0].address, beacon, &body).await;
        assert_eq!(posted, 204, "{} bytes", body.len());
    }
    line.barrier().await;
}

/// The status of a POST to close_session.
async fn post(address: std::net::SocketAddr, headers: &str, body: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("HTTP");
    let request = format!(
        "POST /matssocket/close_session HTTP/1.1\r\nHost: {address}\r\n{headers}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // It may be answered, and closed, before all of it was read.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut response = vec![0; 12];
    stream.read_exact(&mut response).await.expect("a response");
    let response = String::from_utf8_lossy(&response);
    response[9..].parse().expect("a status")
}

#[actix_web::test]
async fn closing_from_outside_can_be_switched_off() {
    let nodes = Setup::new()
        .config(|config| config.close_session_out_of_band = false)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    assert_eq!(
        http(nodes[0].address, &close_of(line.session())).await.0,
        404
    );
    line.barrier().await;
}

#[actix_web::test]
async fn upgrades_are_refused_with_403_by_origin_and_by_handshake() {
    let nodes = Nodes::one().await;
    assert_eq!(
        refused(&nodes[0].url, &[("Origin", "https://evil.example")]).await,
        403
    );
    assert_eq!(
        refused(&format!("{}?refuse=1", nodes[0].url), &[]).await,
        403
    );
    let (status, response) = http(
        nodes[0].address,
        "GET /matssocket?refuse HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: matssocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    .await;
    assert_eq!(status, 403, "{response}");
    assert!(!response.contains("secret reason"), "{response}");
    // An Authorization header, and an origin that is allowed, do not disturb.
    let headers = [
        ("Origin", "https://good.example"),
        ("Authorization", "Basic eDp5"),
    ];
    Line::try_connect(&nodes[0].url, &headers).await.unwrap();
}

#[actix_web::test]
async fn the_sub_protocol_must_be_offered() {
    let nodes = Nodes::one().await;
    for protocol in ["", "\r\nSec-WebSocket-Protocol: chat, soap"] {
        let upgrade = "GET /matssocket HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
        let head = format!("{upgrade}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=={protocol}");
        let (status, response) = http(nodes[0].address, &head).await;
        assert_eq!(status, 400, "{response}");
        assert!(response.contains("sub-protocol"), "{response}");
    }
}
