//! How the client's messages are handled, and answered: the first time and when they are repeated.

use super::inbox::Stage;
use super::{Action, Failure, Handle, State};
use crate::session::handler::{End, HandlerEnded};
use crate::store::StoreError;
use crate::store::operation::Fenced;
use crate::wire::{Close, CloseCode, Envelope, MessageType, check_id, parse_pipeline};

impl State {
    /// Processes an information-bearing message: it is handled, or answered as before.
    pub(super) fn accept(&mut self, mut envelope: Box<Envelope>) {
        let missing = |field: &str| format!("{} without {field}", envelope.t);
        let Some(cmid) = envelope.cmid.clone() else {
            return self.violation(missing("cmid"));
        };
        if envelope.fault.is_none() {
            if envelope.tid.is_none() {
                return self.violation(missing("tid"));
            }
            if envelope.t.is_reply() && envelope.smid.is_none() {
                return self.violation(missing("smid"));
            }
        }
        // A message without an endpoint is refused like one to an invalid endpoint.
        let eid = envelope.eid.as_deref().unwrap_or_default();
        let eid = Some(eid).filter(|_| !envelope.t.is_reply());
        let wrong_id = |what: &str, id: &str| Some(check_id(what, id).err()?.to_string());
        let unusable = wrong_id("cmid", &cmid);
        let ids = [("trace id", envelope.tid.as_deref()), ("endpoint id", eid)];
        let wrong = || {
            let mut ids = ids.iter();
            ids.find_map(|(what, id)| id.and_then(|id| wrong_id(what, id)))
        };
        let fault = envelope.fault.take().map(String::from);
        if let Some(why) = unusable.clone().or(fault).or_else(wrong) {
            let ends_request = envelope.t.is_reply() && envelope.smid.is_some();
            if unusable.is_some() || !ends_request {
                // Nothing is stored, since its id cannot be.
                self.mistake(&why);
                return self.answer(MessageType::Nack, cmid, Some(why), self.config.ack_delay);
            }
            envelope.fault = Some(why.into());
        }
        match self.inbox.messages.get_mut(&cmid) {
            // The running handler answers both.
            Some(Stage::Running { .. }) => {}
            Some(Stage::Stored { again: true, .. }) => {}
            Some(Stage::Stored { again, .. }) => {
                *again = true;
                let kind = envelope.t;
                let again = self.inbox.again.get_or_insert_default();
                again.push_back((cmid, kind));
            }
            Some(Stage::Doubtful) | None => self.start(envelope, cmid),
        }
    }

    fn start(&mut self, envelope: Box<Envelope>, cmid: String) {
        let settles = match (envelope.t.is_reply(), &envelope.smid) {
            (true, Some(smid)) => {
                match self.identity().and_then(|identity| identity.seq_of(smid)) {
                    Some(seq) => Some(seq),
                    // A reply to a request of an earlier session: there is nothing left to settle.
                    None => return self.nothing_to_settle(cmid),
                }
            }
            (_, _) => None,
        };
        let config = &self.config;
        let bytes = super::authorize::size(&envelope);
        let refusal = if self.inbox.running >= config.max_handlers {
            Some("too many handlers are running for this session")
        } else if self.environment.user_is_busy {
            Some("too many handlers are running for this user")
        } else if let Some(why) = self.inbox.full(config, &cmid) {
            Some(why)
        } else if bytes > self.environment.incoming_room {
            Some("there is no room for more messages of this user, or on this node")
        } else {
            None
        };
        match refusal {
            Some(why) if envelope.t.is_reply() => self.leave(Close::new(CloseCode::Reconnect, why)),
            Some(why) => self.retry(Some(cmid), why),
            None => {
                let debug = self.debug_of(&envelope);
                self.environment.incoming_room -= bytes;
                self.inbox.start(cmid);
                self.actions.push(Action::Handle(Handle {
                    envelope,
                    bytes,
                    settles,
                    debug,
                }));
            }
        }
    }

    pub(super) fn handler_ended(&mut self, ended: HandlerEnded) {
        let HandlerEnded {
            cmid, kind, end, ..
        } = ended;
        let (dropped, settled) = self.inbox.ended(&cmid, &end);
        if dropped {
            self.to_drop.push(cmid.clone());
        }
        match end {
            End::Answered { answer, .. } if settled && answer.t == MessageType::Ack => {}
            End::Answered { answer, at_once } => self.answered(kind, answer, at_once),
            End::Duplicate(answer) => self.duplicate(cmid, answer),
            End::NothingToSettle => self.nothing_to_settle(cmid),
            End::Retry(why) if kind.is_reply() => {
                let why = why.unwrap_or_else(|| "a reply could not be stored".to_owned());
                self.leave(Close::new(CloseCode::Reconnect, why));
            }
            End::Unknown if kind.is_reply() => {
                let why = "it is not known whether a reply was stored";
                self.leave(Close::new(CloseCode::Reconnect, why));
            }
            // It must have been stored, or there would be no reply. The client has the reply, and needs no RETRY.
            End::Retry(_) | End::Unknown if settled => {}
            End::Unknown => self.retry(Some(cmid), "it is not known whether this was stored"),
            End::Retry(why) => self.retry(Some(cmid), why.as_deref().unwrap_or("please try again")),
            End::FencedOff(holder) if self.holds(holder) => self.fenced_off(),
            // An earlier registration was fenced off before this one adopted the handler: nothing was kept.
            End::FencedOff(_) if kind.is_reply() => {
                let why = "a reply could not be stored";
                self.leave(Close::new(CloseCode::Reconnect, why));
            }
            End::FencedOff(_) => self.retry(Some(cmid), "please try again"),
        }
        if self.inbox.running == 0
            && !self.ended
            && let Some(leaving) = self
                .leaving
                .take_if(|leaving| leaving.close.code == CloseCode::ServiceRestart)
        {
            self.leave(leaving.close);
        }
    }

