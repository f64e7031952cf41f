//! Drives a session's decisions without actors, for `benches/decisions`.

use std::sync::Arc;

use super::connection::FromConnection;
use super::handler::{End, HandlerEnded};
use super::state::{Action, Environment, Event, State};
use crate::auth::{Principal, Verdict};
use crate::config::Config;
use crate::registry::ToSession;
use crate::store::operation::{
    ConnectionId, Fenced, HeldSession, Holder, OutboxMessage, Registered, SessionKey,
};
use crate::trace::Trace;
use crate::wire::{Envelope, MessageType, Payload};

/// An established session whose decisions are discarded instead of carried out.
pub struct Decisions {
    state: State,
    environment: Environment,
    seq: i64,
    cmid: u64,
}

impl Default for Decisions {
    fn default() -> Self {
        let state = State::new(Arc::new(Config::default()), "node".into(), false, None);
        let mut decisions = Decisions {
            state,
            environment: Environment {
                wall: 1_000,
                ..Environment::default()
            },
            seq: 0,
            cmid: 0,
        };
        decisions.hello();
        decisions
    }
}

impl Decisions {
    fn hello(&mut self) {
        self.text(r#"[{"t":"HELLO","clv":"bench","an":"app","av":"1","auth":"good"}]"#.into());
        let principal = Principal::user("user");
        self.on(Event::Authenticated(Ok(Verdict::Authenticated(principal))));
        let held = HeldSession {
            holder: Holder {
                session: SessionKey(1),
                connection: ConnectionId(1),
            },
            new: true,
            sid: "session".into(),
            smid_prefix: "abcdef".into(),
            replaced: None,
            last_seq: 0,
            inbox: Vec::new(),
            topics: Vec::new(),
            has_outbox: false,
            made_room: Vec::new(),
        };
        self.on(Event::Registered(Ok(Registered::Held(Box::new(held)))));
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        self.state.on(event, self.environment)
    }

    fn text(&mut self, text: String) -> Vec<Action> {
        self.on(Event::Connection(FromConnection::Text(text.into())))
    }

    /// A client's text, which the authenticator accepts.
    fn valid(&mut self, text: String) -> Vec<Action> {
        self.text(text);
        self.on(Event::Authenticated(Ok(Verdict::StillValid)))
    }

    /// Time passes until everything waiting to be batched has been sent.
    fn later(&mut self) -> Vec<Action> {
        self.environment.now += 1_000;
        self.on(Event::Tick)
    }

    /// This many REQUESTs in one text, each answered with a RESOLVE, and their ACK2s in another text.
    pub fn requests(&mut self, count: u64, payload: &str) {
        let first = self.cmid + 1;
        self.cmid += count;
        let requests = (first..=self.cmid).map(|cmid| {
            format!(
                r#"{{"t":"REQUEST","cmid":{cmid},"tid":"a-trace-id","eid":"Bench.endpoint","msg":{payload}}}"#
            )
        });
        let text = format!("[{}]", requests.collect::<Vec<_>>().join(","));
        for action in self.valid(text) {
            let Action::Handle(handle) = action else {
                continue;
            };
            let cmid = handle.envelope.cmid.clone().unwrap_or_default();
            let answer = Box::new(Envelope {
                cmid: handle.envelope.cmid,
                tid: handle.envelope.tid,
                msg: handle.envelope.msg,
                ..Envelope::new(MessageType::Resolve)
            });
            let end = End::Answered {
                answer,
                at_once: false,
            };
            self.on(Event::HandlerEnded(HandlerEnded {
                cmid,
                kind: MessageType::Request,
                end,
                trace: Trace::none(),
            }));
        }
        self.later();
        let ids: Vec<_> = (first..=self.cmid).map(|id| format!("\"{id}\"")).collect();
        for action in self.text(format!(r#"[{{"t":"ACK2","ids":[{}]}}]"#, ids.join(","))) {
            if let Action::DropInbox(cmids) = action {
                let outcome = Ok(Fenced::Done);
                self.on(Event::InboxDropped { cmids, outcome });
            }
        }
    }

    /// This many messages from the server, one by one, and their ACKs in one text.
    pub fn pushes(&mut self, count: i64, payload: &Payload) {
        let first = self.seq + 1;
        self.seq += count;
        for seq in first..=self.seq {
            let message = OutboxMessage {
                seq,
                kind: MessageType::Send,
                eid: Some("Client.terminator".into()),
                cmid: None,
                tid: "a-trace-id".into(),
                msg: Some(payload.clone()),
                debug: None,
                left: None,
            };
            let actions = self.on(Event::Registry(ToSession::Stored(seq - 1, message)));
            if actions
                .iter()
                .any(|it| matches!(it, Action::ReevaluateOutgoing))
            {
                self.on(Event::OutgoingAuthenticated(Ok(Verdict::StillValid)));
            }
        }
        let smid = |seq| self.state.identity().map(|identity| identity.smid(seq));
        let smids: Vec<_> = (first..=self.seq).filter_map(smid).collect();
        let text = format!(r#"[{{"t":"ACK","ids":["{}"]}}]"#, smids.join("\",\""));
        for action in self.text(text) {
            if let Action::Complete(acks) = action {
                let outcome = Ok(Fenced::Done);
                self.on(Event::Completed {
                    acks: *acks,
                    outcome,
                });
            }
        }
        self.later();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bench would measure nothing if the session had ended or held its input back.
    #[test]
    fn what_is_measured_is_whole_cycles() {
        let mut decisions = Decisions::default();
        decisions.requests(3, "1");
        decisions.requests(2, "1");
        let payload = serde_json::value::to_raw_value(&1).expect("a number is JSON");
        decisions.pushes(30, &payload);
        assert_eq!(decisions.state.unstored_acks(), 0);
        let live = decisions.state.introspect();
        assert_eq!((live.handlers, live.unacknowledged), (0, 0));
        let last = |incoming: bool| {
            let mut recent = live.recent.iter().rev();
            recent
                .find(|it| it.incoming == incoming)
                .map(|it| it.message_type)
        };
        assert_eq!(last(true), Some(MessageType::Ack));
        assert_eq!(last(false), Some(MessageType::Ack2));
    }
}
