use super::*;

pub async fn all_or_nothing(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let unit = Unit {
        cause: Cause::Incoming {
            holder,
            cmid: "c1".into(),
            answer: Some("{}".into()),
            settles: Some(77),
        },
        effects: vec![
            to("s1", send("m")),
            publish("t", "p"),
            Effect::Forward(Box::new(work("f"))),
        ],
    };
    assert_eq!(a.run(unit).await, UnitOutcome::AlreadySettled);
    assert!(a.news().await.is_empty());
    assert!(a.fetch(holder.session).await.is_empty());
    assert_eq!(a.run(NewestPublication).await, 0);
    assert_eq!(
        a.run(ReadAnswer {
            session: holder.session,
            cmid: "c1".into()
        })
        .await,
        None
    );
    a.run(LeaveNode).await;
    assert!(a.claim().await.is_empty());
}

pub async fn idempotency(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    let keyed = |key: &str| Unit {
        cause: Cause::Call {
            idempotency_key: Some(key.into()),
        },
        effects: vec![to("s1", send("m"))],
    };
    // Given at once, so that they may share a transaction.
    let (first, second, other) = (
        a.store.run(keyed("k")),
        a.store.run(keyed("k")),
        a.store.run(keyed("l")),
    );
    assert_eq!(
        first.await.unwrap(),
        UnitOutcome::Committed(vec![EffectOutcome::Stored(1)])
    );
    assert_eq!(second.await.unwrap(), UnitOutcome::Repeated);
    assert_eq!(
        other.await.unwrap(),
        UnitOutcome::Committed(vec![EffectOutcome::Stored(2)])
    );
    assert_eq!(a.fetch(session).await.len(), 2);
}

