//! Messages for all sessions of a user, and the list of users.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::engine::close_gate;
use super::*;

fn to_all(user: &str, tid: &str) -> Unit {
    call(vec![to_user(user, send(tid))])
}

fn stored(seqs: &[i64]) -> UnitOutcome {
    UnitOutcome::Committed(vec![of_user(seqs)])
}

fn of_user(seqs: &[i64]) -> EffectOutcome {
    EffectOutcome::StoredForUser(StoredForUser {
        seqs: seqs.to_vec(),
        full: vec![],
        kept: None,
    })
}

fn close(sid: &str) -> CloseSession {
    CloseSession {
        target: CloseTarget::Sid(sid.into()),
        reason: "closed".into(),
    }
}

fn new(sid: &str) -> Register {
    let session = NewOrResumed::New {
        sid: sid.into(),
        smid_prefix: "p".into(),
    };
    Register {
        max_sessions_per_user: 1_000,
        ..register_of("user", session)
    }
}

/// Connected on whatever node or not connected; in the order of the commits, whether sent to the session or the user.
pub async fn each_session_once(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let at_b = b.open("user", "s1").await.holder;
    let away = a.open("user", "s2").await.holder;
    let other = a.open("other", "s3").await.holder;
    a.run(Deregister { holder: away }).await;
    a.send("s1", "m1").await;
    a.news().await;
    assert_eq!(a.run(to_all("user", "m2")).await, stored(&[2, 1]));
    let news = a.news().await;
    let [of_first, of_second] = &news[0].stored[..] else {
        panic!("{news:?}")
    };
    assert_eq!(
        (of_first.session, message(of_first).seq, of_first.after),
        (at_b.session, 2, 1)
    );
    assert_eq!(message(of_first).tid, "m2");
    let home = Some((std::sync::Arc::from("b"), at_b.connection));
    assert_eq!(of_first.home, home);
    assert_eq!((of_second.session, &of_second.home), (away.session, &None));
    assert!(b.news().await.is_empty(), "it hears of it by a notice");

    assert_eq!(b.run(to_all("user", "m3")).await, stored(&[3, 2]));
    b.send("s1", "m4").await;
    assert_eq!(a.tids(at_b.session).await, ["m1", "m2", "m3", "m4"]);
    assert_eq!(a.tids(away.session).await, ["m2", "m3"]);
    assert!(a.tids(other.session).await.is_empty());
}

pub async fn none(base: Base) {
    let a = base.node("a").await;
    assert_eq!(a.run(to_all("user", "m1")).await, stored(&[]));
    let holder = a.open("user", "s1").await.holder;
    assert_eq!(a.run(to_all("user", "m2")).await, stored(&[1]));
    assert_eq!(a.tids(holder.session).await, ["m2"]);
    a.run(close("s1")).await;
    assert_eq!(a.run(to_all("user", "m3")).await, stored(&[]));
}

pub async fn beside_messages_in_one_unit(base: Base) {
    let a = base.node("a").await;
    let first = a.open("user", "s1").await.holder;
    let second = a.open("user", "s2").await.holder;
    a.news().await;
    let effects = vec![
        to("s1", send("m1")),
        to_user("user", send("m2")),
        to("s2", send("m3")),
        to_user("user", send("m4")),
        to_user("user", send("m5")),
        to("s1", send("m6")),
    ];
    a.run(call(effects)).await;
    assert_eq!(a.tids(first.session).await, ["m1", "m2", "m4", "m5", "m6"]);
    assert_eq!(a.tids(second.session).await, ["m2", "m3", "m4", "m5"]);
    // Each message comes with the news that is about it.
    let news = a.news().await.remove(0).stored;
    let of_news: Vec<_> = news
        .iter()
        .map(|stored| (stored.session, message(stored).seq, &*message(stored).tid))
        .collect();
    let (one, two) = (first.session, second.session);
    assert_eq!(
        of_news,
        [
            (one, 1, "m1"),
            (one, 2, "m2"),
            (two, 1, "m2"),
            (two, 2, "m3"),
            (one, 3, "m4"),
            (two, 3, "m4"),
            (one, 4, "m5"),
            (two, 4, "m5"),
            (one, 5, "m6"),
        ]
    );
}

pub async fn idempotency(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let keyed = |key: &str| Unit {
        cause: Cause::Call {
            idempotency_key: Some(key.into()),
        },
        ..to_all("user", key)
    };
    assert_eq!(a.run(keyed("nobody")).await, stored(&[]));
    let first = a.open("user", "s1").await.holder.session;
    let second = a.open("user", "s2").await.holder.session;
    assert_eq!(b.run(keyed("nobody")).await, UnitOutcome::Repeated);
    let outcomes = join_all([a.store.run(keyed("k")), b.store.run(keyed("k"))]).await;
    let mut outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    outcomes.sort_by_key(|outcome| *outcome == UnitOutcome::Repeated);
    assert_eq!(outcomes, [stored(&[1, 1]), UnitOutcome::Repeated]);
    assert_eq!(a.tids(first).await, ["k"]);
    assert_eq!(a.tids(second).await, ["k"]);
}

