//! What was published while a subscriber was away: replayed, or reported as lost.

use std::time::Duration;

use matssocket_testing::*;

use super::topics::{publish, subscribe};

/// Nodes that find out at once what their clients have received.
pub fn attentive() -> Setup {
    Setup::new().config(|config| config.position_interval = Duration::ZERO)
}

/// The line is lost once everything was received, and the client comes back when the session has been let go.
pub async fn come_back(nodes: &Nodes, node: usize, mut line: Line) -> Line {
    line.barrier().await;
    let client = line.cut();
    nodes.until_let_go(&client.session).await;
    nodes.back(node, client).await
}

/// The first implementation answered every SUB with a last-seen id by SUB_LOST.
#[actix_web::test]
async fn a_last_seen_message_brings_everything_since() {
    let nodes = Nodes::two().await;
    let mut line = nodes.open_on(0, "anna").await;
    subscribe(&mut line, "topic").await;
    for number in 0..3 {
        nodes.server().publish("topic", "t", &number).await.unwrap();
    }
    line.expect("PUB").await;
    let seen = line.expect("PUB").await;
    line.expect("PUB").await;
    drop(line);
    for number in 3..30 {
        nodes[number % 2]
            .server
            .publish("topic", "t", &number)
            .await
            .unwrap();
        nodes[number % 2]
            .server
            .publish("noise", "t", &number)
            .await
            .unwrap();
    }
    // From a new session, on the other node, with publishing going on.
    let mut line = nodes.open_on(1, "anna").await;
    line.send(json!([{"t": "SUB", "eid": "topic", "smid": seen["smid"]}]))
        .await;
    for number in 30..60 {
        nodes[number % 2]
            .server
            .publish("topic", "t", &number)
            .await
            .unwrap();
    }
    line.expect("SUB_OK").await;
    for number in 2..60 {
        assert_eq!(line.expect("PUB").await["msg"], number);
    }
    line.none("PUB").await;
    // The same SUB once more, from a session that has it: answered, nothing repeated beyond what was asked for.
    let last = seen["smid"].clone();
    let mut line = nodes.back(0, line.cut()).await;
    line.send(json!([{"t": "SUB", "eid": "topic", "smid": last}]))
        .await;
    line.expect("SUB_OK").await;
}

#[actix_web::test]
async fn a_last_seen_message_that_is_not_known_any_more_is_lost_and_the_subscription_stands() {
    let nodes = Setup::new()
        .config(|config| config.max_topic_history = 5)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, "topic").await;
    for number in 0..10 {
        nodes.server().publish("topic", "t", &number).await.unwrap();
    }
    let seen = line.expect("PUB").await;
    // All of them are out: none is left for those who subscribe now.
    for _ in 1..10 {
        line.expect("PUB").await;
    }
    drop(line);
    for smid in [seen["smid"].clone(), json!("never was"), json!("")] {
        let mut line = nodes.open("anna").await;
        line.send(json!([{"t": "SUB", "eid": "topic", "smid": smid}]))
            .await;
        assert_eq!(line.expect("SUB_LOST").await["eid"], "topic", "{smid}");
        nodes.server().publish("topic", "t", &"new").await.unwrap();
        assert_eq!(line.expect("PUB").await["msg"], "new");
        line.none("SUB_OK").await;
    }
}

/// Reads one WebSocket message, no faster than this.
async fn read_slowly(line: &mut Line, bytes_per_second: usize) {
    line.read().await.expect("the line is not cut");
    let bytes = Value::Array(line.pipelines.pop().unwrap())
        .to_string()
        .len();
    let takes = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
    actix_web::rt::time::sleep(takes).await; // the fault lasts
}

/// A history of 15 MB was sent as one text, and the line cut after 4 MB of it: at each reconnect again, and nothing that
/// was published meanwhile ever came.
#[actix_web::test]
async fn a_slow_client_gets_a_long_history_and_what_is_published_meanwhile() {
    const HISTORY: usize = 300;
    const MEANWHILE: usize = 50;
    let nodes = Setup::new()
        .config(|config| config.max_unsent = 256 * 1024)
        .start(1)
        .await;
    let text = "x".repeat(20_000);
    let publish = async |topic: &str, number: usize| {
        let message = json!([number, text]);
        let published = nodes.server().publish(topic, "t", &message).await;
        published.expect("stored");
    };
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, "topic").await;
    publish("topic", 0).await;
    let seen = line.expect("PUB").await["smid"].clone();
    drop(line);
    for number in 1..=HISTORY {
        publish("topic", number).await;
    }
    let mut line = nodes.open("berta").await;
    let socket = socket2::SockRef::from(line.socket.get_ref());
    socket.set_recv_buffer_size(128 * 1024).expect("a buffer");
    subscribe(&mut line, "other").await;
    line.send(json!([{"t": "SUB", "eid": "topic", "smid": seen}]))
        .await;
    let (mut meanwhile, mut others_before_the_end) = (0, 0);
    let mut next = 1;
    while next <= HISTORY + MEANWHILE {
        if meanwhile < MEANWHILE && next > 1 {
            meanwhile += 1;
            publish("topic", HISTORY + meanwhile).await;
            publish("other", meanwhile).await;
        }
        read_slowly(&mut line, 2_000_000).await;
        for envelope in line.received.drain(..) {
            match (envelope["t"].as_str(), envelope["eid"].as_str()) {
                (Some("PUB"), Some("topic")) => {
                    assert_eq!(envelope["msg"][0], next, "in order, without a gap");
                    next += 1;
                }
                (Some("PUB"), _) if next <= HISTORY => others_before_the_end += 1,
                (Some("PUB" | "SUB_OK"), _) => {}
                (_, _) => panic!("{} is not expected", envelope["t"]),
            }
        }
    }
    assert!(
        others_before_the_end >= 3,
        "{others_before_the_end}: other topics wait for the replay"
    );
    publish("topic", next).await;
    assert_eq!(line.expect("PUB").await["msg"][0], next);
}

