//! Operations on the same session that share a transaction.

use super::engine::close_gate;
use super::*;
use crate::store::Share;

/// A row stored and deleted in one group is gone; one deleted and stored again is there.
pub async fn stored_and_deleted_in_one_group(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let incoming = |effects| Unit {
        cause: Cause::Incoming {
            holder,
            cmid: "1".into(),
            answer: None,
            settles: None,
        },
        effects,
    };
    let let_go = || DropInbox {
        holder,
        cmids: vec!["1".into()],
    };
    let complete = |seq| Complete {
        holder,
        acked: vec![seq],
        nacked: Vec::new(),
    };

    let open = close_gate(&a);
    let stored = a.store.run(call(vec![to("s1", send("m"))]));
    let completed = a.store.run(complete(1));
    open.send(()).expect("the gate waits");
    let first = UnitOutcome::Committed(vec![EffectOutcome::Stored(1)]);
    assert_eq!(stored.await.unwrap(), first);
    assert_eq!(completed.await.unwrap(), Fenced::Done);
    assert!(a.fetch(holder.session).await.is_empty(), "of the outbox");

    let open = close_gate(&a);
    let noted = a.store.run(incoming(Vec::new()));
    let gone = a.store.run(let_go());
    open.send(()).expect("the gate waits");
    let done = UnitOutcome::Committed(Vec::new());
    assert_eq!(noted.await.unwrap(), done);
    assert_eq!(gone.await.unwrap(), Fenced::Done);
    assert_eq!(a.run(incoming(Vec::new())).await, done, "of the inbox");

    let open = close_gate(&a);
    let gone = a.store.run(let_go());
    let again = a.store.run(incoming(vec![to("s1", send("m"))]));
    open.send(()).expect("the gate waits");
    let second = UnitOutcome::Committed(vec![EffectOutcome::Stored(2)]);
    assert_eq!(gone.await.unwrap(), Fenced::Done);
    assert_eq!(again.await.unwrap(), second);
    assert_eq!(
        a.run(incoming(Vec::new())).await,
        UnitOutcome::Duplicate(None),
        "it is in the inbox"
    );
}

/// A user who may have only one session closes it and opens another at once: the order is kept, whatever else waits.
pub async fn closed_before_the_next_is_opened(mut base: Base) {
    base.config.writers = 1;
    let a = base.node("a").await;
    let first = a.open("user", "s1").await;
    let share = Share::of_user("user");
    let gate = close_gate(&a);
    let close = a.store.run_for(
        share,
        CloseSession {
            target: CloseTarget::Holder(first.holder),
            reason: "done".into(),
        },
    );
    let new = NewOrResumed::New {
        sid: "s2".into(),
        smid_prefix: "s2-".into(),
    };
    let register = Register {
        max_sessions_per_user: 1,
        ..register_of("user", new)
    };
    let opened = a.store.run_for(share, register);
    gate.send(()).expect("the gate waits");
    assert!(close.await.expect("closed").is_some());
    let opened = opened.await.expect("it works");
    assert!(matches!(opened, Registered::Held(_)), "{opened:?}");
}

/// Sessions resumed together are read and written together: each must get its own data, and later operations of the
/// group must see the result. A message stored for a session after its registration in the same group has a number
/// higher than the registration returned.
pub async fn resumed_twice_and_sent_to_in_one_group(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    for _ in 0..20 {
        a.send("s1", "m").await;
    }
    let acked = a.fetch(holder.session).await;
    a.run(Complete {
        holder,
        acked: acked.into_iter().map(|it| it.seq).collect(),
        nacked: Vec::new(),
    })
    .await;
    let open = close_gate(&a);
    let resume = || register_of("user", NewOrResumed::Resumed { sid: "s1".into() });
    let (first, second) = (a.store.run(resume()), a.store.run(resume()));
    let sent = a.store.run(call(vec![to("s1", send("behind"))]));
    open.send(()).expect("the gate waits");
    let first = held(first.await.expect("the store works"));
    let second = held(second.await.expect("the store works"));
    assert!(first.holder.connection < second.holder.connection);
    assert!(!second.has_outbox, "all was acknowledged");
    match sent.await.expect("the store works") {
        UnitOutcome::Committed(effects) => match effects[..] {
            [EffectOutcome::Stored(seq)] => assert!(seq > second.last_seq),
            _ => panic!("not stored: {effects:?}"),
        },
        refused => panic!("not stored: {refused:?}"),
    }
}

pub async fn resumed_in_one_group(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let sids = ["s1", "s2", "s3", "s4", "s5"];
    let mut before = Vec::new();
    for sid in sids {
        // Each has its own user, named like the session.
        before.push(a.open(sid, sid).await.holder);
        a.send(sid, "m").await;
    }
    let holder = before[1];
    a.run(Unit {
        cause: Cause::Incoming {
            holder,
            cmid: "of s2".into(),
            answer: None,
            settles: None,
        },
        effects: Vec::new(),
    })
    .await;
    a.run(Subscribe {
        holder: before[2],
        topics: vec![("of s3".into(), None)],
    })
    .await;
    let first = a.fetch(before[3].session).await.remove(0);
    a.run(Complete {
        holder: before[3],
        acked: vec![first.seq],
        nacked: Vec::new(),
    })
    .await;

    let resume = |user, sid: &str| register_of(user, NewOrResumed::Resumed { sid: sid.into() });
    let open = close_gate(&a);
    let resumed = sids.map(|sid| b.store.run(resume(sid, sid)));
    let stolen = b.store.run(resume("thief", "s2"));
    let missing = b.store.run(resume("user", "none"));
    let again = a.store.run(resume("s2", "s2"));
    let sent = a.store.run(call(vec![to("s2", send("behind"))]));
    open.send(()).expect("the gate waits");

    let mut all = Vec::new();
    for (it, before) in resumed.into_iter().zip(&before) {
        let held = held(it.await.expect("the store works"));
        assert_eq!(held.replaced, Some(("a".into(), before.connection)));
        assert!(held.holder.connection > before.connection);
        all.push(held);
    }
    let inboxes = all.iter().map(|it| it.inbox.len());
    assert_eq!(inboxes.collect::<Vec<_>>(), [0, 1, 0, 0, 0]);
    let topics = all.iter().map(|it| it.topics.len());
    assert_eq!(topics.collect::<Vec<_>>(), [0, 0, 1, 0, 0]);
    let outboxes = all.iter().map(|it| it.has_outbox);
    let with_messages = [true, true, true, false, true];
    assert_eq!(outboxes.collect::<Vec<_>>(), with_messages);
    let prefixes = all.iter().map(|it| it.smid_prefix.as_str());
    assert_eq!(
        prefixes.collect::<Vec<_>>(),
        ["s1-", "s2-", "s3-", "s4-", "s5-"]
    );

    let refused = (stolen.await.unwrap(), missing.await.unwrap());
    assert!(matches!(
        refused,
        (Registered::WrongUser, Registered::NoSuchSession)
    ));
    let last = held(again.await.unwrap());
    let second = all[1].holder;
    assert_eq!(last.replaced, Some(("b".into(), second.connection)));
    assert!(last.holder.connection > second.connection);
    let stored = UnitOutcome::Committed(vec![EffectOutcome::Stored(2)]);
    assert_eq!(sent.await.unwrap(), stored);
    assert_eq!(a.home("s2").await.as_deref(), Some("a"));
    assert_eq!(a.home("s5").await.as_deref(), Some("b"));
}
