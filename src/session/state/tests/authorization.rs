//! Accepted and offered values, what may be sent and what not, and withdrawn rights.

use super::*;
use crate::registry::Revocation;

const REQUEST: &str = r#"[{"t":"REQUEST","eid":"e","tid":"t","cmid":"1"}]"#;

fn types(actions: &[Action]) -> Vec<String> {
    sent(actions)
        .iter()
        .map(|envelope| envelope["t"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn ids(envelopes: &[Value]) -> Vec<&str> {
    envelopes
        .iter()
        .filter_map(|envelope| envelope["smid"].as_str())
        .collect()
}

fn auth(value: &str) -> String {
    format!(r#"[{{"t":"AUTH","auth":"{value}"}}]"#)
}

impl Driven {
    fn verdict(&mut self, verdict: Verdict) -> Vec<Action> {
        self.on(Event::Authenticated(Ok(verdict)))
    }

    fn invalid(&mut self) -> Vec<Action> {
        self.verdict(Verdict::Invalid("no".into()))
    }

    fn accepted(&mut self) -> Vec<Action> {
        self.verdict(Verdict::Authenticated(Principal::user("u")))
    }

    fn outgoing(&mut self, verdict: Verdict) -> Vec<Action> {
        self.on(Event::OutgoingAuthenticated(Ok(verdict)))
    }

    fn revoked(&mut self, user_id: &str, topic: Option<&str>) -> Vec<Action> {
        let revocation = Arc::new(Revocation {
            user_id: user_id.into(),
            topic: topic.map(str::to_owned),
        });
        self.on(Event::Registry(ToSession::Revoked(revocation)))
    }

    /// A session that listens to topic T from publication 10 on.
    fn listening(config: Config) -> Driven {
        let mut driven = Driven::established(config);
        driven.valid(r#"[{"t":"SUB","eid":"T"}]"#);
        driven.may_listen(true);
        let actions = driven.subscribed(10, None);
        assert_eq!(types(&actions), ["SUB_OK"]);
        driven
    }
}

/// A refused value was "still valid" in the next pipeline, and the handler saw it as the authorization.
#[test]
fn a_refused_value_is_never_taken_for_the_accepted_one() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.text(&auth("FORGED"));
    assert!(has(&actions, "Reevaluate { changed: true }"), "{actions:?}");
    assert_eq!(driven.state.offered_authorization(), Some("FORGED"));
    assert_eq!(types(&driven.invalid()), ["REAUTH"]);
    for text in [
        REQUEST,
        r#"[{"t":"UNSUB","eid":"T"}]"#,
        r#"[{"t":"PING","x":1}]"#,
    ] {
        let actions = driven.text(text);
        assert!(
            !has(&actions, "Reevaluate") && handled(&actions).is_empty(),
            "{text}: {actions:?}"
        );
    }
    assert_eq!(driven.state.accepted_authorization(), Some("good"));
    assert_eq!(driven.state.offered_authorization(), None);
    // The value accepted before, sent again: only whether it is still valid is asked.
    let actions = driven.text(&auth("good"));
    assert!(
        has(&actions, "Reevaluate { changed: false }"),
        "{actions:?}"
    );
    let actions = driven.verdict(Verdict::StillValid);
    assert_eq!(
        handled(&actions),
        ["1"],
        "what was held goes on: {actions:?}"
    );
}

#[test]
fn a_value_that_is_accepted_is_the_accepted_one() {
    for verdict in [
        Verdict::Authenticated(Principal::user("u")),
        Verdict::StillValid,
    ] {
        let mut driven = Driven::established(Config::default());
        driven.text(&auth("FORGED"));
        driven.invalid();
        driven.text(&auth("better"));
        assert_eq!(driven.state.accepted_authorization(), Some("good"));
        driven.verdict(verdict);
        assert_eq!(driven.state.accepted_authorization(), Some("better"));
    }
}

#[test]
fn guessing_ends_after_a_few() {
    let mut driven = Driven::established(Config {
        max_refused_authorizations: 2,
        ..Config::default()
    });
    let guess = |driven: &mut Driven, guess: u32| {
        driven.text(&auth(&format!("guess {guess}")));
        driven.invalid()
    };
    assert_eq!(types(&guess(&mut driven, 1)), ["REAUTH"]);
    // Accepted values in between must not allow more guesses.
    driven.text(&auth("fine"));
    driven.accepted();
    driven.text(&auth("good"));
    driven.accepted();
    assert_eq!(types(&guess(&mut driven, 2)), ["REAUTH"]);
    // A client connected for days is refused occasionally.
    driven.after(Duration::from_secs(60));
    assert_eq!(types(&guess(&mut driven, 3)), ["REAUTH"]);
    assert_eq!(ending(&guess(&mut driven, 4)).0, 1008);
}

#[test]
fn replies_wait_for_a_valid_authorization() {
    let mut driven = Driven::established(Config::default());
    driven.valid(REQUEST);
    driven.text(&auth("FORGED"));
    driven.invalid();
    let mut actions = driven.ended(
        "1",
        MessageType::Request,
        answered(MessageType::Resolve, "1"),
    );
    actions.extend(driven.after(Duration::from_secs(1)));
    assert!(sent(&actions).is_empty(), "{actions:?}");
    assert_eq!(driven.state.deadline(), None, "no timer runs for it");
    driven.text(&auth("fine"));
    assert_eq!(types(&driven.accepted()), ["RESOLVE"]);
}

/// The login may expire while a slow handler is running.
#[test]
fn an_answer_that_was_long_in_the_making_is_asked_about() {
    let slow = |verdict: Result<Verdict, AuthError>| {
        let mut driven = Driven::established(Config::default());
        driven.valid(REQUEST);
        driven.after(Duration::from_secs(2));
        let mut actions = driven.ended(
            "1",
            MessageType::Request,
            answered(MessageType::Resolve, "1"),
        );
        actions.extend(driven.after(Duration::from_millis(2)));
        assert!(
            sent(&actions).is_empty() && has(&actions, "ReevaluateReplies"),
            "{actions:?}"
        );
        let actions = driven.on(Event::RepliesAuthenticated(verdict));
        (driven, actions)
    };
    let (_, actions) = slow(Ok(Verdict::StillValid));
    assert_eq!(types(&actions), ["RESOLVE"]);
    let (mut driven, actions) = slow(Ok(Verdict::Invalid("expired".into())));
    assert_eq!(types(&actions), ["REAUTH"]);
    driven.text(&auth("fine"));
    assert_eq!(types(&driven.accepted()), ["RESOLVE"]);
    let (_, actions) = slow(Err(AuthError::new("away")));
    assert_eq!(ending(&actions).0, 1012);
}

#[test]
fn publications_pass_the_gate_and_it_is_not_asked_for_each() {
    let mut driven = Driven::listening(Config::default());
    let actions = driven.publish(11);
    assert!(
        has(&actions, "ReevaluateOutgoing") && sent(&actions).is_empty(),
        "{actions:?}"
    );
    assert!(driven.publish(12).is_empty(), "it is being asked already");
    let actions = driven.outgoing(Verdict::StillValid);
    assert_eq!(ids(&sent(&actions)), ["11.5", "12.5"]);
    let actions = driven.publish(13);
    assert_eq!(ids(&sent(&actions)), ["13.5"], "without another question");
    driven.after(Config::default().outgoing_check_interval);
    assert!(has(&driven.publish(14), "ReevaluateOutgoing"));
}

/// The answer that let a publication out must not let out a message minutes later.
#[test]
fn a_message_is_asked_about_although_a_publication_was_let_out() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(11);
    driven.outgoing(Verdict::StillValid);
    let actions = driven.on(Event::Registry(just_stored(1)));
    assert!(has(&actions, "ReevaluateOutgoing"), "{actions:?}");
}

#[test]
fn what_is_published_while_nothing_may_go_out_is_replayed_afterwards() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(11);
    driven.outgoing(Verdict::StillValid);
    driven.after(Duration::from_secs(10));
    driven.publish(12);
    assert_eq!(
        types(&driven.outgoing(Verdict::Invalid("expired".into()))),
        ["REAUTH"]
    );
    assert!(driven.publish(13).is_empty());
    driven.text(&auth("fine"));
    let actions = driven.accepted();
    assert!(has(&actions, "CheckTopic"), "{actions:?}");
    assert!(
        !has(&actions, "ReadTopic"),
        "not before the right to it is known: {actions:?}"
    );
    driven.on(Event::TopicChecked {
        topic: "T".into(),
        allowed: Ok(true),
    });
    let actions = driven.outgoing(Verdict::StillValid);
    let read = r#"ReadTopic { topic: "T", after: 11, up_to: 13"#;
    assert!(has(&actions, read), "{actions:?}");
    assert!(
        driven.publish(15).is_empty(),
        "it would overtake what is being read"
    );
    let actions = driven.read(13, &[12, 13], None);
    assert_eq!(ids(&sent(&actions)), ["12.5", "13.5", "15.5"]);
    assert!(!has(&actions, "ReadTopic"), "it has caught up: {actions:?}");
    assert_eq!(ids(&sent(&driven.publish(16))), ["16.5"]);
}

/// A quiet topic on a busy server: what is older than its first missed publication may be gone from the store, and is
/// not missed.
#[test]
fn what_is_replayed_begins_with_the_first_that_was_missed() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(10_001);
    driven.outgoing(Verdict::Invalid("expired".into()));
    driven.publish(10_003);
    driven.text(&auth("good"));
    driven.verdict(Verdict::StillValid);
    let actions = driven.outgoing(Verdict::StillValid);
    let read = r#"ReadTopic { topic: "T", after: 10000, up_to: 10003"#;
    assert!(has(&actions, read), "{actions:?}");
}

/// The answer about an earlier value must neither release nor hold what the newer accepted one covers.
#[test]
fn a_late_answer_about_the_value_before_does_not_count() {
    let mut driven = Driven::established(Config::default());
    driven.on(Event::Registry(just_stored(1)));
    driven.text(&auth("newer"));
    driven.accepted();
    let actions = driven.outgoing(Verdict::StillValid);
    assert!(
        sent(&actions).is_empty() && has(&actions, "ReevaluateOutgoing"),
        "asked again: {actions:?}"
    );
    assert_eq!(types(&driven.outgoing(Verdict::StillValid)), ["SEND"]);
}

#[test]
fn a_late_answer_about_a_topic_does_not_count() {
    let mut driven = Driven::listening(Config::default());
    driven.text(&auth("other"));
    driven.accepted();
    driven.text(&auth("another"));
    driven.accepted();
    let checked = |allowed| Event::TopicChecked {
        topic: "T".into(),
        allowed: Ok(allowed),
    };
    let actions = driven.on(checked(false));
    assert!(
        sent(&actions).is_empty() && has(&actions, "CheckTopic"),
        "asked again: {actions:?}"
    );
    assert!(driven.on(checked(true)).is_empty());
}

#[test]
fn what_cannot_be_replayed_is_told_as_lost() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(11);
    driven.outgoing(Verdict::Invalid("expired".into()));
    driven.text(&auth("good"));
    driven.verdict(Verdict::StillValid);
    driven.outgoing(Verdict::StillValid);
    let actions = driven.on(Event::TopicRead {
        topic: "T".into(),
        up_to: 11,
        outcome: Ok(None),
    });
    assert_eq!(types(&actions), ["SUB_LOST"]);
    assert_eq!(ids(&sent(&driven.publish(12))), ["12.5"]);
}

