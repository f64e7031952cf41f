//! The files of the dashboard. `clients/typescript/tests/browser/dashboard.test.ts` has how they work in a browser.

use super::*;

#[actix_web::test]
async fn the_page_is_below_a_path_that_ends_with_a_slash() {
    let nodes = Nodes::one().await;
    let admin = Admin::open(nodes.server());
    let elsewhere = admin.send("GET", "", "", "").await;
    assert_eq!(
        (elsewhere.status, elsewhere.header("location")),
        (308, Some("./admin/"))
    );
    let page = admin.send("GET", "/", "", "").await;
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
    assert_eq!(admin.send("GET", "/nothing.js", "", "").await.status, 404);
    assert_eq!(admin.send("POST", "/", JSON, "{}").await.status, 405);
    let asked = admin.send("HEAD", "/main.js", "", "").await;
    assert_eq!((asked.status, &*asked.body), (200, ""));
}

#[actix_web::test]
async fn the_page_loads_only_what_is_served_beside_it_and_runs_nothing_inline() {
    let nodes = Nodes::one().await;
    let admin = Admin::open(nodes.server());
    let mut left = vec!["index.html".to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = left.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let file = admin.send("GET", &format!("/{name}"), "", "").await;
        assert_eq!(file.status, 200, "{name}");
        let policy = file.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for outside in [
            "http://",
            "https://",
            "style=\"",
            "onclick=",
            "innerHTML",
            "eval(",
        ] {
            let body = file.body.replace("http://www.w3.org/2000/svg", "");
            assert!(!body.contains(outside), "{name}: {outside}");
        }
        for marker in ["src=\"", "href=\"", "from \"./"] {
            let names = file.body.split(marker).skip(1);
            let names = names.filter_map(|rest| rest.split('"').next());
            left.extend(
                names
                    .filter(|name| !name.starts_with('#'))
                    .map(str::to_owned),
            );
        }
    }
    assert!(seen.len() >= 12, "{seen:?}");
}

#[actix_web::test]
async fn browsers_keep_the_files_while_they_are_current() {
    let nodes = Nodes::one().await;
    let admin = Admin::open(nodes.server());
    let file = admin.send("GET", "/style.css", "", "").await;
    let tag = file.header("etag").expect("a tag");
    assert_eq!(file.header("cache-control"), Some("private, no-cache"));
    let current = format!("\r\nIf-None-Match: {tag}");
    let again = admin.send("GET", "/style.css", &current, "").await;
    assert_eq!((again.status, &*again.body), (304, ""));
    let other = admin.send("GET", "/main.js", &current, "").await;
    assert_eq!(other.status, 200);
}

/// `history.js` and `services.js` read these of what `node` answers.
#[actix_web::test]
async fn the_figures_that_the_page_shows_are_there() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("test.do", json!({})).await;
    line.expect_id("RESOLVE", &cmid).await;
    let node = Admin::open(nodes.server()).read("node").await;
    for figure in [
        "endpoints/test.do/handling/sum_us",
        "endpoints/test.do/resolved",
        "store/batches",
        "store/commit_us",
        "store/depth",
        "actors/session/depth",
        "sessions_connected",
        "handlers_running",
    ] {
        let found = node["metrics"].pointer(&format!("/{figure}"));
        assert!(found.is_some_and(Value::is_u64), "{figure}: {found:?}");
    }
}
