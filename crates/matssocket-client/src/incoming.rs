//! Processes what the server sends.

use tokio::time::Instant;

use super::core::{Asker, Core, RawReply};
use super::error::SendError;
use super::event::TopicEvent;
use super::handler::{Handler, Job};
use super::journal::Write;
use super::keeping::{Committing, settle_kept};
use super::outbox::{Entry, Retry, Waiter};
use matssocket_wire::{Envelope, MessageType, PingId, shown};

/// The result of processing incoming envelopes.
#[derive(Default)]
pub(super) struct Received {
    pub(super) jobs: Vec<Job>,
    /// The session was established; whether it was resumed.
    pub(super) welcome: Option<bool>,
    pub(super) pong: Option<PingId>,
    pub(super) topics: Vec<TopicEvent>,
    /// The jobs, and anything else, wait for this.
    pub(super) committing: Option<Committing>,
    /// Callbacks of topics that are not allowed, to be dropped when the core is free again.
    dropped: Vec<Handler<()>>,
}

impl Core {
    /// Processes incoming envelopes.
    pub(super) fn receive(&mut self, envelopes: Vec<Envelope>, now: Instant) -> Received {
        let mut received = Received::default();
        for envelope in envelopes {
            self.receive_one(envelope, now, &mut received);
        }
        self.acks.schedule(now, self.config.ack_delay);
        self.settle_flushes();
        received.committing = self.commit_first();
        received
    }

    fn receive_one(&mut self, mut envelope: Envelope, now: Instant, received: &mut Received) {
        use MessageType::*;
        match envelope.t {
            Welcome => received.welcome = Some(self.welcome(envelope)),
            Ack | Nack => self.acknowledged(envelope),
            Ack2 => {
                for smid in envelope
                    .smid
                    .into_iter()
                    .chain(envelope.ids.into_iter().flatten())
                {
                    self.inbox.forget(&smid);
                    self.owe(vec![Write::Forget(smid)]);
                }
            }
            Retry => self.retry(envelope, now),
            Resolve | Reject => received.jobs.extend(self.settled(envelope)),
            Send | Request => self.message(envelope, received),
            Pub => {
                let topic = envelope.eid.as_deref().unwrap_or_default();
                if let Some(callback) = self.topics.seen(topic, envelope.smid.as_deref()) {
                    let topic = topic.to_owned();
                    match callback(envelope, false) {
                        Ok(run) => received.jobs.push(Job::InTurn { run, order: None }),
                        Err(error) => {
                            let error = self.auth.hide(&error);
                            log::error!("message of topic {topic:?} dropped: {}", shown(&error));
                        }
                    }
                }
            }
            SubOk | SubLost | SubNoAuth => {
                let topic = envelope.eid.take().unwrap_or_default();
                received.topics.push(match envelope.t {
                    SubOk => TopicEvent::Subscribed { topic },
                    SubLost => TopicEvent::Lost { topic },
                    _ => {
                        received.dropped.extend(self.topics.remove(&topic));
                        TopicEvent::Denied { topic }
                    }
                });
            }
            Reauth => self.auth.request(),
            Pong => received.pong = envelope.x,
            Hello | Sub | Unsub | Auth | Ping => {
                log::warn!("unexpected {} from the server", envelope.t)
            }
        }
    }

    /// The session is established. Returns whether it existed before.
    fn welcome(&mut self, envelope: Envelope) -> bool {
        let resumed = self.session_id.is_some();
        self.session_id = envelope.sid;
        let session_id = self.session_id.clone().unwrap_or_default();
        self.first_write(Write::Session(session_id));
        self.may_send = true;
        self.auth.accepted();
        resumed
    }

    /// The server has accepted our messages, or refused them.
    fn acknowledged(&mut self, envelope: Envelope) {
        let refused = envelope.t == MessageType::Nack;
        for cmid in envelope
            .cmid
            .into_iter()
            .chain(envelope.ids.into_iter().flatten())
        {
            if let Some((number, entry)) = self.take_entry(&cmid) {
                let desc = || SendError::Refused {
                    desc: envelope.desc.clone().unwrap_or_default(),
                };
                if refused {
                    self.fail(number, entry, desc());
                } else {
                    if entry.kept {
                        self.first_write(match self.requests.contains_key(&number) {
                            true => Write::Taken(number),
                            false => Write::DropOut(number),
                        });
                    }
                    if let Waiter::Send(done) = entry.waiter {
                        let _ = done.send(Ok(()));
                    }
                }
            }
            // Unknown ones too: our ACK2 may have been lost.
            self.acks.ack2(cmid);
        }
    }

    fn take_entry(&mut self, cmid: &str) -> Option<(u64, Entry)> {
        let number = self.keeping.number(cmid)?;
        Some((number, self.outbox.remove(number)?))
    }

    fn fail(&mut self, cmid: u64, entry: Entry, error: SendError) {
        let (kept, text) = (entry.kept, error.to_string());
        let told = self.fail_unkept(cmid, entry, error);
        if kept {
            self.first_write(settle_kept(cmid, told, &text));
        }
    }

