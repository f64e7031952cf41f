//! Subscriptions made together, and their missed publications.

use super::*;

fn types(actions: &[Action]) -> Vec<String> {
    let envelopes = sent(actions);
    let types = envelopes
        .iter()
        .filter_map(|envelope| envelope["t"].as_str());
    types.map(str::to_owned).collect()
}

fn ids(actions: &[Action]) -> Vec<String> {
    let envelopes = sent(actions);
    let ids = envelopes
        .iter()
        .filter_map(|envelope| envelope["smid"].as_str());
    ids.map(str::to_owned).collect()
}

fn count(actions: &[Action], name: &str) -> usize {
    let named = actions
        .iter()
        .filter(|action| format!("{action:?}").starts_with(name));
    named.count()
}

fn subs(topics: &[&str]) -> String {
    let subs = topics.iter().map(|topic| json!({"t": "SUB", "eid": topic}));
    Value::Array(subs.collect()).to_string()
}

const NOTHING: Missed = Missed { first: 0, count: 0 };

impl Driven {
    /// The authenticator allows these.
    fn allow(&mut self, topics: &[&str]) -> Vec<Action> {
        let allowed = topics.iter().flat_map(|topic| {
            self.on(Event::TopicAuthorized {
                topic: (*topic).to_owned(),
                allowed: Ok(true),
            })
        });
        allowed.collect()
    }

    /// A client that has seen publication 7 of T, and has missed this many since, up to 100.
    fn missing(config: Config, count: u32) -> Driven {
        let mut driven = Driven::established(config);
        driven.valid(r#"[{"t":"SUB","eid":"T","smid":"7.5"}]"#);
        driven.may_listen(true);
        let actions = driven.subscribed(100, Some(Missed { first: 8, count }));
        assert_eq!(types(&actions), ["SUB_OK"]);
        driven
    }

    fn let_out(&mut self) -> Vec<Action> {
        self.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)))
    }
}

