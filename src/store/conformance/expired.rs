//! Messages with a time to live.

use super::*;

fn living(message: NewMessage, seconds: u64) -> Effect {
    let time_to_live = Some(secs(seconds));
    to(
        "s1",
        NewMessage {
            time_to_live,
            ..message
        },
    )
}

/// A request whose reply is awaited for an hour.
fn patient(tid: &str) -> NewMessage {
    let mut request = request(tid);
    if let Some(correlation) = &mut request.correlation {
        correlation.timeout_ms = 3_600_000;
    }
    request
}

fn expire(grace: u64, since: Option<i64>, limit: u32) -> ExpireMessages {
    ExpireMessages {
        grace: secs(grace),
        since,
        limit,
    }
}

async fn ended(node: &Node) -> Vec<(i64, String)> {
    let ended = node.run(ClaimEndedCorrelations {
        limit: 10,
        again: secs(60),
        since: None,
    });
    let ended = ended.await.ended.into_iter();
    ended.map(|it| (it.seq, it.reason)).collect()
}

pub async fn deleted_when_their_time_has_ended(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let holder = a.open("user", "s1").await.holder;
    let effects = vec![
        living(send("short"), 10),
        to("s1", send("for ever")),
        living(patient("asked"), 10),
        living(patient("acknowledged"), 10),
        living(send("long"), 100),
    ];
    a.run(call(effects)).await;
    let news = a.news().await;
    let stored = news[0].stored.iter().map(message);
    let lefts: Vec<_> = stored.map(|it| it.left).collect();
    let left = |seconds: u64| Some(secs(seconds));
    assert_eq!(lefts, [left(10), None, left(10), left(10), left(100)]);
    base.clock.advance(secs(9));
    let fetched = a.fetch(holder.session).await;
    let lefts: Vec<_> = fetched.iter().map(|it| it.left).collect();
    assert_eq!(lefts, [left(1), None, left(1), left(1), left(91)]);

    base.clock.advance(secs(5));
    let fetched = a.fetch(holder.session).await;
    assert_eq!(fetched[0].left, left(0), "it is over");
    assert_eq!(b.run(expire(5, None, 10)).await.messages, 0, "the grace");
    let acked = Complete {
        holder,
        acked: vec![4],
        nacked: vec![],
    };
    a.run(acked).await;
    base.clock.advance(secs(1));
    let expired = b.run(expire(5, None, 10)).await;
    assert_eq!((expired.messages, expired.more), (2, false));
    assert_eq!(a.tids(holder.session).await, ["for ever", "long"]);
    assert_eq!(
        ended(&b).await,
        [(
            3,
            "its time to live ended before the client acknowledged it".to_owned()
        )],
        "one was acknowledged: its reply is awaited"
    );
    // What was deleted may still be acknowledged.
    let late = Complete {
        holder,
        acked: vec![1],
        nacked: vec![3],
    };
    assert_eq!(a.run(late).await, Fenced::Done);
}

pub async fn in_parts(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let one = a.open("user", "s1").await.holder;
    let two = a.open("user", "s2").await.holder;
    for seconds in [3, 1, 2] {
        a.run(call(vec![
            living(send("m"), seconds),
            to("s2", send("kept")),
        ]))
        .await;
    }
    base.clock.advance(secs(60));
    let first = b.run(expire(0, None, 2)).await;
    assert_eq!((first.messages, first.more), (2, true));
    assert_eq!(a.tids(one.session).await.len(), 1);
    let second = b.run(expire(0, Some(first.since), 2)).await;
    assert_eq!((second.messages, second.more), (1, false));
    // Later ones are found from there on.
    a.run(call(vec![living(send("m"), 1)])).await;
    base.clock.advance(secs(2));
    let third = b.run(expire(0, Some(second.since), 2)).await;
    assert_eq!(third.messages, 1);
    assert!(a.tids(one.session).await.is_empty());
    assert_eq!(a.tids(two.session).await.len(), 3);
}

/// A dead letter that is put back is delivered whenever that may be.
pub async fn redriven_for_ever(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(call(vec![living(send("m"), 10)])).await;
    let mark = MarkRedelivery {
        holder,
        seqs: vec![1],
        max: 0,
    };
    a.run(mark).await;
    base.clock.advance(secs(60));
    assert_eq!(a.run(expire(0, None, 9)).await.messages, 0);
    let dead = a.dead().await;
    assert!(a.run(RedriveDeadLetter { id: dead[0].id }).await);
    assert_eq!(a.run(expire(0, None, 9)).await.messages, 0);
    assert_eq!(a.tids(holder.session).await, ["m"]);
}
