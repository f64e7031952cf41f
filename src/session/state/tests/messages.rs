//! HELLO, incoming messages, their answers, and the end of a session.

use super::*;

#[test]
fn welcome_comes_first_and_the_second_message_waits_for_it() {
    let mut driven = Driven::fresh(Config::default());
    driven.text(HELLO);
    assert!(
        driven.text(&send(1)).is_empty(),
        "a message behind HELLO waits for it"
    );
    driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("u"),
    ))));
    let actions = driven.on(Event::Registered(held(0, &[])));
    assert_eq!(
        sent(&actions),
        [json!({"t": "WELCOME", "sid": "SID", "tid": "hi", "desc": "welcome"})]
    );
    assert!(
        has(&actions, "Reevaluate {"),
        "then the message behind it has its turn: {actions:?}"
    );
    let actions = driven.on(Event::Authenticated(Ok(Verdict::StillValid)));
    assert_eq!(handled(&actions), ["1"]);
}

#[test]
fn every_refusal_of_hello() {
    let refused = |outcome| ending(&Driven::fresh(Config::default()).hello(outcome)).0;
    assert_eq!(refused(Ok(Registered::NoSuchSession)), 4001);
    assert_eq!(refused(Ok(Registered::WrongUser)), 1008);
    assert_eq!(refused(Ok(Registered::TooManySessions)), 1008);
    for (text, code) in [
        (r#"[{"t":"HELLO","an":"a","av":"1","clv":"c"}]"#, 1008),
        (r#"[{"t":"SEND","eid":"e","tid":"t","cmid":1}]"#, 1008),
        (r#"[{"t":"PING","x":1}]"#, 4004),
        (r#"[{"t":"ACK2","cmid":"1"}]"#, 4004),
        ("{}", 4004),
        (r#"[{"t":"WHAT"}]"#, 4004),
    ] {
        let (got, keep) = ending(&Driven::fresh(Config::default()).text(text));
        assert_eq!(
            (got, keep),
            (code, Keep::Nothing),
            "{text}: no session is touched"
        );
    }
    let mut driven = Driven::fresh(Config::default());
    driven.text(HELLO);
    let actions = driven.on(Event::Authenticated(Ok(Verdict::Invalid("no".into()))));
    assert_eq!(ending(&actions), (1008, Keep::Nothing));
}

#[test]
fn a_store_that_is_away_sends_the_client_away_after_a_while() {
    let mut driven = Driven::fresh(Config::default());
    let actions = driven.hello(Err(StoreError::Failed("away".into())));
    assert!(!has(&actions, "End"), "not at once: {actions:?}");
    let actions = driven.after(Config::default().store_away_delay);
    assert_eq!(ending(&actions), (1012, Keep::Nothing));
}

#[test]
fn an_authenticator_that_fails_is_no_refusal() {
    let mut driven = Driven::established(Config::default());
    driven.text(&send(1));
    let actions = driven.on(Event::Authenticated(Err(AuthError::new("database away"))));
    assert_eq!(ending(&actions), (1012, Keep::Deregister));
}

#[test]
fn held_messages_go_first_when_authorization_comes() {
    let mut driven = Driven::established(Config::default());
    driven.text(&send(1));
    let actions = driven.on(Event::Authenticated(Ok(Verdict::Invalid("expired".into()))));
    assert_eq!(sent(&actions), [json!({"t": "REAUTH"})]);
    driven.text(&send(2));
    let actions = driven.on(Event::Authenticated(Ok(Verdict::Invalid("expired".into()))));
    assert!(
        sent(&actions).is_empty(),
        "REAUTH is sent once: {actions:?}"
    );
    let ping = driven.text(r#"[{"t":"PING","x":"a"}]"#);
    assert_eq!(
        sent(&ping)[0],
        json!({"t": "PONG", "x": "a"}),
        "a ping needs no authorization"
    );
    driven.on(Event::Authenticated(Ok(Verdict::Invalid("expired".into()))));
    let actions =
        driven.text(r#"[{"t":"AUTH","auth":"fresh"},{"t":"SEND","eid":"e","tid":"t","cmid":3}]"#);
    assert!(has(&actions, "Reevaluate { changed: true }"), "{actions:?}");
    let actions = driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("u"),
    ))));
    assert_eq!(handled(&actions), ["1", "2", "3"]);
}

#[test]
fn too_much_held_is_told_to_retry_and_then_closed() {
    let config = Config {
        max_held: 2,
        max_received_while_held: 4,
        ..Config::default()
    };
    let mut driven = Driven::established(config.clone());
    let mut actions = Vec::new();
    for cmid in 1..=4 {
        driven.text(&send(cmid));
        actions.extend(driven.on(Event::Authenticated(Ok(Verdict::Invalid("expired".into())))));
    }
    actions.extend(driven.after(config.ack_delay));
    let retried: Vec<_> = sent(&actions)
        .into_iter()
        .filter(|envelope| envelope["t"] == "RETRY")
        .collect();
    assert_eq!(
        [&retried[0]["cmid"], &retried[1]["cmid"]],
        ["3", "4"],
        "two are held, the others refused"
    );
    driven.text(&send(5));
    let actions = driven.on(Event::Authenticated(Ok(Verdict::Invalid("expired".into()))));
    assert_eq!(ending(&actions).0, 1008);
}

#[test]
fn a_session_belongs_to_one_user_for_life() {
    let mut driven = Driven::established(Config::default());
    driven.text(r#"[{"t":"AUTH","auth":"other"}]"#);
    let actions = driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("v"),
    ))));
    assert_eq!(ending(&actions).0, 1008);
}

