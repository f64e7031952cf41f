use super::*;

pub async fn subscriptions(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let subscribe = |topic: &str| Subscribe {
        holder,
        topic: topic.into(),
    };
    for topic in ["t1", "t2", "t1"] {
        assert_eq!(a.run(subscribe(topic)).await, Fenced::Done);
    }
    for topic in ["t1", "unknown"] {
        assert_eq!(
            a.run(Unsubscribe {
                holder,
                topic: topic.into()
            })
            .await,
            Fenced::Done
        );
    }
    assert_eq!(a.resume("user", "s1").await.topics, ["t2"]);
}

pub async fn publications_in_order(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    assert_eq!(a.run(NewestPublication).await, 0);
    for tid in ["p1", "p2", "p3"] {
        a.run(call(vec![publish("t", tid)])).await;
    }
    let news = a.news().await;
    assert!(news.len() == 3 && news.iter().all(|news| news.published));
    let fetched = b.run(FetchPublications { after: 1, limit: 1 }).await;
    assert_eq!(fetched.len(), 1);
    let publication = &fetched[0];
    assert_eq!(
        (
            publication.id,
            publication.created,
            publication.topic.as_str()
        ),
        (2, START, "t")
    );
    assert_eq!(
        (publication.tid.as_str(), publication.msg.get()),
        ("p2", "true")
    );
    assert_eq!(
        b.run(FetchPublications {
            after: 0,
            limit: 10
        })
        .await
        .len(),
        3
    );
    assert_eq!(b.run(NewestPublication).await, 3);
}

pub async fn history(base: Base) {
    let a = base.node("a").await;
    for (topic, tid) in [
        ("t", "p1"),
        ("u", "p2"),
        ("t", "p3"),
        ("t", "p4"),
        ("t", "p5"),
    ] {
        a.run(call(vec![publish(topic, tid)])).await;
    }
    let ask = |seen, up_to, limit| TopicHistory {
        topic: "t".into(),
        seen,
        up_to,
        limit,
    };
    let cases = [
        (ask((1, START), 4, 10), Some(vec!["p3", "p4"])),
        (ask((1, START), 99, 3), Some(vec!["p3", "p4", "p5"])),
        (ask((1, START), 99, 2), None),
        (ask((5, START), 5, 0), Some(vec![])),
        (ask((1, START + 1), 99, 10), None),
        (ask((2, START), 99, 10), None),
        (ask((9, START), 99, 10), None),
    ];
    for (question, expected) in cases {
        let text = format!("{question:?}");
        let found = a.run(question).await;
        let tids = found.map(|all| {
            all.into_iter()
                .map(|publication| publication.tid)
                .collect::<Vec<_>>()
        });
        assert_eq!(
            tids,
            expected.map(|all| all.into_iter().map(String::from).collect()),
            "{text}"
        );
    }
}

/// For a client that was sent everything up to a number, whatever topic that was published on.
pub async fn since(base: Base) {
    let a = base.node("a").await;
    for (topic, tid) in [
        ("t", "p1"),
        ("u", "p2"),
        ("t", "p3"),
        ("u", "p4"),
        ("t", "p5"),
    ] {
        a.run(call(vec![publish(topic, tid)])).await;
        base.clock.advance(secs(1));
    }
    let ask = |after, up_to, limit| {
        let read = a.run(TopicSince {
            topic: "t".into(),
            after,
            up_to,
            limit,
        });
        async move {
            let found = read.await;
            found.map(|all| all.into_iter().map(|it| it.tid).collect::<Vec<_>>())
        }
    };
    let some = |tids: &[&str]| Some(tids.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
    assert_eq!(ask(0, 5, 10).await, some(&["p1", "p3", "p5"]));
    assert_eq!(ask(2, 4, 10).await, some(&["p3"]));
    assert_eq!(ask(3, 4, 10).await, some(&[]));
    assert_eq!(ask(0, 5, 2).await, None, "too many");
    a.scavenge(secs(100), secs(3), secs(100)).await;
    assert_eq!(ask(0, 5, 10).await, None, "p1 is gone");
    assert_eq!(ask(2, 5, 10).await, some(&["p3", "p5"]));
}

pub async fn newest_survives_scavenging(base: Base) {
    let a = base.node("a").await;
    a.run(call(vec![publish("t", "p1"), publish("t", "p2")]))
        .await;
    base.clock.advance(secs(10));
    a.scavenge(days(3), secs(1), secs(1)).await;
    assert_eq!(a.run(NewestPublication).await, 2);
    assert_eq!(
        a.run(FetchPublications {
            after: 0,
            limit: 10
        })
        .await
        .len(),
        1
    );
    let outcome = a.run(call(vec![publish("t", "p3")])).await;
    assert_eq!(
        outcome,
        UnitOutcome::Committed(vec![EffectOutcome::Published(3)])
    );
}
