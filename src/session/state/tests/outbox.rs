//! Delivery of the outbox: order, window, acknowledgements, authorization.

use super::*;

#[test]
fn a_message_is_taken_directly_only_if_it_is_the_next_one() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.on(Event::Registry(just_stored(1)));
    assert_eq!(deliver(&mut driven, actions)[0]["smid"], "abc1");
    // Two nodes stored 2 and 3 at the same time, and the news of 3 arrived first.
    let actions = driven.on(Event::Registry(just_stored(3)));
    assert!(has(&actions, "Fetch { after: 1"), "{actions:?}");
    let actions = driven.on(Event::Registry(just_stored(2)));
    assert!(
        sent(&actions).is_empty(),
        "not while the store is being read"
    );
    let fetched = FetchedOutbox {
        messages: vec![stored(2), stored(3)],
        more: false,
        too_large: None,
    };
    let actions = driven.on(Event::Fetched(Ok(fetched)));
    let smids: Vec<_> = deliver(&mut driven, actions)
        .into_iter()
        .map(|sent| sent["smid"].clone())
        .collect();
    assert_eq!(smids, ["abc2", "abc3"]);
}

/// Numbers have gaps: the number before a message shows whether it is the next one.
#[test]
fn a_gap_in_the_numbers_is_no_message_that_is_missing() {
    let mut driven = Driven::established(Config::default());
    let mut take = |after, seq| {
        let actions = driven.on(Event::Registry(ToSession::Stored(after, stored(seq))));
        let smids = deliver(&mut driven, actions).into_iter();
        smids.map(|sent| sent["smid"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(take(0, 1_000), ["abc1000"]);
    assert_eq!(take(1_000, 5_000), ["abc5000"]);
    // The database was restored to an earlier state: 5000 is no longer in it.
    assert_eq!(take(1_000, 9_000), ["abc9000"]);
    assert!(take(0, 9_000).is_empty(), "it was taken before");
    assert!(take(9_500, 9_501).is_empty(), "9500 comes first");
}

/// The node was paused while it delivered. When it resumed, the session had moved, but the old connection got more.
#[test]
fn nothing_is_delivered_while_the_lease_is_in_doubt() {
    let mut driven = Driven::established(Config::default());
    driven.environment.lease_in_doubt = true;
    let actions = driven.on(Event::Registry(just_stored(1)));
    assert!(deliver(&mut driven, actions).is_empty());
    driven.environment.lease_in_doubt = false;
    let deadline = driven.state.deadline().expect("it is tried again");
    let wait = deadline - driven.environment.now;
    let actions = driven.after(Duration::from_millis(wait as u64));
    assert_eq!(deliver(&mut driven, actions)[0]["smid"], "abc1");
}

#[test]
fn the_window_bounds_what_is_in_flight() {
    let mut driven = Driven::established(Config {
        window: 3,
        round: 2,
        ..Config::default()
    });
    let mut got = Vec::new();
    for seq in 1..=5 {
        let actions = driven.on(Event::Registry(just_stored(seq)));
        got.extend(deliver(&mut driven, actions));
    }
    assert_eq!(got.len(), 3, "the rest stays in the store");
    let actions = driven.text(r#"[{"t":"ACK","ids":["abc1","abc2"]}]"#);
    assert!(
        has(&actions, "Complete(Acks { acked: [1, 2]"),
        "{actions:?}"
    );
    assert!(
        has(&actions, "Fetch { after: 3, limit: 2"),
        "there is room again: {actions:?}"
    );
}

#[test]
fn ack2_of_the_server_comes_only_after_the_commit_and_for_unknown_ids_too() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.on(Event::Registry(just_stored(1)));
    deliver(&mut driven, actions);
    let actions = driven.text(r#"[{"t":"ACK","smid":"abc1"},{"t":"NACK","smid":"zzz9"}]"#);
    let acks = actions
        .into_iter()
        .find_map(|action| match action {
            Action::Complete(acks) => Some(acks),
            _ => None,
        })
        .expect("the acknowledgement goes to the store");
    assert_eq!(
        *acks,
        Acks {
            acked: vec![1],
            nacked: vec![],
            smids: vec!["abc1".into(), "zzz9".into()]
        }
    );
    assert!(
        sent(&driven.after(Duration::from_secs(1))).is_empty(),
        "not before the commit"
    );
    driven.on(Event::Completed {
        acks: *acks,
        outcome: Ok(Fenced::Done),
    });
    let actions = driven.after(Config::default().ack2_delay);
    assert_eq!(
        sent(&actions),
        [json!({"t": "ACK2", "ids": ["abc1", "zzz9"]})]
    );
}

#[test]
fn nothing_is_delivered_without_authorization() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.on(Event::Registry(just_stored(1)));
    assert!(
        has(&actions, "ReevaluateOutgoing") && sent(&actions).is_empty(),
        "{actions:?}"
    );
    let actions = driven.on(Event::OutgoingAuthenticated(Ok(Verdict::Invalid(
        "expired".into(),
    ))));
    assert_eq!(sent(&actions), [json!({"t": "REAUTH"})]);
    let mut actions = driven.text(r#"[{"t":"AUTH","auth":"fresh"}]"#);
    actions.extend(driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("u"),
    )))));
    assert_eq!(deliver(&mut driven, actions)[0]["smid"], "abc1");
}

