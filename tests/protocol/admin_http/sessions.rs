//! Nodes, sessions, users and topics.

use super::*;

#[actix_web::test]
async fn nodes_and_figures_are_shown() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("test.do", json!({"do": "resolve"})).await;
    line.answer(&cmid).await;
    let admin = Admin::open(nodes.server());
    let node = admin.read("node").await;
    assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(node["metrics"]["node"], nodes.server().node_name());
    assert_eq!(node["metrics"]["endpoints"]["test.do"]["resolved"], 1);
    let shown = admin.read("nodes").await;
    let names = shown["nodes"].as_array().expect("a list").iter();
    let names: Vec<_> = names
        .map(|node| node["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [nodes[0].server.node_name(), nodes[1].server.node_name()]
    );
    assert_eq!(shown["unserved"], json!([]));
    let document = admin.read("openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
}

fn users_of(page: &Value) -> Vec<&str> {
    let sessions = page["sessions"].as_array().expect("a list").iter();
    sessions
        .map(|it| it["user_id"].as_str().expect("a user"))
        .collect()
}

#[actix_web::test]
async fn sessions_are_listed_page_by_page_in_both_orders() {
    let nodes = Nodes::one().await;
    let mut lines = Vec::new();
    for user in ["a", "b", "c", "d", "e"] {
        lines.push(nodes.open(user).await);
    }
    let admin = Admin::open(nodes.server());
    for (order, pages) in [
        ("", [vec!["a", "b"], vec!["c", "d"], vec!["e"]]),
        (
            "&newest_first=true",
            [vec!["e", "d"], vec!["c", "b"], vec!["a"]],
        ),
    ] {
        let mut after = String::new();
        for (number, expected) in pages.into_iter().enumerate() {
            let page = admin.read(&format!("sessions?limit=2{order}{after}")).await;
            assert_eq!(users_of(&page), expected);
            match number {
                2 => assert_eq!(page["next"], Value::Null),
                _ => after = format!("&after={}", page["next"]),
            }
        }
    }
    assert_eq!(users_of(&admin.read("sessions?user_id=c").await), ["c"]);
    assert_eq!(
        users_of(&admin.read("sessions?app_name=nobody's").await),
        [""; 0]
    );
    assert_eq!(admin.read("sessions/count").await, json!({"count": 5}));
    let client = lines.pop().expect("five").cut();
    nodes.until_let_go(&client.session).await;
    assert_eq!(
        admin.read("sessions/count?connected=true").await["count"],
        4
    );
    let connected = admin.read("sessions?connected=true").await;
    assert_eq!(users_of(&connected), ["a", "b", "c", "d"]);
}

/// A page that ends with the last session may say that there is more; then the next is empty.
#[actix_web::test]
async fn users_are_listed_page_by_page() {
    let nodes = Nodes::one().await;
    let _lines = [
        nodes.open("anna").await,
        nodes.open("anna").await,
        nodes.open("bert").await,
    ];
    let admin = Admin::open(nodes.server());
    let page = admin.read("users?limit=1").await;
    let anna = json!([{"user_id": "anna", "sessions": 2, "connected": 2}]);
    assert_eq!(page, json!({"users": anna, "next": "anna"}));
    let page = admin.read("users?limit=2&after=anna").await;
    let bert = json!([{"user_id": "bert", "sessions": 1, "connected": 1}]);
    assert_eq!(page, json!({"users": bert, "next": null}));
}

#[actix_web::test]
async fn one_session_is_shown_with_its_last_envelopes_where_it_is_connected() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    let cmid = line
        .request("test.do", json!({"do": "resolve", "text": "not shown"}))
        .await;
    line.answer(&cmid).await;
    line.barrier().await;
    let name = format!("session?session_id={}", line.session());
    let here = Admin::open(&nodes[0].server).get(&name).await;
    let shown = here.json();
    assert_eq!(shown["session"]["user_id"], "anna");
    assert_eq!(shown["session"]["node"], nodes[0].server.node_name());
    let recent = shown["live"]["recent"].as_array().expect("a list");
    assert!(
        recent
            .iter()
            .any(|it| it["endpoint"] == "test.do" && it["incoming"] == true),
        "{recent:?}"
    );
    for secret in ["not shown", "auth"] {
        let found = here
            .body
            .to_lowercase()
            .replace("authenticated", "")
            .contains(secret);
        assert!(!found, "{secret}: {}", here.body);
    }
    let elsewhere = Admin::open(&nodes[1].server).read(&name).await;
    assert_eq!(elsewhere["live"], Value::Null);
    assert_eq!(elsewhere["session"]["node"], nodes[0].server.node_name());
}

