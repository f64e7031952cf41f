//! Messages that were given up.

use super::outbox::sized;
use super::*;
use crate::clock::{epoch_ms, wall_time};

/// The sequence numbers of what has become dead letters.
pub fn buried(marked: MarkedRedelivery) -> Vec<i64> {
    match marked {
        MarkedRedelivery::Done(dead) => dead.iter().map(|it| it.seq).collect(),
        MarkedRedelivery::FencedOff => panic!("fenced off"),
    }
}

pub async fn dead_letters(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.send("s1", "m1").await;
    a.send("s1", "m2").await;
    let mark = |seqs: Vec<i64>| MarkRedelivery {
        holder,
        seqs,
        max: 2,
    };
    assert_eq!(
        a.run(mark(vec![1, 2, 99])).await,
        MarkedRedelivery::Done(vec![])
    );
    assert_eq!(a.run(mark(vec![1])).await, MarkedRedelivery::Done(vec![]));
    let dead = Buried {
        seq: 1,
        trace_id: "m1".into(),
        endpoint: Some("terminator".into()),
    };
    assert_eq!(
        a.run(mark(vec![1, 2])).await,
        MarkedRedelivery::Done(vec![dead])
    );
    assert_eq!(
        a.tids(holder.session).await,
        ["m2"],
        "dead for good, also after a reconnect"
    );
    a.run(mark(vec![2])).await;

    let dead = a.dead().await;
    assert_eq!(dead.len(), 2);
    assert_eq!(
        (
            dead[0].origin.as_str(),
            dead[0].session_id.as_str(),
            dead[0].deliveries
        ),
        ("outbox", "s1", 3)
    );
    assert_eq!(
        (dead[0].trace_id.as_str(), dead[0].endpoint.as_deref()),
        ("m1", Some("terminator"))
    );
    assert_eq!(
        (dead[0].payload.as_deref(), dead[0].died),
        (Some(r#"{"a": 1}"#), wall_time(START))
    );
    assert_eq!(
        a.run(ListDeadLetters {
            after: dead[0].id,
            limit: 10
        })
        .await,
        dead[1..]
    );
    assert_eq!(
        a.run(ListDeadLetters { after: 0, limit: 1 }).await,
        dead[..1]
    );

    a.news().await;
    assert!(a.run(RedriveDeadLetter { id: dead[0].id }).await);
    assert!(!a.run(RedriveDeadLetter { id: dead[0].id }).await);
    let news = a.news().await;
    assert_eq!(
        (
            message(&news[0].stored[0]).seq,
            message(&news[0].stored[0]).tid.as_str()
        ),
        (3, "m1")
    );
    assert_eq!(
        news[0].stored[0].home,
        Some(("a".into(), holder.connection))
    );
    assert_eq!(a.tids(holder.session).await, ["m1"]);
    assert_eq!(
        a.run(mark(vec![3])).await,
        MarkedRedelivery::Done(vec![]),
        "it counts anew"
    );

    a.run(CloseSession {
        target: CloseTarget::Sid("s1".into()),
        reason: "x".into(),
    })
    .await;
    assert!(
        !a.run(RedriveDeadLetter { id: dead[1].id }).await,
        "its session is gone"
    );
    assert_eq!(a.dead().await, dead[1..]);
    assert!(a.run(DropDeadLetter { id: dead[1].id }).await);
    assert!(!a.run(DropDeadLetter { id: dead[1].id }).await);
    assert!(a.dead().await.is_empty());
}

pub async fn redrive_moves_the_correlation(base: Base) {
    // The reply to a redriven request refers to its new number, and must still find the request's correlation.
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(call(vec![to("s1", request("m1"))])).await;
    a.run(MarkRedelivery {
        holder,
        seqs: vec![1],
        max: 0,
    })
    .await;
    let dead = a.dead().await;
    assert!(a.run(RedriveDeadLetter { id: dead[0].id }).await);
    let correlation = a
        .run(ReadCorrelation {
            session: holder.session,
            seq: 2,
        })
        .await;
    assert_eq!(correlation, request("m1").correlation);
    assert_eq!(
        a.run(ReadCorrelation {
            session: holder.session,
            seq: 1
        })
        .await,
        None
    );
}

pub async fn old_dead_letters_go(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    bury(&a, holder, vec![send("m1"), send("m2"), send("m3")]).await;
    base.clock.advance(secs(60));
    bury(&a, holder, vec![send("m4")]).await;
    assert_eq!(scavenge_dead_letters(&a, None).await, (0, 0, false));
    base.clock.advance(Duration::from_millis(1));
    assert_eq!(scavenge_dead_letters(&a, None).await, (2, 0, true));
    assert_eq!(scavenge_dead_letters(&a, None).await, (1, 0, false));
    let left = a.dead().await;
    assert_eq!((left.len(), left[0].trace_id.as_str()), (1, "m4"));
}

pub async fn excess_dead_letters_go(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let holder = a.open("user", "s1").await.holder;
    for tid in ["m1", "m2", "m3", "m4", "m5"] {
        bury(&a, holder, vec![sized(tid, 100)]).await;
        base.clock.advance(secs(1));
    }
    let beyond = async |max_letters, max_bytes| {
        a.run(DeadLettersBeyond {
            max_letters,
            max_bytes,
        })
        .await
    };
    assert_eq!(beyond(5, 500).await, None);
    let many = beyond(4, 500).await;
    let large = beyond(5, 350).await;
    let all = a.dead().await;
    let at = |index: usize| DiedAt {
        died: epoch_ms(all[index].died),
        id: all[index].id,
    };
    assert_eq!((many, large), (Some(at(0)), Some(at(1))));
    assert_eq!(scavenge_dead_letters(&a, many).await, (0, 1, false));
    assert_eq!(scavenge_dead_letters(&b, many).await, (0, 0, false));
    assert_eq!(scavenge_dead_letters(&b, large).await, (0, 1, false));
    assert_eq!(a.dead().await, all[2..]);
    assert_eq!(scavenge_dead_letters(&a, Some(at(4))).await, (0, 2, true));
    assert_eq!(scavenge_dead_letters(&a, Some(at(4))).await, (0, 1, true));
    assert!(a.dead().await.is_empty());
}

/// Makes these messages dead letters of the session at the current time.
async fn bury(node: &Node, holder: Holder, messages: Vec<NewMessage>) {
    let messages = messages.into_iter().map(|message| to("s1", message));
    let UnitOutcome::Committed(outcomes) = node.run(call(messages.collect())).await else {
        panic!("not stored")
    };
    let seqs = outcomes.iter().map(|outcome| match outcome {
        EffectOutcome::Stored(seq) => *seq,
        other => panic!("not stored: {other:?}"),
    });
    let seqs = seqs.collect();
    node.run(MarkRedelivery {
        holder,
        seqs,
        max: 0,
    })
    .await;
}

/// Deletes one batch of dead letters: those older than a minute, and those up to `beyond`. Returns how many there were
/// of each, and whether there may be more.
async fn scavenge_dead_letters(node: &Node, beyond: Option<DiedAt>) -> (u64, u64, bool) {
    let scavenge = ScavengeDeadLetters {
        older: secs(60),
        beyond,
        limit: 2,
    };
    let done = node.run(scavenge).await;
    (done.aged, done.excess, done.more)
}
