//! Rare orders of events: overtaking, repeats, growth.

use super::*;
use crate::store::operation::{ConnectionId, SessionKey};

fn reply_of(seq: i64, cmid: &str) -> OutboxMessage {
    OutboxMessage {
        kind: MessageType::Resolve,
        eid: None,
        cmid: Some(cmid.into()),
        ..stored(seq)
    }
}

fn types(envelopes: &[Value]) -> Vec<&str> {
    let of = |envelope| <Value as std::ops::Index<&str>>::index(envelope, "t").as_str();
    envelopes.iter().filter_map(of).collect()
}

const REQUEST: &str = r#"[{"t":"REQUEST","eid":"e","tid":"t","cmid":"1"}]"#;

#[test]
fn the_reply_of_a_service_that_overtakes_its_handlers_end_stands_for_the_ack() {
    let mut driven = Driven::established(Config::default());
    driven.valid(REQUEST);
    let actions = driven.on(Event::Registry(ToSession::Stored(0, reply_of(1, "1"))));
    let mut got = deliver(&mut driven, actions);
    let actions = driven.ended("1", MessageType::Request, answered(MessageType::Ack, "1"));
    got.extend(sent(&actions));
    got.extend(sent(&driven.after(Duration::from_secs(1))));
    assert_eq!(types(&got), ["RESOLVE"]);
}

#[test]
fn the_ack_of_a_message_that_came_again_is_dropped_for_its_resolve() {
    let mut driven = Driven::fresh(Config::default());
    driven.hello(held(0, &["1"]));
    driven.valid(REQUEST);
    driven.on(Event::AnswerRead {
        cmid: "1".into(),
        kind: MessageType::Request,
        answer: Ok(Some(None)),
    });
    let actions = driven.on(Event::Registry(ToSession::Stored(0, reply_of(1, "1"))));
    let mut got = deliver(&mut driven, actions);
    got.extend(sent(&driven.after(Duration::from_secs(1))));
    assert_eq!(types(&got), ["RESOLVE"]);
}

#[test]
fn an_answer_that_cannot_be_read_is_asked_for_again() {
    let read = |kind| {
        let mut driven = Driven::fresh(Config::default());
        driven.hello(held(0, &["1"]));
        let mut actions = driven.on(Event::AnswerRead {
            cmid: "1".into(),
            kind,
            answer: Err(StoreError::Failed("away".into())),
        });
        actions.extend(driven.after(Config::default().ack_delay));
        actions
    };
    assert_eq!(types(&sent(&read(MessageType::Request))), ["RETRY"]);
    assert_eq!(
        ending(&read(MessageType::Resolve)),
        (4002, Keep::Deregister),
        "a reply is never answered with RETRY"
    );
}

#[test]
fn a_handler_that_was_fenced_off_for_an_earlier_registration_is_no_take_over() {
    let earlier = Holder {
        session: SessionKey(1),
        connection: ConnectionId(0),
    };
    let mut driven = Driven::established(Config::default());
    driven.valid(&send(1));
    let mut actions = driven.ended("1", MessageType::Send, End::FencedOff(earlier));
    actions.extend(driven.after(Config::default().ack_delay));
    assert_eq!(types(&sent(&actions)), ["RETRY"]);
    assert!(!has(&actions, "End"), "{actions:?}");
    assert_eq!(handled(&driven.valid(&send(1))), ["1"], "it may come again");
}

/// A request to a service whose commit is in doubt, followed by these events in this order.
fn in_doubt(driven: &mut Driven, order: &[&str]) -> Vec<Action> {
    driven.valid(REQUEST);
    let mut actions = Vec::new();
    for step in order {
        actions.extend(match *step {
            "outcome" => driven.ended("1", MessageType::Request, End::Unknown),
            "failed" => driven.ended("1", MessageType::Request, End::Retry(None)),
            "reply" => {
                let reply = OutboxMessage {
                    kind: MessageType::Resolve,
                    cmid: Some("1".into()),
                    ..stored(1)
                };
                driven.on(Event::Registry(ToSession::Stored(reply.seq - 1, reply)));
                driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)))
            }
            "ack2" => driven.text(r#"[{"t":"ACK2","cmid":"1"}]"#),
            "again" => driven.valid(REQUEST),
            other => panic!("no step {other:?}"),
        });
    }
    actions.extend(driven.after(Duration::from_secs(1)));
    actions
}

