use super::*;
use crate::clock::wall_time;

pub async fn duplicates_get_the_first_answer(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let read = |cmid: &str| ReadAnswer {
        session: holder.session,
        cmid: cmid.into(),
    };
    assert_eq!(
        a.run(incoming(holder, "c1", None)).await,
        UnitOutcome::Committed(vec![])
    );
    assert_eq!(
        a.run(incoming(holder, "c2", Some("{}"))).await,
        UnitOutcome::Committed(vec![])
    );
    assert_eq!(
        a.run(incoming(holder, "c1", Some("x"))).await,
        UnitOutcome::Duplicate(None)
    );
    assert_eq!(
        a.run(incoming(holder, "c2", None)).await,
        UnitOutcome::Duplicate(Some("{}".into()))
    );
    let with_effects = Unit {
        effects: vec![to("s1", send("m"))],
        ..incoming(holder, "c2", None)
    };
    assert_eq!(
        a.run(with_effects).await,
        UnitOutcome::Duplicate(Some("{}".into()))
    );
    assert!(a.fetch(holder.session).await.is_empty());

    assert_eq!(a.run(read("c1")).await, Some(None));
    assert_eq!(a.run(read("c2")).await, Some(Some("{}".into())));
    assert_eq!(a.run(read("c3")).await, None);
    assert_eq!(
        a.run(DropInbox {
            holder,
            cmids: vec!["c2".into(), "unknown".into()]
        })
        .await,
        Fenced::Done
    );
    assert_eq!(a.run(read("c2")).await, None);
    assert_eq!(a.run(read("c1")).await, Some(None));

    // The same client message id in another session is another message.
    let other = a.open("user", "s2").await.holder;
    assert_eq!(
        a.run(incoming(other, "c1", None)).await,
        UnitOutcome::Committed(vec![])
    );
}

pub async fn a_resumed_session_knows_the_bytes_of_its_answers(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.run(incoming(holder, "c1", None)).await;
    a.run(incoming(holder, "c2", Some("\"ü\""))).await;
    let inbox = a.resume("user", "s1").await.inbox;
    assert_eq!(inbox, [("c1".to_owned(), 0), ("c2".to_owned(), 4)]);
}

pub async fn every_write_is_fenced(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let old = a.open("user", "s1").await.holder;
    a.run(incoming(old, "c1", None)).await;
    a.run(Subscribe {
        holder: old,
        topics: vec![("kept".into(), None)],
    })
    .await;
    a.run(call(vec![to("s1", request("m1")), to("s1", send("m2"))]))
        .await;
    let new = b.resume("user", "s1").await.holder;
    let settling = Unit {
        cause: Cause::Incoming {
            holder: old,
            cmid: "c2".into(),
            answer: None,
            settles: Some(1),
        },
        effects: vec![publish("t", "p")],
    };

    assert_eq!(
        a.run(incoming(old, "c2", None)).await,
        UnitOutcome::FencedOff
    );
    assert_eq!(
        a.run(incoming(old, "c1", None)).await,
        UnitOutcome::FencedOff
    );
    assert_eq!(a.run(settling).await, UnitOutcome::FencedOff);
    assert_eq!(
        a.run(DropInbox {
            holder: old,
            cmids: vec!["c1".into()]
        })
        .await,
        Fenced::FencedOff
    );
    assert_eq!(
        a.run(Complete {
            holder: old,
            acked: vec![2],
            nacked: vec![1]
        })
        .await,
        Fenced::FencedOff
    );
    assert_eq!(
        a.run(MarkRedelivery {
            holder: old,
            seqs: vec![1],
            max: 0
        })
        .await,
        MarkedRedelivery::FencedOff
    );
    assert_eq!(
        a.run(Subscribe {
            holder: old,
            topics: vec![("new".into(), None)]
        })
        .await,
        Fenced::FencedOff
    );
    assert_eq!(
        a.run(Unsubscribe {
            holder: old,
            topic: "kept".into()
        })
        .await,
        Fenced::FencedOff
    );
    assert!(!a.run(Deregister { holder: old }).await);
    base.clock.advance(secs(1));
    a.run(Liveliness { holders: vec![old] }).await;

    let listed = b
        .run(ListSessions {
            newest_first: false,
            filter: SessionFilter::default(),
            limit: 1,
        })
        .await;
    assert_eq!(
        (listed[0].node.as_deref(), listed[0].alive),
        (Some("b"), wall_time(START))
    );
    assert_eq!(b.tids(new.session).await, ["m1", "m2"]);
    assert!(b.ended().await.is_empty());
    assert_eq!(b.run(NewestPublication).await, 0);
    let again = b.resume("user", "s1").await;
    assert_eq!(
        (again.inbox, again.topics),
        (vec![("c1".into(), 0)], vec![("kept".into(), Some(0))])
    );

    let gone = Holder {
        session: SessionKey(99),
        connection: ConnectionId(1),
    };
    assert_eq!(
        a.run(incoming(gone, "c1", None)).await,
        UnitOutcome::FencedOff
    );
}

pub async fn deregistered_holder_still_settles(base: Base) {
    // The connection is gone, but nobody else holds the session: what the client acknowledged before stands.
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    a.send("s1", "m1").await;
    a.run(Deregister { holder }).await;
    assert_eq!(
        a.run(Complete {
            holder,
            acked: vec![1],
            nacked: vec![]
        })
        .await,
        Fenced::Done
    );
    assert!(a.fetch(holder.session).await.is_empty());
}

/// A client that drops an id may use it again, even in the same group.
pub async fn dropped_and_repeated_in_one_group(base: Base) {
    let a = base.node("a").await;
    let holder = a.open("user", "s1").await.holder;
    let incoming = |cmid: &str| Unit {
        cause: Cause::Incoming {
            holder,
            cmid: cmid.into(),
            answer: None,
            settles: None,
        },
        effects: Vec::new(),
    };
    let drop = |cmid: &str| DropInbox {
        holder,
        cmids: vec![cmid.into()],
    };
    let done = UnitOutcome::Committed(Vec::new());
    assert_eq!(a.run(incoming("1")).await, done);
    // The second was never in the inbox.
    for cmid in ["1", "2"] {
        // Given at once, so that they may share a transaction.
        let (gone, again, twice) = (
            a.store.run(drop(cmid)),
            a.store.run(incoming(cmid)),
            a.store.run(incoming(cmid)),
        );
        assert_eq!(gone.await.unwrap(), Fenced::Done);
        assert_eq!(again.await.unwrap(), done);
        assert_eq!(twice.await.unwrap(), UnitOutcome::Duplicate(None));
        // It has not been deleted behind the group's back.
        assert_eq!(
            a.run(incoming(cmid)).await,
            UnitOutcome::Duplicate(None),
            "{cmid}"
        );
    }
}