#[test]
fn a_replay_that_fails_is_tried_again() {
    let mut driven = Driven::listening(Config::default());
    driven.publish(11);
    driven.outgoing(Verdict::Invalid("expired".into()));
    driven.text(&auth("good"));
    driven.verdict(Verdict::StillValid);
    assert!(has(&driven.outgoing(Verdict::StillValid), "ReadTopic"));
    let actions = driven.on(Event::TopicRead {
        topic: "T".into(),
        up_to: 11,
        outcome: Err(StoreError::Failed("away".into())),
    });
    assert!(!has(&actions, "ReadTopic"), "{actions:?}");
    let actions = driven.after(Duration::from_millis(500));
    assert!(has(&actions, "ReadTopic"), "{actions:?}");
}

/// Without any caching, a slow replay must not cause endless checks.
#[test]
fn a_replay_is_let_out_by_the_answer_that_began_it() {
    let mut driven = Driven::listening(Config {
        outgoing_check_interval: Duration::ZERO,
        ..Config::default()
    });
    driven.publish(11);
    driven.outgoing(Verdict::Invalid("expired".into()));
    driven.text(&auth("good"));
    driven.verdict(Verdict::StillValid);
    driven.outgoing(Verdict::StillValid);
    driven.after(Duration::from_secs(1));
    assert_eq!(ids(&sent(&driven.read(11, &[11], None))), ["11.5"]);
}

