//! The rarer orders of events: what overtakes what, what comes twice, what grows.

use super::*;
use crate::store::operation::{ConnectionId, SessionKey};

fn reply_of(seq: i64, cmid: &str) -> OutboxMessage {
    OutboxMessage {
        kind: MessageType::RESOLVE,
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
    let actions = driven.on(Event::Registry(ToSession::Stored(reply_of(1, "1"))));
    let mut got = deliver(&mut driven, actions);
    let actions = driven.ended("1", MessageType::REQUEST, answered(MessageType::ACK, "1"));
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
        kind: MessageType::REQUEST,
        answer: Ok(Some(None)),
    });
    let actions = driven.on(Event::Registry(ToSession::Stored(reply_of(1, "1"))));
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
    assert_eq!(types(&sent(&read(MessageType::REQUEST))), ["RETRY"]);
    assert_eq!(
        ending(&read(MessageType::RESOLVE)),
        (4002, Keep::Deregister),
        "a reply is never told to RETRY"
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
    let mut actions = driven.ended("1", MessageType::SEND, End::FencedOff(earlier));
    actions.extend(driven.after(Config::default().ack_delay));
    assert_eq!(types(&sent(&actions)), ["RETRY"]);
    assert!(!has(&actions, "End"), "{actions:?}");
    assert_eq!(handled(&driven.valid(&send(1))), ["1"], "it may come again");
}

#[test]
fn what_a_message_acknowledges_itself_is_not_counted_as_unacknowledged() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.on(Event::Registry(ToSession::Stored(stored(1))));
    deliver(&mut driven, actions);
    driven.after(Config::default().redelivery_evidence);
    let actions = driven.text(r#"[{"t":"ACK","smid":"abc1"}]"#);
    assert!(!has(&actions, "MarkRedelivery"), "{actions:?}");
    assert!(has(&actions, "Complete"), "{actions:?}");
}
