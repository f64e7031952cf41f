use super::*;

pub async fn fetch_in_order(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    a.open("user", "s2").await;
    for tid in ["m1", "m2", "m3", "m4"] {
        a.send("s1", tid).await;
        a.send("s2", "other").await;
    }
    let each = send("m").msg.map_or(0, |msg| msg.get().len() as u64);
    let cases = [
        (0, 10, u64::MAX, vec![1, 2, 3, 4], false),
        (2, 10, u64::MAX, vec![3, 4], false),
        (0, 2, u64::MAX, vec![1, 2], true),
        (2, 2, u64::MAX, vec![3, 4], false),
        (0, 10, 2 * each, vec![1, 2], true),
        (1, 10, 0, vec![2], true),
        (4, 10, 0, vec![], false),
    ];
    for (after, limit, max_bytes, seqs, more) in cases {
        let fetched = a
            .run(FetchOutbox {
                session,
                after,
                limit,
                max_bytes,
                max_first: u64::MAX,
            })
            .await;
        let got: Vec<_> = fetched.messages.iter().map(|message| message.seq).collect();
        assert_eq!(
            (got, fetched.more),
            (seqs, more),
            "after {after}, limit {limit}, {max_bytes} bytes"
        );
    }
}

/// A SEND with a payload of this size.
pub(super) fn sized(tid: &str, bytes: usize) -> NewMessage {
    NewMessage {
        msg: Some(json(&format!("\"{}\"", "ü".repeat((bytes - 2) / 2)))),
        ..send(tid)
    }
}

pub async fn fetch_by_bytes(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    for (tid, bytes) in [("m1", 100), ("m2", 100), ("m3", 50_000), ("m4", 100)] {
        a.run(call(vec![to("s1", sized(tid, bytes))])).await;
    }
    a.run(call(vec![to(
        "s1",
        NewMessage {
            msg: None,
            ..send("m5")
        },
    )]))
    .await;
    let cases = [
        (0, 200, 200, vec!["m1", "m2"], None),
        (0, 199, 199, vec!["m1"], None),
        (2, 60_000, 0, vec!["m3", "m4", "m5"], None),
        (2, 1_000, 49_999, vec![], Some(50_000)),
        (2, 1_000, 50_000, vec!["m3"], None),
        (3, 100, 0, vec!["m4", "m5"], None),
        (4, 0, 0, vec!["m5"], None),
    ];
    for (after, max_bytes, max_first, tids, too_large) in cases {
        let fetched = a
            .run(FetchOutbox {
                session,
                after,
                limit: 10,
                max_bytes,
                max_first,
            })
            .await;
        let case = format!("{max_bytes} bytes behind {after}");
        let more = !tids.contains(&"m5");
        let got = fetched.messages.into_iter().map(|message| message.tid);
        assert_eq!(got.collect::<Vec<_>>(), tids, "{case}");
        assert_eq!(
            (fetched.more, fetched.too_large),
            (more, too_large),
            "{case}"
        );
    }
}

/// Reads without a limit of the caller's are limited all the same, and the caller gets the rest by asking again.
pub async fn large_ones_in_parts(base: Base) {
    const LARGE: usize = 1_500_000;
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let mut asked = request("r");
    let correlation = asked.correlation.as_mut().expect("of a request");
    correlation.string = Some("x".repeat(LARGE));
    correlation.bytes = Some([0, 1].repeat(LARGE / 2));
    for _ in 0..3 {
        a.run(call(vec![to("s1", asked.clone())])).await;
        a.run(call(vec![to("s1", sized("m", LARGE))])).await;
    }
    a.run(MarkRedelivery {
        holder,
        seqs: vec![2, 4, 6],
        max: 0,
    })
    .await;
    let first = a.dead().await;
    assert_eq!(first.len(), 2);
    let rest = ListDeadLetters {
        after: first[1].id,
        limit: 10,
    };
    assert_eq!(a.run(rest).await.len(), 1);
    base.clock.advance(secs(5));
    for _ in 0..3 {
        let ended = a.ended().await;
        assert_eq!(ended.len(), 1);
        assert_eq!(Some(&ended[0].correlation), asked.correlation.as_ref());
        assert_eq!(ended[0].reason, "timed out after 5000 ms");
    }
    assert!(a.ended().await.is_empty());
}

