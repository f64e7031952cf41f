//! Messages for users who have no session.

use futures_util::future::{join, join_all};

use super::*;

const HOUR: u64 = 3_600;

fn keeping(message: NewMessage, for_every_session: bool) -> Unit {
    let keep = KeepFor {
        time: secs(HOUR),
        for_every_session,
    };
    call(vec![Effect::ToUser {
        user_id: "user".into(),
        message,
        keep: Some(keep),
    }])
}

fn keep(tid: &str) -> Unit {
    keeping(send(tid), false)
}

/// The outcome for a user without sessions.
fn kept(kept: bool) -> UnitOutcome {
    of_user(StoredForUser {
        kept: Some(kept),
        ..StoredForUser::default()
    })
}

fn of_user(stored: StoredForUser) -> UnitOutcome {
    UnitOutcome::Committed(vec![EffectOutcome::StoredForUser(stored)])
}

fn close(sid: &str) -> CloseSession {
    CloseSession {
        target: CloseTarget::Sid(sid.into()),
        reason: "closed".into(),
    }
}

fn acked(holder: Holder, acked: &[i64]) -> Complete {
    Complete {
        holder,
        acked: acked.to_vec(),
        nacked: vec![],
    }
}

/// Closes the session, and returns what the next one of the user gets.
async fn next(node: &Node, sid: &str, next: &str) -> Vec<String> {
    node.run(close(sid)).await;
    let held = node.open("user", next).await;
    node.tids(held.holder.session).await
}

/// They come in their order, before what is sent to the session, and the session knows that it has them.
pub async fn until_a_session_is_opened(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("other", "s0").await;
    let not_kept = call(vec![to_user("user", send("not kept"))]);
    assert_eq!(a.run(not_kept).await, of_user(StoredForUser::default()));
    for tid in ["m1", "m2", "m3"] {
        assert_eq!(a.run(keep(tid)).await, kept(true));
    }
    a.news().await;
    b.news().await;
    let held = b.open("user", "s1").await;
    assert!(held.has_outbox && held.new);
    assert_eq!(held.last_seq, 3);
    assert!(b.news().await.is_empty(), "the session reads them");
    let stored = StoredForUser {
        seqs: vec![4],
        ..StoredForUser::default()
    };
    let outcome = a.run(keep("m4")).await;
    assert_eq!(outcome, of_user(stored), "the user has a session");
    let session = held.holder.session;
    let fetched = b.fetch(session).await;
    let seen: Vec<_> = fetched.iter().map(|it| (it.seq, &*it.tid)).collect();
    assert_eq!(seen, [(1, "m1"), (2, "m2"), (3, "m3"), (4, "m4")]);
    let (first, sent) = (&fetched[0], send("m1"));
    assert_eq!((first.kind, &first.eid), (MessageType::Send, &sent.eid));
    assert_eq!(
        first.msg.as_ref().map(|it| it.get()),
        sent.msg.as_ref().map(|it| it.get())
    );
    assert_eq!(b.resume("user", "s1").await.last_seq, 4);
    assert!(!b.open("other", "s2").await.has_outbox);
}

/// A client that lost its connection before it learnt of its session opens another one.
pub async fn until_one_has_acknowledged(base: Base) {
    let a = base.node("a").await;
    a.run(keep("m1")).await;
    a.run(keep("m2")).await;
    let lost = a.open("user", "s1").await;
    assert_eq!(a.tids(lost.holder.session).await, ["m1", "m2"]);
    a.run(acked(lost.holder, &[1])).await;
    let second = a.open("user", "s2").await;
    assert_eq!(a.tids(second.holder.session).await, ["m2"]);
    a.run(acked(second.holder, &[1])).await;
    assert!(!a.open("user", "s3").await.has_outbox);
    for sid in ["s1", "s2", "s3"] {
        a.run(close(sid)).await;
    }
    assert!(!a.open("user", "s4").await.has_outbox);
}

pub async fn closed_sessions_hand_back(base: Base) {
    let a = base.node("a").await;
    for tid in ["m1", "m2", "m3"] {
        a.run(keep(tid)).await;
    }
    let held = a.open("user", "s1").await;
    a.send("s1", "of this session").await;
    a.run(acked(held.holder, &[2])).await;
    assert_eq!(next(&a, "s1", "s2").await, ["m1", "m3"]);
    // Timed out this time.
    let holder = a.resume("user", "s2").await.holder;
    a.run(Deregister { holder }).await;
    base.clock.advance(secs(1_000));
    a.run(RenewLease {
        join: true,
        lease: secs(60),
    })
    .await;
    let timed_out = a.run(TimeOutSessions {
        idle: secs(900),
        limit: 10,
    });
    assert_eq!(timed_out.await.len(), 1);
    let again = a.open("user", "s3").await;
    assert_eq!(a.tids(again.holder.session).await, ["m1", "m3"]);
    a.run(acked(again.holder, &[1, 2])).await;
    assert!(next(&a, "s3", "s4").await.is_empty());
}

/// What the session had besides becomes dead letters.
pub async fn making_room_hands_back(base: Base) {
    let a = base.node("a").await;
    a.run(keep("m1")).await;
    let first = a.open("user", "s1").await;
    a.send("s1", "of this session").await;
    a.run(Deregister {
        holder: first.holder,
    })
    .await;
    base.clock.advance(secs(30));
    let session = NewOrResumed::New {
        sid: "s2".into(),
        smid_prefix: "p".into(),
    };
    let register = Register {
        max_sessions_per_user: 1,
        min_absence: secs(10),
        ..register_of("user", session)
    };
    let held = held(a.run(register).await);
    assert_eq!(held.made_room.len(), 1);
    assert_eq!(a.tids(held.holder.session).await, ["m1"]);
    let letters = a.run(ListDeadLetters {
        after: 0,
        limit: 10,
    });
    let letters: Vec<_> = letters.await.into_iter().map(|it| it.trace_id).collect();
    assert_eq!(letters, ["of this session"]);
}

