//! Topics: subscribing and publishing.

use matssocket_testing::*;

use super::topic_replay::{attentive, come_back};

pub async fn subscribe(line: &mut Line, topic: &str) {
    line.send(json!([{"t": "SUB", "eid": topic}])).await;
    line.expect_where("SUB_OK", |e| e["t"] == "SUB_OK" && e["eid"] == topic)
        .await;
}

#[actix_web::test]
async fn subscribers_on_every_node_get_every_message_in_one_order() {
    let nodes = Nodes::two().await;
    let mut lines = Vec::new();
    for number in 0..4 {
        let mut line = nodes.open_on(number % 2, &format!("user{number}")).await;
        subscribe(&mut line, "topic").await;
        lines.push(line);
    }
    let publishers = (0..2).map(|publisher: usize| {
        let server = nodes[publisher].server.clone();
        async move {
            for number in 0..100 {
                server
                    .publish("topic", "t", &json!([publisher, number]))
                    .await
                    .unwrap();
                server.publish("other topic", "t", &1).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(publishers).await;
    let mut orders = Vec::new();
    for line in &mut lines {
        let mut order = Vec::new();
        for _ in 0..200 {
            let publication = line.expect("PUB").await;
            assert_eq!(publication["eid"], "topic");
            assert!(
                publication["smid"].is_string() && publication["tid"] == "t",
                "{publication}"
            );
            order.push((publication["smid"].clone(), publication["msg"].clone()));
        }
        line.none("PUB").await;
        orders.push(order);
    }
    for order in &orders[1..] {
        assert_eq!(order, &orders[0]);
    }
    for publisher in 0..2 {
        let own: Vec<&Value> = orders[0]
            .iter()
            .map(|(_, msg)| msg)
            .filter(|msg| msg[0] == publisher)
            .collect();
        assert_eq!(own.len(), 100);
        assert!(
            own.iter().enumerate().all(|(number, msg)| msg[1] == number),
            "in the order of publishing"
        );
    }
}

#[actix_web::test]
async fn a_subscription_is_in_force_for_what_stands_behind_it() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    for topic in ["slow topic", "quick topic"] {
        let publishing = line.envelope("SEND", topic, "test.publish", json!(topic));
        line.send(json!([{"t": "SUB", "eid": topic}, publishing]))
            .await;
        nodes.control.open(topic, 1);
        line.expect_where("PUB", |e| e["t"] == "PUB" && e["eid"] == topic)
            .await;
        line.expect("SUB_OK").await;
    }
    // Also behind HELLO.
    let mut line = Client::new("berta").connect(&nodes[0].url).await;
    let hello = line.client.hello();
    let publishing = line.envelope("SEND", "1", "test.publish", json!("third"));
    line.send(json!([hello, {"t": "SUB", "eid": "third"}, publishing]))
        .await;
    line.expect_where("PUB", |e| e["t"] == "PUB" && e["eid"] == "third")
        .await;
}

#[actix_web::test]
async fn subscribing_again_is_answered_again_and_unsub_has_no_answer() {
    let nodes = attentive().start(1).await;
    let mut line = nodes.open("anna").await;
    for _ in 0..3 {
        subscribe(&mut line, "topic").await;
    }
    nodes.server().publish("topic", "t", &1).await.unwrap();
    line.expect("PUB").await;
    line.none("PUB").await;
    line.send(json!([{"t": "UNSUB", "eid": "topic"}, {"t": "UNSUB", "eid": "never subscribed"}]))
        .await;
    subscribe(&mut line, "marker").await;
    nodes.server().publish("topic", "t", &2).await.unwrap();
    nodes.server().publish("marker", "t", &3).await.unwrap();
    assert_eq!(line.expect("PUB").await["eid"], "marker");
    // Coming back does not bring it back.
    let mut line = come_back(&nodes, 0, line).await;
    line.barrier().await;
    nodes.server().publish("topic", "t", &4).await.unwrap();
    nodes.server().publish("marker", "t", &5).await.unwrap();
    assert_eq!(line.expect("PUB").await["msg"], 5);
}

#[actix_web::test]
async fn a_topic_that_is_not_allowed_is_answered_and_silent() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "SUB", "eid": "denied"}])).await;
    assert_eq!(line.expect("SUB_NO_AUTH").await["eid"], "denied");
    subscribe(&mut line, "marker").await;
    nodes.server().publish("denied", "t", &1).await.unwrap();
    nodes.server().publish("marker", "t", &2).await.unwrap();
    assert_eq!(line.expect("PUB").await["eid"], "marker");
}