pub async fn complete_and_nack(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(call(vec![
        to("s1", send("m1")),
        to("s1", request("m2")),
        to("s1", request("m3")),
    ]))
    .await;
    let complete = Complete {
        holder,
        acked: vec![1, 3, 99],
        nacked: vec![2, 98],
    };
    assert_eq!(a.run(complete.clone()).await, Fenced::Done);
    assert_eq!(a.run(complete).await, Fenced::Done);
    assert!(a.fetch(holder.session).await.is_empty());
    let ended = a.ended().await;
    assert_eq!(ended.len(), 1);
    assert_eq!(
        (ended[0].seq, ended[0].tid.as_str(), ended[0].sid.as_str()),
        (2, "m2", "s1")
    );
    assert!(ended[0].reason.contains("NACK"));
    assert_eq!(
        Some(ended[0].correlation.clone()),
        request("m2").correlation
    );
    // Sequence numbers continue, whatever was deleted.
    assert_eq!(
        a.send("s1", "m4").await,
        UnitOutcome::Committed(vec![EffectOutcome::Stored(4)])
    );
}

pub async fn correlations_time_out(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let session = a.open("user", "s1").await.holder.session;
    a.run(call(vec![to("s1", request("m1"))])).await;
    base.clock.advance(Duration::from_millis(4999));
    assert!(a.ended().await.is_empty());
    base.clock.advance(Duration::from_millis(1));
    let ended = a.ended().await;
    assert_eq!(ended[0].reason, "timed out after 5000 ms");
    assert_eq!(
        (ended[0].session, ended[0].user_id.as_str()),
        (session, "user")
    );
    assert!(b.ended().await.is_empty(), "taken");
    base.clock.advance(secs(10));
    assert_eq!(b.ended().await, ended, "whoever took it did not settle it");
    let settle = || Unit {
        cause: Cause::EndedCorrelation { session, seq: 1 },
        effects: vec![publish("t", "p")],
    };
    assert!(matches!(b.run(settle()).await, UnitOutcome::Committed(_)));
    assert_eq!(a.run(settle()).await, UnitOutcome::AlreadySettled);
    base.clock.advance(secs(10));
    assert!(a.ended().await.is_empty());
}

/// A query that continues where the last one ended finds what one that starts over would.
pub async fn ended_requests_are_found_from_where_the_last_query_ended(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let store = |tid: &'static str| call(vec![to("s1", request(tid))]);
    let look = async |looked: &ClaimedCorrelations| a.ended_since(Some(looked.since)).await;
    let none = a.ended_since(None).await;
    a.run(store("m1")).await;
    base.clock.advance(secs(20));
    let late = look(&none).await;
    assert_eq!(late.ended.len(), 1, "it has timed out");
    let none = look(&late).await;
    assert!(none.ended.is_empty(), "it is taken");
    a.run(store("m2")).await;
    a.run(Complete {
        holder,
        acked: vec![],
        nacked: vec![2],
    })
    .await;
    let refused = look(&none).await;
    assert_eq!(refused.ended.len(), 1, "its client has refused it");
    base.clock.advance(secs(9));
    let none = look(&refused).await;
    assert!(none.ended.is_empty(), "both are taken");
    base.clock.advance(secs(1));
    let again = look(&none).await;
    assert_eq!(
        again.ended.len(),
        2,
        "whoever took them did not settle them"
    );
}

pub async fn closed_session_ends_correlations(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    a.run(call(vec![to("s1", request("m1"))])).await;
    a.run(CloseSession {
        target: CloseTarget::Sid("s1".into()),
        reason: "the user left".into(),
    })
    .await;
    a.scavenge(days(3), secs(0), secs(0)).await;
    let ended = a.ended().await;
    assert_eq!(
        (ended.len(), ended[0].session, ended[0].sid.as_str()),
        (1, session, "s1")
    );
    assert_eq!(ended[0].reason, "the user left");
    let settle = Unit {
        cause: Cause::EndedCorrelation { session, seq: 1 },
        effects: vec![to("s1", send("m"))],
    };
    assert_eq!(
        a.run(settle).await,
        UnitOutcome::Committed(vec![EffectOutcome::NoSession])
    );
}
