//! Work with keys: one of a kind at a time, and cancelled while it waits.

use super::units::settle;
use super::*;

fn keyed(key: &str) -> NewForward {
    NewForward {
        key: Some(key.into()),
        cmid: None,
        kind: MessageType::Send,
        here: false,
        ..work(key)
    }
}

fn start(key: &str) -> Effect {
    Effect::Forward(Box::new(keyed(key)))
}

fn cancel(service: &str, key: &str) -> Effect {
    Effect::Cancel {
        service: service.into(),
        key: key.into(),
    }
}

fn committed(outcome: UnitOutcome) -> Vec<EffectOutcome> {
    match outcome {
        UnitOutcome::Committed(outcomes) => outcomes,
        other => panic!("{other:?}"),
    }
}

/// How many of the outcomes say that work was stored.
fn stored(outcomes: &[EffectOutcome]) -> usize {
    let stored = |outcome: &&EffectOutcome| matches!(outcome, EffectOutcome::Forwarded(_));
    outcomes.iter().filter(stored).count()
}

pub async fn one_of_a_kind(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let outcomes = committed(a.run(call(vec![start("k"), start("k"), start("l")])).await);
    assert_eq!(
        (stored(&outcomes), &outcomes[1]),
        (2, &EffectOutcome::Outstanding)
    );
    assert_eq!(
        committed(b.run(call(vec![start("k")])).await),
        [EffectOutcome::Outstanding]
    );
    let of_another = NewForward {
        service: "another".into(),
        ..keyed("k")
    };
    let outcome = b
        .run(call(vec![Effect::Forward(Box::new(of_another))]))
        .await;
    assert_eq!(stored(&committed(outcome)), 1);

    let rows = b.claim().await;
    let keys: Vec<_> = rows.iter().map(|row| row.work.key.as_deref()).collect();
    assert_eq!(keys, [Some("k"), Some("l")]);
    assert_eq!(
        committed(a.run(call(vec![start("k")])).await),
        [EffectOutcome::Outstanding]
    );

    // Settled: the key is free, in that very transaction; so it is when work is given up.
    let next = Unit {
        effects: vec![start("k"), start("l")],
        ..settle(&rows[0], Proof::Epoch(rows[0].epoch))
    };
    let outcomes = committed(b.run(next).await);
    assert_eq!(
        (stored(&outcomes), &outcomes[1]),
        (1, &EffectOutcome::Outstanding)
    );
    let bury = BuryForwarded {
        id: rows[1].id,
        epoch: rows[1].epoch,
        reason: "failed".into(),
    };
    assert!(b.run(bury).await);
    assert_eq!(stored(&committed(a.run(call(vec![start("l")])).await)), 1);
    // The work that was given up comes back beside the new one.
    let dead = a.run(ListDeadLetters { after: 0, limit: 9 }).await;
    assert!(a.run(RedriveDeadLetter { id: dead[0].id }).await);
    assert_eq!(b.claim().await.len(), 3);
}

pub async fn cancelled_while_it_waits(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let delayed = NewForward {
        begins: Begins::After(secs(60)),
        ..keyed("delayed")
    };
    let works = vec![
        start("waits"),
        start("runs"),
        Effect::Forward(Box::new(delayed)),
    ];
    a.run(call(works)).await;
    let all = |keys: [&str; 4]| call(keys.map(|key| cancel("service", key)).into());
    let cancelled = committed(b.run(all(["waits", "delayed", "none", "waits"])).await);
    assert_eq!(
        cancelled,
        [true, true, false, false].map(EffectOutcome::Cancelled)
    );
    let rows = b.claim().await;
    assert_eq!(rows.len(), 1);
    let of_runs = || call(vec![cancel("service", "runs")]);
    assert_eq!(
        committed(a.run(of_runs()).await),
        [EffectOutcome::Cancelled(false)]
    );
    let back = PostponeForwarded {
        id: rows[0].id,
        epoch: rows[0].epoch,
        attempts: 1,
        delay: secs(10),
    };
    assert!(b.run(back).await);
    assert_eq!(
        committed(a.run(of_runs()).await),
        [EffectOutcome::Cancelled(true)]
    );
    base.clock.advance(secs(100));
    assert_eq!(b.claim().await.len(), 0);
    assert_eq!(
        b.run(settle(&rows[0], Proof::Epoch(rows[0].epoch))).await,
        UnitOutcome::AlreadySettled
    );

    // Cancelled and started again in one transaction; and started and cancelled.
    a.run(call(vec![start("k")])).await;
    let again = call(vec![
        cancel("service", "k"),
        start("k"),
        start("l"),
        cancel("service", "l"),
    ]);
    let outcomes = committed(a.run(again).await);
    assert_eq!(outcomes[0], EffectOutcome::Cancelled(true));
    assert_eq!(outcomes[3], EffectOutcome::Cancelled(true));
    assert_eq!(b.claim().await.len(), 1);
}

/// Whatever the order in which transactions that run at the same time start the same kinds of work: each is stored once,
/// and nobody waits for ever.
pub async fn started_by_all_at_once(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    for round in 0..10 {
        let starts = (0..20).map(|n| {
            let mut effects: Vec<_> = (0..5).map(|key| start(&format!("{round} {key}"))).collect();
            if n % 2 == 1 {
                effects.reverse();
            }
            let node = [&a, &b][n / 2 % 2];
            async move { committed(node.run(call(effects)).await) }
        });
        let outcomes = futures_util::future::join_all(starts).await;
        assert_eq!(stored(&outcomes.concat()), 5, "round {round}");
    }
    assert_eq!(b.run(claim(100, &[])).await.rows.len(), 50);
}

pub async fn nothing_is_started_or_cancelled_by_what_is_refused(mut base: Base) {
    base.config.max_forwarded_per_session = 2;
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(call(vec![start("old")])).await;
    let unit = Unit {
        effects: vec![cancel("service", "old"), start("new"), start("newer")],
        ..incoming(holder, "c1", None)
    };
    let refused = UnitOutcome::TooMuchForwarded(ForwardLimit::Session);
    assert_eq!(a.run(unit).await, refused);
    let keys: Vec<_> = a
        .claim()
        .await
        .into_iter()
        .map(|row| row.work.key)
        .collect();
    assert_eq!(keys, [Some("old".to_owned())]);
}
