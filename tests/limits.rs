//! Every limit, hit once: what is told, to whom, and that others notice nothing.

use std::time::Duration;

use matssocket_testing::*;

#[actix_web::test]
async fn a_message_that_is_too_big_before_hello_is_closed_with_1008() {
    let nodes = Nodes::one().await;
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let mut hello = line.client.hello();
    hello["an"] = json!("x".repeat(513 * 1024));
    line.send(json!([hello])).await;
    line.expect_close(1008).await;
    nodes.until_stored("anna", 0).await;
    // Just within the limit is fine.
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let mut hello = line.client.hello();
    hello["cid"] = json!("x".repeat(500 * 1024));
    line.send(json!([hello])).await;
    line.expect("WELCOME").await;
}

#[actix_web::test]
async fn a_message_that_is_too_big_after_hello_is_closed_with_1009_and_its_session_kept() {
    let nodes = Setup::new()
        .config(|config| config.max_message = 600_000)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("test.do", json!("x".repeat(599_000))).await;
    line.expect_id("RESOLVE", &cmid).await;
    let two = ["one", "two"]
        .map(|cmid| line.envelope("SEND", cmid, "test.take", json!("x".repeat(400_000))));
    // The server may close before all of it is written.
    let text = tokio_tungstenite::tungstenite::Message::text(json!(two).to_string());
    let _ = futures_util::SinkExt::send(&mut line.socket, text).await;
    line.expect_close(1009).await;
    // It comes back, and sends one by one what it could not send as one.
    let mut line = nodes.back(0, line.client.clone()).await;
    for envelope in two {
        let cmid = envelope["cmid"].as_str().expect("an id").to_owned();
        line.send(json!([envelope])).await;
        line.expect_id("ACK", &cmid).await;
    }
}

/// The limit is that of the state in which a message is processed: a large second message may come while HELLO is
/// being handled.
#[actix_web::test]
async fn a_big_message_right_behind_hello_is_taken() {
    let nodes = Nodes::one().await;
    nodes.control.set("slow authentication");
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let hello = line.client.hello();
    let big = line.envelope("REQUEST", "big", "test.do", json!("x".repeat(3_000_000)));
    line.send(json!([hello])).await;
    let control = nodes.control.clone();
    let opened = async move { control.open("authentication", 1) };
    tokio::join!(line.send(json!([big])), opened);
    line.expect("WELCOME").await;
    line.expect_id("RESOLVE", "big").await;
}

/// The JavaScript client sends what was queued while it had no connection as one.
#[actix_web::test]
async fn fifty_mebibytes_less_a_little_pass() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let mut cmids = Vec::new();
    let envelopes: Vec<_> = (0..49)
        .map(|_| {
            cmids.push(line.next_cmid());
            let payload = json!("x".repeat(1024 * 1024));
            line.envelope("SEND", &cmids[cmids.len() - 1], "test.take", payload)
        })
        .collect();
    line.send(Value::Array(envelopes)).await;
    for cmid in &cmids {
        line.expect_id("ACK", cmid).await;
    }
}

#[actix_web::test]
async fn an_envelope_that_is_too_long_is_closed_with_4004() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let fits = json!("x".repeat(4 * 1024 * 1024 - 200));
    let cmid = line.send_to("test.take", fits).await;
    line.expect_id("ACK", &cmid).await;
    line.send_to("test.take", json!("x".repeat(4 * 1024 * 1024)))
        .await;
    line.expect_close(4004).await;
    nodes.control.event("close", line.session()).await;
    nodes.until_stored("anna", 0).await;
}

/// Clients send HELLO and all SUBs as one.
#[actix_web::test]
async fn hello_with_all_the_topics_that_a_session_may_have() {
    let nodes = Nodes::one().await;
    let mut line = Client::new("anna").connect(&nodes[0].url).await;
    let mut pipeline = vec![line.client.hello()];
    let topic = |number: usize| format!("{}{number}", "topic ".repeat(40));
    pipeline.extend((0..1_500).map(|number| json!({"t": "SUB", "eid": topic(number)})));
    let pipeline = Value::Array(pipeline);
    assert!(pipeline.to_string().len() > 380 * 1024);
    line.send(pipeline).await;
    line.expect("WELCOME").await;
    let mut answered = std::collections::BTreeSet::new();
    for _ in 0..1_500 {
        let answer = line.expect("SUB_OK").await;
        answered.insert(answer["eid"].as_str().expect("a topic").to_owned());
    }
    assert_eq!(answered, (0..1_500).map(topic).collect());
}

