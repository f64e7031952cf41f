//! What is published while nothing may be sent, and replayed afterwards.

use super::*;

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
