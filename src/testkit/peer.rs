//! The client's side of the protocol: its memory and its answers.

use std::collections::{BTreeMap, HashSet};

use tokio::sync::{mpsc, oneshot, watch};

use super::{Error, Publication, Push};
use crate::wire::{
    Close, CloseCode, Envelope, MessageType, Payload, parse_pipeline, print_pipeline,
};

/// How a message of the client was settled.
#[derive(Debug)]
pub(super) enum Settled {
    /// ACK.
    Acknowledged,
    /// RESOLVE or REJECT.
    Replied(MessageType, Option<Payload>),
}

/// A message of the client that is not settled.
struct Outstanding {
    /// As sent in the pipeline, to be sent again after a reconnect.
    envelope: Envelope,
    /// The server has it: the reply to a REQUEST is awaited, and it need not be sent again.
    acknowledged: bool,
    settle: oneshot::Sender<Result<Settled, Error>>,
}

/// A topic of the client.
#[derive(Default)]
struct Topic {
    /// Message id of the newest publication.
    seen: Option<String>,
    /// The caller waiting for the answer to SUB.
    waiting: Option<oneshot::Sender<Result<(), Error>>>,
}

/// Where messages from the server go.
pub(super) struct Outlets {
    pub(super) pushes: mpsc::UnboundedSender<Push>,
    pub(super) publications: mpsc::UnboundedSender<Publication>,
    pub(super) reauths: mpsc::UnboundedSender<()>,
    pub(super) closed: watch::Sender<Option<(u16, String)>>,
}

/// The client's memory.
pub(super) struct Peer {
    outlets: Outlets,
    generation: u64,
    session_id: Option<String>,
    welcome: Option<oneshot::Sender<Result<(), Error>>>,
    last_cmid: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    /// Message ids of everything received from the outbox: if redelivered, it is acknowledged and dropped.
    received: HashSet<String>,
    topics: BTreeMap<String, Topic>,
    lost_topics: Vec<String>,
    holding: bool,
    held: Vec<String>,
}

impl Peer {
    pub(super) fn new(outlets: Outlets, holding: bool) -> Peer {
        Peer {
            outlets,
            generation: 0,
            session_id: None,
            welcome: None,
            last_cmid: 0,
            outstanding: BTreeMap::new(),
            received: HashSet::new(),
            topics: BTreeMap::new(),
            lost_topics: Vec::new(),
            holding,
            held: Vec::new(),
        }
    }

    pub(super) fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// A new connection: from now on, input from earlier ones is ignored.
    pub(super) fn next_line(&mut self) -> u64 {
        self.generation += 1;
        // The server delivers again what the held ACKs would have acknowledged.
        self.held.clear();
        self.generation
    }

    /// The first pipeline of a connection: HELLO, the topics, and everything that the server may not have received.
    pub(super) fn hello(
        &mut self,
        hello: Envelope,
        welcome: oneshot::Sender<Result<(), Error>>,
    ) -> String {
        self.welcome = Some(welcome);
        self.outlets.closed.send_replace(None);
        let hello = Envelope {
            sid: self.session_id.clone(),
            ..hello
        };
        let topics = self.topics.iter().map(|(topic, state)| Envelope {
            eid: Some(topic.clone()),
            smid: state.seen.clone(),
            ..Envelope::new(MessageType::Sub)
        });
        let again = self
            .outstanding
            .values()
            .filter(|message| !message.acknowledged)
            .map(|message| message.envelope.clone());
        let pipeline: Vec<Envelope> = std::iter::once(hello).chain(topics).chain(again).collect();
        print_pipeline(&pipeline)
    }

    /// The pipeline of an information-bearing message from the client.
    pub(super) fn send(
        &mut self,
        envelope: Envelope,
        settle: oneshot::Sender<Result<Settled, Error>>,
    ) -> String {
        self.last_cmid += 1;
        let cmid = self.last_cmid;
        let envelope = Envelope {
            cmid: Some(cmid.to_string()),
            tid: envelope.tid.or_else(|| Some(format!("testkit {cmid}"))),
            ..envelope
        };
        let pipeline = print_pipeline([&envelope]);
        let message = Outstanding {
            envelope,
            acknowledged: false,
            settle,
        };
        self.outstanding.insert(cmid, message);
        pipeline
    }

