//! How much clients may have outstanding with services.

use super::claims::of;
use super::*;

/// A client could fill the table as fast as it could send: nothing limited what waits for services.
pub async fn rows_that_clients_forward_are_bounded(mut base: Base) {
    base.config.max_forwarded_per_session = 3;
    base.config.max_forwarded_per_user = 5;
    let a = base.node("a").await;
    let one = a.open("user", "s1").await.holder;
    let two = a.open("user", "s2").await.holder;
    let other = a.open("other", "s3").await.holder;
    let unit = |holder: Holder, cmid: &str, sid: &str, user: &str| Unit {
        effects: vec![Effect::Forward(Box::new(NewForward {
            sid: sid.into(),
            ..of(user, "service")
        }))],
        ..incoming(holder, cmid, None)
    };
    let full = |limit| UnitOutcome::TooMuchForwarded(limit);
    let committed = |outcome| matches!(outcome, UnitOutcome::Committed(_));
    for cmid in ["1", "2", "3"] {
        assert!(committed(a.run(unit(one, cmid, "s1", "user")).await));
    }
    let refused = a.run(unit(one, "4", "s1", "user")).await;
    assert_eq!(refused, full(ForwardLimit::Session));
    let read = ReadAnswer {
        session: one.session,
        cmid: "4".into(),
    };
    assert_eq!(a.run(read).await, None, "nothing is kept");
    let again = a.run(unit(one, "3", "s1", "user")).await;
    assert_eq!(
        again,
        UnitOutcome::Duplicate(None),
        "it gets its original answer"
    );
    for cmid in ["1", "2"] {
        assert!(committed(a.run(unit(two, cmid, "s2", "user")).await));
    }
    let refused = a.run(unit(two, "3", "s2", "user")).await;
    assert_eq!(refused, full(ForwardLimit::User));
    assert!(committed(a.run(unit(other, "1", "s3", "other")).await));

    // A service may still forward existing work.
    a.run(LeaveNode).await;
    let row = a.run(claim(1, &[])).await.rows.remove(0);
    let cause = Cause::Forwarded {
        id: row.id,
        proof: Proof::Epoch(row.epoch),
    };
    let on = Unit {
        cause,
        ..unit(one, "", "s1", "user")
    };
    assert!(committed(a.run(on).await));
    let refused = a.run(unit(one, "4", "s1", "user")).await;
    assert_eq!(refused, full(ForwardLimit::Session));

    let row = a.run(claim(1, &[])).await.rows.remove(0);
    let cause = Cause::Forwarded {
        id: row.id,
        proof: Proof::Epoch(row.epoch),
    };
    let effects = vec![];
    assert!(committed(a.run(Unit { cause, effects }).await));
    // Settled rows are noticed a little later.
    while !committed(a.run(unit(one, "4", "s1", "user")).await) {}
}

/// What one message starts was counted against what is stored, and not against each other: any number was accepted.
pub async fn rows_of_one_message_are_bounded(mut base: Base) {
    base.config.max_forwarded_per_session = 100;
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let unit = |cmid: &str, many: usize| Unit {
        effects: vec![Effect::Forward(Box::new(work(cmid))); many],
        ..incoming(holder, cmid, None)
    };
    let hopeless = UnitOutcome::TooMuchForwarded(ForwardLimit::OneMessage);
    assert_eq!(a.run(unit("1", 101)).await, hopeless);
    let refused = UnitOutcome::TooMuchForwarded(ForwardLimit::Session);
    a.run(LeaveNode).await;
    assert_eq!(a.claim().await.len(), 0, "all or nothing");
    // The refusal is noticed to be past a little later.
    while a.run(unit("2", 60)).await == refused {}
    assert_eq!(a.run(unit("3", 60)).await, refused);
    while a.run(unit("4", 40)).await == refused {}
    assert_eq!(a.run(unit("5", 1)).await, refused);
}

pub async fn bytes_that_clients_forward_are_bounded(mut base: Base) {
    base.config.max_forwarded_bytes_per_user = 2_500;
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let unit = |cmid: &str, bytes: usize| Unit {
        effects: vec![Effect::Forward(Box::new(NewForward {
            msg: json(&format!("\"{}\"", "x".repeat(bytes - 2))),
            correlation: None,
            ..of("user", "service")
        }))],
        ..incoming(holder, cmid, None)
    };
    let committed = |outcome| matches!(outcome, UnitOutcome::Committed(_));
    assert!(committed(a.run(unit("1", 1_000)).await));
    assert!(committed(a.run(unit("2", 1_000)).await));
    let refused = UnitOutcome::TooMuchForwarded(ForwardLimit::Bytes);
    assert_eq!(a.run(unit("3", 1_000)).await, refused);
    assert!(committed(a.run(unit("4", 400)).await));
    let b = base.node("b").await;
    a.run(LeaveNode).await;
    for row in b.run(claim(3, &[])).await.rows {
        let cause = Cause::Forwarded {
            id: row.id,
            proof: Proof::Epoch(row.epoch),
        };
        let effects = vec![];
        assert!(committed(b.run(Unit { cause, effects }).await));
    }
    // However large it is, if there is no other.
    while !committed(a.run(unit("5", 9_000)).await) {}
    assert_eq!(a.run(unit("6", 2)).await, refused);
}