    /// Sends the answer to a message that has just been decided.
    fn answered(&mut self, kind: MessageType, mut answer: Box<Envelope>, at_once: bool) {
        let config = &self.config;
        // If nothing else is in progress, there is nothing to batch it with.
        let alone = self.inbox.running == 0 && self.work.is_empty() && self.current.is_none();
        let delay = match answer.t {
            MessageType::Resolve | MessageType::Reject if at_once || alone => {
                std::time::Duration::ZERO
            }
            MessageType::Resolve => config.resolve_delay,
            MessageType::Ack if kind != MessageType::Send => config.lazy_ack_delay,
            _ => config.ack_delay,
        };
        answer.debug = answer
            .debug
            .take()
            .and_then(|debug| self.debug_of_reply(debug));
        self.reply(answer, delay);
    }

    /// A repeated message: it is answered as before, marked as a duplicate.
    fn duplicate(&mut self, cmid: String, stored: Option<String>) {
        let stored = stored
            .and_then(|text| parse_pipeline(&text).ok())
            .and_then(|mut envelopes| envelopes.pop());
        let mut answer = match stored {
            Some(answer) => answer,
            None => Envelope {
                cmid: Some(cmid),
                ..Envelope::new(MessageType::Ack)
            },
        };
        answer.desc = Some(match answer.desc {
            Some(desc) => format!("dupe {}: {desc}", answer.t),
            None => format!("dupe {}", answer.t),
        });
        answer.debug = answer
            .debug
            .take()
            .and_then(|debug| self.debug_of_reply(debug));
        self.reply(Box::new(answer), self.config.ack_delay);
    }

    /// Reads the next answer to a repeated message, as long as the client reads what it is sent.
    pub(super) fn read_answers(&mut self) {
        let full = self.environment.backpressured || self.replies.bytes() > self.config.max_unsent;
        if self.ended || self.inbox.reading || full {
            return;
        }
        let next = self.inbox.again.as_mut().and_then(|it| it.pop_front());
        if let Some((cmid, kind)) = next {
            self.inbox.reading = true;
            let bytes = match self.inbox.messages.get(&cmid) {
                Some(Stage::Stored { bytes, .. }) => *bytes,
                _ => 0,
            };
            let read = Action::ReadAnswer { cmid, kind, bytes };
            self.actions.push(read);
        }
    }

    fn nothing_to_settle(&mut self, cmid: String) {
        let why = "dupe: there is no request left that this could settle";
        self.answer(
            MessageType::Ack,
            cmid,
            Some(why.to_owned()),
            self.config.ack_delay,
        );
    }

    pub(super) fn retry(&mut self, cmid: Option<String>, why: &str) {
        self.actions.push(Action::Retried);
        self.answer(
            MessageType::Retry,
            cmid.unwrap_or_default(),
            Some(why.to_owned()),
            self.config.ack_delay,
        );
    }

    pub(super) fn answer_read(
        &mut self,
        cmid: String,
        kind: MessageType,
        answer: Result<Option<Option<String>>, StoreError>,
    ) {
        self.inbox.reading = false;
        if let Some(Stage::Stored { again, .. }) = self.inbox.messages.get_mut(&cmid) {
            *again = false;
        }
        match answer {
            Ok(answer) => self.duplicate(cmid, answer.flatten()),
            Err(error) => {
                self.actions
                    .push(Action::Failed(Failure::ReadAnswer(error)));
                let why = "an earlier answer could not be read";
                match kind.is_reply() {
                    true => self.leave(Close::new(CloseCode::Reconnect, why)),
                    false => self.retry(Some(cmid), why),
                }
            }
        }
    }

    pub(super) fn inbox_dropped(
        &mut self,
        cmids: Vec<String>,
        outcome: Result<Fenced, StoreError>,
    ) {
        self.deleting -= cmids.len();
        match outcome {
            Ok(Fenced::Done) => {}
            Ok(Fenced::FencedOff) => self.fenced_off(),
            Err(_) => {
                self.to_drop.extend(cmids);
                self.try_again();
            }
        }
    }
}