/// The original client says SUB again only for what went with its HELLO: of what was published while it was away, one of
/// four arrived, and nothing told it so.
#[actix_web::test]
async fn what_is_published_while_a_client_is_away_comes_although_it_does_not_subscribe_again() {
    let nodes = attentive().start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    for topic in ["news", "quiet", "other"] {
        subscribe(&mut line, topic).await;
    }
    publish(&nodes, "news", 1).await;
    publish(&nodes, "other", 1).await;
    for _ in 0..2 {
        line.expect("PUB").await;
    }
    for round in 0..3 {
        line.barrier().await;
        let client = line.cut();
        nodes.until_let_go(&client.session).await;
        for number in 0..3 {
            publish(&nodes, "news", round * 10 + number).await;
        }
        line = nodes.back(1 - round % 2, client).await;
        for number in 0..3 {
            let publication = line.expect("PUB").await;
            assert_eq!(publication["msg"], round * 10 + number, "{publication}");
        }
        publish(&nodes, "other", "new").await;
        assert_eq!(line.expect("PUB").await["msg"], "new");
        line.none("PUB").await;
        line.none("SUB_LOST").await;
    }
}

#[actix_web::test]
async fn too_much_that_was_published_meanwhile_is_told_as_lost() {
    let nodes = attentive();
    let nodes = nodes.config(|config| config.max_topic_history = 2);
    let nodes = nodes.start(1).await;
    let mut line = nodes.open("anna").await;
    for topic in ["news", "quiet"] {
        subscribe(&mut line, topic).await;
    }
    line.barrier().await;
    let mut other = nodes.open("berta").await;
    subscribe(&mut other, "news").await;
    let client = line.cut();
    nodes.until_let_go(&client.session).await;
    for number in 0..3 {
        publish(&nodes, "news", number).await;
    }
    // Otherwise they would only now be sent to whoever is there.
    for _ in 0..3 {
        other.expect("PUB").await;
    }
    let mut line = nodes.back(0, client).await;
    assert_eq!(line.expect("SUB_LOST").await["eid"], "news");
    publish(&nodes, "news", "new").await;
    assert_eq!(line.expect("PUB").await["msg"], "new");
    line.none("SUB_LOST").await;
}

/// A node that dies cannot say what its clients have received: they are sent again what they may not have.
#[actix_web::test]
async fn what_a_client_may_not_have_received_is_repeated_rather_than_lost() {
    let nodes = attentive().start(2).await;
    let mut line = nodes.open_on(0, "anna").await;
    subscribe(&mut line, "news").await;
    line.barrier().await;
    for number in 1..=3 {
        publish(&nodes, "news", number).await;
    }
    // Its client has read none of it when it comes back on another node.
    let client = line.client.clone();
    let mut back = nodes.back(1, client).await;
    for number in 1..=3 {
        assert_eq!(back.expect("PUB").await["msg"], number);
    }
    back.none("PUB").await;
}

/// What a client says that it has seen counts, whatever the session believes.
#[actix_web::test]
async fn the_last_seen_message_of_a_sub_with_hello_wins() {
    let nodes = attentive().start(1).await;
    let mut line = nodes.open("anna").await;
    subscribe(&mut line, "news").await;
    for number in 1..=3 {
        publish(&nodes, "news", number).await;
    }
    line.expect("PUB").await;
    let second = line.expect("PUB").await;
    line.expect("PUB").await;
    line.barrier().await;
    let client = line.cut();
    nodes.until_let_go(&client.session).await;
    publish(&nodes, "news", 4).await;
    let mut line = client.connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello, {"t": "SUB", "eid": "news", "smid": second["smid"]}]))
        .await;
    line.expect("SUB_OK").await;
    for number in 3..=4 {
        assert_eq!(line.expect("PUB").await["msg"], number);
    }
    line.none("PUB").await;
}
