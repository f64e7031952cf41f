use super::engine::{Bad, close_gate};
use super::units::settle;
use super::*;

/// Delayed work is nobody's until it is due, whoever is gone by then.
pub async fn delayed(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let delayed = |seconds| {
        let work = NewForward {
            begins: Begins::After(secs(seconds)),
            ..work("delayed")
        };
        Effect::Forward(Box::new(work))
    };
    let outcome = a.run(call(vec![delayed(10), delayed(20)])).await;
    let UnitOutcome::Committed(stored) = outcome else {
        panic!("{outcome:?}");
    };
    let news = a.news().await;
    assert_eq!((news.len(), news[0].forwarded.len()), (1, 0));
    assert_eq!((news[0].due.len(), news[0].work), (2, false));
    assert!(a.claim().await.is_empty());
    a.run(LeaveNode).await;
    base.clock.advance(secs(9));
    assert!(b.claim().await.is_empty(), "not due");
    base.clock.advance(secs(1));
    let claimed = b.claim().await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(EffectOutcome::Forwarded(claimed[0].id), stored[0]);
    let first = (
        claimed[0].epoch,
        claimed[0].attempts,
        claimed[0].work.begins,
    );
    assert_eq!(first, (1, 0, Begins::AT_ONCE));
    base.clock.advance(secs(10));
    let claimed = b.claim().await;
    assert_eq!(EffectOutcome::Forwarded(claimed[0].id), stored[1]);
    // In centuries.
    let endless = NewForward {
        begins: Begins::After(Duration::MAX),
        ..work("endless")
    };
    b.run(call(vec![Effect::Forward(Box::new(endless))])).await;
    assert!(b.claim().await.is_empty());
}

pub async fn postponed(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let row = a.forward("f").await;
    let postpone = |epoch| PostponeForwarded {
        id: row.id,
        epoch,
        attempts: 2,
        delay: secs(10),
    };
    assert!(!b.run(postpone(1)).await, "not b's claim");
    assert!(!a.run(postpone(2)).await);
    assert!(a.run(postpone(1)).await);
    assert!(!a.run(postpone(1)).await, "no longer claimed");
    assert!(b.claim().await.is_empty(), "not due");
    base.clock.advance(secs(10));
    let claimed = b.claim().await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].id, claimed[0].epoch, claimed[0].attempts),
        (row.id, 2, 2)
    );
    assert_eq!(claimed[0].secret, row.secret);
    assert_eq!(format!("{:?}", claimed[0].work), format!("{:?}", row.work));
    assert!(a.claim().await.is_empty());
}

/// A service's messages and its postponement were two commits: after a crash in between, the messages were sent again.
pub async fn postponed_with_its_messages(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    let row = a.forward("f").await;
    let later = |epoch| Unit {
        cause: Cause::Postponed {
            back: PostponeForwarded {
                id: row.id,
                epoch,
                attempts: 0,
                delay: secs(10),
            },
            idempotency_key: None,
        },
        effects: vec![to("s1", send("m1"))],
    };
    assert_eq!(a.run(later(2)).await, UnitOutcome::AlreadySettled);
    assert_eq!(
        a.run(later(1)).await,
        UnitOutcome::Committed(vec![EffectOutcome::Stored(1)]),
        "the refused one sent nothing"
    );
    assert_eq!(a.run(later(1)).await, UnitOutcome::AlreadySettled);
    assert!(a.claim().await.is_empty(), "not due");
    base.clock.advance(secs(10));
    assert_eq!(a.claim().await.len(), 1);
}

/// The outcome of the postponement was lost, and the reply arrived before the retry: messages already sent were sent
/// again.
pub async fn sent_once_beside_a_quick_reply(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    let row = a.forward("f").await;
    let key = || Some("k".to_owned());
    let later = || Unit {
        cause: Cause::Postponed {
            back: PostponeForwarded {
                id: row.id,
                epoch: row.epoch,
                attempts: 0,
                delay: secs(10),
            },
            idempotency_key: key(),
        },
        effects: vec![to("s1", send("m1"))],
    };
    let all_the_same = || Unit {
        cause: Cause::Call {
            idempotency_key: key(),
        },
        ..later()
    };
    let reply = Unit {
        cause: Cause::Forwarded {
            id: row.id,
            proof: Proof::Token(row.secret.clone()),
        },
        effects: vec![],
    };
    assert!(matches!(a.run(later()).await, UnitOutcome::Committed(_)));
    assert!(matches!(a.run(reply).await, UnitOutcome::Committed(_)));
    assert_eq!(a.run(later()).await, UnitOutcome::AlreadySettled);
    assert_eq!(a.run(all_the_same()).await, UnitOutcome::Repeated);
    assert_eq!(a.tids(session).await, ["m1"]);
}