pub async fn for_every_session(base: Base) {
    let a = base.node("a").await;
    a.run(keeping(send("all"), true)).await;
    a.run(keep("first")).await;
    for (sid, expected) in [("s1", &["all", "first"][..]), ("s2", &["all"])] {
        let held = a.open("user", sid).await;
        assert_eq!(a.tids(held.holder.session).await, expected);
        a.run(acked(held.holder, &[1, 2])).await;
    }
    assert_eq!(next(&a, "s1", "s3").await, ["all"]);
    base.clock.advance(secs(HOUR));
    assert!(next(&a, "s2", "s4").await.is_empty());
    let expired = a.run(ExpireKept { limit: 10 }).await;
    assert_eq!(expired, ExpiredKept::default(), "it was delivered");
}

pub async fn only_so_long(base: Base) {
    let a = base.node("a").await;
    for tid in ["m1", "m2", "m3"] {
        a.run(keep(tid)).await;
    }
    base.clock.advance(secs(10));
    a.run(keep("m4")).await;
    base.clock.advance(secs(HOUR - 10));
    let expire = |limit| a.run(ExpireKept { limit });
    let undelivered = |undelivered, more| ExpiredKept { undelivered, more };
    assert_eq!(expire(2).await, undelivered(2, true));
    let held = a.open("user", "s1").await;
    assert_eq!(a.tids(held.holder.session).await, ["m4"]);
    assert_eq!(expire(2).await, undelivered(1, false));
    base.clock.advance(secs(10));
    assert_eq!(expire(2).await, undelivered(0, false));
    assert!(next(&a, "s1", "s2").await.is_empty(), "its time has ended");
}

pub async fn only_so_much(mut base: Base) {
    base.config.max_kept_per_user = 3;
    base.config.max_kept_bytes_per_user = 100;
    let a = base.node("a").await;
    let of_bytes = |bytes: usize| {
        let msg = Some(json(&format!("\"{}\"", "x".repeat(bytes - 2))));
        keeping(
            NewMessage {
                msg,
                ..send("large")
            },
            false,
        )
    };
    assert_eq!(a.run(of_bytes(200)).await, kept(true), "one always fits");
    assert_eq!(a.run(of_bytes(10)).await, kept(false));
    a.run(DropKept {
        user_id: "user".into(),
    })
    .await;
    assert_eq!(a.run(of_bytes(60)).await, kept(true));
    assert_eq!(a.run(of_bytes(41)).await, kept(false));
    assert_eq!(a.run(of_bytes(20)).await, kept(true));
    assert_eq!(a.run(of_bytes(20)).await, kept(true));
    let beyond = a.run(of_bytes(2)).await;
    assert_eq!(beyond, kept(false), "three are there");
    base.clock.advance(secs(HOUR));
    assert_eq!(a.run(keep("later")).await, kept(true), "they have expired");
}

pub async fn with_a_time_to_live(base: Base) {
    let a = base.node("a").await;
    let living = |tid: &str, seconds| {
        let time_to_live = Some(secs(seconds));
        keeping(
            NewMessage {
                time_to_live,
                ..send(tid)
            },
            false,
        )
    };
    a.run(living("short", 10)).await;
    a.run(living("long", 2 * HOUR)).await;
    base.clock.advance(secs(20));
    let held = a.open("user", "s1").await;
    let fetched = a.fetch(held.holder.session).await;
    let seen: Vec<_> = fetched.iter().map(|it| (&*it.tid, it.left)).collect();
    let left = secs(2 * HOUR - 20);
    assert_eq!(seen, [("long", Some(left))], "from when it was sent");
}

pub async fn dropped(base: Base) {
    let a = base.node("a").await;
    a.run(keep("m1")).await;
    a.run(keep("m2")).await;
    let drop_kept = |user: &str| {
        a.run(DropKept {
            user_id: user.into(),
        })
    };
    assert_eq!(drop_kept("other").await, 0);
    assert_eq!(drop_kept("user").await, 2);
    assert!(!a.open("user", "s1").await.has_outbox);
}

/// With an idempotency key.
pub async fn once(base: Base) {
    let a = base.node("a").await;
    let keyed = || Unit {
        cause: Cause::Call {
            idempotency_key: Some("k".into()),
        },
        ..keep("m1")
    };
    assert_eq!(a.run(keyed()).await, kept(true));
    assert_eq!(a.run(keyed()).await, UnitOutcome::Repeated);
    let held = a.open("user", "s1").await;
    assert_eq!(a.tids(held.holder.session).await, ["m1"]);
    assert_eq!(a.run(keyed()).await, UnitOutcome::Repeated);
}

/// Whoever comes first: it is in the session that is opened meanwhile, once.
pub async fn beside_sessions_being_opened(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let users: Vec<_> = (0..40).map(|number| format!("user {number}")).collect();
    let all = users.iter().map(async |user| {
        let message = Unit {
            effects: vec![Effect::ToUser {
                user_id: user.clone(),
                message: send("m"),
                keep: Some(KeepFor {
                    time: secs(HOUR),
                    for_every_session: false,
                }),
            }],
            ..call(vec![])
        };
        let (_, opened) = join(a.run(message), b.open(user, user)).await;
        b.tids(opened.holder.session).await
    });
    for tids in join_all(all).await {
        assert_eq!(tids, ["m"]);
    }
}
