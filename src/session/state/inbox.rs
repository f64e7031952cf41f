//! Which of the client's messages are being handled or were handled, and how they are answered.

use std::collections::{HashMap, VecDeque};

use super::{Action, Failure, Handle, State};
use crate::config::Config;
use crate::fault_injection::{Broken, is_broken};
use crate::session::handler::{End, HandlerEnded};
use crate::store::StoreError;
use crate::store::operation::Fenced;
use crate::wire::{Close, CloseCode, Envelope, MessageType, check_id, parse_pipeline};

/// The inbox as this registration knows it. It is complete, since only the holder writes to it. (It may contain more
/// than the store.)
#[derive(Default)]
pub(super) struct Inbox {
    messages: HashMap<String, Stage>,
    running: usize,
    /// Bytes of the answers that are in the store.
    answered: u64,
    /// Repeated messages that are to be answered as before, one after the other, since an answer may be large. Boxed,
    /// since they are rare and there are many sessions.
    #[allow(clippy::box_collection)]
    again: Option<Box<VecDeque<(String, MessageType)>>>,
    /// The answer to the first of them is being read.
    reading: bool,
}

/// The progress of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its handler runs.
    Running {
        /// ACK2 has already arrived: it is deleted as soon as it is stored.
        drop: bool,
        /// Its RESOLVE or REJECT has already been sent: an ACK would follow it.
        settled: bool,
        /// Its earlier attempt is `Doubtful`.
        doubtful: bool,
    },
    /// It is in the store.
    Stored {
        /// It was repeated, and its answer has not been read yet.
        again: bool,
        /// Bytes of its answer.
        bytes: u64,
    },
    /// The result of storing it is unknown. The client was asked to send it again; but if it was stored, the reply of
    /// the service it was forwarded to may arrive first, and then the client only sends ACK2.
    Doubtful,
}

impl Inbox {
    pub(super) fn resume(&mut self, stored: Vec<(String, u64)>) {
        if is_broken(Broken::Deduplication) {
            return;
        }
        self.answered = stored.iter().map(|(_, bytes)| bytes).sum();
        let again = false;
        self.messages = stored
            .into_iter()
            .map(|(cmid, bytes)| (cmid, Stage::Stored { again, bytes }))
            .collect();
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// ACK2 for these: returns which can be deleted now. Those whose handler is running are deleted after it.
    pub(super) fn acknowledged(&mut self, cmids: Vec<String>) -> Vec<String> {
        let mut droppable = Vec::with_capacity(cmids.len());
        for cmid in cmids {
            if let Some(Stage::Running { drop, .. }) = self.messages.get_mut(&cmid) {
                *drop = true;
                continue;
            }
            match self.messages.remove(&cmid) {
                Some(Stage::Stored { bytes, .. }) => self.answered -= bytes,
                Some(_) => {}
                None => continue,
            }
            droppable.push(cmid);
        }
        droppable
    }

    /// Why there is no room for this message. Answers count once they exist: those of running handlers come on top.
    fn full(&self, config: &Config, cmid: &str) -> Option<&'static str> {
        if self.messages.contains_key(cmid) {
            None
        } else if self.messages.len() >= config.max_inbox {
            Some("the inbox is full: acknowledge with ACK2 first (max_inbox)")
        } else if self.answered >= config.max_inbox_bytes as u64 {
            Some("the inbox is full of answers: acknowledge with ACK2 first (max_inbox_bytes)")
        } else {
            None
        }
    }

    fn start(&mut self, cmid: String) {
        let running = Stage::Running {
            drop: false,
            settled: false,
            doubtful: matches!(self.messages.get(&cmid), Some(Stage::Doubtful)),
        };
        self.messages.insert(cmid, running);
        self.running += 1;
    }

    /// A RESOLVE or REJECT for this message is sent.
    pub(super) fn settled(&mut self, cmid: &str) {
        if let Some(Stage::Running { settled, .. }) = self.messages.get_mut(cmid) {
            *settled = true;
        }
    }

    /// A handler has ended. Returns whether ACK2 has arrived in the meantime and the message may be in the store, and
    /// whether its reply has been sent in the meantime.
    fn ended(&mut self, cmid: &str, end: &End) -> (bool, bool) {
        let Some(&Stage::Running {
            drop,
            settled,
            doubtful,
        }) = self.messages.get(cmid)
        else {
            return (false, false);
        };
        self.messages.remove(cmid);
        self.running -= 1;
        let stage = match end {
            End::Answered { answer, .. } => {
                let bytes = answer.msg.as_ref().map_or(0, |msg| msg.get().len() as u64);
                Stage::Stored {
                    again: false,
                    bytes,
                }
            }
            End::Duplicate(answer) => Stage::Stored {
                again: false,
                bytes: answer.as_ref().map_or(0, |answer| answer.len() as u64),
            },
            End::Unknown => Stage::Doubtful,
            // This attempt stored nothing, but the one before may have.
            _ if doubtful => Stage::Doubtful,
            End::NothingToSettle | End::Retry(_) | End::FencedOff(_) => return (false, settled),
        };
        if !drop {
            if let Stage::Stored { bytes, .. } = stage {
                self.answered += bytes;
            }
            self.messages.insert(cmid.to_owned(), stage);
        }
        (drop, settled)
    }
}

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
        let HandlerEnded { cmid, kind, end } = ended;
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
