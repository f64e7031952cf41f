//! Accepted and offered values, and what may be sent and what not.

mod replay;
mod revoking;

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