/// Its client may have left by then, and come back with more.
#[actix_web::test]
async fn what_a_handler_was_given_counts_until_it_ends() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let held = || nodes.server().metrics().held_incoming;
    let payload = json!({"gate": "g", "filler": "x".repeat(1_000_000)});
    let cmid = line.request("test.gate", payload).await;
    line.barrier().await;
    // The first KiB of a connection is not counted.
    assert!((990_000..1_100_000).contains(&held()), "{}", held());
    let client = line.cut();
    nodes.until_let_go(&client.session).await;
    assert!(held() >= 990_000, "{}", held());
    nodes.control.open("g", 1);
    let mut line = nodes.back(0, client).await;
    line.send(json!([line.envelope(
        "REQUEST",
        &cmid,
        "test.gate",
        json!({"gate": "g"})
    )]))
    .await;
    line.expect_id("RESOLVE", &cmid).await;
    within("nothing to be held", async {
        while held() > 10_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[actix_web::test]
async fn too_many_handlers_get_retry() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let pipeline: Vec<Value> = (0..1_001)
        .map(|n| {
            line.envelope(
                "REQUEST",
                &format!("m{n}"),
                "test.gate",
                json!({"gate": "g"}),
            )
        })
        .collect();
    line.send(Value::Array(pipeline)).await;
    let refused = line.expect("RETRY").await;
    assert_eq!(refused["cmid"], "m1000");
    // Another session has its own count.
    let mut other = nodes.open("berta").await;
    let cmid = other.request("test.do", json!({})).await;
    other.expect_id("RESOLVE", &cmid).await;
    nodes.control.open("g", 2_000);
    for number in 0..1_000 {
        line.expect_id("RESOLVE", &format!("m{number}")).await;
    }
    let again = line.envelope("REQUEST", "m1000", "test.gate", json!({"gate": "g"}));
    line.send(json!([again])).await;
    line.expect_id("RESOLVE", "m1000").await;
    line.none("RETRY").await;
}

#[actix_web::test]
async fn a_full_inbox_gets_retry_until_it_is_acknowledged() {
    let nodes = Setup::new()
        .config(|config| config.max_inbox = 5)
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let cmid = line.send_to("test.take", json!(1)).await;
        line.expect_id("ACK", &cmid).await;
        ids.push(cmid);
    }
    let cmid = line.next_cmid();
    let sixth = line.envelope("SEND", &cmid, "test.take", json!(6));
    line.send(json!([sixth])).await;
    line.expect_id("RETRY", &cmid).await;
    assert_eq!(nodes.control.runs(&line.tid(&cmid)), 0);
    // The same after a reconnect: the rows are counted, not the memory.
    let mut line = nodes.back(0, line.cut()).await;
    line.send(json!([sixth])).await;
    line.expect_id("RETRY", &cmid).await;
    let mut answer = Value::Null;
    for _ in 0..100 {
        line.send(json!([{"t": "ACK2", "ids": ids}])).await;
        line.send(json!([sixth])).await;
        answer = line.answer(&cmid).await;
        if answer["t"] == "ACK" {
            break;
        }
    }
    assert_eq!(answer["t"], "ACK");
    assert_eq!(nodes.control.runs(&line.tid(&cmid)), 1);
}

#[actix_web::test]
async fn too_many_topics_by_default() {
    let nodes = Nodes::one().await;
    let mut line = nodes.open("anna").await;
    let subs = |from: usize, to: usize| -> Value {
        (from..to)
            .map(|number| json!({"t": "SUB", "eid": format!("topic {number}")}))
            .collect()
    };
    line.send(subs(0, 1_500)).await;
    for _ in 0..1_500 {
        line.expect("SUB_OK").await;
    }
    line.barrier().await;
    line.send(subs(1_500, 1_501)).await;
    line.expect_close(4004).await;
}

