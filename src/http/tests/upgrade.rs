//! Who may open a WebSocket, and what else lives at its path.

use std::sync::atomic::Ordering;

use super::*;

const PROTOCOL: &str = "sec-websocket-protocol: other, matssocket\r\n";

#[actix_web::test]
async fn upgrades_with_the_headers_of_the_handshake() {
    let server = Server::start(config());
    // An Authorization header makes no difference.
    let headers = format!("{PROTOCOL}authorization: Bearer x\r\n");
    let (_, head) = server
        .upgrade("/matssocket?preconnect=true", &headers)
        .await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-protocol: matssocket\r\n"));
    assert!(head.contains("set-cookie: auth=; Max-Age=0\r\n"));
    assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
}

#[actix_web::test]
async fn refuses_upgrades() {
    let server = Server::start(config());
    let status = async |path: &str, headers: &str| {
        let (_, head) = server.upgrade(path, headers).await;
        head["HTTP/1.1 ".len()..][..3].to_owned()
    };
    assert_eq!(status("/matssocket", "").await, "400");
    assert_eq!(
        status("/matssocket", "sec-websocket-protocol: mats\r\n").await,
        "400"
    );
    assert_eq!(status("/matssocket?refuse", PROTOCOL).await, "403");
    let foreign = format!("{PROTOCOL}origin: https://evil.example\r\n");
    assert_eq!(status("/matssocket", &foreign).await, "403");
    let two = format!("{PROTOCOL}sec-websocket-version: 5\r\n");
    assert_eq!(
        status("/matssocket", &two).await,
        "426",
        "which one counts?"
    );

    server.fake.down.store(true, Ordering::SeqCst);
    let (_, head) = server.upgrade("/matssocket", PROTOCOL).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    assert!(head.contains("retry-after: 1\r\n"));
}

#[actix_web::test]
async fn the_application_has_its_own_get_at_the_path() {
    let server = Server::start(config());
    for path in ["/matssocket", "/before"] {
        let response = server.request(&format!("GET {path} HTTP/1.1")).await;
        assert!(response.ends_with("\r\n\r\npre-connect"), "{response}");
        let (_, head) = server.upgrade(path, PROTOCOL).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{path}: {head}");
    }
    let response = server.request("OPTIONS /matssocket HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 204"), "{response}");
}

#[actix_web::test]
async fn close_session_answers_204_whatever_comes() {
    let mut server = Server::start(config());
    for query in [
        "",
        "?session_id",
        "?session_id=%zz",
        "?other=1",
        "?session_id=abc",
    ] {
        let request = format!("POST /matssocket/close_session{query} HTTP/1.1");
        let response = server.request(&request).await;
        assert!(response.starts_with("HTTP/1.1 204"), "{query}: {response}");
    }
    loop {
        let Event::CloseSession(id) = server.event().await else {
            panic!("only sessions are closed here");
        };
        if id == "abc" {
            break;
        }
    }
}

#[actix_web::test]
async fn tells_whether_it_is_ready() {
    let server = Server::start(config());
    let response = server.request("GET /matssocket/ready HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(response.ends_with(r#"{"ready":true}"#), "{response}");
    server.fake.down.store(true, Ordering::SeqCst);
    let response = server.request("GET /matssocket/ready HTTP/1.1").await;
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(
        response.contains(r#""reason":"the store is unavailable""#),
        "{response}"
    );
}

/// An application started with plain tokio has no actix System; the actors start in the server's workers all the same.
#[test]
fn works_without_an_actix_system() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let server = Server::start(config());
                established(&server).await;
            })
            .await;
    });
}