#[test]
fn what_may_be_in_the_inbox_is_deleted_when_the_client_has_its_reply() {
    let orders: [&[&str]; 6] = [
        &["reply", "ack2", "outcome"],
        &["reply", "outcome", "ack2"],
        &["outcome", "reply", "ack2"],
        // The store is still unavailable when it is repeated.
        &["outcome", "again", "reply", "ack2", "failed"],
        &["outcome", "again", "reply", "failed", "ack2"],
        &["outcome", "again", "failed", "reply", "ack2"],
    ];
    for order in orders {
        let mut driven = Driven::established(Config::default());
        let actions = in_doubt(&mut driven, order);
        assert!(
            has(&actions, r#"DropInbox(["1"])"#),
            "left in the inbox after {order:?}: {actions:?}"
        );
        let retried = types(&sent(&actions)).contains(&"RETRY");
        assert_eq!(retried, order[0] == "outcome", "{order:?}: {actions:?}");
    }
}

#[test]
fn what_may_be_in_the_inbox_is_handled_when_it_comes_again_though_it_is_full() {
    let config = Config {
        max_inbox: 1,
        ..Config::default()
    };
    let mut driven = Driven::established(config);
    let actions = in_doubt(&mut driven, &["outcome", "again"]);
    assert_eq!(handled(&actions), ["1"], "{actions:?}");
    assert_eq!(handled(&driven.valid(&send(2))), [""; 0], "it is full");
}

#[test]
fn a_reply_that_may_have_been_stored_comes_again_on_another_line() {
    let mut driven = Driven::established(Config::default());
    driven.on(Event::Registry(just_stored(1)));
    driven.valid(r#"[{"t":"RESOLVE","tid":"t","cmid":"1","smid":"abc1"}]"#);
    let actions = driven.ended("1", MessageType::Resolve, End::Unknown);
    assert_eq!(ending(&actions), (4002, Keep::Deregister));
}

#[test]
fn what_a_message_acknowledges_itself_is_not_counted_as_unacknowledged() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.on(Event::Registry(just_stored(1)));
    deliver(&mut driven, actions);
    driven.after(Config::default().redelivery_evidence);
    let actions = driven.text(r#"[{"t":"ACK","smid":"abc1"}]"#);
    assert!(!has(&actions, "MarkRedelivery"), "{actions:?}");
    assert!(has(&actions, "Complete"), "{actions:?}");
}

#[test]
fn a_handler_that_still_runs_when_the_node_is_renamed_gets_its_client_back() {
    let mut driven = Driven::established(Config::default());
    driven.valid(&send(1));
    driven.on(Event::Registry(ToSession::Restart("the lease was lost")));
    let actions = driven.on(Event::Registry(ToSession::TakenOver));
    assert_eq!(
        ending(&actions),
        (1012, Keep::Deregister),
        "4003 would keep the client away"
    );
}

#[test]
fn reauth_is_sent_once_for_both_directions() {
    let mut driven = Driven::established(Config::default());
    let stale = |driven: &mut Driven| {
        let verdict = Ok(Verdict::Invalid("expires soon".into()));
        types(&sent(&driven.on(Event::OutgoingAuthenticated(verdict)))).len()
    };
    driven.on(Event::Registry(just_stored(1)));
    assert_eq!(stale(&mut driven), 1);
    // Still good enough for the client's own messages.
    let actions = driven.valid(&send(1));
    assert!(has(&actions, "ReevaluateOutgoing"), "{actions:?}");
    assert_eq!(stale(&mut driven), 0, "no authorization has come since");
    driven.valid(r#"[{"t":"AUTH","auth":"fresh"}]"#);
    assert_eq!(stale(&mut driven), 1);
}

#[test]
fn what_a_session_holds_and_remembers_is_bounded_whatever_field_is_long() {
    let config = Config {
        max_held_bytes: 1_000,
        ..Config::default()
    };
    let long = "x".repeat(2_000);
    let invalid = |driven: &mut Driven, text: &str| {
        driven.text(text);
        driven.on(Event::Authenticated(Ok(Verdict::Invalid("old".into()))))
    };
    let sub = format!(r#"[{{"t":"SUB","eid":"{long}"}}]"#);
    let mut driven = Driven::established(config.clone());
    invalid(&mut driven, &sub);
    assert_eq!(ending(&invalid(&mut driven, &sub)).0, 1008);

    let send = |cmid| format!(r#"[{{"t":"SEND","eid":"{long}","tid":"{long}","cmid":"{cmid}"}}]"#);
    let mut driven = Driven::established(config.clone());
    invalid(&mut driven, &send(1));
    let mut actions = invalid(&mut driven, &send(2));
    actions.extend(driven.after(config.ack_delay));
    assert_eq!(types(&sent(&actions)), ["RETRY"]);
    let live = driven.state.introspect();
    assert!(live.recent.iter().all(|recent| {
        let endpoint = recent.endpoint.as_ref().map_or(0, String::len);
        endpoint <= crate::wire::MAX_ID_BYTES
    }));
}

#[test]
fn a_resumed_session_looks_for_what_was_stored_while_it_registered() {
    let mut driven = Driven::fresh(Config::default());
    let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
        unreachable!("it is held");
    };
    resumed.new = false;
    let actions = driven.hello(Ok(Registered::Held(resumed)));
    assert!(has(&actions, "Fetch { after: 0"), "{actions:?}");
}

#[test]
fn what_a_client_has_seen_on_a_node_that_was_ahead_is_not_repeated() {
    let mut driven = Driven::established(Config::default());
    driven.valid(r#"[{"t":"SUB","eid":"T","smid":"10.5"}]"#);
    driven.may_listen(true);
    driven.publish(9);
    let actions = driven.subscribed(8, Some(Missed { first: 0, count: 0 }));
    assert_eq!(types(&sent(&actions)), ["SUB_OK"]);
    let actions = driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
    assert!(sent(&actions).is_empty(), "9 it has seen: {actions:?}");
    assert!(driven.publish(10).is_empty());
    assert_eq!(types(&sent(&driven.publish(11))), ["PUB"]);
}

#[test]
fn a_stored_subscription_that_is_not_allowed_any_more_is_removed_when_the_client_asks_for_it() {
    let mut driven = Driven::fresh(Config::default());
    let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
        unreachable!("it is held");
    };
    resumed.topics = vec![("T".into(), Some(0))];
    driven.hello(Ok(Registered::Held(resumed)));
    driven.may_listen(true);
    driven.subscribed(0, Some(Missed { first: 0, count: 0 }));
    driven.valid(r#"[{"t":"SUB","eid":"T"}]"#);
    let actions = driven.may_listen(false);
    assert!(has(&actions, r#"UnsubscribeTopic("T")"#), "{actions:?}");
    assert_eq!(types(&sent(&actions)), ["SUB_NO_AUTH"]);
}

#[test]
fn a_user_who_may_change_is_the_new_one_for_everybody() {
    let mut driven = Driven::established(Config {
        allow_user_change: true,
        ..Config::default()
    });
    driven.text(r#"[{"t":"AUTH","auth":"other"}]"#);
    driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("v"),
    ))));
    assert_eq!(driven.state.user_id(), "v");
}

/// A message handed over between attachment and WELCOME used to enter the window, which forgot it when it was reset. It
/// was sent twice, and its acknowledgement was taken for another message's.
#[test]
fn what_is_handed_over_before_welcome_is_read_from_the_store() {
    let mut driven = Driven::fresh(Config::default());
    driven.text(HELLO);
    driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("u"),
    ))));
    driven.on(Event::Registry(just_stored(1)));
    let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
        panic!("a session is held");
    };
    resumed.new = false;
    let actions = driven.on(Event::Registered(Ok(Registered::Held(resumed))));
    assert!(has(&actions, "Fetch { after: 0"), "{actions:?}");
    assert!(!has(&actions, "ReevaluateOutgoing"), "{actions:?}");
    let fetched = FetchedOutbox {
        messages: vec![stored(1)],
        more: false,
        too_large: None,
    };
    let actions = driven.on(Event::Fetched(Ok(fetched)));
    assert_eq!(deliver(&mut driven, actions).len(), 1, "sent once");
    let actions = driven.text(r#"[{"t":"ACK","smid":"abc1"}]"#);
    assert!(has(&actions, "Complete(Acks { acked: [1]"), "{actions:?}");
}

