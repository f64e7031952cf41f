//! Who is let in, and what protects against pages of other sites.

use actix_web::HttpResponse;

use super::*;

/// Each call that changes something, with a body that it would take.
fn changes() -> [(&'static str, Value); 4] {
    [
        ("sessions/close", json!({"user_id": "anna"})),
        ("sessions/revoke", json!({"user_id": "anna"})),
        ("dead-letters/redrive", json!({"ids": [1]})),
        ("dead-letters/drop", json!({"ids": [1]})),
    ]
}

#[actix_web::test]
async fn nothing_is_mounted_by_itself() {
    let nodes = Nodes::one().await;
    for path in ["/", "/admin/", "/matssocket/admin/", "/matssocket/api/node"] {
        let (status, _) = line::http(nodes[0].address, &format!("GET {path} HTTP/1.1")).await;
        assert_eq!(status, 404, "{path}");
    }
}

#[actix_web::test]
async fn the_guard_refuses_everything_that_it_does_not_let_in() {
    let nodes = Nodes::one().await;
    let _line = nodes.open("anna").await;
    let admin = Admin::guarded(nodes.server(), async |_: &HttpRequest| AdminAccess::deny());
    for path in ["", "/", "/main.js", "/nothing", "/api/node", "/api/nothing"] {
        let refused = admin.send("GET", path, "", "").await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(!refused.body.contains("<"), "{path}: {}", refused.body);
    }
    for (name, body) in changes() {
        assert_eq!(admin.post(name, body).await.status, 403, "{name}");
    }
    assert_eq!(nodes.stored_sessions("anna").await, 1);

    let admin = Admin::guarded(nodes.server(), async |_: &HttpRequest| {
        let login = HttpResponse::Found()
            .insert_header(("location", "/login"))
            .finish();
        AdminAccess::answer(login)
    });
    let refused = admin.get("node").await;
    assert_eq!(
        (refused.status, refused.header("location")),
        (302, Some("/login"))
    );
}

#[actix_web::test]
async fn a_token_lets_in_and_a_wrong_one_is_asked_for_again() {
    let nodes = Nodes::one().await;
    let admin = Admin::guarded(nodes.server(), async |request: &HttpRequest| {
        AdminAccess::by_token(request, "a long random token")
    });
    let ask = async |authorization: &str| {
        let header = format!("\r\nAuthorization: {authorization}");
        admin.send("GET", "/api/node", &header, "").await
    };
    let node = ask("Bearer a long random token").await;
    assert_eq!(node.status, 200);
    assert_eq!(node.json()["read_only"], false);
    for wrong in ["Bearer a wrong token", "Bearer", "nothing"] {
        let refused = ask(wrong).await;
        assert_eq!(refused.status, 401, "{wrong}");
        let challenge = refused.header("www-authenticate").expect("it says how");
        assert!(challenge.starts_with("Basic "), "{challenge}");
    }
    assert_eq!(admin.get("node").await.status, 401);
}

#[actix_web::test]
async fn whoever_may_only_look_changes_nothing() {
    let nodes = Nodes::one().await;
    let _line = nodes.open("anna").await;
    let admin = Admin::guarded(nodes.server(), async |_: &HttpRequest| {
        AdminAccess::allow("guest").read_only()
    });
    let node = admin.read("node").await;
    assert_eq!(
        (&node["operator"], &node["read_only"]),
        (&json!("guest"), &json!(true))
    );
    for (name, body) in changes() {
        let refused = admin.post(name, body).await;
        assert_eq!(
            (refused.status, &*refused.error()),
            (403, "you may look, and change nothing")
        );
    }
    assert_eq!(nodes.stored_sessions("anna").await, 1);
}

/// A browser adds the operator's password to what any page makes it send.
#[actix_web::test]
async fn pages_of_other_sites_are_refused() {
    let nodes = Nodes::one().await;
    let _line = nodes.open("anna").await;
    let admin = Admin::open(nodes.server());
    let own = format!("\r\nOrigin: http://{}", admin.address);
    let body = json!({"user_id": "nobody"}).to_string();
    let post = async |headers: &str| {
        let response = admin
            .send("POST", "/api/sessions/close", headers, &body)
            .await;
        response.status
    };
    for (headers, status) in [
        ("", 415),
        ("\r\nContent-Type: text/plain", 415),
        ("\r\nContent-Type: application/x-www-form-urlencoded", 415),
        ("\r\nContent-Type: application/json; charset=utf-8", 200),
        (JSON, 200),
        (&format!("{JSON}{own}"), 200),
        (&format!("{JSON}{own}\r\nSec-Fetch-Site: same-origin"), 200),
        (&format!("{JSON}\r\nSec-Fetch-Site: none"), 200),
        (&format!("{JSON}\r\nSec-Fetch-Site: cross-site"), 403),
        (&format!("{JSON}\r\nSec-Fetch-Site: same-site"), 403),
        (&format!("{JSON}\r\nOrigin: https://evil.example"), 403),
        (&format!("{JSON}\r\nOrigin: null"), 403),
        (&format!("{JSON}{own}\r\nOrigin: https://evil.example"), 403),
    ] {
        assert_eq!(post(headers).await, status, "{headers:?}");
    }
    // Nor may they read, or ask whether they may.
    for headers in [
        "\r\nSec-Fetch-Site: cross-site",
        "\r\nOrigin: https://evil.example",
    ] {
        assert_eq!(
            admin.send("GET", "/api/node", headers, "").await.status,
            403
        );
    }
    let asked = admin
        .send(
            "OPTIONS",
            "/api/sessions/close",
            "\r\nOrigin: https://evil.example",
            "",
        )
        .await;
    assert_eq!(asked.status, 405);
    assert_eq!(asked.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn a_host_that_is_not_allowed_is_refused_before_the_guard_is_asked() {
    let setup = Setup::new().extend(|builder, _, _| builder.allowed_hosts(["shop.example"]));
    let nodes = setup.start(1).await;
    let admin = Admin::guarded(nodes.server(), async |_: &HttpRequest| -> AdminAccess {
        panic!("it was asked")
    });
    let refused = admin.get("node").await;
    assert_eq!(
        (refused.status, &*refused.error()),
        (403, "this host is not served")
    );
}

#[actix_web::test]
async fn what_is_wrong_with_a_call_is_said() {
    let nodes = Nodes::one().await;
    let admin = Admin::open(nodes.server());
    for (name, status, contains) in [
        ("nothing", 404, "nothing here"),
        ("sessions/close", 405, "GET"),
        ("sessions?limit=0", 400, "limit=0"),
        ("sessions?limit=1001", 400, "1 to 1000"),
        ("sessions?limit=many", 400, "invalid"),
        ("sessions?colour=red", 400, "colour"),
        ("session", 400, "session_id"),
        ("session?session_id=nobody", 404, "nobody"),
        ("session?session_id=%1b%5b2J", 404, r"\u{1b}[2J"),
        ("dead-letter?id=7", 404, "7"),
        ("topic?topic=%01nodes", 400, "control character"),
    ] {
        let refused = admin.get(name).await;
        assert_eq!(refused.status, status, "{name}");
        assert!(
            refused.error().contains(contains),
            "{name}: {}",
            refused.body
        );
        assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
    }
    for (name, body, contains) in [
        ("sessions/close", json!({}), "either"),
        (
            "sessions/close",
            json!({"session_id": "a", "user_id": "b"}),
            "either",
        ),
        ("sessions/close", json!({"sid": "a"}), "sid"),
        ("sessions/revoke", json!({}), "user_id"),
        ("sessions/revoke", json!({"user_id": ""}), "empty"),
        ("dead-letters/drop", json!({"ids": []}), "0 ids"),
        ("dead-letters/drop", json!({"ids": vec![1; 501]}), "501 ids"),
    ] {
        let refused = admin.post(name, body).await;
        assert_eq!(refused.status, 400, "{name}: {}", refused.body);
        assert!(
            refused.error().contains(contains),
            "{name}: {}",
            refused.body
        );
    }
    let large = "x".repeat(100_000);
    let refused = admin
        .post("sessions/close", json!({"session_id": large}))
        .await;
    assert_eq!(refused.status, 413);
}

/// The API alone has no pages, and may be mounted at the root.
#[actix_web::test]
async fn the_api_is_there_without_the_dashboard() {
    let nodes = Nodes::one().await;
    let api = nodes
        .server()
        .admin_api("/ops/admin", async |_: &HttpRequest| {
            AdminAccess::allow("tests")
        });
    let root = nodes
        .server()
        .admin_api("/", async |_: &HttpRequest| AdminAccess::allow("root"));
    let admin = Admin::serve(|config: &mut ServiceConfig| {
        api(config);
        root(config);
    });
    assert_eq!(admin.read("node").await["operator"], "tests");
    for path in ["", "/", "/index.html", "/main.js"] {
        assert_eq!(admin.send("GET", path, "", "").await.status, 404, "{path}");
    }
    let (status, body) = line::http(admin.address, "GET /api/node HTTP/1.1").await;
    assert!(status == 200 && body.contains("\"root\""), "{body}");
}
