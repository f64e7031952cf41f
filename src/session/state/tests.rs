//! The session's decisions, without actors.

mod authorization;
mod edges;
mod large;
mod messages;
mod outbox;
mod position;
mod standing;
mod topics;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::auth::{AuthError, Principal, Verdict};
use crate::registry::Published;
use crate::session::handler::{End, HandlerEnded};
use crate::store::StoreError;
use crate::store::operation::{
    ConnectionId, Fenced, FetchedOutbox, HeldSession, Holder, Missed, OutboxMessage, Publication,
    PublicationPage, Registered, SessionKey, Standing,
};
use crate::trace::Trace;
use crate::wire::{Envelope, MessageType};

/// A state with its environment, driven step by step.
struct Driven {
    state: State,
    environment: Environment,
}

fn holder() -> Holder {
    Holder {
        session: SessionKey(1),
        connection: ConnectionId(1),
    }
}

fn held(last_seq: i64, inbox: &[&str]) -> Result<Registered, StoreError> {
    Ok(Registered::Held(Box::new(HeldSession {
        holder: holder(),
        new: true,
        sid: "SID".into(),
        smid_prefix: "abc".into(),
        replaced: None,
        last_seq,
        inbox: inbox.iter().map(|cmid| ((*cmid).to_owned(), 5)).collect(),
        topics: vec![],
        has_outbox: last_seq > 0,
        made_room: vec![],
    })))
}

fn stored(seq: i64) -> OutboxMessage {
    OutboxMessage {
        seq,
        kind: MessageType::Send,
        eid: Some("client".into()),
        cmid: None,
        tid: format!("t{seq}"),
        msg: Some(serde_json::value::to_raw_value(&seq).expect("a number is JSON")),
        debug: None,
        left: None,
    }
}

/// A message that was just stored, directly after the one before it.
fn just_stored(seq: i64) -> ToSession {
    ToSession::Stored(seq - 1, stored(seq))
}

fn publication(id: i64) -> Publication {
    Publication {
        id,
        created: 5,
        topic: "T".into(),
        tid: "p".into(),
        msg: serde_json::value::to_raw_value(&id).expect("a number is JSON"),
    }
}

const HELLO: &str = r#"[{"t":"HELLO","clv":"test","an":"app","av":"1","auth":"good","tid":"hi"}]"#;

impl Driven {
    fn fresh(config: Config) -> Driven {
        let state = State::new(Arc::new(config), "node".into(), false, None);
        Driven {
            state,
            environment: Environment {
                wall: 1_000,
                ..Environment::default()
            },
        }
    }

    fn established(config: Config) -> Driven {
        let mut driven = Driven::fresh(config);
        driven.hello(held(0, &[]));
        driven
    }

    fn hello(&mut self, outcome: Result<Registered, StoreError>) -> Vec<Action> {
        self.hello_with(HELLO, outcome)
    }

    fn hello_with(&mut self, hello: &str, outcome: Result<Registered, StoreError>) -> Vec<Action> {
        let actions = self.text(hello);
        assert!(has(&actions, "Authenticate"), "{actions:?}");
        let actions = self.on(Event::Authenticated(Ok(Verdict::Authenticated(
            Principal::user("u"),
        ))));
        assert!(has(&actions, "Register("), "{actions:?}");
        self.on(Event::Registered(outcome))
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.state.on(event, self.environment)
    }

    fn text(&mut self, text: &str) -> Vec<Action> {
        self.on(Event::Connection(FromConnection::Text(text.into())))
    }

    /// A pipeline that the authenticator accepts.
    fn valid(&mut self, text: &str) -> Vec<Action> {
        let mut actions = self.text(text);
        if has(&actions, "Reevaluate {") {
            actions.extend(self.on(Event::Authenticated(Ok(Verdict::StillValid))));
        }
        actions
    }

    fn after(&mut self, time: Duration) -> Vec<Action> {
        self.environment.now += time.as_millis() as i64;
        self.on(Event::Tick)
    }

    /// The authenticator's answer about the right to topic T.
    fn may_listen(&mut self, allowed: bool) -> Vec<Action> {
        self.on(Event::TopicAuthorized {
            topic: "T".into(),
            allowed: Ok(allowed),
        })
    }

    /// Topic T is in force from this number on; before that, the client has missed this much.
    fn subscribed(&mut self, horizon: i64, missed: Option<Missed>) -> Vec<Action> {
        self.on(Event::TopicsSubscribed(Ok(Subscribed::Done {
            horizon,
            missed: vec![missed],
        })))
    }

    fn publish(&mut self, id: i64) -> Vec<Action> {
        let published = Arc::new(Published::new(publication(id)));
        self.on(Event::Registry(ToSession::Published(published)))
    }

    /// A page of topic T was read.
    fn read(&mut self, up_to: i64, ids: &[i64], next: Option<i64>) -> Vec<Action> {
        let publications = ids.iter().copied().map(publication).collect();
        self.on(Event::TopicRead {
            topic: "T".into(),
            up_to,
            outcome: Ok(Some(PublicationPage { publications, next })),
        })
    }

    fn ended(&mut self, cmid: &str, kind: MessageType, end: End) -> Vec<Action> {
        self.on(Event::HandlerEnded(HandlerEnded {
            cmid: cmid.into(),
            kind,
            end,
            trace: Trace::none(),
        }))
    }
}

fn answered(t: MessageType, cmid: &str) -> End {
    let answer = Box::new(Envelope {
        cmid: Some(cmid.into()),
        ..Envelope::new(t)
    });
    End::Answered {
        answer,
        at_once: false,
    }
}

/// Whether an action of this name is among them.
fn has(actions: &[Action], name: &str) -> bool {
    actions
        .iter()
        .any(|action| format!("{action:?}").starts_with(name))
}

/// Every envelope sent.
fn sent(actions: &[Action]) -> Vec<Value> {
    let texts = actions.iter().filter_map(|action| match action {
        Action::Send(text) => {
            Some(serde_json::from_str::<Vec<Value>>(text.as_str()).expect("we send JSON arrays"))
        }
        _ => None,
    });
    texts.flatten().collect()
}

fn handled(actions: &[Action]) -> Vec<String> {
    let handled = actions.iter().filter_map(|action| match action {
        Action::Handle(handle) => handle.envelope.cmid.clone(),
        _ => None,
    });
    handled.collect()
}

fn ending(actions: &[Action]) -> (u16, Keep) {
    let ending = actions.iter().find_map(|action| match action {
        Action::End {
            close: Some(close),
            keep,
        } => Some((close.code.code(), keep.clone())),
        _ => None,
    });
    ending.unwrap_or_else(|| panic!("no close among {actions:?}"))
}

fn send(cmid: u32) -> String {
    format!(r#"[{{"t":"SEND","eid":"e","tid":"t","cmid":{cmid},"msg":1}}]"#)
}

/// Sends the pending messages; the authenticator accepts.
fn deliver(driven: &mut Driven, actions: Vec<Action>) -> Vec<Value> {
    let mut all = actions;
    while all
        .iter()
        .filter(|action| matches!(action, Action::ReevaluateOutgoing))
        .count()
        > all
            .iter()
            .filter(|action| matches!(action, Action::Processed(usize::MAX)))
            .count()
    {
        all.push(Action::Processed(usize::MAX));
        let more = driven.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
        all.extend(more);
    }
    sent(&all)
}

fn standing(connection: i64) -> Standing {
    Standing {
        connection: ConnectionId(connection),
        closes: false,
    }
}