#[actix_web::test]
async fn sessions_are_closed_wherever_they_are() {
    let nodes = Nodes::two().await;
    let mut first = nodes.open_on(1, "anna").await;
    let mut others = [
        nodes.open_on(0, "anna").await,
        nodes.open_on(1, "anna").await,
    ];
    let mut bert = nodes.open("bert").await;
    let admin = Admin::open(nodes.server());
    let close = json!({"session_id": first.session(), "reason": "for a reason"});
    assert_eq!(
        admin.change("sessions/close", close.clone()).await,
        json!({"closed": 1})
    );
    first.expect_close(4000).await;
    let refused = admin.post("sessions/close", close).await;
    assert_eq!(refused.status, 404, "{}", refused.body);
    let all = json!({"user_id": "anna"});
    assert_eq!(
        admin.change("sessions/close", all).await,
        json!({"closed": 2})
    );
    for other in &mut others {
        other.expect_close(4000).await;
    }
    bert.barrier().await;
}

#[actix_web::test]
async fn an_authorization_is_revoked_and_so_is_the_right_to_a_topic() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "SUB", "eid": "prices"}])).await;
    line.expect("SUB_OK").await;
    let admin = Admin::open(nodes.server());
    let revoke = json!({"user_id": "anna", "topic": "prices"});
    let revoked = admin.change("sessions/revoke", revoke).await;
    assert_eq!(revoked, json!({"revoked": "anna", "topic": "prices"}));
    line.expect("SUB_NO_AUTH").await;
    admin
        .change("sessions/revoke", json!({"user_id": "anna"}))
        .await;
    line.expect("REAUTH").await;
}

#[actix_web::test]
async fn topics_are_shown_with_their_subscribers_and_history() {
    let nodes = Nodes::one().await;
    let mut lines = [nodes.open("anna").await, nodes.open("bert").await];
    for (line, topics) in lines
        .iter_mut()
        .zip([vec!["prices", "news"], vec!["prices"]])
    {
        for topic in topics {
            line.send(json!([{"t": "SUB", "eid": topic}])).await;
            line.expect("SUB_OK").await;
        }
    }
    for number in 0..3 {
        let price = json!({"price": number});
        let published = nodes.server().publish("prices", "trace", &price).await;
        published.expect("published");
        lines[1].expect("PUB").await;
    }
    let admin = Admin::open(nodes.server());
    let prices = json!({"topic": "prices", "subscribers": 2, "publications": 3});
    let news = json!({"topic": "news", "subscribers": 1, "publications": 0});
    assert_eq!(
        admin.read("topics").await,
        json!({"topics": [prices, news]})
    );
    assert_eq!(
        admin.read("topics?limit=1").await,
        json!({"topics": [prices]})
    );

    let history = admin.read("topic?topic=prices").await;
    let payloads = |history: &Value| -> Vec<String> {
        let publications = history["publications"].as_array().expect("a list").iter();
        publications.map(|it| it["payload"].to_string()).collect()
    };
    assert_eq!(payloads(&history).len(), 3, "{history}");
    assert_eq!(history["publications"][2]["payload"], "{\"price\":2}");
    assert_eq!(history["publications"][2]["trace_id"], "trace");
    let first = &history["publications"][0];
    let later = admin
        .read(&format!("topic?topic=prices&after={}", first["number"]))
        .await;
    assert_eq!(payloads(&later), payloads(&history)[1..]);
    let short = admin.read("topic?topic=prices&limit=2").await;
    assert_eq!(payloads(&short), payloads(&history)[..2]);
    let rest = admin
        .read(&format!(
            "topic?topic=prices&limit=2&after={}",
            short["next"]
        ))
        .await;
    assert_eq!(
        (payloads(&rest).as_slice(), &rest["next"]),
        (&payloads(&history)[2..], &Value::Null)
    );
    let since = format!("topic?topic=prices&since={}", first["published"]);
    assert_eq!(payloads(&admin.read(&since).await), payloads(&history));
    let future = first["published"].as_i64().expect("a time") + 3_600_000;
    let none = admin
        .read(&format!("topic?topic=prices&since={future}"))
        .await;
    assert_eq!(payloads(&none), [""; 0]);
}

#[actix_web::test]
async fn who_is_connected_is_listed_in_pages_or_asked_for_by_name() {
    let nodes = Nodes::two().await;
    let admin = Admin::open(nodes.server());
    let _anna = nodes.open_on(0, "anna").await;
    let bert = nodes.open_on(1, "bert").await;
    let away = nodes.open_on(1, "clara").await;
    let session = away.session().to_owned();
    drop(away.cut());
    nodes.until_let_go(&session).await;
    let page = admin.read("users/connected?limit=1").await;
    assert_eq!(
        (&page["users"][0]["user_id"], &page["next"]),
        (&json!("anna"), &json!("anna"))
    );
    let page = admin.read("users/connected?after=anna").await;
    let users = page["users"].as_array().expect("a list");
    assert_eq!((users.len(), &page["next"]), (1, &Value::Null));
    let found = &users[0]["sessions"][0];
    assert_eq!(found["session_id"], bert.session());
    assert_eq!(found["node"], nodes[1].server.node_name());
    assert!(found["since"].is_u64(), "{found}");
    let named = admin.read("users/connected?user_id=bert").await;
    assert_eq!(named["users"][0], users[0]);
    let named = admin.read("users/connected?user_id=clara").await;
    assert_eq!(named["users"], json!([]));
}
