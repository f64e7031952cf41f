//! Beside nodes of a version that does not know segments.

use super::*;

/// A deploy is rolled back: a node of a version without segments joins.
#[actix::test]
async fn a_node_that_does_not_know_segments_finds_all_rows_in_the_parents() {
    let case = Case::begin().await;
    case.fill().await;
    case.old_node_joins();
    assert_eq!(case.current(), 0);
    assert_eq!(case.counts("inbox"), [5, 0, 0, 0, 0]);
    assert_eq!(case.counts("outbox"), [5, 0, 0, 0, 0]);
    // This node has not been notified.
    case.send("m6").await;
    assert!(case.receive("c6").await && !case.receive("c1").await);
    case.forget(&["c2"]).await;
    case.complete(1..=1).await;
    assert_eq!(case.counts("inbox"), [5, 0, 0, 0, 0]);
    assert_eq!(case.counts("outbox"), [5, 0, 0, 0, 0]);
    assert_eq!(
        case.step().await,
        Rotated::Done,
        "it waits for that node to go"
    );
    case.schema.execute("DELETE FROM node WHERE name = 'old'");
    assert_eq!(
        case.step().await,
        Rotated::Done,
        "and for what that still does"
    );
    case.schema
        .execute("UPDATE segments SET not_before = now()");
    assert_eq!(case.step().await, Rotated::More);
    case.send("m7").await;
    assert_eq!(case.counts("outbox"), [5, 1, 0, 0, 0]);
    let expected = ["m2", "m3", "m4", "m5", "m6", "m7"];
    assert_eq!(case.node.tids(case.holder.session).await, expected);
}

/// A rolling deploy: a node of a version without segments is still running.
#[actix::test]
async fn while_a_node_does_not_know_segments_none_is_used() {
    let schema = Schema::new();
    let node = Node::attach("a", schema.settings()).expect("opens");
    let join = RenewLease {
        join: true,
        lease: std::time::Duration::from_secs(60),
    };
    node.run(join).await;
    schema.execute("INSERT INTO node (name, lease_until) VALUES ('old', 0)");
    node.open("s1").await;
    assert_eq!(node.run(Rotate { beyond: 0 }).await, Rotated::Done);
    node.run(call(vec![to("s1", "m1")])).await;
    assert_eq!(schema.number("SELECT count(*) FROM ONLY outbox"), 1);
    schema.execute("DELETE FROM node WHERE name = 'old'; UPDATE segments SET not_before = now()");
    assert_eq!(node.run(Rotate { beyond: 0 }).await, Rotated::More);
    node.run(call(vec![to("s1", "m2")])).await;
    assert_eq!(schema.number("SELECT count(*) FROM ONLY outbox_1"), 1);
}

#[actix::test]
async fn a_node_that_does_not_know_segments_comes_while_others_write() {
    let case = Case::begin().await;
    let writes = (0..200).map(|number| case.node.run(call(vec![to("s1", &format!("{number}"))])));
    let settings = case.schema.settings();
    let joins = std::thread::spawn({
        let schema = case.schema.prefix();
        move || {
            let mut conn = PgConnection::establish(&server()).expect("the test's PostgreSQL");
            let set = format!("SET search_path TO {}", schema.trim_end_matches('.'));
            conn.batch_execute(&set).expect("set");
            for round in 0..10 {
                let join = format!("INSERT INTO node (name, lease_until) VALUES ('o{round}', 0)");
                conn.batch_execute(&join).expect("joins");
                for name in ["inbox", "outbox"] {
                    let young =
                        format!("SELECT count(*) - (SELECT count(*) FROM ONLY {name}) FROM {name}");
                    let young = diesel::dsl::sql::<diesel::sql_types::BigInt>(&young);
                    assert_eq!(young.get_result(&mut conn), Ok(0), "{name}, round {round}");
                }
                let leave = "DELETE FROM node; UPDATE segments SET not_before = now()";
                conn.batch_execute(leave).expect("leaves");
            }
        }
    });
    let rotating = async {
        let node = Node::attach("r", settings).expect("opens");
        while !joins.is_finished() {
            node.run(Rotate { beyond: 0 }).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(writes), rotating).await;
    joins.join().expect("no row was in a segment");
    assert_eq!(case.node.tids(case.holder.session).await.len(), 200);
}
