//! Numbers that the database assigns itself, after a standby was promoted that had not received the last commits; and
//! numbers assigned by nodes of the previous version.

use super::*;

/// A running node still knew a session with that key, so messages for the new one would have gone to the old one's
/// client. It also still had work with that id, whose completion would have settled the new row.
#[actix::test]
async fn keys_and_ids_are_not_reused() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings_to_cut()).expect("opens");
    let (mut sessions, mut rows) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for number in 0..2 {
            let holder = node.open(&format!("s{round}.{number}")).await;
            sessions.push((holder.session.0, holder.connection.0));
            rows.push(node.forward(work()).await);
        }
        // Everything committed is lost.
        schema.execute(
            "DELETE FROM session; DELETE FROM forwarded; SELECT setval('session_number', 1); \
            SELECT setval(pg_get_serial_sequence('forwarded', 'id'), 1)",
        );
        schema.cut_all();
    }
    let are_new = |ids: &[i64]| ids.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(are_new(&rows), "{rows:?}");
    let mut numbers: Vec<_> = sessions.iter().map(|(key, _)| key / 256).collect();
    assert!(are_new(&numbers), "{numbers:?}");
    numbers = sessions.iter().map(|(_, connection)| *connection).collect();
    let mut different = numbers.clone();
    different.dedup();
    assert!(numbers.is_sorted() && different.len() >= 3, "{numbers:?}");
}

/// A role may use sequences that it does not own, but not set them.
#[actix::test]
async fn a_role_that_must_not_set_sequences_goes_without() {
    let schema = Schema::new();
    let role = LimitedRole::new(&schema, "ALL");
    let node = Node::attach("a", role.settings(&schema)).expect("opens");
    node.open("s1").await;
    let (first, second) = (node.forward(work()).await, node.forward(work()).await);
    assert_eq!(second, first + 1);
}

/// A connection that stores for a session repeatedly writes its row once for many messages.
#[actix::test]
async fn the_session_row_is_not_written_for_each_message() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    node.open("s1").await;
    let versions = || schema.texts("SELECT xmin::text FROM session");
    for _ in 0..20 {
        node.run(call(vec![to("s1", "m")])).await;
    }
    let before = versions();
    for _ in 0..20 {
        node.run(call(vec![to("s1", "m")])).await;
    }
    assert_eq!(versions(), before);
}

/// A number is not reused either if the promoted standby lacks a reserved range that was in use, and the one after it.
#[actix::test]
async fn numbers_of_lost_ranges_are_not_reused() {
    let schema = Schema::new();
    let one = Node::attach("a", schema.settings_to_cut()).expect("opens");
    let other = Node::attach("b", schema.settings_to_cut()).expect("opens");
    one.open("s1").await;
    let mut given = Vec::new();
    for _ in 0..3 {
        for node in [&one, &other] {
            for _ in 0..20 {
                given.push(node.store(to("s1", "m")).await);
            }
        }
        schema.execute(
            "DELETE FROM outbox; UPDATE session SET last_seq = 0, outbox_bytes = 0, skipped = 0",
        );
        schema.cut_all();
    }
    assert!(given.windows(2).all(|pair| pair[0] < pair[1]), "{given:?}");
}

/// A node of the previous version assumes that everything up to the number in the row is stored, so nothing is reserved
/// for its sessions.
#[actix::test]
async fn nothing_is_reserved_for_a_session_on_a_node_of_the_previous_version() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    node.open("s1").await;
    schema.execute("UPDATE session SET connection = connection + 1, node = 'old'");
    let mut newest = 0;
    for _ in 0..20 {
        newest = node.store(to("s1", "m")).await;
    }
    let row = schema.texts("SELECT last_seq::text FROM session");
    assert_eq!(row, [newest.to_string()]);
}

/// A node of the previous version assigns the number after the newest one and knows nothing of gaps. What it stores is
/// correct for nodes that do.
#[actix::test]
async fn nodes_of_the_previous_version_continue_the_numbers() {
    let schema = Schema::new();
    let config = StoreConfig {
        max_outbox: 5,
        ..StoreConfig::default()
    };
    let node = Node::with("a", schema.settings(), &config).expect("opens");
    let session = node.open("s1").await.session;
    let publish = || Effect::Publish {
        topic: "t".into(),
        tid: "t".into(),
        msg: serde_json::value::RawValue::from_string("1".into()).expect("JSON"),
    };
    for _ in 0..2 {
        node.run(call(vec![to("s1", "new"), publish()])).await;
        schema.execute(
            "UPDATE session SET last_seq = last_seq + 1, outbox_bytes = outbox_bytes + 1; \
            INSERT INTO outbox (session, seq, kind, eid, tid, msg, deliveries, created) \
            SELECT key, last_seq, 'SEND', 'e', 'old', '1', 0, 0 FROM session; \
            UPDATE publication_clock SET newest = newest + 1; \
            INSERT INTO publication (id, created, topic, tid, msg) \
            SELECT newest, 0, 't', 'old', '1' FROM publication_clock",
        );
    }
    assert_eq!(node.tids(session).await, ["new", "old", "new", "old"]);
    let outcome = node.run(call(vec![to("s1", "fifth")])).await;
    assert!(matches!(outcome, UnitOutcome::Committed(_)), "{outcome:?}");
    let outcome = node.run(call(vec![to("s1", "sixth")])).await;
    assert!(matches!(outcome, UnitOutcome::OutboxFull(_)), "{outcome:?}");
    // Each publication knows its predecessor, so nothing counts as gone.
    let fetch = FetchPublications {
        after: 0,
        max_bytes: 1_000_000,
    };
    let publications = node.run(fetch).await.publications;
    for (before, publication) in [0]
        .into_iter()
        .chain(publications.iter().map(|it| it.id))
        .zip(&publications)
    {
        schema.execute(&format!(
            "DELETE FROM publication WHERE id < {}",
            publication.id
        ));
        let read = |after| ReadTopic {
            topic: "t".into(),
            after,
            up_to: i64::MAX,
            max_bytes: 1_000_000,
            complete: true,
        };
        assert!(node.run(read(before)).await.is_some(), "{before}");
        assert!(node.run(read(before - 1)).await.is_none(), "{before}");
    }
}