/// A transactional handler occupied the only connection that writes, and leases did not run meanwhile. Everything that
/// was postponed was late by that time ever after.
pub async fn due_by_the_clock(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let cause = Cause::Incoming {
        holder,
        cmid: "slow".into(),
        answer: None,
        settles: None,
    };
    let slow = Transact {
        handles: Handles::Message {
            holder,
            cmid: "slow".into(),
        },
        limit: secs(60),
        run: Box::new(move |_| {
            std::thread::sleep(Duration::from_millis(20));
            let effects = Vec::new();
            Ok(Unit { cause, effects })
        }),
    };
    let done = a.run(slow).await;
    assert!(matches!(done, Transacted::Unit(UnitOutcome::Committed(_))));
    let row = a.forward("f").await;
    let rows = vec![(row.id, row.epoch)];
    a.run(GiveBackForwarded { rows }).await;
    let row = a.claim().await.remove(0);
    let postpone = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts: 1,
        delay: secs(10),
    };
    assert!(a.run(postpone).await);
    base.clock.advance(secs(10));
    assert_eq!(a.claim().await.len(), 1);
}

pub async fn buried_and_redriven(base: Base) {
    let a = base.node("a").await;
    let row = a.forward("f").await;
    let bury = |epoch| BuryForwarded {
        id: row.id,
        epoch,
        reason: "failed".into(),
    };
    assert!(!a.run(bury(2)).await);
    assert!(a.run(bury(1)).await);
    assert!(!a.run(bury(1)).await);
    assert!(
        a.run(ReadForwarded {
            id: row.id,
            secret: row.secret.clone()
        })
        .await
        .is_none()
    );
    let dead = a.dead().await;
    assert_eq!(
        (
            dead.len(),
            dead[0].origin.as_str(),
            dead[0].endpoint.as_deref()
        ),
        (1, "service", Some("service"))
    );
    assert_eq!((dead[0].reason.as_str(), dead[0].deliveries), ("failed", 1));

    assert!(a.run(RedriveDeadLetter { id: dead[0].id }).await);
    assert!(a.dead().await.is_empty());
    let claimed = a.claim().await;
    assert_eq!(
        (claimed.len(), claimed[0].attempts, claimed[0].epoch),
        (1, 0, 1)
    );
    assert_eq!(format!("{:?}", claimed[0].work), format!("{:?}", row.work));
    assert_ne!(claimed[0].secret, row.secret);
}

/// A row's times outlive its node: how long it has been failing, and how long its client waits.
pub async fn how_long_it_fails_and_its_client_waits(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let patient = NewForward {
        left: Some(secs(20)),
        ..work("f")
    };
    a.run(call(vec![Effect::Forward(Box::new(patient))])).await;
    let news = a.news().await;
    let mut row = news[0].forwarded[0].clone();
    let mut node = &a;
    for (attempts, failing, left) in [(1, 5, 15), (2, 10, 10), (3, 15, 5), (4, 20, 0), (5, 25, 0)] {
        let postpone = PostponeForwarded {
            id: row.id,
            epoch: row.epoch,
            attempts,
            delay: secs(5),
        };
        assert!(node.run(postpone).await);
        base.clock.advance(secs(5));
        node = &b;
        row = node.claim().await.remove(0);
        assert_eq!(
            (row.attempts, row.failing, row.work.left),
            (attempts, secs(failing), Some(secs(left)))
        );
        assert_eq!(row.work.adapted, Some(false));
    }
    assert!(row.failing_for() >= Some(secs(25)) && row.left() == Some(secs(0)));
    let read = ReadForwarded {
        id: row.id,
        secret: row.secret.clone(),
    };
    base.clock.advance(secs(1));
    let read = b.run(read).await.expect("it is there");
    assert_eq!(read.failing, secs(26));
}

/// Sends work for a service through the writer of `s1`.
fn forward_of_s1(tid: &str, here: bool) -> Unit {
    let work = NewForward { here, ..work(tid) };
    call(vec![to("s1", send(tid)), Effect::Forward(Box::new(work))])
}

