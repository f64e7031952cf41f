//! Which headers of which proxies are trusted.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::request::origin::Scheme;
use crate::request::{Network, Peer, same_host};

fn proxies(texts: &[&str]) -> Vec<Network> {
    let read = |text: &&str| Network::parse(text).unwrap();
    texts.iter().map(read).collect()
}

/// Address, host and scheme of a request that comes from this address.
fn find(
    from: &str,
    headers: &[(&'static str, &str)],
    trusted: &[&str],
) -> (String, String, Option<Scheme>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        map.append(HeaderName::from_static(name), value);
    }
    let peer = Peer::find(from.parse().ok(), false, None, &map, &proxies(trusted));
    (
        peer.address.map(|a| a.to_string()).unwrap_or_default(),
        peer.host.unwrap_or_default(),
        peer.scheme,
    )
}

fn address(from: &str, headers: &[(&'static str, &str)], trusted: &[&str]) -> String {
    find(from, headers, trusted).0
}

const LIES: [(&str, &str); 5] = [
    ("host", "shop.example"),
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
];

#[test]
fn strangers_are_not_believed() {
    for trusted in [&[][..], &["10.0.0.0/8", "::1"]] {
        let found = find("192.0.2.1", &LIES, trusted);
        assert_eq!(found, ("192.0.2.1".into(), "shop.example".into(), None));
    }
    let found = find("::ffff:192.0.2.1", &LIES[1..], &["10.0.0.0/8"]);
    assert_eq!(found, ("192.0.2.1".into(), String::new(), None));
}

/// HTTP/2 has no header Host.
#[test]
fn the_host_may_stand_in_the_uri() {
    let peer = Peer::find(None, true, Some("shop.example"), &HeaderMap::new(), &[]);
    assert_eq!(peer.host.as_deref(), Some("shop.example"));
}

/// If the application asks about the origin first, the proxies must still be taken into account.
#[test]
fn what_the_application_asks_changes_nothing_for_the_server() {
    let request = actix_web::test::TestRequest::default()
        .peer_addr("10.0.0.1:80".parse().unwrap())
        .insert_header(("host", "inner:8080"))
        .insert_header(("x-forwarded-host", "shop.example"))
        .insert_header(("x-forwarded-proto", "https"))
        .to_http_request();
    let origin = "https://shop.example";
    assert!(!same_host(origin, &request), "nobody is trusted yet");
    let peer = Peer::by(&request, &proxies(&["10.0.0.0/8"]));
    assert_eq!(peer.host.as_deref(), Some("shop.example"));
    assert!(same_host(origin, &request));
}

#[test]
fn trusted_proxies_are_believed() {
    for from in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
        let (address, host, scheme) = find(from, &LIES, &["10.0.0.0/8", "::1"]);
        assert_eq!((&*address, &*host), ("203.0.113.9", "evil.example"));
        assert_eq!(scheme, Some(Scheme::Https));
    }
    // A proxy that sends no such header.
    let found = find("10.1.2.3", &LIES[..1], &["10.0.0.0/8"]);
    assert_eq!(found, ("10.1.2.3".into(), "shop.example".into(), None));
}

#[test]
fn the_client_is_the_right_most_that_is_no_proxy() {
    let client = |value: &str| address("10.0.0.1", &[("x-forwarded-for", value)], &["10.0.0.0/8"]);
    assert_eq!(
        client("1.1.1.1, 192.0.2.7"),
        "192.0.2.7",
        "it may have said 1.1.1.1 itself"
    );
    assert_eq!(client("1.1.1.1, 192.0.2.7, 10.0.0.2"), "192.0.2.7");
    assert_eq!(client("192.0.2.7:4711"), "192.0.2.7");
    assert_eq!(client("[2001:db8::1]:4711, 10.0.0.2"), "2001:db8::1");
    assert_eq!(client("2001:db8::1"), "2001:db8::1");
    assert_eq!(client("::ffff:192.0.2.7"), "192.0.2.7");
    assert_eq!(client("10.0.0.7, 10.0.0.2"), "10.0.0.7", "an inner client");
    assert_eq!(
        client("192.0.2.7, unknown, 10.0.0.2"),
        "10.0.0.2",
        "not beyond"
    );
    assert_eq!(client("<script>"), "10.0.0.1");
    assert_eq!(client(""), "10.0.0.1");
    let twice = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "192.0.2.7"),
    ];
    assert_eq!(address("10.0.0.1", &twice, &["10.0.0.1"]), "192.0.2.7");
}

#[test]
fn forwarded_is_read_where_there_is_nothing_else() {
    let client = |value: &str| find("10.0.0.1", &[("forwarded", value)], &["10.0.0.0/8"]);
    let (address, host, scheme) = client(
        "for=1.1.1.1;host=evil, For=\"[2001:db8::1]:4711\" ; Proto=https;host=\"shop.example:8443\", for=10.0.0.2;proto=http;host=inner",
    );
    assert_eq!((&*address, &*host), ("2001:db8::1", "shop.example:8443"));
    assert_eq!(scheme, Some(Scheme::Https));
    assert_eq!(client("for=\"192.0.2.7, 1.1.1.1\"").0, "10.0.0.1");
    assert_eq!(client("for=_hidden").0, "10.0.0.1");
    assert_eq!(client(";;,,=,for").0, "10.0.0.1");
}

#[test]
fn host_and_scheme_are_the_outer_proxys() {
    let both = |host: &str, proto: &str| {
        let headers = [
            ("host", "inner"),
            ("x-forwarded-for", "192.0.2.7, 10.0.0.2"),
            ("x-forwarded-host", host),
            ("x-forwarded-proto", proto),
        ];
        let (_, host, scheme) = find("10.0.0.1", &headers, &["10.0.0.0/8"]);
        (host, scheme)
    };
    let expected = ("shop.example".to_owned(), Some(Scheme::Https));
    assert_eq!(both("shop.example", "https"), expected);
    assert_eq!(both("shop.example, inner", "https, http"), expected);
    assert_eq!(
        both("evil, shop.example, inner", "http, wss, http"),
        expected
    );
    assert_eq!(both("", "gopher"), ("inner".to_owned(), None));
}

#[test]
fn networks() {
    let contains = |network: &str, address: &str| {
        Network::parse(network)
            .unwrap()
            .contains(address.parse().unwrap())
    };
    for (network, address) in [
        ("10.0.0.0/8", "10.255.0.1"),
        ("10.1.2.3/8", "10.255.0.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:10.0.0.0/104", "10.1.1.1"),
        ("0.0.0.0/0", "203.0.113.9"),
        ("::/0", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8:ffff::1"),
        ("::1", "::1"),
    ] {
        assert!(contains(network, address), "{network} {address}");
    }
    for (network, address) in [
        ("10.0.0.0/8", "11.0.0.1"),
        ("10.0.0.0/8", "::1"),
        ("192.0.2.0/31", "192.0.2.2"),
        ("2001:db8::/32", "2001:db9::1"),
        ("0.0.0.0/0", "2001:db8::1"),
    ] {
        assert!(!contains(network, address), "{network} {address}");
    }
    for bad in [
        "",
        "proxy.example",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "10.0.0",
        "*",
    ] {
        let mistake = Network::parse(bad).expect_err(bad);
        assert!(mistake.contains(&format!("{bad:?}")), "{mistake}");
        assert!(mistake.contains("such as 10.0.0.0/8"), "{mistake}");
    }
}
