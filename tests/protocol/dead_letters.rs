//! Messages that their client never acknowledges: given up, kept as dead letters, and sent again by an operator.

use std::time::Duration;

use matssocket_testing::*;

/// A message that a client evidently receives and never acknowledges would be redelivered for ever; one whose line
/// only flaps must not be given up.
#[actix_web::test]
async fn a_poisonous_message_becomes_a_dead_letter_and_can_be_redriven() {
    let nodes = Setup::new()
        .config(|config| {
            config.max_redeliveries = 2;
            config.redelivery_evidence = Duration::ZERO;
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    nodes
        .server()
        .send(&session, "poison", "client.poison", &"p")
        .await
        .unwrap();
    let mut deliveries = 0;
    loop {
        nodes
            .server()
            .send(&session, "marker", "client.marker", &1)
            .await
            .unwrap();
        let mail = line.expect("SEND").await;
        if mail["tid"] == "marker" {
            line.ack(&mail).await;
            break;
        }
        deliveries += 1;
        assert!(deliveries < 10, "delivered {deliveries} times");
        let marker = line.expect("SEND").await;
        // The client lives on, without acknowledging the other one.
        line.ack(&marker).await;
        let client = line.cut();
        nodes
            .control
            .events("deregister", &session, deliveries)
            .await;
        line = nodes.back(0, client).await;
    }
    assert_eq!(deliveries, 3, "one delivery and two counted redeliveries");
    let dead = nodes.server().dead_letters(0, 10).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(
        (dead[0].origin.as_str(), dead[0].trace_id.as_str()),
        ("outbox", "poison")
    );
    assert_eq!(
        (dead[0].endpoint.as_deref(), dead[0].payload.as_deref()),
        (Some("client.poison"), Some("\"p\""))
    );
    assert!(
        nodes
            .server()
            .redrive_dead_letter(dead[0].id)
            .await
            .unwrap()
    );
    let again = line
        .expect_where("the redriven message", |e| e["tid"] == "poison")
        .await;
    line.ack(&again).await;
    assert!(nodes.server().dead_letters(0, 10).await.unwrap().is_empty());
    assert!(
        !nodes
            .server()
            .redrive_dead_letter(dead[0].id)
            .await
            .unwrap()
    );
    assert!(!nodes.server().drop_dead_letter(dead[0].id).await.unwrap());
}

#[actix_web::test]
async fn a_flapping_line_kills_no_mail() {
    let nodes = Setup::new()
        .config(|config| config.max_redeliveries = 2)
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    nodes
        .server()
        .send(line.session(), "t", "client.x", &"kept")
        .await
        .unwrap();
    let smid = line.expect("SEND").await["smid"].clone();
    for round in 0..15 {
        line = nodes.back(round % 2, line.cut()).await;
        assert_eq!(line.expect("SEND").await["smid"], smid);
    }
    assert!(nodes.server().dead_letters(0, 10).await.unwrap().is_empty());
}

/// It held its session for ever, and what was in flight to it was never counted as delivered in vain.
#[actix_web::test]
async fn a_client_that_reads_but_never_acknowledges_is_sent_away_until_its_messages_are_given_up() {
    let nodes = Setup::new()
        .config(|config| {
            // Long enough for what is given up and acknowledged in time at the end.
            config.acknowledge_timeout = Duration::from_millis(1_500);
            config.max_redeliveries = 2;
            config.redelivery_evidence = Duration::ZERO;
        })
        .start(1)
        .await;
    let server = nodes.server();
    let mut bystander = nodes.open("berta").await;
    let mut line = nodes.open("anna").await;
    let session = line.session().to_owned();
    server.send(&session, "t", "client.x", &1).await.unwrap();
    for round in 1..=2 {
        assert_eq!(line.expect("SEND").await["msg"], 1);
        // It lives.
        line.send(json!([{"t": "PING", "x": round}])).await;
        let why = line.expect_close(4002).await;
        assert!(why.contains("acknowledged"), "{why}");
        nodes.control.events("deregister", &session, round).await;
        line = nodes.back(0, line.client).await;
    }
    assert_eq!(line.expect("SEND").await["msg"], 1, "a last time");
    line.send(json!([{"t": "PING", "x": 3}])).await;
    within("the message to be given up", async {
        while server.dead_letters(0, 10).await.unwrap().is_empty() {}
    })
    .await;
    server.send(&session, "t", "client.x", &2).await.unwrap();
    let mail = line.expect("SEND").await;
    assert_eq!(mail["msg"], 2);
    line.ack(&mail).await;
    server
        .send(bystander.session(), "t", "client.x", &2)
        .await
        .unwrap();
    let mail = bystander.expect("SEND").await;
    bystander.ack(&mail).await;
}

/// Dead letters were kept for ever.
#[actix_web::test]
async fn the_oldest_of_too_many_dead_letters_go() {
    let nodes = Setup::new()
        .config(|config| {
            config.max_redeliveries = 0;
            config.redelivery_evidence = Duration::ZERO;
            config.max_dead_letters = 2;
            config.scavenge_interval = Duration::from_millis(20);
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let server = nodes.server();
    for tid in ["first", "second", "third"] {
        server
            .send(line.session(), tid, "client.x", &1)
            .await
            .unwrap();
        line.expect("SEND").await;
        line.send(json!([{"t": "PING", "x": 1}])).await;
        line.expect("PONG").await;
    }
    within("the first to go", async {
        while server.metrics().dead_letters_scavenged == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let letters = server.dead_letters(0, 10).await.unwrap();
    let tids: Vec<_> = letters.iter().map(|it| it.trace_id.as_str()).collect();
    assert_eq!(tids, ["second", "third"]);
}
