//! Revoked authorizations, and rights that were withdrawn.

use super::*;

#[test]
fn a_right_that_was_withdrawn_is_told() {
    let mut driven = Driven::listening(Config::default());
    let interval = Config::default().topic_check_interval;
    assert!(driven.state.deadline().is_some(), "the next check is due");
    let actions = driven.after(interval);
    assert!(has(&actions, r#"CheckTopic("T")"#), "{actions:?}");
    driven.on(Event::TopicChecked {
        topic: "T".into(),
        allowed: Ok(true),
    });
    driven.after(interval);
    let actions = driven.on(Event::TopicChecked {
        topic: "T".into(),
        allowed: Ok(false),
    });
    assert_eq!(types(&actions), ["SUB_NO_AUTH"]);
    assert!(has(&actions, "UnsubscribeTopic"), "{actions:?}");
    assert!(driven.publish(11).is_empty());
}

#[test]
fn nothing_more_is_sent_of_a_topic_before_a_new_value_has_the_right_to_it() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(11);
    driven.outgoing(Verdict::StillValid);
    driven.text(&auth("other"));
    assert!(has(&driven.accepted(), "CheckTopic"));
    assert!(sent(&driven.publish(12)).is_empty());
    let actions = driven.on(Event::TopicChecked {
        topic: "T".into(),
        allowed: Ok(false),
    });
    assert_eq!(types(&actions), ["SUB_NO_AUTH"]);
}

#[test]
fn revoking_stops_everything_until_a_value_is_accepted_be_it_the_same() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(11);
    driven.outgoing(Verdict::StillValid);
    assert!(driven.revoked("somebody else", None).is_empty());
    assert_eq!(types(&driven.revoked("u", None)), ["REAUTH"]);
    assert_eq!(driven.state.accepted_authorization(), None);
    assert!(driven.publish(12).is_empty());
    assert!(handled(&driven.text(REQUEST)).is_empty());
    let actions = driven.on(Event::Registry(just_stored(1)));
    assert!(sent(&actions).is_empty(), "{actions:?}");
    let actions = driven.text(&auth("good"));
    assert!(has(&actions, "Reevaluate { changed: true }"), "{actions:?}");
    let actions = driven.accepted();
    assert_eq!(handled(&actions), ["1"]);
    assert!(has(&actions, "ReevaluateOutgoing"), "{actions:?}");
}

/// An answer about a value from before its revocation does not count afterwards.
#[test]
fn an_answer_that_a_revocation_has_overtaken_does_not_count() {
    let mut driven = Driven::established(Config::default());
    driven.text(&auth("newer"));
    driven.revoked("u", None);
    let actions = driven.accepted();
    assert!(
        has(&actions, "Reevaluate { changed: true }"),
        "asked again: {actions:?}"
    );
    driven.invalid();
    assert_eq!(driven.state.accepted_authorization(), None);
    // Likewise if the accepted value was asked about.
    let mut driven = Driven::established(Config::default());
    driven.text(REQUEST);
    driven.revoked("u", None);
    assert!(handled(&driven.verdict(Verdict::StillValid)).is_empty());
}

#[test]
fn what_is_behind_a_hello_waits_if_its_user_is_revoked_meanwhile() {
    let mut driven = Driven::fresh(Config::default());
    let hello = HELLO.replace("}]", r#"},{"t":"SEND","eid":"e","tid":"t","cmid":1}]"#);
    driven.text(&hello);
    driven.accepted();
    driven.revoked("u", None);
    let actions = driven.on(Event::Registered(held(0, &[])));
    assert!(handled(&actions).is_empty(), "{actions:?}");
    driven.text(&auth("fine"));
    assert_eq!(handled(&driven.accepted()), ["1"]);
}

/// Its subscriptions were never put in force on this connection, and the client subscribes only once.
#[test]
fn a_session_that_is_resumed_and_revoked_meanwhile_resumes_its_topics_later() {
    let mut driven = Driven::fresh(Config::default());
    driven.text(HELLO);
    driven.accepted();
    driven.revoked("u", None);
    let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
        unreachable!("it is held");
    };
    (resumed.new, resumed.topics) = (false, vec![("T".into(), Some(0))]);
    let actions = driven.on(Event::Registered(Ok(Registered::Held(resumed))));
    assert!(!has(&actions, "AuthorizeTopic"), "{actions:?}");
    driven.text(&auth("fine"));
    assert!(has(&driven.accepted(), r#"AuthorizeTopic("T")"#));
}

#[test]
fn revoking_a_topic_ends_its_subscription() {
    let mut driven = Driven::listening(Config::default());
    let actions = driven.revoked("u", Some("T"));
    assert_eq!(types(&actions), ["SUB_NO_AUTH"]);
    assert!(driven.publish(11).is_empty());
    assert!(driven.revoked("u", Some("T")).is_empty());
}

#[test]
fn a_right_that_is_revoked_while_it_is_asked_about_is_asked_about_again() {
    let mut driven = Driven::established(Config::default());
    driven.valid(r#"[{"t":"SUB","eid":"T"}]"#);
    driven.revoked("u", Some("T"));
    let actions = driven.may_listen(true);
    assert!(has(&actions, "AuthorizeTopic"), "{actions:?}");
    let actions = driven.may_listen(false);
    assert_eq!(types(&actions), ["SUB_NO_AUTH"]);

    let mut driven = Driven::established(Config::default());
    driven.valid(r#"[{"t":"SUB","eid":"T"}]"#);
    driven.may_listen(true);
    driven.revoked("u", Some("T"));
    let actions = driven.subscribed(10, Some(Missed { first: 9, count: 1 }));
    assert!(
        sent(&actions).is_empty() && has(&actions, "AuthorizeTopic"),
        "{actions:?}"
    );
    assert!(sent(&driven.publish(11)).is_empty());
    let actions = driven.may_listen(false);
    assert_eq!(types(&actions), ["SUB_NO_AUTH"]);
    assert!(
        has(&actions, "UnsubscribeTopic"),
        "it was stored: {actions:?}"
    );
    assert!(driven.publish(12).is_empty());
}