pub async fn effects_and_news(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let one = b.open("user", "s1").await.holder;
    let two = a.open("user", "s2").await.holder;
    a.run(Deregister { holder: two }).await;
    let effects = vec![
        to("s1", send("m1")),
        Effect::Forward(Box::new(work("f"))),
        to("s2", send("m2")),
        publish("t", "p"),
        to("s1", request("m3")),
    ];
    let outcome = a.run(call(effects)).await;
    let UnitOutcome::Committed(outcomes) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(outcomes[0], EffectOutcome::Stored(1));
    assert!(matches!(outcomes[1], EffectOutcome::Forwarded(_)));
    assert_eq!(outcomes[2], EffectOutcome::Stored(1));
    assert!(matches!(outcomes[3], EffectOutcome::Published(_)));
    assert_eq!(outcomes[4], EffectOutcome::Stored(2));

    let news = a.news().await;
    assert_eq!(news.len(), 1);
    let stored: Vec<_> = news[0]
        .stored
        .iter()
        .map(|stored| {
            (
                stored.session,
                stored.home.clone(),
                message(stored).seq,
                message(stored).tid.as_str(),
            )
        })
        .collect();
    let at_b = Some((std::sync::Arc::from("b"), one.connection));
    assert_eq!(
        stored,
        [
            (one.session, at_b.clone(), 1, "m1"),
            (two.session, None, 1, "m2"),
            (one.session, at_b, 2, "m3"),
        ]
    );
    assert!(news[0].published);
    let forwarded = &news[0].forwarded[0];
    assert_eq!((forwarded.epoch, forwarded.attempts), (1, 0));
    assert!(
        b.news().await.is_empty(),
        "only the committing node is notified"
    );

    let read = b
        .run(ReadForwarded {
            id: forwarded.id,
            secret: forwarded.secret.clone(),
        })
        .await
        .expect("there");
    let read = Forwarded {
        read: forwarded.read,
        ..read
    };
    assert_eq!(format!("{read:?}"), format!("{forwarded:?}"));
    let fetched = b.fetch(one.session).await;
    assert_eq!(
        format!("{:?}", fetched[1]),
        format!("{:?}", message(&news[0].stored[2]))
    );
    assert_eq!(
        fetched[0].msg.as_ref().map(|msg| msg.get()),
        Some(r#"{"a": 1}"#),
        "untouched"
    );
}

pub async fn no_session_is_dropped(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let unit = Unit {
        effects: vec![to("gone", send("m")), to("s1", send("m"))],
        ..incoming(holder, "c1", None)
    };
    let outcome = a.run(unit).await;
    assert_eq!(
        outcome,
        UnitOutcome::Committed(vec![EffectOutcome::NoSession, EffectOutcome::Stored(1)])
    );
    assert_eq!(a.news().await[0].stored.len(), 1);
}

pub async fn correlations_are_taken_once(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(call(vec![to("s1", request("m1"))])).await;
    let read = ReadCorrelation {
        session: holder.session,
        seq: 1,
    };
    assert_eq!(a.run(read.clone()).await, request("m1").correlation);
    // The ACK of the request does not touch it.
    a.run(Complete {
        holder,
        acked: vec![1],
        nacked: vec![],
    })
    .await;
    let reply = |cmid: &str| Unit {
        cause: Cause::Incoming {
            holder,
            cmid: cmid.into(),
            answer: None,
            settles: Some(1),
        },
        effects: vec![publish("t", "p")],
    };
    let (first, again, other) = (
        a.store.run(reply("c1")),
        a.store.run(reply("c1")),
        a.store.run(reply("c2")),
    );
    assert_eq!(
        first.await.unwrap(),
        UnitOutcome::Committed(vec![EffectOutcome::Published(1)])
    );
    assert_eq!(again.await.unwrap(), UnitOutcome::Duplicate(None));
    assert_eq!(other.await.unwrap(), UnitOutcome::AlreadySettled);
    assert_eq!(a.run(read).await, None);
}

pub(super) fn settle(forwarded: &Forwarded, proof: Proof) -> Unit {
    Unit {
        cause: Cause::Forwarded {
            id: forwarded.id,
            proof,
        },
        effects: vec![to("s1", send("reply"))],
    }
}

pub async fn settle_by_epoch(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let session = a.open("user", "s1").await.holder.session;
    let row = a.forward("f").await;
    assert_eq!(
        b.run(settle(&row, Proof::Epoch(1))).await,
        UnitOutcome::AlreadySettled,
        "not b's claim"
    );
    assert_eq!(
        a.run(settle(&row, Proof::Epoch(2))).await,
        UnitOutcome::AlreadySettled
    );
    assert!(a.fetch(session).await.is_empty());
    assert!(matches!(
        a.run(settle(&row, Proof::Epoch(1))).await,
        UnitOutcome::Committed(_)
    ));
    assert_eq!(
        a.run(settle(&row, Proof::Epoch(1))).await,
        UnitOutcome::AlreadySettled
    );
    assert_eq!(a.tids(session).await, ["reply"]);
}

pub async fn settle_by_token(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let session = a.open("user", "s1").await.holder.session;
    let row = a.forward("f").await;
    let wrong = Proof::Token("wrong".into());
    assert_eq!(
        b.run(settle(&row, wrong)).await,
        UnitOutcome::AlreadySettled
    );
    assert!(
        b.run(ReadForwarded {
            id: row.id,
            secret: "wrong".into()
        })
        .await
        .is_none()
    );
    assert!(
        b.run(ReadForwarded {
            id: row.id,
            secret: row.secret.clone()
        })
        .await
        .is_some()
    );
    let right = || Proof::Token(row.secret.clone());
    assert!(matches!(
        b.run(settle(&row, right())).await,
        UnitOutcome::Committed(_)
    ));
    assert_eq!(
        b.run(settle(&row, right())).await,
        UnitOutcome::AlreadySettled
    );
    assert_eq!(b.tids(session).await, ["reply"]);
    assert!(
        b.run(ReadForwarded {
            id: row.id,
            secret: row.secret.clone()
        })
        .await
        .is_none()
    );
    let other = a.forward("g").await;
    assert_ne!(other.secret, row.secret);
    assert!(other.secret.len() >= 22);
}

pub async fn settled_once_in_one_group(base: Base) {
    let a = base.node("a").await;
    let session = a.open("user", "s1").await.holder.session;
    let row = a.forward("f").await;
    let all: Vec<_> = (0..10)
        .map(|_| a.store.run(settle(&row, Proof::Epoch(1))))
        .collect();
    let outcomes = futures_util::future::join_all(all).await;
    let committed = outcomes
        .into_iter()
        .filter(|it| matches!(it, Ok(UnitOutcome::Committed(_))))
        .count();
    assert_eq!((committed, a.fetch(session).await.len()), (1, 1));
}
