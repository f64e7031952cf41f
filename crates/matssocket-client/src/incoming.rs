//! Processes what the server sends.

use tokio::time::Instant;

use super::core::{Core, RawReply};
use super::error::SendError;
use super::event::TopicEvent;
use super::handler::{Handler, Job};
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
                }
            }
            Retry => self.retry(envelope, now),
            Resolve | Reject => self.settled(envelope),
            Send | Request => self.message(envelope, received),
            Pub => {
                let topic = envelope.eid.as_deref().unwrap_or_default();
                if let Some(callback) = self.topics.seen(topic, envelope.smid.as_deref()) {
                    let topic = topic.to_owned();
                    match callback(envelope) {
                        Ok(run) => received.jobs.push(Job::InTurn(run)),
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
                } else if let Waiter::Send(done) = entry.waiter {
                    let _ = done.send(Ok(()));
                }
            }
            // Unknown ones too: our ACK2 may have been lost.
            self.acks.ack2(cmid);
        }
    }

    fn take_entry(&mut self, cmid: &str) -> Option<(u64, Entry)> {
        let number = cmid.parse().ok()?;
        Some((number, self.outbox.remove(number)?))
    }

    fn fail(&mut self, cmid: u64, entry: Entry, error: SendError) {
        match entry.waiter {
            Waiter::Send(done) => drop(done.send(Err(error))),
            Waiter::Request => {
                if let Some(reply) = self.requests.remove(&cmid) {
                    let _ = reply.send(Err(error.into()));
                }
            }
            Waiter::Reply => {
                let error = self.auth.hide(&error.to_string());
                log::warn!("the server did not take a reply: {}", shown(&error));
            }
        }
    }

    fn retry(&mut self, envelope: Envelope, now: Instant) {
        let Some(cmid) = envelope.cmid.as_deref().and_then(|cmid| cmid.parse().ok()) else {
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
    fn settled(&mut self, mut envelope: Envelope) {
        let cmid = envelope.cmid.take();
        if let Some(smid) = envelope.smid.take() {
            let known = self.inbox.answer(&smid).is_some();
            if !known {
                self.inbox.insert(smid.clone(), MessageType::Ack);
            }
            self.acks.answer(MessageType::Ack, smid, None);
            if known {
                return;
            }
            // The server drops a pending ACK if the reply is sent first, so the reply counts as the ACK.
            if let Some(cmid) = cmid
                && let Some(number) = self.settle(&cmid, envelope)
                && self.outbox.remove(number).is_some()
            {
                self.acks.ack2(cmid);
            }
        } else if let Some(cmid) = cmid {
            if let Some(number) = self.settle(&cmid, envelope) {
                self.outbox.remove(number);
            }
            self.acks.ack2(cmid);
        }
    }

    /// Passes the reply to the waiting caller. A late one is dropped.
    fn settle(&mut self, cmid: &str, envelope: Envelope) -> Option<u64> {
        let number = cmid.parse().ok()?;
        if let Some(reply) = self.requests.remove(&number) {
            let resolved = envelope.t == MessageType::Resolve;
            let _ = reply.send(Ok(RawReply { resolved, envelope }));
        }
        Some(number)
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
        let (answer, desc) = match self.prepare(envelope, &smid) {
            Ok(job) => {
                received.jobs.push(job);
                (MessageType::Ack, None)
            }
            Err(desc) => (MessageType::Nack, Some(desc)),
        };
        self.inbox.insert(smid.clone(), answer);
        self.acks.answer(answer, smid, desc);
    }

    fn prepare(&self, envelope: Envelope, smid: &str) -> Result<Job, String> {
        let eid = envelope.eid.as_deref().unwrap_or_default();
        if envelope.t == MessageType::Send {
            let handler = self
                .terminators
                .get(eid)
                .ok_or_else(|| format!("no terminator {eid:?}"))?;
            return handler(envelope).map(Job::InTurn);
        }
        let handler = self
            .endpoints
            .get(eid)
            .ok_or_else(|| format!("no endpoint {eid:?}"))?;
        let trace_id = envelope.tid.clone().unwrap_or_default();
        let run = handler(envelope)?;
        Ok(Job::Request {
            run,
            smid: smid.to_owned(),
            trace_id,
            epoch: self.epoch,
        })
    }
}
