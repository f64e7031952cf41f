//! The browser client, as the server serves it.

use std::net::SocketAddr;

use matssocket::BROWSER_CLIENT;

use matssocket_testing::line::http;
use matssocket_testing::*;

const DIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/typescript/dist");

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut named = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }
}

async fn ask(node: SocketAddr, method: &str, file: &str, headers: &str) -> Response {
    let request = format!("{method} /matssocket/{file} HTTP/1.1{headers}");
    let (status, response) = http(node, &request).await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

fn built(file: &str) -> String {
    std::fs::read_to_string(format!("{DIST}/{file}")).expect("a built file")
}

#[actix_web::test]
async fn a_page_gets_the_client_and_its_types_from_the_server() {
    let nodes = Setup::new().start(1).await;
    for (file, kind, caching, content) in [
        ("client.js", "text/javascript", "no-cache", "client.js"),
        (
            BROWSER_CLIENT,
            "text/javascript",
            "public, max-age=31536000, immutable",
            "client.js",
        ),
        (
            "client.d.ts",
            "application/typescript",
            "no-cache",
            "matssocket.d.ts",
        ),
    ] {
        let response = ask(nodes[0].address, "GET", file, "").await;
        assert_eq!(response.status, 200, "{file}");
        assert!(response.body == built(content), "{file} is as it was built");
        let kind = format!("{kind}; charset=utf-8");
        for (header, expected) in [
            ("content-type", &*kind),
            ("cache-control", caching),
            ("x-content-type-options", "nosniff"),
            ("access-control-allow-origin", "*"),
            ("cross-origin-resource-policy", "cross-origin"),
        ] {
            assert_eq!(response.header(header), Some(expected), "{file}: {header}");
        }
    }
}

/// A module that loads another one would get that of another version while nodes are upgraded one after the other.
#[actix_web::test]
async fn the_module_needs_no_other_file() {
    let module = built("client.js");
    for import in ["import(", "from\"", "import\"", "import{"] {
        assert!(!module.contains(import), "{import}");
    }
}

#[actix_web::test]
async fn what_the_browser_has_is_not_sent_again() {
    let nodes = Setup::new().start(2).await;
    for file in ["client.js", BROWSER_CLIENT, "client.d.ts"] {
        let first = ask(nodes[0].address, "GET", file, "").await;
        let tag = first.header("etag").expect("a tag");
        // Whichever node it came from; strong or weak, as proxies make it.
        for (tags, status) in [
            (tag, 304),
            (tag.trim_start_matches("W/"), 304),
            (&*format!("\"other\", {tag}"), 304),
            ("*", 304),
            ("\"other\"", 200),
            ("not a tag", 200),
        ] {
            let headers = format!("\r\nIf-None-Match: {tags}");
            for method in ["GET", "HEAD"] {
                let again = ask(nodes[1].address, method, file, &headers).await;
                assert_eq!(again.status, status, "{method} {file} {tags}");
                let empty = status == 304 || method == "HEAD";
                assert_eq!(again.body.is_empty(), empty, "{method} {file} {tags}");
                for header in ["etag", "cache-control"] {
                    assert_eq!(again.header(header), first.header(header), "{file}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn head_says_what_get_would_and_other_methods_are_refused() {
    let nodes = Setup::new().start(1).await;
    let node = nodes[0].address;
    for file in ["client.js", BROWSER_CLIENT, "client.d.ts"] {
        let get = ask(node, "GET", file, "").await;
        let head = ask(node, "HEAD", file, "").await;
        assert_eq!((head.status, &*head.body), (200, ""), "{file}");
        for header in ["content-length", "content-type", "etag", "cache-control"] {
            assert_eq!(head.header(header), get.header(header), "{file}: {header}");
        }
        let length = get.body.len().to_string();
        assert_eq!(head.header("content-length"), Some(&*length), "{file}");
        for method in ["POST", "PUT", "DELETE"] {
            let refused = ask(node, method, file, "").await;
            assert_eq!(refused.status, 405, "{method} {file}");
            assert_eq!(refused.header("allow"), Some("GET, HEAD"));
        }
    }
    assert_eq!(ask(node, "GET", "client-0.0.0.js", "").await.status, 404);
}

/// `client-<version>.js` is kept for a year: a build of another version must have another name.
#[test]
fn the_package_has_the_version_of_the_crate() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(BROWSER_CLIENT, format!("client-{version}.js"));
    let package = std::fs::read_to_string(format!("{DIST}/../package.json")).expect("a package");
    let package: serde_json::Value = serde_json::from_str(&package).expect("JSON");
    assert_eq!(package["version"], version);
    assert!(built("client.js").contains(&format!("matssocket-ts,{version};")));
}
