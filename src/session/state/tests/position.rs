//! What proves that a client has received its publications.

use super::*;

fn config() -> Config {
    Config {
        position_interval: Duration::from_secs(5),
        ..Config::default()
    }
}

/// The number of the ping among these actions.
fn ping(actions: &[Action]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        Action::Ping(number) => Some(*number),
        _ => None,
    })
}

/// The position reported to the registry.
fn reported(actions: &[Action]) -> Option<(i64, bool)> {
    actions.iter().find_map(|action| match action {
        Action::ReportPosition { position, is_all } => Some((*position, *is_all)),
        _ => None,
    })
}

impl Driven {
    /// A session that listens to topic T from publication 10 on, and whose SUB_OK has arrived.
    fn receiving() -> Driven {
        let mut driven = Driven::established(config());
        driven.valid(r#"[{"t":"SUB","eid":"T"}]"#);
        driven.may_listen(true);
        let actions = driven.subscribed(10, None);
        driven.pong(ping(&actions).expect("a ping is behind SUB_OK"));
        driven.publish(11);
        driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
        assert_eq!(driven.state.received(), Some(10));
        driven
    }

    fn pong(&mut self, number: u64) -> Vec<Action> {
        self.on(Event::Connection(FromConnection::Pong(number)))
    }
}

#[test]
fn a_pong_proves_what_was_sent_before_its_ping() {
    let mut driven = Driven::receiving();
    let actions = driven.after(Duration::from_secs(5));
    let number = ping(&actions).expect("a ping");
    driven.publish(12);
    driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
    driven.pong(number - 1);
    driven.pong(number + 1);
    assert_eq!(driven.state.received(), Some(10), "it proves nothing");
    driven.pong(number);
    assert_eq!(driven.state.received(), Some(11), "12 came behind it");
    let actions = driven.after(Duration::from_secs(4));
    assert_eq!(ping(&actions), None, "not so often");
    let actions = driven.after(Duration::from_secs(1));
    let actions = driven.pong(ping(&actions).expect("a ping"));
    assert_eq!(driven.state.received(), Some(12));
    assert_eq!(reported(&actions), Some((12, true)));
    // The only remaining task is to check the rights.
    let next = driven.state.deadline().expect("they are asked about again");
    assert!(next > driven.environment.now + 60_000);
}

/// It may have been sent before the publication arrived.
#[test]
fn what_merely_comes_later_proves_nothing() {
    let mut driven = Driven::receiving();
    for text in [
        r#"[{"t":"PING","x":1}]"#,
        r#"[{"t":"ACK","smid":"abc1"}]"#,
        r#"[{"t":"ACK2","cmid":"1"}]"#,
        r#"[{"t":"SEND","eid":"e","tid":"t","cmid":1,"msg":1}]"#,
    ] {
        driven.valid(text);
    }
    assert_eq!(driven.state.received(), Some(10));
}

#[test]
fn the_ack_of_a_message_behind_it_proves_a_publication() {
    let smid = |driven: &Driven, seq| driven.state.identity().expect("it is there").smid(seq);
    let ack = |driven: &mut Driven, seq| {
        let smid = smid(driven, seq);
        driven.text(&json!([{"t": "ACK", "smid": smid}]).to_string());
    };
    let deliver = |driven: &mut Driven, seq| {
        driven.on(Event::Registry(just_stored(seq)));
        let actions = driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
        assert_eq!(sent(&actions)[0]["t"], "SEND");
    };
    let mut driven = Driven::established(config());
    deliver(&mut driven, 1);
    driven.valid(r#"[{"t":"SUB","eid":"T"}]"#);
    driven.may_listen(true);
    driven.subscribed(10, None);
    driven.publish(11);
    driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
    ack(&mut driven, 1);
    assert_eq!(driven.state.received(), None, "it was sent before");
    deliver(&mut driven, 2);
    ack(&mut driven, 2);
    assert_eq!(driven.state.received(), Some(10), "SUB_OK");
    deliver(&mut driven, 3);
    ack(&mut driven, 3);
    assert_eq!(driven.state.received(), Some(11));
}

/// The connection breaks in the middle of a replay: the rest of it is not received.
#[test]
fn what_is_still_to_be_read_is_not_received() {
    let mut driven = Driven::receiving();
    driven.environment.backpressured = true;
    driven.environment.filling = true;
    for id in 12..12 + 300 {
        driven.publish(id);
    }
    (driven.environment.backpressured, driven.environment.filling) = (false, false);
    driven.on(Event::Connection(FromConnection::Drained));
    let actions = driven.after(Duration::from_secs(5));
    driven.pong(ping(&actions).expect("a ping"));
    let window = i64::try_from(config().window).expect("it is small");
    assert_eq!(driven.state.received(), Some(11 + window));
    let rest: Vec<i64> = (12 + window..312).collect();
    driven.read(311, &rest, None);
    let actions = driven.after(Duration::from_secs(5));
    driven.pong(ping(&actions).expect("a ping"));
    assert_eq!(driven.state.received(), Some(311));
}

/// Publications to others, none of them for this session.
#[test]
fn a_session_to_which_nothing_is_published_has_received_everything() {
    let mut driven = Driven::fresh(config());
    let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
        unreachable!("it is held");
    };
    (resumed.new, resumed.topics) = (false, vec![("T".into(), Some(5))]);
    let actions = driven.hello(Ok(Registered::Held(resumed)));
    assert_eq!(reported(&actions), None, "what was missed is not known yet");
    driven.may_listen(true);
    let actions = driven.subscribed(50, Some(Missed { first: 0, count: 0 }));
    assert_eq!(reported(&actions), Some((50, true)));
    assert_eq!(ping(&actions), None);
}

/// A client may answer only the newest of several pings.
#[test]
fn a_ping_that_is_not_answered_is_sent_again() {
    let mut driven = Driven::receiving();
    let first = ping(&driven.after(Duration::from_secs(5))).expect("a ping");
    assert_eq!(ping(&driven.after(Duration::from_secs(29))), None);
    let second = ping(&driven.after(Duration::from_secs(1)));
    assert_eq!(second, Some(first + 1));
}

/// The client named no publication that it has seen, and none that it has received is repeated.
#[test]
fn a_resumed_topic_goes_on_where_it_was() {
    let resumed = |hello: &str, missed| {
        let mut driven = Driven::fresh(config());
        let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
            unreachable!("it is held");
        };
        (resumed.new, resumed.topics) = (false, vec![("T".into(), Some(5))]);
        driven.text(hello);
        let principal = Principal::user("u");
        driven.on(Event::Authenticated(Ok(Verdict::Authenticated(principal))));
        driven.on(Event::Registered(Ok(Registered::Held(resumed))));
        let mut actions = driven.may_listen(true);
        actions.extend(driven.subscribed(50, missed));
        actions.extend(driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid))));
        actions
    };
    let types = |actions: &[Action]| {
        let all = sent(actions).into_iter().map(|it| it["t"].clone());
        all.collect::<Vec<_>>()
    };
    let with = |sub: &str| HELLO.replace("}]", &format!("}},{sub}]"));
    let (sub, seen) = (
        r#"{"t":"SUB","eid":"T"}"#,
        r#"{"t":"SUB","eid":"T","smid":"30.5"}"#,
    );
    let of_session = "since: Some(Subscribed(Some(5)))";
    let missed = Some(Missed {
        first: 41,
        count: 2,
    });
    for (hello, since, ok) in [
        (HELLO.to_owned(), of_session, &[][..]),
        (with(sub), of_session, &["SUB_OK"]),
        (
            with(seen),
            "since: Some(Seen { id: 30, created: 5 })",
            &["SUB_OK"],
        ),
    ] {
        let actions = resumed(&hello, missed);
        assert!(format!("{actions:?}").contains(since), "{actions:?}");
        assert_eq!(types(&actions), ok);
        let read = r#"ReadTopic { topic: "T", after: 40, up_to: 50"#;
        assert!(has(&actions, read), "{actions:?}");
    }
    for hello in [HELLO.to_owned(), with(sub), with(seen)] {
        assert_eq!(types(&resumed(&hello, None)), ["SUB_LOST"], "{hello}");
    }
}