    /// Returns whether nobody else has to be told.
    pub(super) fn fail_unkept(&mut self, cmid: u64, entry: Entry, error: SendError) -> bool {
        let asker = self.requests.remove(&cmid);
        match entry.waiter {
            Waiter::Send(done) => done.send(Err(error)).is_ok(),
            Waiter::Request => {
                if let Some(Asker::Caller(reply)) = asker {
                    let _ = reply.send(Err(error.into()));
                }
                true
            }
            Waiter::Reply => {
                let error = self.auth.hide(&error.to_string());
                log::warn!("the server did not take a reply: {}", shown(&error));
                true
            }
            Waiter::Nobody => false,
        }
    }

    fn retry(&mut self, envelope: Envelope, now: Instant) {
        let Some(cmid) = envelope
            .cmid
            .as_deref()
            .and_then(|cmid| self.keeping.number(cmid))
        else {
            return;
        };
        match self.outbox.retry(cmid, now, &self.config.retry) {
            Retry::Later | Retry::Unknown => {}
            Retry::GivenUp { entry, attempts } => {
                let desc = envelope.desc.unwrap_or_default();
                self.fail(cmid, entry, SendError::RetriesExhausted { attempts, desc });
            }
        }
    }

    /// A RESOLVE or REJECT for one of our requests.
    fn settled(&mut self, mut envelope: Envelope) -> Option<Job> {
        let cmid = envelope.cmid.clone();
        if let Some(smid) = envelope.smid.take() {
            let known = self.inbox.answer(&smid).is_some();
            if !known {
                self.inbox.insert(smid.clone(), MessageType::Ack);
                self.first_write(Write::Seen(smid.clone(), MessageType::Ack));
            }
            self.acks.answer(MessageType::Ack, smid, None);
            if known {
                return None;
            }
            let cmid = cmid?;
            let number = self.keeping.number(&cmid);
            let job = number.and_then(|number| self.settle(number, envelope));
            // The server drops a pending ACK if the reply is sent first, so the reply counts as the ACK. Of a request of
            // an earlier process, it is not known whether its ACK has come.
            if number.is_none_or(|number| self.taken(number)) {
                self.acks.ack2(cmid);
            }
            return job;
        }
        let cmid = cmid?;
        let number = self.keeping.number(&cmid);
        let job = number.and_then(|number| {
            self.taken(number);
            self.settle(number, envelope)
        });
        self.acks.ack2(cmid);
        job
    }

    /// The server has this request. Returns whether that is new.
    fn taken(&mut self, number: u64) -> bool {
        let Some(entry) = self.outbox.remove(number) else {
            return false;
        };
        if let Waiter::Send(done) = entry.waiter {
            let _ = done.send(Ok(()));
        }
        true
    }

    /// Passes the reply to whoever waits for it. A late one is dropped.
    fn settle(&mut self, number: u64, envelope: Envelope) -> Option<Job> {
        match self.requests.remove(&number)? {
            Asker::Caller(reply) => {
                let resolved = envelope.t == MessageType::Resolve;
                let _ = reply.send(Ok(RawReply { resolved, envelope }));
                None
            }
            Asker::Terminator(reply_to) => self.kept_reply(number, envelope, reply_to),
        }
    }

    /// A SEND or REQUEST from the server.
    fn message(&mut self, envelope: Envelope, received: &mut Received) {
        let Some(smid) = envelope.smid.clone() else {
            log::warn!("{} without smid from the server", envelope.t);
            return;
        };
        if let Some(answer) = self.inbox.answer(&smid) {
            self.acks.answer(answer, smid, Some("dupe".to_owned()));
            return;
        }
        let order = self.keep_delivery(&envelope, None);
        let (answer, desc) = match self.prepare(envelope, &smid, false, order) {
            Ok(job) => {
                received.jobs.push(job);
                (MessageType::Ack, None)
            }
            Err(desc) => {
                order
                    .into_iter()
                    .for_each(|order| self.first_write(Write::Done(order)));
                (MessageType::Nack, Some(desc))
            }
        };
        self.inbox.insert(smid.clone(), answer);
        self.first_write(Write::Seen(smid.clone(), answer));
        self.acks.answer(answer, smid, desc);
    }

    /// `order` is its place in the journal.
    pub(super) fn prepare(
        &self,
        envelope: Envelope,
        smid: &str,
        redelivered: bool,
        order: Option<u64>,
    ) -> Result<Job, String> {
        let eid = envelope.eid.as_deref().unwrap_or_default();
        if envelope.t == MessageType::Send {
            let handler = self
                .terminators
                .get(eid)
                .ok_or_else(|| format!("no terminator {eid:?}"))?;
            let run = handler(envelope, redelivered)?;
            return Ok(Job::InTurn { run, order });
        }
        let handler = self
            .endpoints
            .get(eid)
            .ok_or_else(|| format!("no endpoint {eid:?}"))?;
        let trace_id = envelope.tid.clone().unwrap_or_default();
        let run = handler(envelope, redelivered)?;
        Ok(Job::Request {
            run,
            smid: smid.to_owned(),
            trace_id,
            epoch: self.epoch,
            order,
        })
    }
}