/// Rows of the inbox used to be counted, but not their bytes: 10,000 answers of any size.
#[test]
fn a_session_whose_inbox_is_full_of_answers_gets_retry_until_it_lets_go_of_some() {
    let mut driven = Driven::fresh(Config {
        max_inbox_bytes: 12,
        ..Config::default()
    });
    driven.hello(held(0, &["c1"]));
    let send =
        |cmid: &str| json!([{"t": "REQUEST", "eid": "e", "tid": "t", "cmid": cmid}]).to_string();
    let actions = driven.valid(&send("c2"));
    assert!(has(&actions, "Handle("), "{actions:?}");
    let answer = Box::new(Envelope {
        cmid: Some("c2".into()),
        msg: Some(serde_json::value::to_raw_value("12345").expect("JSON")),
        ..Envelope::new(MessageType::Resolve)
    });
    let end = End::Answered {
        answer,
        at_once: true,
    };
    driven.ended("c2", MessageType::Request, end);
    let mut actions = driven.valid(&send("c3"));
    actions.extend(driven.after(Duration::from_secs(1)));
    assert!(
        !has(&actions, "Handle("),
        "5 + 7 bytes are there: {actions:?}"
    );
    let retry = sent(&actions).into_iter().find(|it| it["t"] == "RETRY");
    let why = retry.expect("a RETRY")["desc"].to_string();
    assert!(why.contains("max_inbox_bytes"), "{why}");
    let actions = driven.valid(&send("c1"));
    let again = r#"ReadAnswer { cmid: "c1", kind: REQUEST, bytes: 5 }"#;
    assert!(has(&actions, again), "{actions:?}");
    driven.valid(r#"[{"t":"ACK2","cmid":"c1"}]"#);
    let actions = driven.valid(&send("c3"));
    assert!(has(&actions, "Handle("), "{actions:?}");
}
