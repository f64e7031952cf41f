//! HTTP beside the conformance server's WebSocket.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use matssocket_client::Client;
use serde_json::{Value, json};

use matssocket_testing::program::{Server, http, upgrade, within};

const ORIGIN: &str = "http://localhost:4000";

#[tokio::test]
async fn authorization_goes_by_cookie_to_the_handshake() {
    let server = Server::start();
    let port = server.ports[0];
    let response = http(
        port,
        "GET /matssocket",
        &[
            "Authorization: DummyAuth:anna:-1",
            &format!("Origin: {ORIGIN}"),
        ],
    );
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(
        response.header("access-control-allow-credentials"),
        Some("true")
    );
    let set_cookie = response.header("set-cookie").expect("a cookie");
    for attribute in ["HttpOnly", "Max-Age=30", "Path=/matssocket"] {
        assert!(
            set_cookie.contains(attribute),
            "{attribute} is not in {set_cookie}"
        );
    }
    let cookie = set_cookie.split(';').next().expect("name and value");

    let client = Client::builder("Tests", "1")
        .url(format!("{}?preconnect=true", server.urls()[0]))
        .header("Cookie", cookie)
        .expect("a header")
        .authorization_value("DummyAuth:anna:-1")
        .build()
        .expect("the URL is fine");
    let reply = client.request::<Value>("trace", "Test.replyWithCookieAuthorization", &json!({}));
    let reply = within("the reply", reply)
        .await
        .expect("answered")
        .resolved()
        .expect("resolved");
    assert_eq!(reply["string"], "DummyAuth:anna:-1");
}

#[test]
fn the_handshake_clears_the_cookie_or_refuses() {
    let server = Server::start();
    let port = server.ports[0];
    let cookie = |value: &str| format!("Cookie: MatsSocketAuthCookie={}", STANDARD.encode(value));
    let taken = upgrade(
        port,
        "/matssocket?preconnect=true",
        &[&cookie("DummyAuth:anna:-1")],
    );
    assert_eq!(taken.status, 101);
    let cleared = taken.header("set-cookie").expect("the cookie is cleared");
    assert!(
        cleared.starts_with("MatsSocketAuthCookie=;") && cleared.contains("Max-Age=0"),
        "{cleared}"
    );
    let refused = cookie("DummyAuth:fail_checkHandshake:-1");
    assert_eq!(
        upgrade(port, "/matssocket?preconnect=true", &[&refused]).status,
        403
    );
    // Without the word in the URL, nobody looks at the cookie; a header on the upgrade does not make it a pre-connect.
    let ignored = upgrade(
        port,
        "/matssocket",
        &[&refused, "Authorization: DummyAuth:anna:-1"],
    );
    assert_eq!((ignored.status, ignored.header("set-cookie")), (101, None));
    assert_eq!(
        upgrade(port, "/matssocket", &["Origin: https://elsewhere.example"]).status,
        403
    );
    assert_eq!(
        upgrade(port, "/matssocket", &[&format!("Origin: {ORIGIN}")]).status,
        101
    );
}

#[test]
fn plain_http_answers() {
    let server = Server::start();
    let port = server.ports[0];
    assert_eq!(http(port, "GET /matssocket", &[]).status, 400);
    let failing = "Authorization: DummyAuth:fail_preConnectOperationServlet:-1";
    assert_eq!(http(port, "GET /matssocket", &[failing]).status, 401);
    for path in ["/matssocket", "/matssocket/sendMessageOnTestTopic"] {
        let local = http(
            port,
            &format!("OPTIONS {path}"),
            &[&format!("Origin: {ORIGIN}")],
        );
        assert_eq!(local.status, 204);
        assert_eq!(local.header("access-control-allow-origin"), Some(ORIGIN));
        assert_eq!(
            local.header("access-control-allow-headers"),
            Some("authorization")
        );
        let foreign = http(
            port,
            &format!("OPTIONS {path}"),
            &["Origin: https://localhost.example"],
        );
        assert_eq!(foreign.header("access-control-allow-origin"), None);
    }
}
