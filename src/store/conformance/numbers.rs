use super::*;

/// Long enough after 2020 for numbers to follow the time.
const LATER: i64 = 1_800_000_000_000;

/// How far ahead of the time a new connection starts, in milliseconds.
const HEAD_START: i64 = 10_000;

/// The number for a time in milliseconds since the epoch.
fn at(ms: i64) -> i64 {
    (ms - 1_577_836_800_000) * 1_000
}

/// What was just stored for a session: for each message, the number before it and its own.
async fn just_stored(node: &Node) -> Vec<(i64, i64)> {
    let news = node.news().await.into_iter();
    news.flat_map(|news| news.stored)
        .map(|stored| (stored.after, message(&stored).seq))
        .collect()
}

/// Each number is at least that of the time, and each message knows the number before its own, with none in between.
pub async fn catch_up_with_the_time(base: Base) {
    let base = base.at(LATER);
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    assert_eq!(holder.connection, ConnectionId(at(LATER + HEAD_START)));
    for tid in ["m1", "m2"] {
        a.send("s1", tid).await;
    }
    base.clock.advance(secs(12));
    a.send("s1", "m3").await;
    let (first, third) = (at(LATER + HEAD_START), at(LATER + 12_000));
    let expected = [(0, first), (first, first + 1), (first + 1, third)];
    assert_eq!(just_stored(&a).await, expected);
    let stored = a.fetch(holder.session).await.into_iter();
    let stored: Vec<_> = stored.map(|it| (it.seq, it.tid)).collect();
    let expected = [(first, "m1"), (first + 1, "m2"), (third, "m3")];
    assert_eq!(stored, expected.map(|(seq, tid)| (seq, tid.to_owned())));

    let again = a.resume("user", "s1").await;
    assert_eq!(again.holder.connection, ConnectionId(third));
    assert_eq!(again.last_seq, third);
}

/// A redriven dead letter gets the next number and knows the one before it.
pub async fn of_a_dead_letter(base: Base) {
    let base = base.at(LATER);
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    for tid in ["m1", "m2"] {
        a.send("s1", tid).await;
    }
    let first = at(LATER + HEAD_START);
    let mark = MarkRedelivery {
        holder,
        seqs: vec![first],
        max: 0,
    };
    assert_eq!(a.run(mark).await, MarkedRedelivery::Done(vec![first]));
    just_stored(&a).await;
    base.clock.advance(secs(12));
    let id = a.dead().await[0].id;
    assert!(a.run(RedriveDeadLetter { id }).await);
    let redriven = just_stored(&a).await;
    let [(after, seq)] = redriven[..] else {
        panic!("not one: {redriven:?}");
    };
    assert_eq!(after, first + 1);
    assert!(seq >= at(LATER + 12_000), "{seq}");
    assert_eq!(a.tids(holder.session).await, ["m2", "m1"]);
}

/// Skipped numbers are not messages: they do not fill an outbox.
pub async fn gaps_fill_no_outbox(base: Base) {
    let mut base = base.at(LATER);
    base.config.max_outbox = 3;
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let is_stored = |outcome| matches!(outcome, UnitOutcome::Committed(_));
    for round in 0..5 {
        for message in 0..3 {
            assert!(is_stored(a.send("s1", "m").await), "{round}.{message}");
            base.clock.advance(secs(1));
        }
        let full = a.send("s1", "m").await;
        assert!(matches!(full, UnitOutcome::OutboxFull(_)), "{full:?}");
        let acked = a.fetch(holder.session).await;
        let acked = acked.into_iter().map(|it| it.seq).collect();
        let nacked = Vec::new();
        let complete = Complete {
            holder,
            acked,
            nacked,
        };
        assert_eq!(a.run(complete).await, Fenced::Done);
    }
}

/// The same for publications. Whether something between two of them is gone is known, whatever their numbers.
pub async fn of_publications(base: Base) {
    let base = base.at(LATER);
    let a = base.node("a").await;
    for tid in ["p1", "p2", "p3"] {
        a.run(call(vec![publish("t", tid), publish("t", "next")]))
            .await;
        base.clock.advance(secs(20));
    }
    let fetch = FetchPublications {
        after: 0,
        max_bytes: 1_000_000,
    };
    let numbers: Vec<_> = a.run(fetch).await.publications;
    let numbers: Vec<_> = numbers.into_iter().map(|it| it.id).collect();
    let times = [LATER + HEAD_START, LATER + 20_000, LATER + 40_000].map(at);
    assert_eq!(numbers, times.map(|it| [it, it + 1]).concat());
    assert_eq!(a.run(NewestPublication).await, numbers[5]);

    // The first two are deleted.
    a.scavenge(secs(100), secs(41), secs(100)).await;
    let left = a.run(NewestPublication).await;
    assert_eq!(left, numbers[5]);
    let since = [
        0,
        numbers[0],
        numbers[1],
        numbers[1] + 1,
        numbers[2],
        numbers[5],
        left + 1,
    ];
    let topics = since.map(|since| ("t".to_owned(), Since::Subscribed(Some(since))));
    let missed = a.run(FindMissed {
        session: SessionKey(0),
        topics: topics.to_vec(),
        up_to: i64::MAX,
        limit: 100,
    });
    let some = |first, count| Some(Missed { first, count });
    let expected = [
        None,
        None,
        some(numbers[2], 4),
        some(numbers[2], 4),
        some(numbers[3], 3),
        some(0, 0),
        None,
    ];
    assert_eq!(missed.await, expected);
    for (after, is_there) in [(numbers[0], false), (numbers[1], true), (left, true)] {
        let read = ReadTopic {
            topic: "t".into(),
            after,
            up_to: i64::MAX,
            max_bytes: 1_000,
            complete: true,
        };
        assert_eq!(a.run(read).await.is_some(), is_there, "{after}");
    }
}

/// A client may claim to have seen a publication of a database that knew more.
pub async fn seen_ahead_of_the_store(base: Base) {
    let base = base.at(LATER);
    let a = base.node("a").await;
    a.run(call(vec![publish("t", "p1")])).await;
    let newest = a.run(NewestPublication).await;
    let seen = |id, created| Since::Seen { id, created };
    let since = [seen(newest, LATER), seen(newest + 1, LATER)];
    let missed = a.run(FindMissed {
        session: SessionKey(0),
        topics: since.map(|since| ("t".to_owned(), since)).to_vec(),
        up_to: newest,
        limit: 100,
    });
    let nothing = Some(Missed { first: 0, count: 0 });
    assert_eq!(missed.await, [nothing, None]);
}
