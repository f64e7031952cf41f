use super::*;
use crate::clock::wall_time;

fn close(sid: &str) -> CloseSession {
    CloseSession {
        target: CloseTarget::Sid(sid.into()),
        reason: "closed".into(),
    }
}

pub async fn open_and_resume(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let first = a.open("user", "s1").await;
    assert_eq!(
        (first.last_seq, first.replaced.clone(), first.has_outbox),
        (0, None, false)
    );
    a.run(incoming(first.holder, "c1", None)).await;
    a.run(Subscribe {
        holder: first.holder,
        topics: vec![("t".into(), None)],
    })
    .await;
    a.send("s1", "m1").await;
    base.clock.advance(secs(5));

    let second = b.resume("user", "s1").await;
    assert_eq!(second.holder.session, first.holder.session);
    assert!(second.holder.connection > first.holder.connection);
    assert_eq!(second.replaced, Some(("a".into(), first.holder.connection)));
    assert_eq!((second.smid_prefix.as_str(), second.last_seq), ("s1-", 1));
    assert_eq!(
        (second.inbox, second.topics, second.has_outbox),
        (vec![("c1".into(), 0)], vec![("t".into(), Some(0))], true)
    );
    let listed = b.listed("s1").await.expect("it exists");
    assert_eq!(
        (listed.created, listed.alive),
        (wall_time(START), wall_time(START + 5_000))
    );
    assert_eq!(listed.node.as_deref(), Some("b"));
}

pub async fn resume_refused(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let mine = a.open("user", "s1").await;
    let stolen = b
        .register("thief", NewOrResumed::Resumed { sid: "s1".into() })
        .await;
    assert!(matches!(stolen, Registered::WrongUser));
    let gone = b
        .register("user", NewOrResumed::Resumed { sid: "s2".into() })
        .await;
    assert!(matches!(gone, Registered::NoSuchSession));

    assert_eq!(a.home("s1").await.as_deref(), Some("a"));
    assert!(
        a.run(Deregister {
            holder: mine.holder
        })
        .await,
        "the owner still holds it"
    );
    let mine = a.resume("user", "s1").await;
    let listed = a
        .run(ListSessions {
            filter: SessionFilter::default(),
            newest_first: false,
            limit: 10,
        })
        .await;
    assert_eq!(listed[0].user_id, "user");
    assert!(matches!(
        a.run(incoming(mine.holder, "c1", None)).await,
        UnitOutcome::Committed(_)
    ));
}

pub async fn too_many_sessions(base: Base) {
    let a = base.node("a").await;
    for sid in ["s1", "s2", "s3"] {
        a.open("user", sid).await;
    }
    let new = NewOrResumed::New {
        sid: "s4".into(),
        smid_prefix: "p".into(),
    };
    assert!(matches!(
        a.register("user", new.clone()).await,
        Registered::TooManySessions
    ));
    a.resume("user", "s3").await;
    a.open("other", "s5").await;
    a.run(close("s1")).await;
    held(a.register("user", new).await);
    // Lowering the limit is no reason to refuse an existing session.
    let lowered = Register {
        max_sessions_per_user: 1,
        ..register_of("user", NewOrResumed::Resumed { sid: "s3".into() })
    };
    held(a.run(lowered).await);
}

pub async fn deregister_names_the_registration(base: Base) {
    let a = base.node("a").await;
    let first = a.open("user", "s1").await;
    let second = a.resume("user", "s1").await;
    assert!(
        !a.run(Deregister {
            holder: first.holder
        })
        .await,
        "a late close takes nothing from the new one"
    );
    assert!(a.home("s1").await.is_some());
    assert!(
        a.run(Deregister {
            holder: second.holder
        })
        .await
    );
    assert!(
        !a.run(Deregister {
            holder: second.holder
        })
        .await
    );
    assert_eq!(a.home("s1").await, None);
    assert_eq!(a.resume("user", "s1").await.replaced, None);
}

pub async fn close_deletes_all(base: Base) {
    let a = base.node("a").await;
    let held = a.open("user", "s1").await;
    a.run(incoming(held.holder, "c1", None)).await;
    a.run(Subscribe {
        holder: held.holder,
        topics: vec![("t".into(), None)],
    })
    .await;
    a.send("s1", "m1").await;
    a.forward("f").await;
    let stale = Holder {
        connection: ConnectionId(0),
        ..held.holder
    };
    let by_stale = CloseSession {
        target: CloseTarget::Holder(stale),
        reason: "x".into(),
    };
    assert_eq!(a.run(by_stale).await, None);

    let by_holder = CloseSession {
        target: CloseTarget::Holder(held.holder),
        reason: "x".into(),
    };
    let closed = a.run(by_holder).await.expect("it was there");
    assert_eq!(closed.home, Some(("a".into(), held.holder.connection)));
    assert_eq!(
        (closed.sid.as_str(), closed.user_id.as_str()),
        ("s1", "user")
    );
    assert_eq!(a.run(close("s1")).await, None);
    assert!(a.fetch(held.holder.session).await.is_empty());
    assert_eq!(
        a.run(ReadAnswer {
            session: held.holder.session,
            cmid: "c1".into()
        })
        .await,
        None
    );
    assert!(a.listed("s1").await.is_none());
    // Nothing is left to scavenge, and forwarded rows stay.
    assert_eq!(a.scavenge(days(3), secs(0), secs(0)).await, 0);
    a.run(LeaveNode).await;
    assert_eq!(a.claim().await.len(), 1);
    // Keys are never reused.
    assert!(a.open("user", "s1").await.holder.session > held.holder.session);
}

