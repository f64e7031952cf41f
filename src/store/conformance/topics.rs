use super::*;

pub async fn subscriptions(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let subscribe = |topics: &[&str]| Subscribe {
        holder,
        topics: topics.iter().map(|topic| ((*topic).into(), None)).collect(),
    };
    for topics in [&["t1", "t2"][..], &["t1"], &["t3", "t1"], &[]] {
        assert_eq!(a.run(subscribe(topics)).await, Fenced::Done);
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
    let stored = |topic: &str| (topic.to_owned(), Some(0));
    let topics = a.resume("user", "s1").await.topics;
    assert_eq!(topics, [stored("t2"), stored("t3")]);
    assert_eq!(a.run(subscribe(&["t4"])).await, Fenced::FencedOff);
}

/// All publications, with pages that hold just one each.
async fn read_all(node: &Node) -> Vec<Publication> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let fetch = FetchPublications {
            after,
            max_bytes: 0,
        };
        let PublicationPage { publications, next } = node.run(fetch).await;
        assert!(publications.len() <= 1, "one at a time");
        after = publications.first().map_or(after, |it| it.id);
        all.extend(publications);
        if next.is_none() {
            return all;
        }
    }
}

pub async fn publications_in_order(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    assert_eq!(a.run(NewestPublication).await, 0);
    for tid in ["p1", "p2", "p3"] {
        a.run(call(vec![publish("t", tid)])).await;
    }
    let news = a.news().await;
    assert!(news.len() == 3 && news.iter().all(|news| news.published));
    let all = read_all(&b).await;
    let numbers: Vec<_> = all.iter().map(|it| it.id).collect();
    assert_eq!(numbers, [1, 2, 3]);
    let second = &all[1];
    assert_eq!(
        (second.id, second.created, second.topic.as_str()),
        (2, START, "t")
    );
    assert_eq!((second.tid.as_str(), second.msg.get()), ("p2", "true"));
    assert_eq!(b.run(NewestPublication).await, 3);
}

/// A long payload is not read just to find that it does not fit.
pub async fn pages_hold_what_fits(base: Base) {
    let a = base.node("a").await;
    let of = |bytes: usize| json(&format!("{:?}", "x".repeat(bytes - 2)));
    for (topic, bytes) in [
        ("t", 1_000),
        ("u", 9_000),
        ("t", 1_000),
        ("t", 90_000),
        ("t", 10),
        ("t", 10),
    ] {
        let publish = Effect::Publish {
            topic: topic.into(),
            tid: "tid".into(),
            msg: of(bytes),
        };
        a.run(call(vec![publish])).await;
    }
    // Topic, trace id and envelope account for 104 bytes of each.
    let cases = [
        (0, 6, 0, &[1][..], Some(3)),
        (0, 6, 2_207, &[1], Some(3)),
        (0, 6, 2_208, &[1, 3], Some(4)),
        (1, 6, 91_207, &[3], Some(4)),
        (1, 6, 91_208, &[3, 4], Some(5)),
        (3, 6, 1_000, &[4], Some(5)),
        (4, 6, 1_000, &[5, 6], None),
        (0, 3, 1_000_000, &[1, 3], None),
        (6, 9, 1_000_000, &[], None),
    ];
    for (after, up_to, max_bytes, expected, next) in cases {
        let read = ReadTopic {
            topic: "t".into(),
            after,
            up_to,
            max_bytes,
            complete: true,
        };
        let text = format!("{read:?}");
        let page = a.run(read).await.expect("nothing is gone");
        let numbers: Vec<_> = page.publications.iter().map(|it| it.id).collect();
        assert_eq!((&numbers[..], page.next), (expected, next), "{text}");
        let lengths = page.publications.iter().map(|it| it.msg.get().len());
        assert!(lengths.sum::<usize>() as u64 <= max_bytes || numbers.len() == 1);
    }
    let fetch = FetchPublications {
        after: 0,
        max_bytes: 11_500,
    };
    let page = a.run(fetch).await;
    let numbers: Vec<_> = page.publications.iter().map(|it| it.id).collect();
    assert_eq!((&numbers[..], page.next), (&[1, 2, 3][..], Some(4)));
}