/// Clients send again only those SUBs that went with a HELLO: the others were lost at every reconnect when
/// subscriptions belonged to the connection.
#[actix_web::test]
async fn subscriptions_belong_to_the_session() {
    let nodes = attentive().start(2).await;
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello, {"t": "SUB", "eid": "with hello"}]))
        .await;
    line.client.session = line.expect("WELCOME").await["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    line.expect("SUB_OK").await;
    subscribe(&mut line, "later").await;
    subscribe(&mut line, "withdrawn").await;
    for node in [1, 0, 0] {
        line = come_back(&nodes, node, line).await;
        // They are in force for whatever the client says after its HELLO.
        line.barrier().await;
        for (publisher, topic) in [(0, "with hello"), (1, "later")] {
            nodes[publisher]
                .server
                .publish(topic, "t", &1)
                .await
                .unwrap();
            line.expect_where("PUB", |e| e["t"] == "PUB" && e["eid"] == topic)
                .await;
        }
        line.none("PUB").await;
    }
    // Each is authorized again.
    nodes.control.set("deny:withdrawn");
    let mut line = come_back(&nodes, 1, line).await;
    line.barrier().await;
    nodes.server().publish("withdrawn", "t", &1).await.unwrap();
    nodes.server().publish("later", "t", &2).await.unwrap();
    assert_eq!(line.expect("PUB").await["eid"], "later");
}

#[actix_web::test]
async fn limits_of_topics() {
    let limits = |config: &mut matssocket::Config| {
        config.max_topics = 3;
        config.max_topic_length = 10;
    };
    let nodes = Setup::new().config(limits).start(1).await;
    let mut line = nodes.open("anna").await;
    for topic in ["tøpic 4567", "b", "c"] {
        subscribe(&mut line, topic).await;
    }
    subscribe(&mut line, "b").await;
    line.send(json!([{"t": "UNSUB", "eid": "c"}])).await;
    subscribe(&mut line, "d").await;
    line.send(json!([{"t": "SUB", "eid": "e"}])).await;
    line.expect_close(4004).await;
    nodes.control.event("close", line.session()).await;
    let mut line = nodes.open("anna").await;
    line.send(json!([{"t": "SUB", "eid": "eleven char"}])).await;
    line.expect_close(1008).await;
    nodes.control.event("close", line.session()).await;
}

pub async fn publish(nodes: &Nodes, topic: &str, message: impl serde::Serialize) {
    let published = nodes.server().publish(topic, "t", &message).await;
    published.expect("stored");
}

/// Each topic cost operations of the store, one after the other: at 7 ms each, a minute until the first PONG.
#[actix_web::test]
async fn many_topics_cost_few_operations_of_the_store() {
    const TOPICS: usize = 1_500;
    let nodes = Setup::new()
        .config(|config| config.max_message_before_hello = 512 * 1024)
        .start(1)
        .await;
    let operations = || nodes.server().metrics().store.operations;
    let before = operations();
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let mut pipeline = vec![line.client.hello()];
    pipeline
        .extend((0..TOPICS).map(|number| json!({"t": "SUB", "eid": format!("topic {number}")})));
    line.send(Value::Array(pipeline)).await;
    let welcome = line.expect("WELCOME").await;
    line.client.session = welcome["sid"].as_str().expect("sid").to_owned();
    for _ in 0..TOPICS {
        line.expect("SUB_OK").await;
    }
    let opened = operations() - before;
    assert!(opened < 10, "{opened} operations");
    let client = line.cut();
    nodes.until_let_go(&client.session).await;
    let before = operations();
    let begun = std::time::Instant::now();
    let mut line = nodes.back(0, client).await;
    line.barrier().await;
    let resumed = operations() - before;
    println!("{resumed} operations, {:?} until PONG", begun.elapsed());
    assert!(resumed < 10, "{resumed} operations");
    publish(&nodes, &format!("topic {}", TOPICS - 1), 1).await;
    line.expect("PUB").await;
}
