//! Sessions that are closed later, by user, or to make room.

use super::*;

/// A user who had closed a laptop three times was locked out by the sessions that were waiting for it.
pub async fn an_absent_session_makes_room(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let new = |sid: &str| NewOrResumed::New {
        sid: sid.into(),
        smid_prefix: "p".into(),
    };
    let first = a.open("user", "s1").await;
    let second = a.open("user", "s2").await;
    b.open("user", "s3").await;
    for holder in [second.holder, first.holder] {
        base.clock.advance(secs(1));
        a.run(Deregister { holder }).await;
    }
    let refused = || async { a.register("user", new("s4")).await };
    base.clock.advance(secs(59));
    let renew = RenewLease {
        join: true,
        lease: secs(60),
    };
    a.run(renew).await;
    assert!(matches!(refused().await, Registered::TooManySessions));
    a.send("s2", "m1").await;
    a.send("s2", "m2").await;
    base.clock.advance(secs(2));
    let opened = held(a.register("user", new("s4")).await);
    let gone: Vec<_> = opened.made_room.iter().map(|it| &it.sid).collect();
    assert_eq!(gone, ["s2"], "the one that has been absent longest");
    assert_eq!(a.listed("s2").await, None);
    let dead = a.dead().await;
    let buried: Vec<_> = dead
        .iter()
        .map(|it| (&*it.trace_id, &*it.session_id))
        .collect();
    assert_eq!(buried, [("m1", "s2"), ("m2", "s2")]);
    assert!(dead[0].reason.contains("made room"), "{}", dead[0].reason);
    // A session whose node died a moment ago does not count as absent, although nobody holds it.
    assert!(a.listed("s3").await.is_some());
    a.resume("user", "s1").await;
    assert!(matches!(
        a.register("user", new("s5")).await,
        Registered::TooManySessions
    ));
}

/// Anyone who knows a session's id can ask for it to be closed; a client that is still there returns and keeps it.
pub async fn closed_later(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let later = |sid: &str| CloseLater {
        sid: sid.into(),
        after: secs(30),
    };
    let due = || CloseDue {
        after: secs(30),
        limit: 10,
    };
    assert_eq!(a.run(later("unknown")).await, None);
    let held = a.open("user", "s1").await;
    let noted = b.run(later("s1")).await.expect("it is there");
    assert_eq!(
        (noted.holder, noted.node.as_deref()),
        (held.holder, Some("a"))
    );
    let standing = || async {
        let session = held.holder.session;
        a.run(ReadStanding { session }).await.expect("it is there")
    };
    assert!(standing().await.closes);
    assert!(!a.run(Sweep).await.close_due);
    // It is still connected: its node cannot have been notified.
    base.clock.advance(secs(31));
    let renew = || RenewLease {
        join: false,
        lease: secs(60),
    };
    assert!(a.run(renew()).await && b.run(renew()).await);
    assert!(b.run(Sweep).await.close_due);
    let outcome = b.run(due()).await;
    assert!(outcome.closed.is_empty());
    assert_eq!(outcome.connected, vec![noted]);
    // It registers again, and therefore stays.
    let back = b.resume("user", "s1").await;
    assert!(!standing().await.closes);
    base.clock.advance(secs(31));
    assert!(a.run(due()).await.closed.is_empty());
    // The client is gone, and asking again does not postpone the closing.
    b.run(Deregister {
        holder: back.holder,
    })
    .await;
    a.run(later("s1")).await;
    base.clock.advance(secs(20));
    a.run(later("s1")).await;
    assert!(a.run(due()).await.closed.is_empty());
    base.clock.advance(secs(11));
    let closed = a.run(due()).await.closed;
    assert_eq!(closed[0].sid, "s1");
    assert_eq!(a.listed("s1").await, None);
}

pub async fn closed_by_user(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("user", "s1").await;
    b.open("user", "s2").await;
    a.open("other", "s3").await;
    let closed = a.store.close_all_of("user", "bye").await.expect("closed");
    let mut closed: Vec<_> = closed
        .iter()
        .map(|it| (&*it.sid, it.home.as_ref().map(|home| &*home.0)))
        .collect();
    closed.sort_unstable();
    assert_eq!(closed, [("s1", Some("a")), ("s2", Some("b"))]);
    let closed = a.store.close_all_of("user", "bye").await.expect("closed");
    assert!(closed.is_empty());
    assert!(a.listed("s3").await.is_some());
}
