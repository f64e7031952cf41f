//! Pipelines that are too large to be in memory twice.

use super::*;

fn processed(actions: &[Action]) -> usize {
    let bytes = actions.iter().map(|action| match action {
        Action::Processed(bytes) => *bytes,
        _ => 0,
    });
    bytes.sum()
}

/// A message of two megabytes once became 45 MB of envelopes for as long as the first of them waited.
#[test]
fn a_pipeline_of_very_many_envelopes_takes_little_more_than_its_text() {
    let mut driven = Driven::established(Config::default());
    let subs: Vec<_> = (0..90_000)
        .map(|n| format!(r#"{{"t":"SUB","eid":"{n}"}}"#))
        .collect();
    let text = format!("[{}]", subs.join(","));
    let mut actions = driven.valid(&text);
    assert!(has(&actions, "AuthorizeTopic"), "{actions:?}");
    assert!(
        driven.state.held_incoming() < 300_000,
        "{}",
        driven.state.held_incoming()
    );
    assert_eq!(processed(&actions), 0, "the text is still needed");
    // They are answered together, as many as a session may have.
    let most = Config::default().max_topics;
    for n in 0..most {
        actions.extend(driven.on(Event::TopicAuthorized {
            topic: n.to_string(),
            allowed: Ok(false),
        }));
    }
    let topics: Vec<_> = sent(&actions).iter().map(|it| it["eid"].clone()).collect();
    let expected: Vec<_> = (0..most).map(|n| json!(n.to_string())).collect();
    assert_eq!(topics, expected);
    let actions = driven.text("[");
    assert!(
        actions.is_empty(),
        "it waits behind the large one: {actions:?}"
    );
    // However it ends, the bytes of its text are released.
    let actions = driven.on(Event::Connection(FromConnection::Lost));
    assert_eq!(processed(&actions), text.len() + 1);
}

#[test]
fn what_needs_no_turn_is_done_at_once_and_the_rest_in_order() {
    let mut driven = Driven::established(Config::default());
    let envelopes: Vec<_> = (0..600)
        .map(|n| match n % 3 {
            0 => format!(r#"{{"t":"PING","x":"{n}"}}"#),
            _ => format!(r#"{{"t":"SEND","eid":"e","tid":"t","cmid":{n},"msg":"{n}"}}"#),
        })
        .collect();
    let text = format!("[{}]", envelopes.join(" , "));
    let actions = driven.text(&text);
    assert_eq!(sent(&actions).len(), 200, "every PING has its PONG");
    let actions = driven.on(Event::Authenticated(Ok(Verdict::StillValid)));
    let expected: Vec<_> = (0..600)
        .filter(|n| n % 3 > 0)
        .map(|n| n.to_string())
        .collect();
    assert_eq!(handled(&actions), expected);
    let payloads = actions.iter().filter_map(|action| match action {
        Action::Handle(handle) => handle.envelope.msg.as_ref().map(|msg| msg.get().to_owned()),
        _ => None,
    });
    let expected: Vec<_> = expected.iter().map(|cmid| format!("\"{cmid}\"")).collect();
    assert_eq!(payloads.collect::<Vec<_>>(), expected);
    assert_eq!(processed(&actions), text.len());
    assert!(sent(&actions).is_empty(), "no second PONG");
}

#[test]
fn what_is_held_of_a_large_pipeline_is_bounded() {
    let config = Config::default();
    let mut driven = Driven::established(config.clone());
    let sends: Vec<_> = (0..400)
        .map(|n| send(n).trim_matches(['[', ']']).to_owned())
        .collect();
    let text = format!("[{}]", sends.join(","));
    driven.text(&text);
    let mut actions = driven.on(Event::Authenticated(Ok(Verdict::Invalid("old".into()))));
    assert_eq!(processed(&actions), text.len());
    actions.extend(driven.after(config.ack_delay));
    let types = sent(&actions);
    let of = |t: &str| types.iter().filter(|it| it["t"] == t).count();
    assert_eq!((of("REAUTH"), of("RETRY")), (1, 400 - config.max_held));
}

#[test]
fn one_envelope_that_is_too_long_closes_with_4004_and_nothing_is_done() {
    let mut driven = Driven::established(Config {
        max_envelope: 1_000,
        ..Config::default()
    });
    let long = format!(
        r#"{{"t":"SEND","eid":"e","tid":"t","cmid":2,"msg":"{}"}}"#,
        "x".repeat(1_000)
    );
    let first = send(1);
    let text = format!("{},{long}]", first.trim_end_matches(']'));
    let actions = driven.valid(&text);
    assert_eq!(ending(&actions).0, 4004);
    assert!(handled(&actions).is_empty());
    assert_eq!(processed(&actions), text.len());
    // Several that are not too long are fine, however long they are together.
    let mut driven = Driven::established(Config {
        max_envelope: 1_000,
        ..Config::default()
    });
    let sends: Vec<_> = (0..100)
        .map(|n| send(n).trim_matches(['[', ']']).to_owned())
        .collect();
    let actions = driven.valid(&format!("[{}]", sends.join(",")));
    assert_eq!(handled(&actions).len(), 100);
}

#[test]
fn without_room_messages_get_retry_and_the_outbox_stays_in_the_store() {
    let config = Config::default();
    let mut driven = Driven::established(config.clone());
    driven.environment.incoming_room = 100;
    let long = format!(
        r#"[{{"t":"SEND","eid":"e","tid":"t","cmid":2,"msg":"{}"}}]"#,
        "x".repeat(100)
    );
    let mut actions = driven.valid(&long);
    actions.extend(driven.after(config.ack_delay));
    assert_eq!(sent(&actions)[0]["t"], "RETRY");
    assert!(handled(&actions).is_empty());
    // Small ones are accepted.
    assert_eq!(handled(&driven.valid(&send(3))), ["3"]);
    driven.environment.outgoing_room = 0;
    let actions = driven.on(Event::Registry(just_stored(1)));
    assert!(
        has(&actions, "Fetch"),
        "it is read when there is room: {actions:?}"
    );
    assert!(sent(&actions).is_empty());
}
