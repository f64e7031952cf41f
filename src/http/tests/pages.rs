//! Which pages may connect, and by which host names.

use super::*;
use crate::http::Access;
use crate::request::{Host, Network, Origin};

/// The status of an upgrade with these headers; `Host` is 127.0.0.1 and a port.
async fn status(server: &Server, headers: &str) -> String {
    let headers = format!("sec-websocket-protocol: matssocket\r\n{headers}");
    let (_, head) = server.upgrade("/matssocket", &headers).await;
    head["HTTP/1.1 ".len()..][..3].to_owned()
}

fn access(proxies: &[&str], origins: Option<&[&str]>, hosts: Option<&[&str]>) -> Access {
    let origin = |text: &&str| Origin::allowed(text).unwrap();
    let host = |text: &&str| Host::allowed(text).unwrap();
    Access {
        proxies: Some(proxies.iter().map(|p| Network::parse(p).unwrap()).collect()),
        origins: origins.map(|origins| origins.iter().map(origin).collect()),
        hosts: hosts.map(|hosts| hosts.iter().map(host).collect()),
    }
}

#[actix_web::test]
async fn pages_of_the_same_host() {
    let server = Server::start(config());
    let address = server.address;
    for (headers, expected) in [
        (format!("origin: http://{address}\r\n"), "101"),
        (format!("origin: HTTP://{address}\r\n"), "101"),
        (format!("origin: https://{address}\r\n"), "101"),
        ("origin: http://127.0.0.1\r\n".to_owned(), "403"),
        ("origin: https://evil.example\r\n".to_owned(), "403"),
        (format!("origin: http://{address}/\r\n"), "403"),
        (
            format!("origin: http://{address}\r\norigin: http://{address}\r\n"),
            "403",
        ),
        ("origin: \u{e9}\r\n".to_owned(), "403"),
        // Not a page, or not recognisable as one.
        (String::new(), "101"),
        ("sec-fetch-site: same-origin\r\n".to_owned(), "101"),
        ("sec-fetch-site: none\r\n".to_owned(), "101"),
        ("sec-fetch-site: cross-site\r\n".to_owned(), "403"),
        // Opaque origins.
        ("origin: null\r\n".to_owned(), "403"),
        (
            "origin: null\r\nsec-fetch-site: cross-site\r\n".to_owned(),
            "403",
        ),
        (
            "origin: null\r\nsec-fetch-site: same-origin\r\n".to_owned(),
            "101",
        ),
        // Headers of unknown peers are not trusted.
        (
            "origin: https://evil.example\r\nx-forwarded-host: evil.example\r\n".to_owned(),
            "403",
        ),
        (
            "origin: https://evil.example\r\nforwarded: host=evil.example\r\n".to_owned(),
            "403",
        ),
    ] {
        assert_eq!(status(&server, &headers).await, expected, "{headers}");
    }
}

#[actix_web::test]
async fn pages_behind_a_trusted_proxy() {
    let server = Server::start_for(config(), access(&["127.0.0.1"], None, None));
    let proxy = "x-forwarded-host: shop.example\r\nx-forwarded-proto: https\r\n";
    for (origin, expected) in [
        ("https://shop.example", "101"),
        ("https://shop.example:443", "101"),
        ("http://shop.example", "403"),
        ("https://evil.example", "403"),
    ] {
        let headers = format!("origin: {origin}\r\n{proxy}");
        assert_eq!(status(&server, &headers).await, expected, "{origin}");
    }
    // The proxy does not name the scheme.
    let headers = "origin: https://shop.example\r\nx-forwarded-host: shop.example:443\r\n";
    assert_eq!(status(&server, headers).await, "101");
}

#[actix_web::test]
async fn listed_origins_and_no_others() {
    let listed = ["https://shop.example:443/", "capacitor://localhost"];
    let server = Server::start_for(config(), access(&[], Some(&listed), None));
    for (headers, expected) in [
        ("origin: https://shop.example\r\n".to_owned(), "101"),
        (
            "origin: https://shop.example\r\nsec-fetch-site: cross-site\r\n".to_owned(),
            "101",
        ),
        ("origin: capacitor://localhost\r\n".to_owned(), "101"),
        ("origin: http://shop.example\r\n".to_owned(), "403"),
        (format!("origin: http://{}\r\n", server.address), "403"),
        ("origin: null\r\n".to_owned(), "403"),
        (String::new(), "101"),
    ] {
        assert_eq!(status(&server, &headers).await, expected, "{headers}");
    }
}

#[actix_web::test]
async fn hosts_that_are_not_served() {
    let server = Server::start_for(
        config(),
        access(&["127.0.0.1"], None, Some(&["shop.example"])),
    );
    assert_eq!(status(&server, "").await, "403");
    // According to the proxy.
    assert_eq!(
        status(&server, "x-forwarded-host: shop.example:8443\r\n").await,
        "101"
    );
    // Probes use an address as the host, and the answers reveal nothing.
    let requests = [
        ("GET /matssocket/ready", "200"),
        ("POST /matssocket/close_session?session_id=x", "403"),
    ];
    for (request, foreign) in requests {
        for (host, expected) in [
            ("evil.example", foreign),
            ("127.0.0.1", foreign),
            ("SHOP.example:1", "20"),
        ] {
            let request =
                format!("{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let response = server.raw(&[&request]).await;
            assert!(
                response.starts_with(&format!("HTTP/1.1 {expected}")),
                "{request}{response}"
            );
        }
        let response = server
            .raw(&[&format!("{request} HTTP/1.0\r\ncontent-length: 0\r\n\r\n")])
            .await;
        assert!(
            response.starts_with(&format!("HTTP/1.0 {foreign}")),
            "no host at all: {response}"
        );
    }
}

#[actix_web::test]
async fn what_is_beside_the_websocket_is_harmless_wherever_it_is_shown() {
    let server = Server::start(config());
    for request in [
        "GET /matssocket/ready",
        "POST /matssocket/ready",
        "POST /matssocket/close_session?session_id=x",
        "GET /matssocket/close_session?session_id=x",
    ] {
        let response = server.request(&format!("{request} HTTP/1.1")).await;
        for header in [
            "x-content-type-options: nosniff\r\n",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n",
            "cache-control: no-store\r\n",
        ] {
            assert!(response.contains(header), "{request}: {header}: {response}");
        }
        let both_ways = request.starts_with("GET") == request.contains("ready");
        assert_eq!(
            response.starts_with("HTTP/1.1 405"),
            !both_ways,
            "{response}"
        );
    }
}
