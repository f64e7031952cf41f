//! What a node does at intervals: sessions time out, are swept, and leave nothing behind.

use super::*;
use crate::clock::wall_time;

pub async fn time_out(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let connected = a.open("user", "connected").await;
    let idle = a.open("user", "idle").await;
    b.open("user", "on a dead node").await;
    a.run(Deregister {
        holder: idle.holder,
    })
    .await;
    for _ in 0..4 {
        base.clock.advance(secs(30));
        assert!(
            a.run(RenewLease {
                join: false,
                lease: secs(60)
            })
            .await
        );
    }
    // Fenced off, so this does not count as a sign of life.
    let stale = Holder {
        connection: ConnectionId(99),
        ..idle.holder
    };
    a.run(Liveliness {
        holders: vec![stale],
    })
    .await;
    assert!(
        a.run(TimeOutSessions {
            idle: secs(120),
            limit: 10
        })
        .await
        .is_empty(),
        "not yet"
    );
    base.clock.advance(secs(1));
    assert_eq!(
        a.run(TimeOutSessions {
            idle: secs(120),
            limit: 1
        })
        .await
        .len(),
        1
    );
    let rest = a
        .run(TimeOutSessions {
            idle: secs(120),
            limit: 10,
        })
        .await;
    assert_eq!(rest.len(), 1);
    let left = a
        .run(ListSessions {
            newest_first: false,
            filter: SessionFilter::default(),
            limit: 10,
        })
        .await;
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].session_id.as_str(), left[0].alive),
        ("connected", wall_time(START))
    );

    a.run(Liveliness {
        holders: vec![connected.holder],
    })
    .await;
    a.run(Deregister {
        holder: connected.holder,
    })
    .await;
    assert!(
        a.run(TimeOutSessions {
            idle: secs(120),
            limit: 10
        })
        .await
        .is_empty()
    );
}

/// The clock was set forward, so all leases have expired at once, which says nothing about who is connected. A node
/// closes nobody's session until it has renewed its own lease.
pub async fn a_clock_set_forward_ends_no_session(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    for sid in ["s1", "s2", "s3"] {
        b.open("user", sid).await;
    }
    base.clock.advance(days(1));
    let time_out = TimeOutSessions {
        idle: secs(120),
        limit: 10,
    };
    assert_eq!(a.run(time_out.clone()).await, []);
    let new = NewOrResumed::New {
        sid: "s4".into(),
        smid_prefix: "p".into(),
    };
    let refused = a.register("user", new.clone()).await;
    assert!(matches!(refused, Registered::TooManySessions));
    let renew = RenewLease {
        join: true,
        lease: secs(60),
    };
    // The other one is about to renew its lease.
    a.run(renew.clone()).await;
    let register = Register {
        of_the_dead: false,
        ..register_of("user", new)
    };
    let refused = a.run(register).await;
    assert!(matches!(refused, Registered::TooManySessions));
    b.run(renew).await;
    assert_eq!(a.run(time_out).await, []);
}

pub async fn sweep_and_which_exist(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let (one, two, three) = (
        a.open("user", "s1").await,
        a.open("user", "s2").await,
        b.open("user", "s3").await,
    );
    b.send("s2", "m").await;
    b.send("s2", "m").await;
    b.run(call(vec![publish("t", "p")])).await;
    let swept = a.run(Sweep).await;
    let expected = vec![
        SweptSession {
            holder: one.holder,
            newest: 0,
        },
        SweptSession {
            holder: two.holder,
            newest: 2,
        },
    ];
    assert_eq!((swept.sessions, swept.newest_publication), (expected, 1));

    a.run(CloseSession {
        target: CloseTarget::Sid("s2".into()),
        reason: "x".into(),
    })
    .await;
    b.resume("user", "s1").await;
    assert!(a.run(Sweep).await.sessions.is_empty());
    let keys = vec![
        two.holder.session,
        three.holder.session,
        one.holder.session,
        SessionKey(99),
    ];
    let mut exist = a.run(WhichExist { sessions: keys }).await;
    exist.sort_unstable();
    let mut expected = [one.holder.session, three.holder.session];
    expected.sort_unstable();
    assert_eq!(exist, expected);
}

