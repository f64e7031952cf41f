//! Several processes on one database, represented by several stores.

use futures_util::future::join_all;

use super::*;

#[actix::test]
async fn ten_nodes_start_at_once_on_an_empty_database() {
    let schema = Schema::new();
    let nodes: Vec<_> = (0..10)
        .map(|number| {
            let settings = schema.settings();
            std::thread::spawn(move || {
                actix::System::new().block_on(async move {
                    let node = Node::attach(&format!("n{number}"), settings)?;
                    node.open(&format!("s{number}")).await;
                    Ok::<_, StoreError>(())
                })
            })
        })
        .collect();
    for node in nodes {
        node.join().expect("no panic").expect("starts");
    }
    let node = Node::attach("last", schema.settings()).expect("opens");
    let filter = SessionFilter::default();
    assert_eq!(node.run(CountSessions { filter }).await, 10);
}

#[actix::test]
async fn a_node_of_the_previous_version_works_on_tables_of_the_next() {
    let schema = Schema::new();
    schema.settings().migrate().expect("migrates");
    schema.execute(
        "INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000'); \
        ALTER TABLE session ADD COLUMN tenant TEXT; ALTER TABLE outbox ADD COLUMN priority INTEGER DEFAULT 0; \
        CREATE TABLE novelty (x INTEGER)",
    );
    let node = Node::attach("a", schema.settings()).expect("opens");
    let holder = node.open("s1").await;
    node.run(call(vec![to("s1", "m1")])).await;
    assert_eq!(node.tids(holder.session).await, ["m1"]);
}

#[actix::test]
async fn without_migrations_the_tables_must_be_up_to_date() {
    let schema = Schema::new();
    let refused = Node::attach("a", schema.settings().without_migrations());
    let text = refused.err().expect("refused").to_string();
    assert!(
        text.contains("matssocket migrate") && text.contains("initial"),
        "{text}"
    );
    let ran = schema.settings().migrate().expect("migrates");
    let all = std::fs::read_dir("migrations/postgres").expect("they are here");
    assert_eq!(ran.len(), all.count(), "{ran:?}");
    assert_eq!(
        schema.settings().migrate().expect("migrates").len(),
        0,
        "nothing is left to do"
    );
    Node::attach("a", schema.settings().without_migrations()).expect("opens");
}

#[actix::test]
async fn errors_name_no_password() {
    let settings = Postgres::at("postgres://me:hunter2@127.0.0.1:1/nowhere?connect_timeout=1");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let text = Node::attach("a", settings)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        !text.contains("hunter2") && text.contains("127.0.0.1"),
        "{text}"
    );
}

#[actix::test]
async fn publications_become_visible_in_order() {
    const EACH: usize = 200;
    let schema = Schema::new();
    let nodes: Vec<_> = (0..3)
        .map(|number| Node::attach(&format!("n{number}"), schema.settings()).expect("opens"))
        .collect();
    let publish = |number: usize, round: usize| {
        let publication = Effect::Publish {
            topic: "t".into(),
            tid: format!("{number}/{round}"),
            msg: serde_json::value::RawValue::from_string("1".into()).expect("JSON"),
            value_of: None,
        };
        nodes[number].run(call(vec![publication]))
    };
    let publishing = join_all((0..3).map(|number| {
        let publish = &publish;
        async move {
            for round in 0..EACH {
                publish(number, round).await;
            }
        }
    }));
    // A reader that only moves forward must miss nothing.
    let reading = async {
        let (mut after, mut seen) = (0, Vec::new());
        while seen.len() < 3 * EACH {
            let fetch = FetchPublications {
                after,
                max_bytes: 5_000,
            };
            for publication in nodes[0].run(fetch).await.publications {
                assert!(publication.id > after);
                after = publication.id;
                seen.push(publication.tid);
            }
        }
        seen
    };
    let limit = std::time::Duration::from_secs(60);
    let both = futures_util::future::join(publishing, tokio::time::timeout(limit, reading)).await;
    let seen = both.1.expect("a publication was missed");
    for number in 0..3 {
        let theirs = seen
            .iter()
            .filter(|tid| tid.starts_with(&format!("{number}/")));
        let expected: Vec<_> = (0..EACH).map(|round| format!("{number}/{round}")).collect();
        assert!(theirs.eq(&expected), "in the order of node {number}");
    }
}

#[actix::test]
async fn opposite_orders_do_not_deadlock() {
    let schema = Schema::new();
    let (a, b) = (
        Node::attach("a", schema.settings()).expect("opens"),
        Node::attach("b", schema.settings()).expect("opens"),
    );
    let (one, two) = (a.open("s1").await, a.open("s2").await);
    let rounds = 100;
    let many = (0..rounds).flat_map(|round| {
        let tid = format!("m{round}");
        [
            a.0.run(call(vec![to("s1", &tid), to("s2", &tid)])),
            b.0.run(call(vec![to("s2", &tid), to("s1", &tid)])),
        ]
    });
    for outcome in join_all(many).await {
        let outcome = outcome.expect("no deadlock");
        assert!(matches!(outcome, UnitOutcome::Committed(_)), "{outcome:?}");
    }
    assert_eq!(a.tids(one.session).await.len(), 2 * rounds);
    assert_eq!(a.tids(two.session).await.len(), 2 * rounds);
}

#[actix::test]
async fn a_reply_token_settles_once_whoever_uses_it() {
    let schema = Schema::new();
    let nodes = ["a", "b"].map(|name| Node::attach(name, schema.settings()).expect("opens"));
    let holder = nodes[0].open("s1").await;
    for round in 0..20 {
        let request = NewForward {
            cmid: Some(format!("c{round}")),
            kind: crate::wire::MessageType::Request,
            ..work()
        };
        let id = nodes[0].forward(request).await;
        schema.execute(&format!("UPDATE forwarded SET secret = 'secret {round}'"));
        let claimed = nodes[0]
            .run(ReadForwarded {
                id,
                secret: format!("secret {round}"),
            })
            .await;
        let id = claimed.expect("it is there").id;
        let reply = |node: &Node| {
            let cause = Cause::Forwarded {
                id,
                proof: Proof::Token(format!("secret {round}")),
            };
            node.0.run(Unit {
                cause,
                effects: vec![to("s1", &format!("r{round}"))],
            })
        };
        let both = join_all(nodes.iter().map(reply)).await;
        let settled = both.into_iter().map(|it| it.expect("works"));
        let settled = settled
            .filter(|it| matches!(it, UnitOutcome::Committed(_)))
            .count();
        assert_eq!(settled, 1, "round {round}");
    }
    assert_eq!(nodes[0].tids(holder.session).await.len(), 20);
}