#[test]
fn a_flood_that_waits_for_the_gate_is_left_to_the_store() {
    let mut driven = Driven::listening(Config {
        window: 3,
        ..Config::default()
    });
    for id in 11..=20 {
        driven.publish(id);
    }
    let actions = driven.outgoing(Verdict::StillValid);
    assert_eq!(ids(&sent(&actions)), ["11.5", "12.5", "13.5"]);
    let read = r#"ReadTopic { topic: "T", after: 13, up_to: 20"#;
    assert!(has(&actions, read), "{actions:?}");
}

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

#[test]
fn what_a_sub_brings_waits_for_the_gate_too() {
    let sub = r#"[{"t":"SUB","eid":"T","smid":"7.5"}]"#;
    let read = r#"ReadTopic { topic: "T", after: 7, up_to: 9"#;
    let subscribed = || {
        let mut driven = Driven::established(Config::default());
        driven.valid(sub);
        driven.may_listen(true);
        let actions = driven.subscribed(9, Some(Missed { first: 8, count: 2 }));
        assert_eq!(types(&actions), ["SUB_OK"]);
        assert!(
            has(&actions, "ReevaluateOutgoing") && !has(&actions, "ReadTopic"),
            "{actions:?}"
        );
        driven
    };
    let mut driven = subscribed();
    assert!(has(&driven.outgoing(Verdict::StillValid), read));
    assert_eq!(ids(&sent(&driven.read(9, &[8, 9], None))), ["8.5", "9.5"]);

    let mut driven = subscribed();
    driven.outgoing(Verdict::Invalid("expired".into()));
    driven.text(&auth("good"));
    driven.verdict(Verdict::StillValid);
    let actions = driven.outgoing(Verdict::StillValid);
    assert!(has(&actions, read), "{actions:?}");
}
