//! What a client hears: everything is acknowledged, and processed once.

use matssocket::wire::{Envelope, IdOf, MessageType, acknowledge};
use serde_json::value::to_raw_value;
use tokio::time::Instant;

use super::{Client, LANES};
use crate::data::{Answer, Mail, Process, terminator};
use crate::history::{Came, Kind, Line, Promise, Received, count};

impl Client {
    pub(super) fn take(&mut self, pipeline: Vec<Envelope>) {
        let (mut acks, mut ack2s) = (Vec::new(), Vec::new());
        for envelope in pipeline {
            match envelope.t {
                MessageType::Ack | MessageType::Nack => {
                    for cmid in ids(envelope.cmid, envelope.ids) {
                        self.acknowledged(envelope.t, &cmid);
                        ack2s.push(cmid);
                    }
                }
                MessageType::Retry => self.retry(&envelope),
                MessageType::Ack2 => {
                    for smid in ids(envelope.smid, envelope.ids) {
                        if self.inbox.remove(&smid) {
                            self.forgotten.insert(smid);
                        }
                    }
                }
                MessageType::Resolve | MessageType::Reject => {
                    let cmid = envelope.cmid.clone().unwrap_or_default();
                    match envelope.smid.clone() {
                        // It is the acknowledgement as well.
                        None => {
                            self.acknowledged(envelope.t, &cmid);
                            ack2s.push(cmid);
                        }
                        Some(smid) => {
                            if self.is_new(&smid) {
                                self.deliver(Came::Reply, &smid, &envelope);
                                // It stands for an ACK that has not come.
                                if self.acknowledged(envelope.t, &cmid) {
                                    ack2s.push(cmid);
                                }
                            }
                            acks.push(smid);
                        }
                    }
                }
                MessageType::Send | MessageType::Request => {
                    let smid = envelope.smid.clone().unwrap_or_default();
                    if self.is_new(&smid) {
                        self.process(&smid, &envelope);
                    }
                    acks.push(smid);
                }
                MessageType::Pong => {}
                other => self.violated(Promise::Heals, format!("the server sent {other}")),
            }
        }
        if !acks.is_empty() {
            self.say
                .push(acknowledge(MessageType::Ack, IdOf::Server, acks));
        }
        if !ack2s.is_empty() {
            self.note_ack2(&ack2s);
            self.say
                .push(acknowledge(MessageType::Ack2, IdOf::Client, ack2s));
        }
    }

    /// Whether a message of the server has not been processed yet; if not so, it is noted that it is.
    fn is_new(&mut self, smid: &str) -> bool {
        if self.forgotten.contains(smid) {
            let what = format!("{smid} came again after ACK2: its application sees it twice");
            self.violated(Promise::Once, what);
            return false;
        }
        let new = self.inbox.insert(smid.to_owned());
        if !new {
            count(&self.crowd.history.redelivered);
        }
        new
    }

    fn note_ack2(&self, cmids: &[String]) {
        let mut view = self.view();
        for cmid in cmids.iter().filter_map(|cmid| cmid.parse().ok()) {
            if let Some(sent) = view.sent.get_mut(&cmid) {
                sent.ack2_on = Some(self.line);
            }
        }
    }

    /// ACK, NACK, RESOLVE or REJECT of a message of ours. Returned is whether it was the first of these.
    fn acknowledged(&mut self, t: MessageType, cmid: &str) -> bool {
        let cmid: u64 = cmid.parse().unwrap_or_default();
        let first = self.outbox.remove(&cmid).is_some();
        let mut view = self.view();
        let Some(sent) = view.sent.get_mut(&cmid) else {
            drop(view);
            self.violated(Promise::ToTheRightOne, format!("{t} of unknown {cmid}"));
            return first;
        };
        let (accepted, settled) = (sent.accepted(), sent.settled());
        match t {
            MessageType::Nack => sent.nacks += 1,
            MessageType::Resolve => sent.resolves += 1,
            MessageType::Reject => sent.rejects += 1,
            _ => sent.acks += 1,
        }
        if sent.accepted() && !accepted {
            count(&self.crowd.history.messages);
        }
        let lane = LANES.iter().position(|kind| *kind == sent.kind);
        let ended = sent.settled() && !settled;
        drop(view);
        if let (true, Some(lane)) = (ended, lane) {
            let pause = self.crowd.think.mul_f64(rand::random::<f64>() * 2.0);
            self.lanes[lane] = Some(Instant::now() + pause);
        }
        if matches!(t, MessageType::Nack | MessageType::Reject) {
            count(&self.crowd.history.refused);
        }
        first
    }

    /// A SEND or a REQUEST, for the first time.
    fn process(&mut self, smid: &str, envelope: &Envelope) {
        let came = match envelope.eid.as_deref() {
            Some(terminator::PUSH) => Came::Push,
            Some(terminator::ASK) => Came::Ask,
            Some(terminator::RELAYED) => Came::Relayed,
            Some(terminator::NEWS) => Came::News,
            other => {
                return self.violated(Promise::ToTheRightOne, format!("a message for {other:?}"));
            }
        };
        let mail = self.deliver(came, smid, envelope);
        if let (Came::Ask, Some(mail)) = (came, mail) {
            let answer = Answer {
                client: self.number,
                asked_by: mail.from.clone(),
                number: mail.number,
            };
            let reply = Envelope {
                smid: Some(smid.to_owned()),
                tid: envelope.tid.clone(),
                msg: to_raw_value(&answer).ok(),
                ..Envelope::new(MessageType::Resolve)
            };
            self.post(Kind::Answer, None, Some(mail), reply);
        }
    }

    /// Gives a message to the application: writes it down.
    fn deliver(&mut self, came: Came, smid: &str, envelope: &Envelope) -> Option<Mail> {
        let text = envelope.msg.as_ref().map_or("null", |msg| msg.get());
        let Ok(mail) = serde_json::from_str::<Mail>(text) else {
            self.violated(Promise::ToTheRightOne, format!("{smid} is {text}"));
            return None;
        };
        if mail.to != self.number {
            let what = format!("{smid} is for client {}", mail.to);
            self.violated(Promise::ToTheRightOne, what);
        }
        count(&self.crowd.history.messages);
        let mut view = self.view();
        if let Ok(made_in) = mail.by.parse::<Process>() {
            let holds = |line: &Line| line.node + 1 == made_in.node;
            if !holds(&view.lines[self.line]) {
                count(&self.crowd.history.from_elsewhere);
            }
            if !view.lines.iter().any(holds) {
                count(&self.crowd.history.from_strangers);
            }
        }
        view.received.push(Received {
            smid: smid.to_owned(),
            came,
            mail: mail.clone(),
        });
        if let Some((since, _)) = view.affected.take_if(|(_, from)| self.line >= *from) {
            self.crowd.history.healed.borrow_mut().push(since.elapsed());
        }
        Some(mail)
    }
}

fn ids(one: Option<String>, several: Option<Vec<String>>) -> Vec<String> {
    one.into_iter().chain(several.unwrap_or_default()).collect()
}
