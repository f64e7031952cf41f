//! Last values of topics.

use super::*;

fn value(topic: &str, key: &str, tid: &str) -> Unit {
    call(vec![Effect::Publish {
        topic: topic.into(),
        tid: tid.into(),
        msg: json("true"),
        value_of: Some(key.into()),
    }])
}

fn read(topic: &str, after: i64, up_to: i64, max_bytes: u64) -> ReadValues {
    ReadValues {
        topic: topic.into(),
        after,
        up_to,
        max_bytes,
    }
}

async fn all(node: &Node, topic: &str) -> Vec<(i64, String)> {
    let page = node.run(read(topic, 0, i64::MAX, 1_000_000)).await;
    assert_eq!(page.next, None);
    let values = page.publications.into_iter();
    values.map(|it| (it.id, it.tid)).collect()
}

fn shown(values: &[(i64, &str)]) -> Vec<(i64, String)> {
    let values = values.iter();
    values.map(|(id, tid)| (*id, (*tid).to_owned())).collect()
}

/// The last of each key, in the order in which they were published, for longer than the history.
pub async fn the_last_of_each_key(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    for (key, tid) in [("x", "p1"), ("y", "p2"), ("x", "p3"), ("", "p4")] {
        a.run(value("t", key, tid)).await;
    }
    a.run(value("u", "x", "p5")).await;
    a.run(call(vec![publish("t", "p6")])).await;
    let expected = shown(&[(2, "p2"), (3, "p3"), (4, "p4")]);
    assert_eq!(all(&b, "t").await, expected);
    assert_eq!(all(&b, "u").await, shown(&[(5, "p5")]));
    base.clock.advance(secs(10));
    a.scavenge(secs(100), secs(1), secs(100)).await;
    assert_eq!(all(&b, "t").await, expected, "the history is gone");
    let page = b.run(read("t", 3, 9, 1_000_000)).await;
    let newest = &page.publications[0];
    assert_eq!(
        (newest.created, &*newest.topic, newest.msg.get()),
        (START, "t", "true")
    );

    let drop_value = |key: &str| {
        b.run(DropValue {
            topic: "t".into(),
            key: key.into(),
        })
    };
    assert!(drop_value("x").await);
    assert!(!drop_value("x").await);
    assert_eq!(all(&a, "t").await, shown(&[(2, "p2"), (4, "p4")]));
}

pub async fn pages(base: Base) {
    let a = base.node("a").await;
    for (key, tid) in [("z", "p1"), ("y", "p2"), ("x", "p3")] {
        a.run(value("t", key, tid)).await;
    }
    // Each counts for its payload, topic, trace id and envelope.
    let cases = [
        (0, 9, 0, &[1][..], Some(2)),
        (0, 9, 214, &[1, 2], Some(3)),
        (0, 9, 321, &[1, 2, 3], None),
        (1, 2, 1_000, &[2], None),
        (3, 9, 1_000, &[], None),
    ];
    for (after, up_to, max_bytes, expected, next) in cases {
        let page = a.run(read("t", after, up_to, max_bytes)).await;
        let ids: Vec<_> = page.publications.iter().map(|it| it.id).collect();
        assert_eq!(
            (&ids[..], page.next),
            (expected, next),
            "after {after}, up to {up_to}, {max_bytes} bytes"
        );
    }
}

/// A session that is resumed gets them again, unless it has received what was sent to it then.
pub async fn due(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    for (topic, key, tid) in [("t", "x", "p1"), ("t", "y", "p2"), ("u", "x", "p3")] {
        a.run(value(topic, key, tid)).await;
    }
    let find = async |up_to| {
        let topics = [
            ("t", ValuesFor::New),
            ("none", ValuesFor::New),
            ("t", ValuesFor::Resumed { since: 2 }),
            ("u", ValuesFor::Resumed { since: 3 }),
            ("u", ValuesFor::New),
        ];
        let topics = topics.map(|(topic, why)| (topic.to_owned(), why));
        a.run(FindValues {
            session,
            topics: topics.to_vec(),
            up_to,
        })
        .await
    };
    let some = |first, up_to| Some(Values { first, up_to });
    let all = [some(1, 9), None, some(1, 2), some(3, 3), some(3, 9)];
    assert_eq!(find(9).await, all);
    assert_eq!(find(2).await[4], None, "it will arrive");
    let note = async |position| {
        a.run(NotePositions {
            positions: vec![(session, position)],
        })
        .await;
    };
    note(2).await;
    assert_eq!(
        find(9).await,
        all,
        "that may have been before it subscribed"
    );
    note(3).await;
    let all = [some(1, 9), None, None, some(3, 3), some(3, 9)];
    assert_eq!(find(9).await, all);
}

/// Beyond that it is published all the same.
pub async fn only_so_many_keys(mut base: Base) {
    base.config.max_values_per_topic = 2;
    let a = base.node("a").await;
    for (key, tid) in [("x", "p1"), ("y", "p2"), ("z", "p3"), ("x", "p4")] {
        let outcome = a.run(value("t", key, tid)).await;
        assert!(matches!(outcome, UnitOutcome::Committed(_)), "{outcome:?}");
    }
    a.run(value("u", "z", "p5")).await;
    assert_eq!(all(&a, "t").await, shown(&[(2, "p2"), (4, "p4")]));
    assert_eq!(all(&a, "u").await, shown(&[(5, "p5")]));
    assert_eq!(a.run(NewestPublication).await, 5);
}