/// Several topics at once, whatever the client has received of each.
pub async fn missed(base: Base) {
    let a = base.node("a").await;
    for (topic, tid) in [
        ("t", "p1"),
        ("u", "p2"),
        ("t", "p3"),
        ("t", "p4"),
        ("t", "p5"),
    ] {
        a.run(call(vec![publish(topic, tid)])).await;
        base.clock.advance(secs(1));
    }
    let seen = |number: i64| Since::Seen {
        id: number,
        created: START + (number - 1) * 1_000,
    };
    let at_another_time = Since::Seen {
        id: 1,
        created: START + 1,
    };
    let some = |first, count| Some(Missed { first, count });
    let ask = |up_to, limit, topics: &[(&str, Since)]| {
        let topics = topics
            .iter()
            .map(|(topic, since)| ((*topic).into(), *since));
        a.run(FindMissed {
            session: SessionKey(0),
            topics: topics.collect(),
            up_to,
            limit,
        })
    };
    let topics = [
        ("t", seen(1)),
        ("t", seen(5)),
        ("t", at_another_time),
        ("t", seen(2)),
        ("t", seen(9)),
        ("u", seen(2)),
        ("quiet", Since::Subscribed(Some(0))),
        ("u", Since::Subscribed(Some(0))),
        ("t", Since::Subscribed(Some(3))),
        ("t", Since::Subscribed(Some(99))),
    ];
    let expected = [
        some(3, 3),
        some(0, 0),
        None,
        None,
        None,
        some(0, 0),
        some(0, 0),
        some(2, 1),
        some(4, 2),
        // Newer than any in the store: from a database that knew more.
        None,
    ];
    assert_eq!(ask(99, 3, &topics).await, expected);
    assert_eq!(
        ask(4, 2, &[("t", seen(1)), ("t", Since::Subscribed(Some(0)))]).await,
        [some(3, 2), None],
        "only what there may be, and not too many"
    );
    assert_eq!(ask(99, 9, &[]).await, []);
    a.scavenge(secs(100), secs(4), secs(100)).await;
    let topics = [
        ("t", seen(1)),
        ("t", seen(3)),
        ("t", Since::Subscribed(Some(0))),
        ("t", Since::Subscribed(Some(1))),
        ("quiet", Since::Subscribed(Some(0))),
        ("quiet", Since::Subscribed(Some(1))),
    ];
    let expected = [None, some(4, 2), None, some(3, 3), None, some(0, 0)];
    assert_eq!(ask(99, 9, &topics).await, expected, "the first is gone");
}

/// What a session's client has received, and from where a subscription starts.
pub async fn positions(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let subscribe = |topic: &str, seen| {
        a.run(Subscribe {
            holder,
            topics: vec![(topic.into(), seen)],
        })
    };
    let note = |position| {
        a.run(NotePositions {
            positions: vec![(holder.session, position), (SessionKey(-1), 9)],
        })
    };
    for topic in ["t", "u", "t", "u"] {
        a.run(call(vec![publish(topic, "tid")])).await;
    }
    for (topic, seen) in [("t", None), ("u", Some(1)), ("v", Some(99)), ("t", Some(0))] {
        subscribe(topic, seen).await;
    }
    let topics = a.resume("user", "s1").await.topics;
    let stored = |topic: &str, since| (topic.to_owned(), Some(since));
    assert_eq!(topics, [stored("t", 4), stored("u", 1), stored("v", 4)]);
    let missed = async || {
        let topics = topics.clone().into_iter();
        let mut topics: Vec<_> = topics
            .map(|(topic, since)| (topic, Since::Subscribed(since)))
            .collect();
        // As stored by a node of an earlier version.
        topics.extend(["t", "quiet"].map(|topic| (topic.to_owned(), Since::Subscribed(None))));
        let session = holder.session;
        a.run(FindMissed {
            session,
            topics,
            up_to: 99,
            limit: 9,
        })
        .await
    };
    let some = |first, count| Some(Missed { first, count });
    let none = some(0, 0);
    assert_eq!(missed().await, [none, some(2, 2), none, None, none]);
    // The position is known from here on and only grows, whoever holds the session.
    note(3).await;
    note(2).await;
    assert_eq!(missed().await, [none, some(4, 1), none, none, none]);
    a.run(call(vec![publish("t", "tid")])).await;
    assert_eq!(
        missed().await,
        [some(5, 1), some(4, 1), none, some(5, 1), none]
    );
    note(5).await;
    assert_eq!(missed().await, [none; 5]);
}

pub async fn a_page_of_deleted_publications(base: Base) {
    let a = base.node("a").await;
    for (topic, tid) in [("t", "p1"), ("u", "p2"), ("t", "p3"), ("t", "p4")] {
        a.run(call(vec![publish(topic, tid)])).await;
        base.clock.advance(secs(1));
    }
    let ask = |after| {
        a.run(ReadTopic {
            topic: "t".into(),
            after,
            up_to: 4,
            max_bytes: 1_000,
            complete: true,
        })
    };
    a.scavenge(secs(100), secs(3), secs(100)).await;
    assert!(ask(0).await.is_none(), "p1 is gone");
    let page = ask(1).await.expect("all after it is there");
    let tids: Vec<_> = page.publications.into_iter().map(|it| it.tid).collect();
    assert_eq!(tids, ["p3", "p4"]);
}

pub async fn newest_survives_scavenging(base: Base) {
    let a = base.node("a").await;
    a.run(call(vec![publish("t", "p1"), publish("t", "p2")]))
        .await;
    base.clock.advance(secs(10));
    a.scavenge(days(3), secs(1), secs(1)).await;
    assert_eq!(a.run(NewestPublication).await, 2);
    assert_eq!(read_all(&a).await.len(), 1);
    let outcome = a.run(call(vec![publish("t", "p3")])).await;
    assert_eq!(
        outcome,
        UnitOutcome::Committed(vec![EffectOutcome::Published(3)])
    );
}