#[actix_web::test]
async fn seventy_five_sessions_of_one_user_by_default() {
    let nodes = Nodes::two().await;
    let mut lines = Vec::new();
    for number in 0..75 {
        lines.push(nodes.open_on(number % 2, "anna").await);
    }
    let mut line = Client::new("anna").connect(&nodes[1].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    line.expect_close(1008).await;
    lines[0].leave(4000).await;
    nodes.control.event("close", lines[0].session()).await;
    nodes.open("anna").await;
}

/// One client's flood of refusals and failures is its own affair.
#[actix_web::test]
async fn others_are_served_while_one_session_is_at_all_its_limits() {
    let nodes = Setup::new()
        .config(|config| {
            config.max_handlers = 5;
            config.store.max_outbox = 5;
        })
        .start(1)
        .await;
    let mut greedy = nodes.open("greedy").await;
    for number in 0..20 {
        let _ = nodes
            .server()
            .send(greedy.session(), "t", "client.x", &number)
            .await;
    }
    let pipeline: Vec<Value> = (0..500)
        .map(|n| {
            greedy.envelope(
                "REQUEST",
                &format!("m{n}"),
                "test.gate",
                json!({"gate": "g"}),
            )
        })
        .collect();
    greedy.send(Value::Array(pipeline)).await;
    greedy.expect("RETRY").await;
    let mut line = nodes.open("anna").await;
    for _ in 0..20 {
        let cmid = line.request("test.do", json!({})).await;
        line.expect_id("RESOLVE", &cmid).await;
        nodes
            .server()
            .send(line.session(), "t", "client.x", &1)
            .await
            .unwrap();
        let mail = line.expect("SEND").await;
        line.ack(&mail).await;
    }
}

/// What a client had forwarded grew without limit, as fast as it could send.
#[actix_web::test]
async fn a_session_that_has_forwarded_too_much_is_told_to_retry() {
    let nodes = Setup::new()
        .config(|config| config.store.max_forwarded_per_session = 5)
        .start(1)
        .await;
    let mut greedy = nodes.open("greedy").await;
    let forward = json!({"do": "forward", "work gate": "g"});
    for n in 0..5 {
        let cmid = greedy.send_to("test.do", forward.clone()).await;
        greedy.expect_id("ACK", &cmid).await;
        assert_eq!(nodes.server().metrics().forwards_refused, 0, "{n}");
    }
    let sixth = greedy.envelope("SEND", "sixth", "test.do", forward);
    greedy.send(json!([sixth.clone()])).await;
    let retry = greedy.expect_id("RETRY", "sixth").await;
    assert!(
        retry["desc"].as_str().unwrap().contains("session"),
        "{retry}"
    );
    assert_eq!(nodes.server().metrics().forwards_refused, 1);
    // What does not forward is as before, and so are others.
    let cmid = greedy.request("test.do", json!({})).await;
    greedy.expect_id("RESOLVE", &cmid).await;
    let mut line = nodes.open("anna").await;
    let cmid = line.request("test.do", json!({"do": "forward"})).await;
    line.expect_id("RESOLVE", &cmid).await;
    nodes.control.open("g", 6);
    within("the sixth to be taken", async {
        loop {
            greedy.send(json!([sixth.clone()])).await;
            if greedy.answer("sixth").await["t"] == "ACK" {
                return;
            }
        }
    })
    .await;
}

#[actix_web::test]
async fn a_session_without_its_client_times_out() {
    let clock = matssocket::Clock::system();
    let nodes = Setup::new()
        .clock(&clock)
        .config(|config| {
            config.session_timeout = Duration::from_secs(3600);
            config.timeout_interval = Duration::from_millis(50);
            config.liveliness_interval = Duration::from_millis(50);
            // The clock leaps: leases must not run out by that.
            config.lease = Duration::from_secs(100 * 3600);
        })
        .start(1)
        .await;
    let mut held = nodes.open("berta").await;
    let client = nodes.open("anna").await.cut();
    nodes.until_let_go(&client.session).await;
    clock.advance(Duration::from_secs(7200));
    nodes.control.event("timeout", &client.session).await;
    assert_eq!(
        (
            nodes.stored_sessions("anna").await,
            nodes.stored_sessions("berta").await
        ),
        (0, 1)
    );
    let mut line = client.connect(&nodes[0].url).await;
    let hello = line.client.hello();
    line.send(json!([hello])).await;
    line.expect_close(4001).await;
    held.barrier().await;
}

/// Whoever was away because everybody was, or because the clock was set forward, has a while to come back.
#[actix_web::test]
async fn no_session_times_out_before_its_client_could_come_back() {
    let clock = matssocket::Clock::system();
    let dir = tempfile::tempdir().unwrap();
    let store = matssocket::Store::sqlite(dir.path().join("test.db"));
    let setup = || {
        Setup::new()
            .store(store.clone())
            .clock(&clock)
            .config(|config| {
                config.session_timeout = Duration::from_secs(3 * 24 * 3600);
                config.timeout_interval = Duration::from_millis(10);
                config.liveliness_interval = Duration::from_secs(3600);
                config.lease = Duration::from_secs(100 * 24 * 3600);
            })
    };
    let nodes = setup().start(1).await;
    let client = nodes.open("anna").await.cut();
    nodes.until_let_go(&client.session).await;
    nodes.server().stop().await;
    clock.advance(Duration::from_secs(4 * 24 * 3600));
    let nodes = setup().start(1).await;
    // Time enough to close it.
    within("the timing out", async {
        while nodes.server().metrics().maintenance["timeout"].runs == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..100 {
        assert_eq!(nodes.stored_sessions("anna").await, 1);
    }
    let mut line = nodes.back(0, client).await;
    line.barrier().await;
}

#[actix_web::test]
async fn a_transactional_handler_has_a_time_limit() {
    use diesel::prelude::*;
    let nodes = Setup::new()
        .config(|config| config.transaction_limit = Duration::from_millis(100))
        .extend(|builder, _, _| {
            builder.transactional(
                "tx.slow",
                |db: &mut SqliteConnection, incoming: matssocket::Incoming<u64>| {
                    diesel::sql_query("CREATE TABLE IF NOT EXISTS slow_rows (id INTEGER)")
                        .execute(db)?;
                    std::thread::sleep(Duration::from_millis(incoming.payload)); // the fault lasts
                    Ok(matssocket::Outcome::resolve("in time"))
                },
            )
        })
        .start(1)
        .await;
    let mut line = nodes.open("anna").await;
    let slow = line.request("tx.slow", json!(300)).await;
    let answer = line.answer(&slow).await;
    assert!(answer["t"] == "NACK" || answer["t"] == "RETRY", "{answer}");
    let quick = line.request("tx.slow", json!(0)).await;
    line.expect_id("RESOLVE", &quick).await;
}
