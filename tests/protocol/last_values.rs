//! Topics whose last values reach those who subscribe later.

use matssocket::{Incoming, Outcome, SendError, Topic};
use matssocket_testing::*;

use super::topic_replay::{attentive, come_back};

/// Publishes a share's price.
async fn price(nodes: &Nodes, share: &str, price: u32) {
    let topic = Topic::new("prices").last_value_of(share);
    let payload = json!([share, price]);
    let published = nodes.server().publish(topic, "t", &payload);
    published.await.expect("stored");
}

async fn subscribe(line: &mut Line, smid: Option<Value>) {
    let mut sub = json!({"t": "SUB", "eid": "prices"});
    if let Some(smid) = smid {
        sub["smid"] = smid;
    }
    line.send(json!([sub])).await;
}

async fn gets(line: &mut Line, prices: &[(&str, u32)]) -> Value {
    let mut last = Value::Null;
    for (share, price) in prices {
        let publication = line.expect("PUB").await;
        assert_eq!(publication["msg"], json!([share, price]), "{publication}");
        last = publication["smid"].clone();
    }
    last
}

#[actix_web::test]
async fn whoever_subscribes_gets_the_last_value_of_each_key_and_then_every_change() {
    let nodes = Nodes::two().await;
    for (share, number) in [("ACME", 1), ("Zorro", 2), ("ACME", 3)] {
        price(&nodes, share, number).await;
    }
    nodes
        .server()
        .publish("prices", "t", "no value")
        .await
        .unwrap();
    for node in [0, 1] {
        let mut line = nodes.open_on(node, "anna").await;
        subscribe(&mut line, None).await;
        line.expect("SUB_OK").await;
        gets(&mut line, &[("Zorro", 2), ("ACME", 3)]).await;
        line.none("PUB").await;
    }
    let mut line = nodes.open_on(1, "berta").await;
    subscribe(&mut line, None).await;
    gets(&mut line, &[("Zorro", 2), ("ACME", 3)]).await;
    price(&nodes, "Zorro", 4).await;
    gets(&mut line, &[("Zorro", 4)]).await;
    let dropped = Topic::new("prices").last_value_of("ACME");
    assert!(nodes.server().drop_last_value(dropped).await.unwrap());
    let mut line = nodes.open("clara").await;
    subscribe(&mut line, None).await;
    gets(&mut line, &[("Zorro", 4)]).await;
    line.none("PUB").await;
}

/// However late the values come, none comes after a newer one of its key.
#[actix_web::test]
async fn values_come_in_pages_before_what_is_published_meanwhile() {
    const SHARES: u32 = 300;
    let nodes = Setup::new()
        .config(|config| config.window_bytes = 4_000)
        .start(1)
        .await;
    let share = |number| format!("share {number}");
    for number in 0..SHARES {
        price(&nodes, &share(number), 0).await;
    }
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, None).await;
    let publish = async {
        for round in 1..=3 {
            for number in (0..SHARES).step_by(7) {
                price(&nodes, &share(number), round).await;
            }
        }
    };
    let read = async {
        let mut known = std::collections::HashMap::new();
        let is_done = |known: &std::collections::HashMap<String, u64>| {
            let newest = |number| if number % 7 == 0 { 3 } else { 0 };
            (0..SHARES).all(|number| known.get(&share(number)) == Some(&newest(number)))
        };
        while !is_done(&known) {
            let publication = line.expect("PUB").await;
            let name = publication["msg"][0].as_str().unwrap().to_owned();
            let number = publication["msg"][1].as_u64().unwrap();
            let before = known.insert(name, number);
            assert!(before.is_none_or(|before| before < number), "{publication}");
        }
    };
    futures_util::future::join(publish, read).await;
    line.none("PUB").await;
    line.none("SUB_LOST").await;
}

/// A client that saw the last value a moment ago gets what it has missed; one that saw it long ago is told so, and gets the
/// last values.
#[actix_web::test]
async fn who_comes_back_gets_what_was_missed_or_the_last_values() {
    let nodes = Setup::new()
        .config(|config| config.max_topic_history = 3)
        .start(1)
        .await;
    price(&nodes, "ACME", 1).await;
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, None).await;
    let seen = gets(&mut line, &[("ACME", 1)]).await;
    drop(line);
    for number in 2..=3 {
        price(&nodes, "ACME", number).await;
    }
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, Some(seen.clone())).await;
    line.expect("SUB_OK").await;
    gets(&mut line, &[("ACME", 2), ("ACME", 3)]).await;
    line.none("PUB").await;
    drop(line);
    price(&nodes, "Zorro", 4).await;
    price(&nodes, "ACME", 5).await;
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, Some(seen)).await;
    line.expect("SUB_LOST").await;
    gets(&mut line, &[("Zorro", 4), ("ACME", 5)]).await;
    line.none("PUB").await;
}

/// The original client does not subscribe again: the session does, and it knows what its client may not have received.
#[actix_web::test]
async fn a_line_that_breaks_before_the_values_are_received_loses_none() {
    let nodes = attentive().start(2).await;
    price(&nodes, "ACME", 1).await;
    price(&nodes, "Zorro", 2).await;
    let mut line = nodes.open_on(0, "anna").await;
    subscribe(&mut line, None).await;
    line.expect("SUB_OK").await;
    let client = line.client.clone();
    // Nothing proves that it has received them.
    let mut line = nodes.back(1, client).await;
    gets(&mut line, &[("ACME", 1), ("Zorro", 2)]).await;
    line.none("SUB_LOST").await;
    // Once it has received something newer, it has received those, too.
    price(&nodes, "ACME", 3).await;
    gets(&mut line, &[("ACME", 3)]).await;
    let mut line = come_back(&nodes, 0, line).await;
    line.none("PUB").await;
}

#[actix_web::test]
async fn a_handler_s_last_value_is_committed_with_its_outcome() {
    let nodes = Setup::new()
        .extend(|builder, _, _| {
            builder.endpoint("set", async |incoming: Incoming<String>| {
                let topic = Topic::new("prices").last_value();
                let context = &incoming.context;
                context.publish(topic, context.trace_id(), &incoming.payload)?;
                match &*incoming.payload {
                    "bad" => Err("it fails".into()),
                    _ => Ok(Outcome::resolve(())),
                }
            })
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    for (payload, answer) in [("good", "RESOLVE"), ("bad", "NACK")] {
        let cmid = line.request("set", json!(payload)).await;
        line.expect_id(answer, &cmid).await;
    }
    subscribe(&mut line, None).await;
    assert_eq!(line.expect("PUB").await["msg"], "good");
    line.none("PUB").await;
}

#[actix_web::test]
async fn what_names_no_value_is_refused() {
    let nodes = Nodes::one().await;
    let server = nodes.server();
    let long = "x".repeat(256);
    for topic in [
        Topic::new("").last_value(),
        Topic::new("prices").last_value_of("a\nb"),
        Topic::new("prices").last_value_of(long),
    ] {
        let refused = server.publish(topic.clone(), "t", &1).await;
        assert!(
            matches!(refused, Err(SendError::InvalidId(_))),
            "{topic:?}: {refused:?}"
        );
        assert!(server.drop_last_value(topic).await.is_err());
    }
    let refused = server.drop_last_value("prices".into()).await;
    let why = refused.unwrap_err().to_string();
    assert!(
        why.contains("\"prices\"") && why.contains("last_value_of"),
        "{why}"
    );
}