/// A HELLO with 1,500 SUBs used to cost 1,500 separate store operations.
#[test]
fn subscriptions_that_stand_together_are_made_together() {
    let mut driven = Driven::established(Config::default());
    let topics: Vec<String> = (0..100).map(|number| format!("topic {number}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let mut actions = driven.valid(&subs(&topics));
    assert_eq!(
        count(&actions, "AuthorizeTopic"),
        super::subscribing::ASKED_AT_A_TIME,
        "not all at once"
    );
    actions.extend(driven.allow(&topics));
    assert_eq!(count(&actions, "AuthorizeTopic"), 100);
    assert_eq!(count(&actions, "SubscribeTopics"), 1);
    let done = Subscribed::Done {
        horizon: 5,
        missed: vec![],
        values: HashMap::new(),
    };
    let actions = driven.on(Event::TopicsSubscribed(Ok(done)));
    assert_eq!(types(&actions), ["SUB_OK"; 100]);
    assert_eq!(count(&actions, "Send"), 1);
}

#[test]
fn what_stands_between_subs_has_its_place() {
    let mut driven = Driven::established(Config::default());
    let actions = driven.valid(
        r#"[{"t":"SUB","eid":"T"},{"t":"SUB","eid":"T"},{"t":"UNSUB","eid":"T"},{"t":"SUB","eid":"U"}]"#,
    );
    assert_eq!(count(&actions, "AuthorizeTopic"), 1);
    driven.may_listen(true);
    let actions = driven.subscribed(5, None);
    assert_eq!(types(&actions), ["SUB_OK", "SUB_OK"]);
    assert!(has(&actions, r#"UnsubscribeTopic("T")"#), "{actions:?}");
    assert!(has(&actions, r#"AuthorizeTopic("U")"#), "{actions:?}");
}

#[test]
fn too_many_topics_are_found_out_before_anybody_is_asked() {
    let limited = || Config {
        max_topics: 3,
        ..Config::default()
    };
    let mut driven = Driven::established(limited());
    let mut actions = driven.valid(&subs(&["a", "b", "c", "d"]));
    actions.extend(driven.allow(&["a", "b", "c"]));
    let done = Subscribed::Done {
        horizon: 5,
        missed: vec![],
        values: HashMap::new(),
    };
    actions.extend(driven.on(Event::TopicsSubscribed(Ok(done))));
    assert_eq!(ending(&actions).0, 4004);
    assert_eq!(count(&actions, "AuthorizeTopic"), 3);
    // Those that were stored with the session count, before and after they are in force.
    let resumed = || {
        let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
            unreachable!("it is held");
        };
        let stored = |topic: &str| (topic.to_owned(), Some(0));
        (resumed.new, resumed.topics) = (false, vec![stored("a"), stored("b")]);
        Ok(Registered::Held(resumed))
    };
    let mut driven = Driven::fresh(limited());
    driven.text(&HELLO.replace("}]", r#"},{"t":"SUB","eid":"c"},{"t":"SUB","eid":"d"}]"#));
    let principal = Principal::user("u");
    driven.on(Event::Authenticated(Ok(Verdict::Authenticated(principal))));
    driven.on(Event::Registered(resumed()));
    driven.allow(&["c"]);
    let done = Subscribed::Done {
        horizon: 5,
        missed: vec![],
        values: HashMap::new(),
    };
    let actions = driven.on(Event::TopicsSubscribed(Ok(done)));
    assert_eq!(ending(&actions).0, 4004);
    assert!(!has(&actions, "AuthorizeTopic"), "{actions:?}");
    let mut driven = Driven::fresh(limited());
    driven.hello(resumed());
    driven.allow(&["a", "b"]);
    let done = Subscribed::Done {
        horizon: 5,
        missed: vec![Some(NOTHING); 2],
        values: HashMap::new(),
    };
    driven.on(Event::TopicsSubscribed(Ok(done)));
    assert!(has(
        &driven.valid(&subs(&["a", "b", "c"])),
        "AuthorizeTopic"
    ));
    driven.allow(&["a", "b", "c"]);
    let done = Subscribed::Done {
        horizon: 5,
        missed: vec![],
        values: HashMap::new(),
    };
    let actions = driven.on(Event::TopicsSubscribed(Ok(done)));
    assert_eq!(types(&actions), ["SUB_OK"; 3]);
    assert_eq!(ending(&driven.valid(&subs(&["d"]))).0, 4004);
}

#[test]
fn one_that_is_withdrawn_among_several_is_asked_about_again() {
    let mut driven = Driven::established(Config::default());
    driven.valid(&subs(&["T", "U"]));
    driven.may_listen(true);
    driven.on(Event::Registry(ToSession::Revoked(Arc::new(
        crate::registry::Revocation {
            user_id: "u".into(),
            topic: Some("T".into()),
        },
    ))));
    let actions = driven.allow(&["U"]);
    assert!(has(&actions, r#"AuthorizeTopic("T")"#), "{actions:?}");
    let actions = driven.may_listen(false);
    assert_eq!(types(&actions), ["SUB_NO_AUTH"]);
    let actions = driven.subscribed(5, None);
    assert_eq!(types(&actions), ["SUB_OK"], "U");
}

/// All missed publications used to be sent as one text, in one case of 15 MB, for which the connection was cut.
#[test]
fn what_was_missed_is_read_page_by_page_while_the_line_has_room() {
    let mut driven = Driven::missing(Config::default(), 5);
    let page = Config::default().max_unsent / 4;
    let actions = driven.let_out();
    let first = format!(r#"ReadTopic {{ topic: "T", after: 7, up_to: 100, max_bytes: {page} }}"#);
    assert!(has(&actions, &first), "{actions:?}");
    driven.environment.filling = true;
    let actions = driven.read(100, &[8, 9], Some(40));
    assert_eq!(ids(&actions), ["8.5", "9.5"]);
    assert!(!has(&actions, "ReadTopic"), "{actions:?}");
    driven.environment.filling = false;
    let actions = driven.on(Event::Connection(FromConnection::Drained));
    // What lies between may be gone from the history.
    let second = r#"ReadTopic { topic: "T", after: 39, up_to: 100"#;
    assert!(has(&actions, second), "{actions:?}");
    let actions = driven.read(100, &[40, 50, 60], None);
    assert_eq!(ids(&actions), ["40.5", "50.5", "60.5"]);
    assert!(!has(&actions, "ReadTopic"), "{actions:?}");
    assert_eq!(ids(&driven.publish(101)), ["101.5"]);
}

#[test]
fn what_is_published_during_a_replay_comes_behind_it() {
    let mut driven = Driven::missing(Config::default(), 5);
    driven.let_out();
    // It may be that this page is the last one.
    assert!(driven.publish(101).is_empty());
    let actions = driven.read(100, &[8, 9], Some(40));
    assert_eq!(ids(&actions), ["8.5", "9.5"]);
    let next = r#"ReadTopic { topic: "T", after: 39, up_to: 101"#;
    assert!(has(&actions, next), "it was not: {actions:?}");
    assert!(driven.publish(102).is_empty());
    let actions = driven.read(101, &[40, 50, 101], None);
    assert_eq!(ids(&actions), ["40.5", "50.5", "101.5", "102.5"]);
    assert_eq!(ids(&driven.publish(103)), ["103.5"]);
}

#[test]
fn other_topics_go_on_beside_a_replay() {
    let mut driven = Driven::established(Config::default());
    driven.valid(r#"[{"t":"SUB","eid":"T","smid":"7.5"},{"t":"SUB","eid":"U"}]"#);
    driven.allow(&["T", "U"]);
    driven.subscribed(100, Some(Missed { first: 8, count: 5 }));
    driven.let_out();
    let of_u = |id| {
        let topic = "U".to_owned();
        let publication = Publication {
            topic,
            ..publication(id)
        };
        let published = Arc::new(Published::new(publication));
        Event::Registry(ToSession::Published(published))
    };
    assert_eq!(ids(&driven.on(of_u(101))), ["101.5"]);
    assert!(driven.publish(102).is_empty());
    assert_eq!(ids(&driven.on(of_u(103))), ["103.5"]);
    let actions = driven.read(100, &[8, 9, 10, 11, 12], None);
    assert_eq!(ids(&actions)[5..], ["102.5"]);
    // A connection that accepts no more: they wait, and then are read from the store, topic by topic.
    driven.environment.backpressured = true;
    driven.environment.filling = true;
    for id in (110..).step_by(2).take(Config::default().window) {
        assert!(driven.publish(id).is_empty());
        assert!(driven.on(of_u(id + 1)).is_empty());
    }
    (driven.environment.backpressured, driven.environment.filling) = (false, false);
    let actions = driven.on(Event::Connection(FromConnection::Drained));
    assert_eq!(ids(&actions).len(), Config::default().window);
    let topic_read = |actions: &[Action]| {
        let read = actions.iter().find_map(|action| match action {
            Action::ReadTopic { topic, up_to, .. } => Some((topic.clone(), *up_to)),
            _ => None,
        });
        read.expect("something is read")
    };
    let first = topic_read(&actions);
    let actions = driven.on(Event::TopicRead {
        topic: first.0.clone(),
        up_to: first.1,
        outcome: Ok(Some(PublicationPage {
            publications: vec![],
            next: Some(first.1),
        })),
    });
    assert_ne!(topic_read(&actions).0, first.0);
}

#[test]
fn a_client_that_falls_too_far_behind_has_lost_something() {
    let mut driven = Driven::missing(
        Config {
            max_topic_history: 7,
            ..Config::default()
        },
        5,
    );
    driven.let_out();
    driven.read(100, &[8], Some(40));
    // Five more, and four still to be read.
    driven.environment.filling = true;
    for id in 101..=105 {
        assert!(driven.publish(id).is_empty());
    }
    driven.read(100, &[40], Some(50));
    driven.environment.filling = false;
    let actions = driven.on(Event::Connection(FromConnection::Drained));
    assert_eq!(types(&actions), ["SUB_LOST"]);
    assert_eq!(ids(&driven.publish(106)), ["106.5"]);
}

#[test]
fn a_page_that_comes_after_an_unsub_is_not_sent() {
    let mut driven = Driven::missing(Config::default(), 5);
    driven.let_out();
    driven.valid(r#"[{"t":"UNSUB","eid":"T"},{"t":"SUB","eid":"T"}]"#);
    driven.may_listen(true);
    driven.subscribed(110, None);
    assert!(sent(&driven.read(100, &[8, 9], Some(10))).is_empty());
    assert_eq!(ids(&driven.publish(111)), ["111.5"]);
}

/// The client itself sends SUB for a topic that the session has put in force.
#[test]
fn a_sub_behind_what_the_session_has_resumed() {
    let resumed = |seen: &str, published: bool| {
        let Ok(Registered::Held(mut resumed)) = held(0, &[]) else {
            unreachable!("it is held");
        };
        (resumed.new, resumed.topics) = (false, vec![("T".into(), Some(10))]);
        let mut driven = Driven::fresh(Config::default());
        driven.hello(Ok(Registered::Held(resumed)));
        driven.may_listen(true);
        driven.subscribed(10, Some(NOTHING));
        if published {
            driven.publish(11);
            driven.let_out();
        }
        driven.valid(&format!(r#"[{{"t":"SUB","eid":"T","smid":"{seen}.5"}}]"#));
        driven.may_listen(true);
        let first = seen.parse::<i64>().map_or(0, |seen| seen + 1);
        let actions = driven.subscribed(12, Some(Missed { first, count: 2 }));
        (driven, actions)
    };
    let (_, actions) = resumed("11", true);
    assert_eq!(types(&actions), ["SUB_OK"]);
    assert!(!has(&actions, "ReadTopic"), "{actions:?}");
    let (_, actions) = resumed("8", true);
    assert_eq!(types(&actions), ["SUB_LOST"], "it would come too late");
    let (mut driven, actions) = resumed("8", false);
    assert_eq!(types(&actions), ["SUB_OK"]);
    let read = r#"ReadTopic { topic: "T", after: 8, up_to: 12"#;
    assert!(has(&driven.let_out(), read));
}
