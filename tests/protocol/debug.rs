//! The debug object: what was requested and is allowed, and exactly the fields of each way a message can go.

use std::time::UNIX_EPOCH;

use matssocket_testing::*;

fn keys(envelope: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = envelope["debug"]
        .as_object()
        .map(|o| o.keys().map(String::as_str).collect())
        .unwrap_or_default();
    keys.sort_unstable();
    keys
}

async fn ask(line: &mut Line, rd: u32, decision: &str) -> Value {
    let cmid = line.next_cmid();
    let mut envelope = line.envelope("REQUEST", &cmid, "test.do", json!({"do": decision}));
    envelope["rd"] = json!(rd);
    line.send(json!([envelope])).await;
    line.expect_id("RESOLVE", &cmid).await
}

#[actix_web::test]
async fn each_way_has_its_fields() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("debug").await;
    let now = || {
        let since = nodes.clock.now().duration_since(UNIX_EPOCH);
        since.expect("it is later").as_millis() as i64
    };
    let before = now();
    let at_once = ask(&mut line, 3, "resolve").await;
    assert_eq!(keys(&at_once), ["cmrnn", "cmrts", "mscnn", "mscts", "resd"]);
    let forwarded = ask(&mut line, 3, "forward").await;
    assert_eq!(
        keys(&forwarded),
        [
            "cmrnn", "cmrts", "mmrrnn", "mmrrts", "mmsts", "mscnn", "mscts", "resd"
        ]
    );
    // The last `rd` is 3: it counts for what the server sends by itself.
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    let sent = line.expect("SEND").await;
    assert_eq!(keys(&sent), ["mscnn", "mscts", "resd", "smcnn", "smcts"]);
    let node = nodes.server().node_name();
    for envelope in [&at_once, &forwarded, &sent] {
        assert_eq!(envelope["debug"]["resd"], 3);
        for (key, value) in envelope["debug"].as_object().unwrap() {
            match key.as_str() {
                "resd" => {}
                name if name.ends_with("nn") => assert_eq!(value, &node, "{key}"),
                _ => assert!(
                    (before..=now()).contains(&value.as_i64().unwrap()),
                    "{key}: {value}"
                ),
            }
        }
    }
    let times = |envelope: &Value, keys: &[&str]| -> Vec<i64> {
        keys.iter()
            .map(|key| envelope["debug"][*key].as_i64().unwrap())
            .collect()
    };
    assert!(times(&forwarded, &["cmrts", "mmsts", "mmrrts", "mscts"]).is_sorted());
    assert!(times(&at_once, &["cmrts", "mscts"]).is_sorted());
}

#[actix_web::test]
async fn options_are_those_requested_and_allowed() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("debug").await;
    assert_eq!(
        keys(&ask(&mut line, 1, "resolve").await),
        ["cmrts", "mscts", "resd"]
    );
    assert_eq!(
        keys(&ask(&mut line, 2, "resolve").await),
        ["cmrnn", "mscnn", "resd"]
    );
    assert_eq!(ask(&mut line, 64 + 1, "resolve").await["debug"]["resd"], 65);
    assert_eq!(
        keys(&ask(&mut line, 0, "resolve").await),
        Vec::<&str>::new()
    );
    // Bits that do not exist are nobody's.
    assert!(ask(&mut line, 4, "resolve").await.get("debug").is_none());
    let mut line = nodes.open("nodes").await;
    let reply = ask(&mut line, 3, "forward").await;
    assert_eq!(keys(&reply), ["cmrnn", "mmrrnn", "mscnn", "resd"]);
    assert_eq!(reply["debug"]["resd"], 2);
    let mut line = nodes.open("anna").await;
    assert!(
        ask(&mut line, 255, "resolve").await.get("debug").is_none(),
        "nothing is allowed"
    );
    nodes
        .server()
        .send(line.session(), "t", "client.x", &1)
        .await
        .unwrap();
    assert!(line.expect("SEND").await.get("debug").is_none());
}

#[actix_web::test]
async fn a_request_without_rd_has_no_debug_and_the_sessions_last_rd_counts_for_server_messages() {
    let nodes = Nodes::one().await;
    let mut client = Client::new("debug").connect(&nodes[0].url).await;
    let mut hello = client.client.hello();
    hello["rd"] = json!(2);
    client.send(json!([hello])).await;
    client.client.session = client.expect("WELCOME").await["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let cmid = client.request("test.do", json!({})).await;
    assert!(
        client
            .expect_id("RESOLVE", &cmid)
            .await
            .get("debug")
            .is_none()
    );
    nodes
        .server()
        .send(client.session(), "t", "client.x", &1)
        .await
        .unwrap();
    assert_eq!(
        keys(&client.expect("SEND").await),
        ["mscnn", "resd", "smcnn"]
    );
    client.send(json!([{"t": "PING", "x": 1, "rd": 0}])).await;
    client.expect("PONG").await;
    nodes
        .server()
        .send(client.session(), "t", "client.x", &1)
        .await
        .unwrap();
    assert!(client.expect("SEND").await.get("debug").is_none());
}