    /// The pipeline of a SUB.
    pub(super) fn subscribe(
        &mut self,
        topic: &str,
        waiting: oneshot::Sender<Result<(), Error>>,
    ) -> String {
        self.topics.entry(topic.to_owned()).or_default().waiting = Some(waiting);
        print_pipeline([&Envelope {
            eid: Some(topic.to_owned()),
            ..Envelope::new(MessageType::Sub)
        }])
    }

    /// The pipeline of an UNSUB.
    pub(super) fn unsubscribe(&mut self, topic: &str) -> String {
        self.topics.remove(topic);
        print_pipeline([&Envelope {
            eid: Some(topic.to_owned()),
            ..Envelope::new(MessageType::Unsub)
        }])
    }

    /// Topics of which publications may have been missed since the last call.
    pub(super) fn take_lost_topics(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lost_topics)
    }

    /// Starts or stops holding acknowledgements back. On stopping, returns those held back.
    pub(super) fn hold(&mut self, hold: bool) -> Option<String> {
        self.holding = hold;
        if hold || self.held.is_empty() {
            return None;
        }
        let ack = Envelope {
            ids: Some(std::mem::take(&mut self.held)),
            ..Envelope::new(MessageType::Ack)
        };
        Some(print_pipeline([&ack]))
    }

    /// This message is acknowledged by other means than its held ACK.
    pub(super) fn forget_held(&mut self, smid: &str) {
        self.held.retain(|held| held != smid);
    }

    /// Processes a pipeline from the server. Returns what is to be answered at once.
    pub(super) fn receive(&mut self, generation: u64, text: &str) -> Option<String> {
        if generation != self.generation {
            return None;
        }
        let pipeline = match parse_pipeline(text) {
            Ok(pipeline) => pipeline,
            Err(error) => {
                self.fail_all(&Error::Protocol(format!("{}: {text}", error)));
                return None;
            }
        };
        let mut answers = Vec::new();
        for envelope in pipeline {
            self.envelope(envelope, &mut answers);
        }
        (!answers.is_empty()).then(|| print_pipeline(&answers))
    }

    fn envelope(&mut self, envelope: Envelope, answers: &mut Vec<Envelope>) {
        use MessageType::*;
        match envelope.t {
            Welcome => {
                self.session_id = envelope.sid;
                if let Some(welcome) = self.welcome.take() {
                    let _ = welcome.send(Ok(()));
                }
            }
            Ack | Nack | Retry => self.acknowledged(envelope, answers),
            Resolve | Reject => self.replied(envelope, answers),
            Send | Request => {
                if self.came(&envelope, answers) {
                    let _ = self.outlets.pushes.send(Push::new(envelope));
                }
            }
            SubOk | SubLost | SubNoAuth => self.subscribed(envelope),
            Pub => {
                if let Some(eid) = &envelope.eid
                    && let Some(topic) = self.topics.get_mut(eid)
                {
                    topic.seen.clone_from(&envelope.smid);
                }
                let _ = self.outlets.publications.send(Publication::new(envelope));
            }
            Reauth => {
                let _ = self.outlets.reauths.send(());
            }
            // They require no action.
            Ack2 | Pong => {}
            Hello | Sub | Unsub | Auth | Ping => {
                self.fail_all(&Error::Protocol(format!(
                    "it sent what only clients send: {envelope:?}"
                )));
            }
        }
    }

    fn acknowledged(&mut self, envelope: Envelope, answers: &mut Vec<Envelope>) {
        let ids = envelope.ids.into_iter().flatten().chain(envelope.cmid);
        for id in ids {
            if envelope.t != MessageType::Retry {
                answers.push(Envelope {
                    cmid: Some(id.clone()),
                    ..Envelope::new(MessageType::Ack2)
                });
            }
            let Some(cmid) = id.parse().ok() else {
                continue;
            };
            let desc = || envelope.desc.clone().unwrap_or_default();
            match envelope.t {
                MessageType::Nack => self.settle(cmid, Err(Error::Nack(desc()))),
                MessageType::Retry => self.settle(cmid, Err(Error::Retry(desc()))),
                _ => self.taken(cmid),
            }
        }
    }

    /// The server has this message.
    fn taken(&mut self, cmid: u64) {
        match self.outstanding.get_mut(&cmid) {
            Some(message) if message.envelope.t == MessageType::Request => {
                message.acknowledged = true;
            }
            _ => self.settle(cmid, Ok(Settled::Acknowledged)),
        }
    }

    fn replied(&mut self, envelope: Envelope, answers: &mut Vec<Envelope>) {
        // With a server message id it comes from the outbox; without one, it doubles as the ACK.
        if envelope.smid.is_some() {
            self.came(&envelope, answers);
        } else {
            answers.push(Envelope {
                cmid: envelope.cmid.clone(),
                ..Envelope::new(MessageType::Ack2)
            });
        }
        if let Some(cmid) = envelope.cmid.and_then(|cmid| cmid.parse().ok()) {
            self.settle(cmid, Ok(Settled::Replied(envelope.t, envelope.msg)));
        }
    }

    /// Acknowledges a message from the outbox. False: it was a repeat.
    fn came(&mut self, envelope: &Envelope, answers: &mut Vec<Envelope>) -> bool {
        let Some(smid) = &envelope.smid else {
            self.fail_all(&Error::Protocol(format!(
                "a message without smid: {envelope:?}"
            )));
            return false;
        };
        if self.holding {
            self.held.push(smid.clone());
        } else {
            answers.push(Envelope {
                smid: Some(smid.clone()),
                ..Envelope::new(MessageType::Ack)
            });
        }
        self.received.insert(smid.clone())
    }

    fn subscribed(&mut self, envelope: Envelope) {
        let topic = envelope.eid.unwrap_or_default();
        let answer = match envelope.t {
            MessageType::SubNoAuth => Err(Error::NotAuthorized(topic.clone())),
            MessageType::SubLost => {
                self.lost_topics.push(topic.clone());
                Ok(())
            }
            _ => Ok(()),
        };
        let refused = answer.is_err();
        let waiting = self
            .topics
            .get_mut(&topic)
            .and_then(|topic| topic.waiting.take());
        if let Some(waiting) = waiting {
            let _ = waiting.send(answer);
        }
        if refused {
            self.topics.remove(&topic);
        }
    }

    fn settle(&mut self, cmid: u64, how: Result<Settled, Error>) {
        if let Some(message) = self.outstanding.remove(&cmid) {
            // The waiting caller may have given up.
            let _ = message.settle.send(how);
        }
    }

    /// The server closed this connection.
    pub(super) fn closed(&mut self, generation: u64, close: &Close) {
        if generation != self.generation {
            return;
        }
        self.generation += 1;
        let (code, reason) = (close.code.code(), close.reason().to_owned());
        let error = Error::Closed {
            code,
            reason: reason.clone(),
        };
        if let Some(welcome) = self.welcome.take() {
            let _ = welcome.send(Err(error.clone()));
        }
        if close.code.server_closes_session() || close.code == CloseCode::SessionLost {
            self.fail_all(&error);
        }
        self.outlets.closed.send_replace(Some((code, reason)));
    }

    /// Fails everything outstanding.
    pub(super) fn fail_all(&mut self, error: &Error) {
        if let Some(welcome) = self.welcome.take() {
            let _ = welcome.send(Err(error.clone()));
        }
        for message in std::mem::take(&mut self.outstanding).into_values() {
            let _ = message.settle.send(Err(error.clone()));
        }
        for topic in self.topics.values_mut() {
            if let Some(waiting) = topic.waiting.take() {
                let _ = waiting.send(Err(error.clone()));
            }
        }
    }

    /// The number of the connection that may be written to now.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}
