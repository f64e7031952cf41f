//! Started work that has a key: one of a name at a time, and cancelled while it waits.

use std::time::Duration;

use matssocket::{Forward, IdempotencyKey, Incoming, Outcome, SendError, Started};
use matssocket_testing::*;

use crate::started::{HOUR, marker, quick, until_worked, works};

fn keyed(n: &str, key: &str) -> Forward {
    Forward::to("work", &json!({"n": n})).key(key)
}

#[actix_web::test]
async fn of_work_with_a_key_there_is_one_until_it_is_done() {
    let nodes = Setup::new().config(quick).start(2).await;
    let gated = Forward::to("work", &json!({"n": "first", "work gate": "g"})).key("k");
    let start = |node: usize, forward| nodes[node].server.start("keyed", forward);
    assert_eq!(start(0, gated).await.unwrap(), Started::Stored);
    nodes.control.until_waiting("g", 1).await;
    assert_eq!(
        start(1, keyed("no", "k")).await.unwrap(),
        Started::Outstanding
    );
    assert_eq!(
        start(1, keyed("other", "k2")).await.unwrap(),
        Started::Stored
    );
    let other = Forward::to("idle", &1).key("k");
    assert_eq!(
        start(1, other).await.unwrap(),
        Started::Stored,
        "a key is the service's"
    );
    // It has begun: it cannot be cancelled.
    assert!(!nodes[1].server.cancel("work", "k").await.unwrap());
    nodes.control.open("g", 1);
    within("the key to be free", async {
        while start(1, keyed("second", "k")).await.unwrap() != Started::Stored {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    until_worked(&nodes, "second", 1).await;
    let once = || IdempotencyKey::new("once");
    let start_once = || nodes.server().start_once(once(), "t", keyed("third", "k3"));
    assert_eq!(start_once().await.unwrap(), Started::Stored);
    assert_eq!(start_once().await.unwrap(), Started::Repeated);
    marker(&nodes, "end").await;
    assert_eq!(works(&nodes, "no").len(), 0);
    for key in ["", "a\nb", &"x".repeat(256)] {
        let refused = start(0, keyed("no", key)).await;
        assert!(
            matches!(refused, Err(SendError::InvalidId(_))),
            "{refused:?}"
        );
        let refused = nodes.server().cancel("work", key).await;
        assert!(
            matches!(refused, Err(SendError::InvalidId(_))),
            "{refused:?}"
        );
    }
}

#[actix_web::test]
async fn work_that_waits_is_cancelled_by_its_key() {
    let nodes = Setup::new()
        .config(quick)
        .extend(|builder, _, _| {
            builder
                .endpoint("cancel", async |key: Incoming<String>| {
                    key.context.cancel("work", &key.payload)?;
                    match key.payload.as_str() {
                        "failing" => Err("it fails".into()),
                        _ => Ok(Outcome::resolve(())),
                    }
                })
                .endpoint("forward", async |key: Incoming<String>| {
                    Ok(Outcome::<()>::forward(keyed("no", &key.payload)))
                })
        })
        .start(2)
        .await;
    let mut line = nodes.open("anna").await;
    for key in ["server", "handler", "failing"] {
        let started = nodes.server().start("t", keyed(key, key).after(HOUR));
        assert_eq!(started.await.unwrap(), Started::Stored);
    }
    let other = &nodes[1].server;
    assert!(other.cancel("work", "server").await.unwrap());
    assert!(!other.cancel("work", "server").await.unwrap(), "it is gone");
    for (key, told) in [("handler", "RESOLVE"), ("failing", "NACK")] {
        let cmid = line.request("cancel", json!(key)).await;
        assert_eq!(line.answer(&cmid).await["t"], told, "{key}");
    }
    // A client that waits for its reply must not find it left out because of another's work.
    let cmid = line.request("forward", json!("new")).await;
    assert_eq!(line.answer(&cmid).await["t"], "NACK");
    nodes.clock.advance(2 * HOUR);
    until_worked(&nodes, "failing", 1).await;
    marker(&nodes, "end").await;
    for n in ["server", "handler", "no"] {
        assert_eq!(works(&nodes, n).len(), 0, "{n}");
    }
}

/// A job that keeps itself going, once in the cluster.
#[actix_web::test]
async fn a_service_starts_the_next_work_of_its_own_key() {
    let nodes = Setup::new()
        .config(quick)
        .extend(|builder, control, node| {
            let control = control.clone();
            builder.service("round", move |incoming: Incoming<u32>| {
                control.ran(node, "round", &incoming.context, &json!(incoming.payload));
                async move {
                    let (round, context) = incoming.into_parts();
                    if round < 5 {
                        let next = Forward::to("round", &(round + 1)).key("rounds");
                        context.start(next.after(Duration::from_millis(1)))?;
                    }
                    Ok(Outcome::<()>::done())
                }
            })
        })
        .start(2)
        .await;
    for node in [0, 1, 0] {
        let first = Forward::to("round", &1).key("rounds");
        nodes[node].server.start("rounds", first).await.unwrap();
    }
    nodes.clock.advance(Duration::from_millis(1));
    let clock = nodes.clock.clone();
    let rounds = || nodes.control.all(|seen| seen.what == "round");
    within("five rounds", async {
        while !rounds().iter().any(|seen| seen.payload == 5) {
            clock.advance(Duration::from_millis(1));
            actix_web::rt::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let seen: Vec<_> = rounds().iter().map(|seen| seen.payload.clone()).collect();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}