pub async fn scavenge(base: Base) {
    let (a, _b) = (base.node("a").await, base.node("b").await);
    let scavenge = || a.scavenge(days(3), secs(100), secs(200));
    a.run(call(vec![publish("t", "p1"), publish("t", "p2")]))
        .await;
    let keyed = || Unit {
        cause: Cause::Call {
            idempotency_key: Some("k".into()),
        },
        effects: Vec::new(),
    };
    a.run(keyed()).await;
    base.clock.advance(secs(101));
    assert_eq!(scavenge().await, 1, "the newest publication stays");
    assert_eq!(a.run(keyed()).await, UnitOutcome::Repeated);
    base.clock.advance(secs(100));
    assert_eq!(scavenge().await, 1, "the key");
    assert_eq!(a.run(keyed()).await, UnitOutcome::Committed(vec![]));
    base.clock.advance(secs(3600));
    // Both nodes, and the key once more.
    assert_eq!(scavenge().await, 3);
}

/// A client's ACK2 was lost with its connection: it never arrives, and the row would stay for the life of the session.
pub async fn scavenge_old_inbox(base: Base) {
    let a = base.node("a").await;
    let held = a.open("user", "s1").await;
    let incoming = |cmid: &str| Unit {
        cause: Cause::Incoming {
            holder: held.holder,
            cmid: cmid.into(),
            answer: None,
            settles: None,
        },
        effects: Vec::new(),
    };
    let scavenge = || a.scavenge(secs(100), secs(1_000), secs(1_000));
    a.run(incoming("old")).await;
    base.clock.advance(secs(60));
    a.run(incoming("young")).await;
    assert_eq!(scavenge().await, 0);
    base.clock.advance(secs(60));
    assert_eq!(scavenge().await, 1);
    assert_eq!(a.run(incoming("young")).await, UnitOutcome::Duplicate(None));
}

/// Each table is passed over once, in batches, whatever it contains; young rows, and rows with a session, stay.
pub async fn scavenge_in_parts(base: Base) {
    let a = base.node("a").await;
    let (old, young) = (a.open("user", "s1").await, a.open("user", "s2").await);
    let incoming = |holder, cmid: String| Unit {
        cause: Cause::Incoming {
            holder,
            cmid,
            answer: None,
            settles: None,
        },
        effects: vec![to("s1", send("m")), publish("t", "p")],
    };
    let subscribe = |topic: String| Subscribe {
        holder: old.holder,
        topics: vec![(topic, None)],
    };
    for number in 0..5 {
        a.run(incoming(old.holder, format!("old{number}"))).await;
        a.run(subscribe(format!("t{number}"))).await;
    }
    base.clock.advance(secs(60));
    for number in 0..5 {
        a.run(incoming(young.holder, format!("young{number}")))
            .await;
    }
    base.clock.advance(secs(60));
    let mut scavenge = Scavenge {
        inbox_older: secs(100),
        publications_older: secs(100),
        keys_older: secs(100),
        from: ScavengeFrom::default(),
        limit: 2,
    };
    let (mut rows, mut largest) = (0, 0);
    loop {
        let part = a.run(scavenge.clone()).await;
        rows += part.rows;
        largest = largest.max(part.rows);
        match part.next {
            Some(next) if next == scavenge.from => panic!("it stands still at {next:?}"),
            Some(next) => scavenge.from = next,
            None => break,
        }
    }
    assert_eq!(rows, 10, "five inbox rows and five publications");
    assert!(largest <= 2, "a part of {largest} rows");
    assert_eq!(a.tids(old.holder.session).await.len(), 10);
    let again = a.run(incoming(young.holder, "young0".into())).await;
    assert_eq!(again, UnitOutcome::Duplicate(None));
}
