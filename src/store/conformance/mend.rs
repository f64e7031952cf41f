use super::*;

/// How far the first clock is ahead.
const HOUR: Duration = Duration::from_secs(3600);

/// Two nodes, and the clock of the second: the first stopped with its clock an hour ahead, so the clock has been set
/// back since.
async fn set_back(base: &Base) -> (Node, Node, Clock) {
    let a = base.node("a").await;
    let behind = Clock::fixed_ms(START);
    base.clock.advance(HOUR);
    let base = Base {
        clock: behind.clone(),
        ..Base::of(base.store.clone())
    };
    (a, base.node("b").await, behind)
}

async fn mend(node: &Node) -> u64 {
    node.run(MendTimes {
        close_after: secs(30),
        again: secs(60),
        limit: 10,
    })
    .await
}

fn renew(join: bool) -> RenewLease {
    RenewLease {
        join,
        lease: secs(60),
    }
}

/// Endless times overflowed in the database, so nothing was repaired and no lease was renewed.
pub async fn without_end(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let endless = RenewLease {
        join: true,
        lease: Duration::MAX,
    };
    a.run(endless).await;
    a.open("user", "s1").await;
    let mut asked = request("r1");
    let correlation = asked.correlation.as_mut().expect("it has one");
    correlation.timeout_ms = i64::MAX;
    a.run(call(vec![to("s1", asked)])).await;
    assert_eq!(mend(&b).await, 0);
    assert!(b.run(renew(false)).await);
    assert_eq!(b.home("s1").await.as_deref(), Some("a"));
    assert_eq!(b.ended().await, []);
}

/// The work of a killed node waited for as long as the clock was set back.
pub async fn a_dead_node_s_lease(base: Base) {
    let (a, b, clock) = set_back(&base).await;
    a.run(renew(true)).await;
    let work = a.forward("m1").await;
    assert!(b.claim().await.is_empty());
    assert!(b.run(renew(false)).await);
    clock.advance(secs(59));
    assert!(b.run(renew(false)).await);
    mend(&b).await;
    assert!(b.claim().await.is_empty(), "it may live");
    clock.advance(secs(1));
    let claimed = b.claim().await;
    assert_eq!((claimed.len(), claimed[0].id), (1, work.id));
}

/// A living node renews its lease and keeps its claims and sessions.
pub async fn a_living_node_s_lease(base: Base) {
    let (a, b, clock) = set_back(&base).await;
    a.run(renew(true)).await;
    a.open("user", "s1").await;
    assert!(b.run(renew(false)).await);
    let base = Base {
        clock: clock.clone(),
        ..Base::of(base.store.clone())
    };
    // Its own clock was set back as well.
    let a = base.node("a").await;
    clock.advance(secs(50));
    for node in [&a, &b] {
        assert!(node.run(renew(false)).await);
    }
    clock.advance(secs(50));
    assert_eq!(b.home("s1").await.as_deref(), Some("a"));
}

/// Work stays postponed for the intended time, and not longer.
pub async fn work_and_requests(base: Base) {
    let (a, b, clock) = set_back(&base).await;
    let holder = a.open("user", "s1").await.holder;
    // Work that no node has ever claimed, and work that was put back by an operator.
    let free = NewForward {
        here: false,
        ..work("free")
    };
    let delayed = NewForward {
        begins: Begins::After(secs(10)),
        ..work("delayed")
    };
    for work in [free, delayed] {
        a.run(call(vec![Effect::Forward(Box::new(work))])).await;
    }
    let row = a.forward("redriven").await;
    let bury = BuryForwarded {
        id: row.id,
        epoch: row.epoch,
        reason: "failed".into(),
    };
    assert!(a.run(bury).await);
    let id = a.dead().await[0].id;
    assert!(a.run(RedriveDeadLetter { id }).await);
    a.forward("postponed").await;
    let row = a.forward("given back").await;
    let rows = vec![(row.id, row.epoch)];
    a.run(GiveBackForwarded { rows }).await;
    let row = a.forward("later").await;
    let later = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts: 1,
        delay: secs(10),
    };
    assert!(a.run(later).await);
    a.run(call(vec![to("s1", request("r1"))])).await;
    let close = CloseLater {
        sid: "s1".into(),
        after: secs(30),
    };
    a.run(close).await.expect("it is there");
    a.run(Deregister { holder }).await;
    a.run(LeaveNode).await;

    assert_eq!(b.claim().await.len(), 0);
    assert!(mend(&b).await > 0);
    assert_eq!(mend(&b).await, 0, "all is mended");
    assert_eq!(b.claim().await.len(), 4, "what was not postponed");
    clock.advance(secs(4));
    assert_eq!(b.ended().await, []);
    clock.advance(secs(1));
    assert_eq!(b.ended().await.len(), 1);
    assert_eq!(b.claim().await.len(), 0);
    clock.advance(secs(5));
    assert_eq!(b.claim().await.len(), 2, "what was delayed or postponed");
    let due = CloseDue {
        after: secs(30),
        limit: 10,
    };
    clock.advance(secs(19));
    assert_eq!(b.run(due.clone()).await.closed, []);
    clock.advance(secs(1));
    assert_eq!(b.run(due).await.closed.len(), 1);
}

/// A session times out after the usual time since its client was last connected.
pub async fn sessions(base: Base) {
    let (a, b, clock) = set_back(&base).await;
    // More than are repaired in one operation.
    for number in 0..25 {
        let other = a
            .open(&format!("user {number}"), &format!("other {number}"))
            .await
            .holder;
        a.run(Deregister { holder: other }).await;
    }
    let holder = a.open("user", "s1").await.holder;
    a.run(Deregister { holder }).await;
    let mut goes = 0;
    while mend(&b).await > 0 {
        goes += 1;
    }
    assert_eq!(goes, 3);
    let time_out = TimeOutSessions {
        idle: secs(100),
        limit: 100,
    };
    clock.advance(secs(100));
    b.run(renew(true)).await;
    assert_eq!(b.run(time_out.clone()).await, []);
    clock.advance(secs(1));
    assert_eq!(b.run(time_out).await.len(), 26);
}

/// Times that are meant to lie in the future are left alone.
pub async fn nothing(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("user", "s1").await;
    let row = a.forward("later").await;
    let later = PostponeForwarded {
        id: row.id,
        epoch: row.epoch,
        attempts: 1,
        delay: HOUR,
    };
    assert!(a.run(later).await);
    a.run(call(vec![to("s1", request("r1"))])).await;
    let close = CloseLater {
        sid: "s1".into(),
        after: secs(30),
    };
    a.run(close).await.expect("it is there");
    assert_eq!(mend(&b).await, 0);
    assert_eq!(b.claim().await.len(), 0);
}