pub async fn home_needs_a_lease(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    a.open("user", "s1").await;
    base.clock.advance(secs(59));
    assert!(b.home("s1").await.is_some());
    base.clock.advance(secs(1));
    assert!(b.home("s1").await.is_none());
    let connected = SessionFilter {
        connected_only: true,
        ..SessionFilter::default()
    };
    assert_eq!(b.run(CountSessions { filter: connected }).await, 0);
    assert_eq!(
        b.run(CountSessions {
            filter: SessionFilter::default()
        })
        .await,
        1
    );
}

pub async fn listing(base: Base) {
    let a = base.node("a").await;
    let mut last = None;
    for (sid, user, app, version) in [
        ("s1", "u1", "App", "2.9"),
        ("s2", "u1", "App", "2.10"),
        ("s3", "u2", "Other", "3"),
        ("s4", "u2", "App", "2.10.1"),
    ] {
        last = Some(held(
            a.run(Register {
                session: NewOrResumed::New {
                    sid: sid.into(),
                    smid_prefix: sid.into(),
                },
                user_id: user.into(),
                client: "lib".into(),
                app_name: app.into(),
                app_version: version.into(),
                max_sessions_per_user: 10,
                min_absence: Duration::from_secs(60),
                of_the_dead: true,
            })
            .await,
        ));
    }
    let holder = last.expect("four were opened").holder;
    a.run(Deregister { holder }).await;

    let all = SessionFilter::default();
    let list = |filter: &SessionFilter, newest_first, limit| {
        a.run(ListSessions {
            filter: filter.clone(),
            newest_first,
            limit,
        })
    };
    let numbers: Vec<_> = list(&all, false, 10)
        .await
        .iter()
        .map(|session| session.number)
        .collect();
    let cases = [
        (all.clone(), vec!["s1", "s2", "s3", "s4"]),
        (
            SessionFilter {
                connected_only: true,
                ..all.clone()
            },
            vec!["s1", "s2", "s3"],
        ),
        (
            SessionFilter {
                user_id: Some("u2".into()),
                ..all.clone()
            },
            vec!["s3", "s4"],
        ),
        (
            SessionFilter {
                app_name: Some("App".into()),
                ..all.clone()
            },
            vec!["s1", "s2", "s4"],
        ),
        (
            SessionFilter {
                app_version_at_or_above: Some("2.10".into()),
                ..all.clone()
            },
            vec!["s2", "s3", "s4"],
        ),
        (
            SessionFilter {
                connected_only: true,
                user_id: Some("u1".into()),
                app_name: Some("App".into()),
                app_version_at_or_above: Some("2.10".into()),
                ..all.clone()
            },
            vec!["s2"],
        ),
        (all.clone().session_id("s3"), vec!["s3"]),
        (all.clone().session_id("nobody"), vec![]),
        (all.clone().number_above(numbers[1]), vec!["s3", "s4"]),
        (all.clone().number_below(numbers[1]), vec!["s1"]),
    ];
    for (filter, expected) in cases {
        let listed = list(&filter, false, 10).await;
        let sids = |listed: &[StoredSession]| -> Vec<String> {
            let sids = listed.iter().map(|session| session.session_id.clone());
            sids.collect()
        };
        assert_eq!(sids(&listed), expected, "{filter:?}");
        let newest = list(&filter, true, 2).await;
        let expected_newest: Vec<_> = expected.iter().rev().take(2).copied().collect();
        assert_eq!(sids(&newest), expected_newest, "newest of {filter:?}");
        assert_eq!(a.run(CountSessions { filter }).await, expected.len() as u64);
    }
    let above = SessionFilter {
        app_version_at_or_above: Some("2.10".into()),
        ..all
    };
    let listed = list(&above, false, 2).await;
    let expected = StoredSession {
        number: numbers[1],
        session_id: "s2".into(),
        user_id: "u1".into(),
        node: Some("a".into()),
        client: "lib".into(),
        app_name: "App".into(),
        app_version: "2.10".into(),
        created: wall_time(START),
        alive: wall_time(START),
    };
    assert_eq!((listed.len(), &listed[0]), (2, &expected));
}

pub async fn where_a_session_is(base: Base) {
    let (a, b) = (base.node("a").await, base.node("b").await);
    let home = || a.run(FindHome { sid: "s1".into() });
    assert_eq!(home().await, SessionHome::NoSuchSession);
    let held = b.open("user", "s1").await;
    assert_eq!(home().await, SessionHome::Node("b".into()));
    b.run(Deregister {
        holder: held.holder,
    })
    .await;
    assert_eq!(home().await, SessionHome::NotConnected);
}