pub async fn full_outboxes_keep_it_from_no_other(mut base: Base) {
    base.config.max_outbox = 2;
    let a = base.node("a").await;
    let first = a.open("user", "s1").await.holder;
    let second = a.open("user", "s2").await.holder;
    for tid in ["m1", "m2"] {
        a.send("s1", tid).await;
    }
    let partly = |seq| {
        let full = vec![FullOutbox {
            session_id: "s1".into(),
            cap: OutboxCap::Messages(2),
        }];
        let seqs = vec![seq];
        EffectOutcome::StoredForUser(StoredForUser {
            seqs,
            full,
            kept: None,
        })
    };
    let unit = Unit {
        effects: vec![to_user("user", send("m3"))],
        ..incoming(second, "c1", None)
    };
    let outcome = a.run(unit).await;
    assert_eq!(outcome, UnitOutcome::Committed(vec![partly(1)]));
    // What is stored earlier in the same unit counts.
    let effects = vec![to("s2", send("m4")), to_user("user", send("m5"))];
    let UnitOutcome::Committed(outcomes) = a.run(call(effects)).await else {
        panic!("refused")
    };
    let EffectOutcome::StoredForUser(of_user) = &outcomes[1] else {
        panic!("{outcomes:?}")
    };
    assert_eq!((of_user.seqs.len(), of_user.full.len()), (0, 2));
    a.run(Complete {
        holder: first,
        acked: vec![1],
        nacked: vec![],
    })
    .await;
    a.run(to_all("user", "m6")).await;
    assert_eq!(a.tids(first.session).await, ["m2", "m6"]);
    assert_eq!(a.tids(second.session).await, ["m3", "m4"]);
}

pub async fn requests_end_one_by_one(base: Base) {
    let a = base.node("a").await;
    let first = a.open("user", "s1").await.holder;
    let second = a.open("user", "s2").await.holder;
    a.run(call(vec![to_user("user", request("m1"))])).await;
    let read = |holder: Holder| ReadCorrelation {
        session: holder.session,
        seq: 1,
    };
    for holder in [first, second] {
        assert_eq!(a.run(read(holder)).await, request("m1").correlation);
    }
    let reply = Unit {
        cause: Cause::Incoming {
            holder: first,
            cmid: "c1".into(),
            answer: None,
            settles: Some(1),
        },
        effects: vec![],
    };
    assert_eq!(a.run(reply).await, UnitOutcome::Committed(vec![]));
    assert_eq!(a.run(read(first)).await, None);
    base.clock.advance(secs(6));
    let ended = a.ended().await;
    let ended: Vec<_> = ended.iter().map(|it| (&*it.sid, &*it.user_id)).collect();
    assert_eq!(ended, [("s2", "user")], "the other has timed out");
}

pub async fn with_a_client_s_message(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let first = a.open("user", "s1").await.holder;
    let second = a.open("user", "s2").await.holder;
    let unit = |holder| Unit {
        effects: vec![to_user("user", send("m"))],
        ..incoming(holder, "c1", None)
    };
    let committed = UnitOutcome::Committed(vec![of_user(&[1, 1])]);
    assert_eq!(a.run(unit(first)).await, committed);
    assert_eq!(a.run(unit(first)).await, UnitOutcome::Duplicate(None));
    b.resume("user", "s1").await;
    let late = Unit {
        effects: vec![to_user("user", send("late"))],
        ..incoming(first, "c2", None)
    };
    assert_eq!(a.run(late).await, UnitOutcome::FencedOff);
    for session in [first.session, second.session] {
        assert_eq!(a.tids(session).await, ["m"]);
    }
}

/// In one group commit, sessions come and go between the messages.
pub async fn opened_and_closed_in_one_group(base: Base) {
    let a = base.node("a").await;
    let first = a.open("user", "s1").await.holder.session;
    let gate = close_gate(&a);
    let (before, opened) = (a.store.run(to_all("user", "m1")), a.store.run(new("s2")));
    let (between, closed) = (a.store.run(to_all("user", "m2")), a.store.run(close("s1")));
    let after = a.store.run(to_all("user", "m3"));
    gate.send(()).expect("the gate waits");
    let second = held(opened.await.unwrap()).holder.session;
    closed.await.unwrap();
    let seqs = |outcome: Result<UnitOutcome, _>| match outcome {
        Ok(UnitOutcome::Committed(effects)) => match &effects[..] {
            [EffectOutcome::StoredForUser(of_user)] => of_user.seqs.len(),
            _ => panic!("{effects:?}"),
        },
        other => panic!("{other:?}"),
    };
    let of_all = seqs(before.await) + seqs(between.await) + seqs(after.await);
    let last = a.run(to_all("user", "m4")).await;
    // The lanes may have reordered them; none may be lost.
    let of_second = a.tids(second).await;
    let sent = ["m1", "m2", "m3", "m4"];
    assert!(sent.ends_with(&of_second.iter().map(|it| &**it).collect::<Vec<_>>()));
    assert!(seqs(Ok(last)) == 1 && of_all >= of_second.len() - 1);
    assert!(a.tids(first).await.is_empty(), "it is closed");
}

