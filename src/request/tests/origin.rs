//! Origins and hosts, compared as browsers do.

use crate::request::origin::{Host, Origin, Scheme};

fn same(origin: &str, host: &str, scheme: Option<Scheme>) -> bool {
    Origin::parse(origin).is_some_and(|origin| origin.is_of(host, scheme))
}

#[test]
fn the_same_host_in_every_spelling() {
    for (origin, host) in [
        ("https://shop.example", "shop.example"),
        ("https://shop.example", "shop.example:443"),
        ("https://shop.example:443", "shop.example"),
        ("http://shop.example", "shop.example:80"),
        ("http://shop.example:8080", "SHOP.example:8080"),
        ("HTTPS://Shop.Example", "shop.example"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"),
    ] {
        assert!(same(origin, host, None), "{origin} {host}");
    }
}

#[test]
fn other_hosts() {
    for (origin, host) in [
        ("https://shop.example", "shop.example:80"),
        ("http://shop.example", "shop.example:443"),
        ("https://shop.example:8443", "shop.example"),
        ("https://shop.example", "evil.example"),
        ("https://shop.example.evil.example", "shop.example"),
        ("https://evil.example/shop.example", "shop.example"),
        ("https://shop.example@evil.example", "evil.example"),
        ("https://shop.example", "shop.example/x"),
        ("https://shop.example", "x@shop.example"),
        ("https://shop.example", ""),
        ("capacitor://localhost", "localhost"),
        ("wss://shop.example", "shop.example"),
    ] {
        assert!(!same(origin, host, None), "{origin} {host}");
    }
}

#[test]
fn a_known_scheme_must_be_the_same() {
    let (http, https) = (Some(Scheme::Http), Some(Scheme::Https));
    assert!(same("https://shop", "shop", https));
    assert!(same("https://shop", "shop:443", https));
    assert!(!same("http://shop", "shop", https));
    assert!(same("http://shop", "shop", http));
    assert!(!same("https://shop", "shop", http));
    // TLS may end at a proxy that is not configured.
    assert!(same("https://shop", "shop", None));
}

#[test]
fn what_is_no_origin() {
    for text in [
        "",
        "null",
        "shop.example",
        "https:shop.example",
        "https:/shop.example",
        "https:\\\\shop.example",
        "https://",
        "https:///shop.example",
        "https://shop.example/",
        "https://shop.example/path",
        "https://shop.example?query",
        "https://shop.example#fragment",
        "https://user@shop.example",
        "https://shop.example:port",
        "https://shop.example:99999",
        "https://shop example",
        " https://shop.example",
        "https://shop.example\t",
        "https://sh%6fp.example",
    ] {
        assert_eq!(Origin::parse(text), None, "{text:?}");
    }
}

#[test]
fn allowed_origins_are_normalised() {
    for (entry, origin) in [
        ("https://shop.example/", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("HTTPS://SHOP.example:443/", "https://shop.example"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        (
            "https://m\u{fc}ller.example",
            "https://xn--mller-kva.example",
        ),
        ("capacitor://localhost", "capacitor://localhost"),
        ("Capacitor://LocalHost/", "capacitor://localhost"),
        ("chrome-extension://abc", "chrome-extension://abc"),
        ("file://", "file://"),
    ] {
        assert_eq!(
            Origin::allowed(entry).ok(),
            Origin::parse(origin),
            "{entry}"
        );
    }
}

#[test]
fn allowed_origins_that_never_match_are_mistakes() {
    for (entry, remedy) in [
        ("", "remove it"),
        ("null", "an origin of its own"),
        ("shop.example", "https://shop.example"),
        ("*", "name each origin"),
        ("https://*.shop.example", "name each origin"),
        ("https://shop.example/path", "scheme, host and port only"),
        ("https://shop.example//", "scheme, host and port only"),
        ("https://shop.example?query", "scheme, host and port only"),
        ("https://user@shop.example", "scheme, host and port only"),
        ("wss://shop.example", "the page's https://"),
        ("https://", "https://shop.example"),
        ("https://shop.example:port", "https://shop.example"),
    ] {
        let mistake = Origin::allowed(entry).expect_err(entry);
        assert!(mistake.contains(&format!("{entry:?}")), "{mistake}");
        assert!(mistake.contains(remedy), "{entry}: {mistake}");
    }
}

#[test]
fn allowed_hosts() {
    let admits = |entry: &str, host: &str, scheme| {
        let entry = Host::allowed(entry).unwrap();
        Host::parse(host).is_some_and(|host| entry.admits(&host, scheme))
    };
    for (entry, host) in [
        ("shop.example", "shop.example"),
        ("shop.example", "SHOP.example:8443"),
        ("shop.example:443", "shop.example"),
        ("shop.example:80", "shop.example:80"),
        ("shop.example:80", "shop.example"),
        ("shop.example:8443", "shop.example:8443"),
        ("::1", "[::1]:8080"),
        ("[::1]:8080", "[::1]:8080"),
    ] {
        assert!(admits(entry, host, None), "{entry} {host}");
    }
    for (entry, host) in [
        ("shop.example", "evil.example"),
        ("shop.example", ""),
        ("shop.example", "shop.example/"),
        ("shop.example", "evil@shop.example"),
        ("shop.example:8443", "shop.example"),
        ("shop.example:8443", "shop.example:80"),
        ("[::1]:8080", "[::1]"),
    ] {
        assert!(!admits(entry, host, None), "{entry} {host}");
    }
    assert!(!admits(
        "shop.example:443",
        "shop.example",
        Some(Scheme::Http)
    ));
    assert!(admits(
        "shop.example:443",
        "shop.example",
        Some(Scheme::Https)
    ));
    for entry in [
        "",
        "*",
        "*.shop.example",
        "https://shop.example",
        "shop.example/x",
    ] {
        let mistake = Host::allowed(entry).expect_err(entry);
        assert!(mistake.contains(&format!("{entry:?}")), "{mistake}");
        assert!(mistake.contains("write it as"), "{mistake}");
    }
}
