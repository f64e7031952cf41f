//! Whether the session is still held: refusals of the store, and rumours from other nodes.

use super::*;

#[test]
fn whoever_is_fenced_off_lets_go_and_changes_nothing() {
    let fenced_off = || {
        let mut driven = Driven::established(Config::default());
        driven.valid(&send(1));
        let actions = driven.ended("1", MessageType::Send, End::FencedOff(holder()));
        assert!(
            !has(&actions, "End"),
            "whether it was taken over or closed is about to be told"
        );
        assert!(
            handled(&driven.valid(&send(2))).is_empty(),
            "nothing more is done"
        );
        driven
    };
    let closed = fenced_off().on(Event::Registry(ToSession::Closed("bye".into())));
    assert_eq!(ending(&closed), (4000, Keep::Closed));
    let taken_over = fenced_off().on(Event::Registry(ToSession::TakenOver));
    assert_eq!(ending(&taken_over), (4003, Keep::Nothing));
    // The notification was lost: the store is asked.
    for (exists, end) in [(true, (4003, Keep::Nothing)), (false, (4001, Keep::Closed))] {
        let standing = exists.then_some(standing(2));
        let mut driven = fenced_off();
        let actions = driven.after(Duration::from_secs(1));
        assert!(has(&actions, "AskStanding"), "{actions:?}");
        assert_eq!(ending(&driven.on(Event::Standing(Ok(standing)))), end);
    }
}

/// Anyone who can reach the database can send a notice, which alone must not log anyone out.
#[test]
fn the_store_is_asked_whether_a_rumour_is_true() {
    let heard = |closed: Option<&str>, standing| {
        let mut driven = Driven::established(Config::default());
        let rumour = ToSession::Rumour(closed.map(str::to_owned));
        let actions = driven.on(Event::Registry(rumour));
        assert!(
            has(&actions, "AskStanding") && !has(&actions, "End"),
            "{actions:?}"
        );
        driven.on(Event::Standing(standing))
    };
    assert!(heard(Some("bye"), Ok(Some(standing(1)))).is_empty());
    assert!(heard(None, Ok(Some(standing(1)))).is_empty());
    assert!(heard(None, Err(StoreError::Failed("away".into()))).is_empty());
    assert_eq!(ending(&heard(Some("bye"), Ok(None))), (4000, Keep::Closed));
    assert_eq!(ending(&heard(None, Ok(None))), (4001, Keep::Closed));
    assert_eq!(
        ending(&heard(None, Ok(Some(standing(2))))),
        (4003, Keep::Nothing)
    );
    let closes = Standing {
        closes: true,
        ..standing(1)
    };
    assert_eq!(
        ending(&heard(None, Ok(Some(closes)))),
        (4002, Keep::Deregister)
    );
}

#[test]
fn many_rumours_are_few_questions() {
    let mut driven = Driven::established(Config::default());
    let rumour = || Event::Registry(ToSession::Rumour(None));
    assert!(has(&driven.on(rumour()), "AskStanding"));
    for _ in 0..100 {
        assert!(driven.on(rumour()).is_empty());
    }
    let answer = || Event::Standing(Ok(Some(standing(1))));
    assert!(
        has(&driven.on(answer()), "AskStanding"),
        "it may have been too early"
    );
    assert!(driven.on(answer()).is_empty());
}

#[test]
fn a_rumour_that_comes_before_welcome_is_asked_about_then() {
    let mut driven = Driven::fresh(Config::default());
    driven.text(HELLO);
    driven.on(Event::Authenticated(Ok(Verdict::Authenticated(
        Principal::user("u"),
    ))));
    assert!(
        driven
            .on(Event::Registry(ToSession::Rumour(None)))
            .is_empty()
    );
    let actions = driven.on(Event::Registered(held(0, &[])));
    assert!(has(&actions, "AskStanding"), "{actions:?}");
}