#[test]
fn a_delivery_counts_only_when_the_client_lived_on_without_acknowledging() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.on(Event::Registry(just_stored(1)));
    deliver(&mut driven, actions);
    let actions = driven.text(r#"[{"t":"PING","x":1}]"#);
    assert!(
        !has(&actions, "MarkRedelivery"),
        "it may not have arrived yet: {actions:?}"
    );
    driven.after(Config::default().redelivery_evidence);
    let actions = driven.text(r#"[{"t":"PING","x":2}]"#);
    assert!(has(&actions, "MarkRedelivery([1])"), "{actions:?}");
    let actions = driven.text(r#"[{"t":"PING","x":3}]"#);
    assert!(
        !has(&actions, "MarkRedelivery"),
        "once per connection: {actions:?}"
    );
}

/// A client that read and was alive, but never acknowledged, used to hold its session for ever.
#[test]
fn who_acknowledges_nothing_is_sent_away_and_may_come_back() {
    let config = Config::default();
    let half = config.acknowledge_timeout / 2;
    let mut driven = Driven::established(config);
    assert_eq!(
        driven.state.acknowledgement_due(),
        None,
        "nothing is in flight"
    );
    for seq in 1..=3 {
        let actions = driven.on(Event::Registry(just_stored(seq)));
        deliver(&mut driven, actions);
    }
    driven.after(half);
    // Any acknowledgement shows that the client works, but not that of something else.
    driven.text(r#"[{"t":"ACK","smid":"abc2"}]"#);
    driven.after(half);
    driven.text(r#"[{"t":"ACK","smid":"abc2"},{"t":"NACK","smid":"abc99"},{"t":"PING","x":1}]"#);
    let due = driven.state.acknowledgement_due();
    assert_eq!(due, Some(3 * half.as_millis() as i64));
    let actions = driven.after(half - Duration::from_millis(1));
    assert!(!has(&actions, "End {"), "{actions:?}");
    let actions = driven.after(Duration::from_millis(1));
    let ended = actions.iter().find_map(|action| match action {
        Action::End { close, keep } => Some((close.as_ref()?.code, keep)),
        _ => None,
    });
    assert_eq!(ended, Some((CloseCode::Reconnect, &Keep::Deregister)));
}

/// A slow client does not count as one that never acknowledges: it cannot have received what is still waiting to be
/// sent.
#[test]
fn what_waits_to_go_out_need_not_be_acknowledged() {
    let config = Config::default();
    let timeout = config.acknowledge_timeout;
    let mut driven = Driven::established(config);
    let actions = driven.on(Event::Registry(just_stored(1)));
    deliver(&mut driven, actions);
    driven.environment.going_out = true;
    let actions = driven.after(2 * timeout);
    assert!(!has(&actions, "End {"), "{actions:?}");
    driven.environment.going_out = false;
    let actions = driven.after(timeout - Duration::from_millis(1));
    assert!(!has(&actions, "End {"), "{actions:?}");
    let actions = driven.after(Duration::from_millis(1));
    assert!(has(&actions, "End {"), "{actions:?}");
}

/// Room is reserved for what a fetch may return, but a single message may be larger.
#[test]
fn a_message_that_is_too_large_is_fetched_with_room_for_it() {
    let mut driven = Driven::established(Config {
        window_bytes: 100,
        ..Config::default()
    });
    let actions = driven.on(Event::Registry(ToSession::Notice));
    assert!(has(
        &actions,
        "Fetch { after: 0, limit: 200, max_bytes: 100, max_first: 100"
    ));
    let fetched = |messages, too_large| FetchedOutbox {
        messages,
        more: true,
        too_large,
    };
    let actions = driven.on(Event::Fetched(Ok(fetched(vec![], Some(5_000)))));
    let with_room = "Fetch { after: 0, limit: 200, max_bytes: 100, max_first: 5000";
    assert!(has(&actions, with_room), "{actions:?}");
    let actions = driven.on(Event::Fetched(Ok(fetched(vec![stored(1)], None))));
    let next = "Fetch { after: 1, limit: 199, max_bytes: 99, max_first: 99";
    assert!(has(&actions, next), "{actions:?}");
    assert_eq!(deliver(&mut driven, actions)[0]["smid"], "abc1");
}

/// What waits for its turn beyond its time is not sent, and leaves its room to others. The times were the store's, and a
/// node whose clock was ahead of PostgreSQL's dropped messages that had long to live.
#[test]
fn an_expired_message_is_not_sent() {
    let config = Config {
        window: 2,
        round: 2,
        ..Config::default()
    };
    let mut driven = Driven::established(config);
    driven.environment.wall = 10_000;
    let expiring = |seq, left| OutboxMessage {
        left: Some(Duration::from_millis(left)),
        ..stored(seq)
    };
    let fetched = |messages, more| {
        Event::Fetched(Ok(FetchedOutbox {
            messages,
            more,
            too_large: None,
        }))
    };
    driven.on(Event::Registry(ToSession::Notice));
    let page = vec![expiring(1, 0), expiring(2, 5)];
    let actions = driven.on(fetched(page, true));
    driven.environment.wall += 5;
    assert!(deliver(&mut driven, actions).is_empty());
    // There is room, so more was asked for.
    let page = vec![expiring(3, 1), stored(4)];
    let actions = driven.on(fetched(page, false));
    let smids: Vec<_> = deliver(&mut driven, actions)
        .into_iter()
        .map(|sent| sent["smid"].clone())
        .collect();
    assert_eq!(smids, ["abc3", "abc4"]);
    // The same holds for those that come with the news of their commits.
    driven.text(r#"[{"t":"ACK","ids":["abc3","abc4"]}]"#);
    let actions = driven.on(Event::Registry(ToSession::Stored(4, expiring(5, 1))));
    driven.environment.wall += 1;
    assert!(deliver(&mut driven, actions).is_empty());
    let actions = driven.on(Event::Registry(ToSession::Stored(5, expiring(6, 2))));
    driven.environment.wall += 1;
    assert_eq!(deliver(&mut driven, actions)[0]["smid"], "abc6");
}