#[test]
fn a_message_that_comes_again_is_not_handled_again() {
    let mut driven = Driven::established(Config::default());
    assert_eq!(handled(&driven.valid(&send(1))), ["1"]);
    assert!(
        handled(&driven.valid(&send(1))).is_empty(),
        "its handler runs"
    );
    driven.ended("1", MessageType::Send, answered(MessageType::Ack, "1"));
    let actions = driven.valid(&send(1));
    assert!(
        has(&actions, r#"ReadAnswer { cmid: "1""#),
        "it is in the inbox: {actions:?}"
    );
    driven.on(Event::AnswerRead {
        cmid: "1".into(),
        kind: MessageType::Send,
        answer: Ok(Some(None)),
    });
    let actions = driven.after(Config::default().ack_delay);
    let dupe = sent(&actions)
        .into_iter()
        .find(|envelope| envelope["desc"] == "dupe ACK");
    assert!(dupe.is_some_and(|dupe| dupe["cmid"] == "1"), "{actions:?}");
}

#[test]
fn ack2_does_not_overtake_the_handler() {
    let mut driven = Driven::established(Config::default());
    driven.valid(&send(1));
    let actions = driven.text(r#"[{"t":"ACK2","cmid":"1"}]"#);
    assert!(!has(&actions, "DropInbox"), "its handler runs: {actions:?}");
    let actions = driven.ended("1", MessageType::Send, answered(MessageType::Ack, "1"));
    assert!(has(&actions, r#"DropInbox(["1"])"#), "{actions:?}");
}

#[test]
fn an_ack_that_waits_is_dropped_for_the_resolve() {
    let mut driven = Driven::established(Config::default());
    driven.valid(r#"[{"t":"REQUEST","eid":"e","tid":"t","cmid":"1"}]"#);
    driven.ended("1", MessageType::Request, answered(MessageType::Ack, "1"));
    let mut reply = stored(1);
    reply.kind = MessageType::Resolve;
    reply.cmid = Some("1".into());
    driven.on(Event::Registry(ToSession::Stored(reply.seq - 1, reply)));
    let mut actions = driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
    actions.extend(driven.after(Duration::from_secs(1)));
    let types: Vec<_> = sent(&actions)
        .into_iter()
        .map(|envelope| envelope["t"].clone())
        .collect();
    assert_eq!(
        types,
        ["RESOLVE"],
        "an ACK behind a RESOLVE reverses the client's events"
    );
}

#[test]
fn acknowledgements_are_merged() {
    let mut driven = Driven::established(Config::default());
    for cmid in 1..=3 {
        driven.valid(&send(cmid));
    }
    for cmid in ["1", "2", "3"] {
        driven.ended(cmid, MessageType::Send, answered(MessageType::Ack, cmid));
    }
    let actions = driven.after(Config::default().ack_delay);
    assert_eq!(
        sent(&actions),
        [json!({"t": "ACK", "ids": ["1", "2", "3"]})]
    );
}

#[test]
fn the_thousand_and_first_handler_is_told_to_retry() {
    let config = Config {
        max_handlers: 3,
        ..Config::default()
    };
    let mut driven = Driven::established(config.clone());
    for cmid in 1..=3 {
        assert_eq!(handled(&driven.valid(&send(cmid))).len(), 1);
    }
    let mut actions = driven.valid(&send(4));
    assert!(handled(&actions).is_empty());
    actions.extend(driven.after(config.ack_delay));
    assert_eq!(sent(&actions)[0]["t"], "RETRY");
}

#[test]
fn closes_of_the_client() {
    let keep_after = |hello: &str, code| {
        let mut driven = Driven::fresh(Config::default());
        driven.hello_with(hello, held(0, &[]));
        let actions = driven.on(Event::Connection(FromConnection::Closed(code)));
        actions.into_iter().find_map(|action| match action {
            Action::End { close: None, keep } => Some(keep),
            _ => None,
        })
    };
    let keep = |code| keep_after(HELLO, code);
    assert!(matches!(keep(Some(1001)), Some(Keep::Close(_))));
    assert!(matches!(keep(Some(4000)), Some(Keep::Close(_))));
    // A browser always closes with 1001: a page that wants to keep its session says so in advance.
    let keeping = HELLO.replace(r#""tid""#, r#""keep":true,"tid""#);
    assert_eq!(keep_after(&keeping, Some(1001)), Some(Keep::Deregister));
    assert!(matches!(
        keep_after(&keeping, Some(4000)),
        Some(Keep::Close(_))
    ));
    for code in [None, Some(1000), Some(1006), Some(4002), Some(4003)] {
        assert_eq!(keep(code), Some(Keep::Deregister), "{code:?}");
    }
}

#[test]
fn a_stopping_server_waits_for_handlers_but_not_for_ever() {
    let mut driven = Driven::established(Config::default());
    driven.valid(&send(1));
    let actions = driven.on(Event::Registry(ToSession::Restart("stopping")));
    assert!(!has(&actions, "End"), "a handler runs: {actions:?}");
    assert!(
        handled(&driven.valid(&send(2))).is_empty(),
        "nothing more is taken in"
    );
    let actions = driven.ended("1", MessageType::Send, answered(MessageType::Ack, "1"));
    assert_eq!(
        sent(&actions),
        [json!({"t": "ACK", "cmid": "1"})],
        "its answer goes out first"
    );
    assert_eq!(ending(&actions), (1012, Keep::Deregister));

    let mut driven = Driven::established(Config::default());
    driven.valid(&send(1));
    driven.on(Event::Registry(ToSession::Restart("stopping")));
    assert_eq!(ending(&driven.after(Config::default().stop_grace)).0, 1012);
}

#[test]
fn a_subscription_is_in_force_for_the_message_behind_it() {
    let mut driven = Driven::established(Config::default());
    let actions =
        driven.valid(r#"[{"t":"SUB","eid":"T"},{"t":"SEND","eid":"e","tid":"t","cmid":1}]"#);
    assert!(
        has(&actions, "AuthorizeTopic") && handled(&actions).is_empty(),
        "{actions:?}"
    );
    let actions = driven.may_listen(true);
    assert!(
        has(&actions, "SubscribeTopics") && handled(&actions).is_empty(),
        "{actions:?}"
    );
    assert!(has(&driven.publish(8), "ReevaluateOutgoing"));
    let actions = driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
    assert!(sent(&actions).is_empty(), "{actions:?}");
    let actions = driven.subscribed(7, None);
    let handled = handled(&actions);
    let told: Vec<_> = deliver(&mut driven, actions)
        .into_iter()
        .map(|sent| (sent["t"].clone(), sent["smid"].clone()))
        .collect();
    assert_eq!(
        told,
        [(json!("SUB_OK"), Value::Null), (json!("PUB"), json!("8.5"))],
        "first the answer, then what came meanwhile"
    );
    assert_eq!(handled, ["1"]);
}