/// Rows in one transaction are written together and settled together: each operation must get its own.
pub async fn many_in_one_group(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("user", "s1").await;
    let tids: Vec<String> = (0..300).map(|number| format!("f{number}")).collect();
    a.news().await;
    let open = close_gate(&a);
    let stored = tids.iter().enumerate();
    let stored = stored.map(|(at, tid)| a.store.run(forward_of_s1(tid, at % 3 > 0)));
    let stored: Vec<_> = stored.collect();
    open.send(()).expect("the gate waits");
    let mut ids = Vec::new();
    for outcome in futures_util::future::join_all(stored).await {
        match outcome.expect("the store works") {
            UnitOutcome::Committed(effects) => match effects[..] {
                [EffectOutcome::Stored(_), EffectOutcome::Forwarded(id)] => ids.push(id),
                _ => panic!("not forwarded: {effects:?}"),
            },
            refused => panic!("not forwarded: {refused:?}"),
        }
    }
    assert!(
        ids.is_sorted_by(|one, next| one < next),
        "in their order: {ids:?}"
    );
    let mut known: Vec<Forwarded> = Vec::new();
    for mut news in a.news().await {
        known.append(&mut news.forwarded);
    }
    assert_eq!(known.len(), 200, "those that its node has the service for");
    let free = b.run(claim(300, &[])).await.rows;
    assert_eq!(free.len(), 100, "the others");
    known.extend(free);
    known.sort_by_key(|row| row.id);
    let seen: Vec<_> = known
        .iter()
        .map(|row| (row.id, row.work.tid.clone()))
        .collect();
    let given: Vec<_> = ids.iter().copied().zip(tids).collect();
    assert_eq!(seen, given);

    let open = close_gate(&a);
    let proof = |row: &Forwarded| Proof::Token(row.secret.clone());
    let settled = known.iter().chain(&known);
    let settled = settled.map(|row| a.store.run(settle(row, proof(row))));
    let settled: Vec<_> = settled.collect();
    open.send(()).expect("the gate waits");
    let outcomes = futures_util::future::join_all(settled).await;
    let (first, again) = outcomes.split_at(300);
    let is_committed = |it: &Result<_, _>| matches!(it, Ok(UnitOutcome::Committed(_)));
    assert!(first.iter().all(is_committed), "{first:?}");
    let is_settled = |it: &Result<_, _>| matches!(it, Ok(UnitOutcome::AlreadySettled));
    assert!(again.iter().all(is_settled), "{again:?}");
    for row in &known {
        let read = ReadForwarded {
            id: row.id,
            secret: row.secret.clone(),
        };
        assert!(a.run(read).await.is_none(), "{} is gone", row.id);
    }
}

/// What was read of a row at the beginning of a group is outdated after an operation that changes the row.
pub async fn postponed_and_settled_in_one_group(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    let row = a.forward("f").await;
    let later = Unit {
        cause: Cause::Postponed {
            back: PostponeForwarded {
                id: row.id,
                epoch: row.epoch,
                attempts: 0,
                delay: secs(10),
            },
            idempotency_key: None,
        },
        effects: vec![to("s1", send("m1"))],
    };
    let open = close_gate(&a);
    let postponed = a.store.run(later);
    let by_claim = a.store.run(settle(&row, Proof::Epoch(row.epoch)));
    let by_token = a.store.run(settle(&row, Proof::Token(row.secret.clone())));
    let again = a.store.run(settle(&row, Proof::Token(row.secret.clone())));
    open.send(()).expect("the gate waits");
    assert!(matches!(
        postponed.await.unwrap(),
        UnitOutcome::Committed(_)
    ));
    assert_eq!(by_claim.await.unwrap(), UnitOutcome::AlreadySettled);
    assert!(matches!(by_token.await.unwrap(), UnitOutcome::Committed(_)));
    assert_eq!(again.await.unwrap(), UnitOutcome::AlreadySettled);
    base.clock.advance(secs(10));
    assert!(a.claim().await.is_empty(), "it is gone");
}

/// A failed group is retried one by one: forwarded rows exist once, and settled rows do not.
pub async fn rolled_back_beside_others(base: Base) {
    let a = base.node("a").await;
    a.open("user", "s1").await;
    let row = a.forward("settled").await;
    let open = close_gate(&a);
    let settled = a.store.run(settle(&row, Proof::Epoch(row.epoch)));
    let stored = a.store.run(forward_of_s1("stored", false));
    let bad = a.store.run(Bad::Fails);
    open.send(()).expect("the gate waits");
    assert!(matches!(settled.await.unwrap(), UnitOutcome::Committed(_)));
    assert!(matches!(stored.await.unwrap(), UnitOutcome::Committed(_)));
    bad.await.expect_err("it fails");
    let claimed = a.run(claim(10, &[row.id])).await.rows;
    let tids: Vec<_> = claimed.iter().map(|row| row.work.tid.as_str()).collect();
    assert_eq!(tids, ["stored"]);
}