/// A session gets every message from some point on, and that point is no later than its welcome.
pub async fn beside_registrations(base: Base) {
    const SESSIONS: usize = 30;
    let (a, b) = (base.node("a").await, base.node("b").await);
    let (begun, opened) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let sending = async {
        let mut stored = 0;
        // Until all sessions are open, and once more.
        let mut done = false;
        while !done {
            done = opened.load(Ordering::SeqCst) == SESSIONS;
            let number = begun.fetch_add(1, Ordering::SeqCst);
            let unit = to_all("user", &number.to_string());
            let outcome = a.store.run(unit).await.unwrap();
            let UnitOutcome::Committed(effects) = outcome else {
                panic!("{outcome:?}")
            };
            let [EffectOutcome::StoredForUser(of_user)] = &effects[..] else {
                panic!("{effects:?}")
            };
            stored += of_user.seqs.len();
        }
        stored
    };
    let opening = async {
        let mut sessions = Vec::new();
        for number in 0..SESSIONS {
            let session = b.store.run(new(&format!("s{number}"))).await.unwrap();
            // Whatever is begun from now on is for this session, too.
            sessions.push((held(session).holder.session, begun.load(Ordering::SeqCst)));
            opened.fetch_add(1, Ordering::SeqCst);
        }
        sessions
    };
    let (stored, sessions) = futures_util::future::join(sending, opening).await;
    let sent = begun.load(Ordering::SeqCst);
    let mut received = 0;
    for (session, welcomed) in sessions {
        let tids = a.tids(session).await;
        received += tids.len();
        let first = sent - tids.len();
        assert!(first <= welcomed, "{first} > {welcomed}");
        let expected: Vec<_> = (first..sent).map(|number| number.to_string()).collect();
        assert_eq!(tids, expected);
    }
    assert_eq!(received, stored);
}

/// Two nodes send to users and to single sessions, in different orders, all at once: each sender's messages keep their
/// order, and none is lost, doubled, or waits for another forever.
pub async fn beside_single_sends(base: Base) {
    const ROUNDS: usize = 50;
    let (a, b) = (base.node("a").await, base.node("b").await);
    let mut all = Vec::new();
    for sid in ["s1", "s2", "s3"] {
        all.push(a.open("user", sid).await.holder.session);
    }
    all.push(a.open("other", "s4").await.holder.session);
    let sender = |node: &Node, name: &'static str, effects: fn(NewMessage) -> Vec<Effect>| {
        let store = node.store.clone();
        async move {
            for round in 0..ROUNDS {
                let effects = effects(send(&format!("{name}{round}")));
                let outcome = store.run(call(effects)).await.unwrap();
                assert!(matches!(outcome, UnitOutcome::Committed(_)), "{outcome:?}");
            }
        }
    };
    let user = |message: NewMessage| vec![to_user("user", message)];
    let both = |message: NewMessage| {
        let other = to_user("other", message.clone());
        vec![to("s3", message.clone()), to_user("user", message), other]
    };
    let backwards = |message: NewMessage| vec![to("s3", message.clone()), to("s1", message)];
    tokio::join!(
        sender(&a, "a", user),
        sender(&b, "b", user),
        sender(&a, "c", both),
        sender(&b, "d", both),
        sender(&b, "e", backwards),
    );
    let expected = [
        ("s1", vec!["a", "b", "c", "d", "e"]),
        ("s2", vec!["a", "b", "c", "d"]),
        ("s3", vec!["a", "b", "c", "c", "d", "d", "e"]),
        ("s4", vec!["c", "d"]),
    ];
    for (session, (sid, senders)) in all.into_iter().zip(expected) {
        let tids = a.tids(session).await;
        assert_eq!(tids.len(), senders.len() * ROUNDS, "{sid}");
        for sender in senders {
            let of_sender = tids.iter().filter_map(|tid| tid.strip_prefix(sender));
            let rounds: Vec<usize> = of_sender.map(|round| round.parse().unwrap()).collect();
            assert!(rounds.is_sorted(), "{sender} at {sid}: {rounds:?}");
        }
    }
}

pub async fn listed(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let away = a.open("user", "s1").await.holder;
    b.open("user", "s2").await;
    a.open("Zoe", "s3").await;
    a.open("åse", "s4").await;
    a.run(Deregister { holder: away }).await;
    let page = |after: Option<&str>, limit| ListUsers {
        after: after.map(Into::into),
        limit,
    };
    let of = |user_id: &str, sessions, connected| StoredUser {
        user_id: user_id.into(),
        sessions,
        connected,
    };
    let all = [of("Zoe", 1, 1), of("user", 2, 1), of("åse", 1, 1)];
    assert_eq!(a.run(page(None, 10)).await, all);
    assert_eq!(a.run(page(None, 2)).await, all[..2]);
    assert_eq!(a.run(page(Some("user"), 2)).await, all[2..]);
    assert!(a.run(page(Some("åse"), 2)).await.is_empty());
    assert!(a.run(page(None, 0)).await.is_empty());
}
