//! Outboxes that are full.

use super::*;

pub async fn full_outbox(mut base: Base) {
    base.config.max_outbox = 3;
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let full = full_of("s1", OutboxCap::Messages(3));
    let two = || vec![to("s1", send("m")), to("s1", send("m"))];
    assert!(matches!(
        a.run(call(two())).await,
        UnitOutcome::Committed(_)
    ));
    let unit = Unit {
        effects: two(),
        ..incoming(holder, "c1", None)
    };
    assert_eq!(a.run(unit).await, full, "both or none");
    assert_eq!(
        a.run(ReadAnswer {
            session: holder.session,
            cmid: "c1".into()
        })
        .await,
        None
    );
    let many: Vec<_> = (0..3)
        .map(|_| a.store.run(call(vec![to("s1", send("m"))])))
        .collect();
    let outcomes: Vec<_> = futures_util::future::join_all(many)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        outcomes,
        [
            UnitOutcome::Committed(vec![EffectOutcome::Stored(3)]),
            full.clone(),
            full.clone()
        ]
    );
    // A gap in the middle is room as well.
    a.run(Complete {
        holder,
        acked: vec![2],
        nacked: vec![],
    })
    .await;
    assert_eq!(
        a.send("s1", "m").await,
        UnitOutcome::Committed(vec![EffectOutcome::Stored(4)])
    );
    assert_eq!(a.send("s1", "m").await, full);
}

fn full_of(sid: &str, cap: OutboxCap) -> UnitOutcome {
    UnitOutcome::OutboxFull(FullOutbox {
        session_id: sid.into(),
        cap,
    })
}

/// A SEND with a payload of this size.
fn sized(bytes: usize) -> NewMessage {
    NewMessage {
        msg: Some(json(&format!("\"{}\"", "x".repeat(bytes - 2)))),
        ..send("m")
    }
}

pub async fn full_of_bytes(mut base: Base) {
    base.config.max_outbox_bytes = 1_000;
    // Two connections that have determined the same room.
    let (a, b) = (base.node("a").await, base.node("b").await);
    let holder = a.open("user", "s1").await.holder;
    let full = full_of("s1", OutboxCap::Bytes(1_000));
    let stored = |seq| UnitOutcome::Committed(vec![EffectOutcome::Stored(seq)]);
    let one = |bytes| call(vec![to("s1", sized(bytes))]);
    assert_eq!(a.run(one(5_000)).await, stored(1), "one is always taken");
    assert_eq!(b.run(one(10)).await, full);
    let complete = |seq| Complete {
        holder,
        acked: vec![seq],
        nacked: vec![],
    };
    a.run(complete(1)).await;
    assert_eq!(a.run(one(400)).await, stored(2));
    assert_eq!(b.run(one(400)).await, stored(3));
    let two = call(vec![to("s1", sized(100)), to("s1", sized(101))]);
    assert_eq!(a.run(two).await, full, "both or none");
    assert_eq!(b.run(one(200)).await, stored(4));
    assert_eq!(a.run(one(10)).await, full);
    assert_eq!(
        a.run(call(vec![to(
            "s1",
            NewMessage {
                msg: None,
                ..send("m")
            }
        )]))
        .await,
        stored(5),
        "it has no bytes"
    );
    a.run(complete(2)).await;
    assert_eq!(
        b.run(one(400)).await,
        stored(6),
        "what was let go of is room"
    );
    assert_eq!(b.run(one(10)).await, full);
}

pub async fn full_of_a_users_bytes(mut base: Base) {
    base.config.max_outbox_bytes_per_user = 1_000;
    let a = base.node("a").await;
    let first = a.open("user", "s1").await.holder;
    a.open("user", "s2").await;
    a.open("other", "s3").await;
    let one = |sid: &str, bytes| call(vec![to(sid, sized(bytes))]);
    let stored = |seq| UnitOutcome::Committed(vec![EffectOutcome::Stored(seq)]);
    assert_eq!(a.run(one("s1", 500)).await, stored(1));
    assert_eq!(a.run(one("s2", 400)).await, stored(1));
    let full = full_of("s2", OutboxCap::BytesOfUser(1_000));
    assert_eq!(a.run(one("s2", 200)).await, full);
    assert_eq!(a.run(one("s3", 900)).await, stored(1), "another user's");
    a.run(Complete {
        holder: first,
        acked: vec![1],
        nacked: vec![],
    })
    .await;
    assert_eq!(
        a.run(one("s2", 200)).await,
        full,
        "it is not counted each time"
    );
    base.clock.advance(secs(1));
    assert_eq!(a.run(one("s2", 200)).await, stored(2));
}
