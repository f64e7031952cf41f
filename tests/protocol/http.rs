//! What stands beside the WebSocket, and the upgrade.

use crate::common::line::{http, refused};
use crate::common::*;

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
    let head = format!(
        "POST /matssocket/close_session?session_id={} HTTP/1.1",
        line.session()
    );
    assert_eq!(http(nodes[1].address, &head).await.0, 204);
    line.expect_close(4000).await;
    nodes.control.event("close", line.session()).await;
    nodes.until_stored("anna", 0).await;
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
