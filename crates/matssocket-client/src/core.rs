//! The session's state on the client's side: what is sent next, and how input is processed. No I/O, and no clock: the
//! time is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::authorization::{AlreadyExpired, AuthState};
use super::builder::Config;
use super::error::{RequestError, SendError, SessionClosed};
use super::flush::Flushes;
use super::handler::{Handler, Settled};
use super::inbox::{Acks, Inbox};
use super::journal::{ReplyTo, Write};
use super::keeping::{Keep, Keeping};
use super::outbox::{Entry, Outbox, Waiter};
use super::pipeline::Pipeline;
use super::topic::Topics;
use matssocket_wire::{Envelope, MessageType, Payload, PingId, check_id, print_envelope};

/// The answer to a request, not deserialised yet.
#[derive(Debug)]
pub(super) struct RawReply {
    pub(super) resolved: bool,
    pub(super) envelope: Envelope,
}

/// Who is waiting for the reply to a request.
pub(super) enum Asker {
    Caller(ReplySender),
    /// A terminator, which may be another process's.
    Terminator(ReplyTo),
}

pub(super) type ReplySender = oneshot::Sender<Result<RawReply, RequestError>>;

/// A command from the handle to the driver.
#[derive(Debug)]
pub(super) enum Command {
    /// Close the session.
    Close {
        reason: String,
        done: oneshot::Sender<()>,
    },
    /// Disconnect and keep the session.
    Disconnect { done: oneshot::Sender<()> },
    /// Drop the connection as if it were lost.
    #[cfg_attr(not(any(test, feature = "__test")), allow(dead_code))]
    Cut,
    /// Connect now.
    Reconnect,
    /// The last handle is gone.
    Shutdown,
}

pub(super) struct Core {
    pub(super) config: Arc<Config>,
    /// Incremented when a session ends, so that late replies of its handlers are dropped.
    pub(super) epoch: u64,
    /// Whether a connection is wanted.
    pub(super) wanted: bool,
    pub(super) closed: Option<SessionClosed>,
    pub(super) session_id: Option<String>,
    pub(super) commands: VecDeque<Command>,
    pub(super) terminators: HashMap<String, Handler<()>>,
    pub(super) endpoints: HashMap<String, Handler<Settled>>,
    pub(super) round_trip: Option<Duration>,
    pub(super) auth: AuthState,
    /// Whether the current connection accepts anything but HELLO.
    pub(super) may_send: bool,
    pub(super) last_cmid: u64,
    pub(super) outbox: Outbox,
    pub(super) requests: HashMap<u64, Asker>,
    pub(super) inbox: Inbox,
    pub(super) acks: Acks,
    pub(super) topics: Topics,
    /// SUBs and UNSUBs to send.
    pub(super) control: Vec<Envelope>,
    /// UNSUBs of this session, sent again after a reconnect since there is no sign whether they arrived.
    pub(super) unsubscribed: VecDeque<String>,
    pub(super) flushes: Flushes,
    pub(super) keeping: Keeping,
}

/// A message to queue. Absent fields are left out.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) trace_id: String,
    pub(super) endpoint: String,
    pub(super) msg: Option<Payload>,
    pub(super) timeout: Option<Duration>,
    pub(super) debug: u32,
    /// Told when the message is kept.
    pub(super) stored: Option<oneshot::Sender<()>>,
    /// For a request that outlives its process.
    pub(super) reply_to: Option<ReplyTo>,
}

impl Core {
    /// Bytes of HELLO and its SUBs: servers accept 20 KiB before the session exists.
    const FIRST_PIPELINE_BYTES: usize = 16 << 10;

    pub(super) fn new(config: Arc<Config>) -> Core {
        let auth = AuthState::new(config.authorization.clone());
        Core {
            config,
            epoch: 0,
            wanted: false,
            closed: None,
            session_id: None,
            commands: VecDeque::new(),
            terminators: HashMap::new(),
            endpoints: HashMap::new(),
            round_trip: None,
            auth,
            may_send: false,
            last_cmid: 0,
            outbox: Outbox::default(),
            requests: HashMap::new(),
            inbox: Inbox::default(),
            acks: Acks::default(),
            topics: Topics::default(),
            control: Vec::new(),
            unsubscribed: VecDeque::new(),
            flushes: Flushes::default(),
            keeping: Keeping::default(),
        }
    }

    /// Requests a connection, with a new session if the last one is closed. Returns whether it is closed.
    pub(super) fn reconnect(&mut self) -> bool {
        self.wanted = true;
        self.commands.push_back(Command::Reconnect);
        self.closed.take().is_some()
    }

    /// Queues a SEND, or a request whose reply goes to a terminator.
    pub(super) fn send(
        &mut self,
        out: Outgoing,
        done: oneshot::Sender<Result<(), SendError>>,
    ) -> Result<(), SendError> {
        let t = match out.reply_to {
            Some(_) => MessageType::Request,
            None => MessageType::Send,
        };
        self.queue(t, out, Waiter::Send(done)).map(|_| ())
    }

    /// Queues a REQUEST. Returns its id.
    pub(super) fn request(&mut self, out: Outgoing, reply: ReplySender) -> Result<u64, SendError> {
        let cmid = self.queue(MessageType::Request, out, Waiter::Request)?;
        self.requests.insert(cmid, Asker::Caller(reply));
        Ok(cmid)
    }

    fn queue(&mut self, t: MessageType, out: Outgoing, waiter: Waiter) -> Result<u64, SendError> {
        if let Some(closed) = &self.closed {
            return Err(closed.clone().into());
        }
        let (messages, bytes) = (
            self.outbox.len().max(self.requests.len()),
            self.outbox.bytes(),
        );
        if messages >= self.config.max_outbox_messages || bytes >= self.config.max_outbox_bytes {
            return Err(SendError::OutboxFull { messages, bytes });
        }
        check_id("the trace id", &out.trace_id)?;
        check_id("the endpoint", &out.endpoint)?;
        let envelope = Envelope {
            tid: Some(out.trace_id),
            eid: Some(out.endpoint),
            to: out.timeout.map(|timeout| timeout.as_millis() as u64),
            rd: (out.debug != 0).then_some(out.debug),
            msg: out.msg,
            ..Envelope::new(t)
        };
        let keep = Keep {
            kept: matches!(waiter, Waiter::Send(_)),
            stored: out.stored,
            reply_to: out.reply_to,
            done: None,
        };
        self.push(envelope, waiter, keep)
    }

    /// Assigns the envelope its id and queues it.
    fn push(
        &mut self,
        mut envelope: Envelope,
        waiter: Waiter,
        keep: Keep,
    ) -> Result<u64, SendError> {
        let cmid = self.last_cmid + 1;
        envelope.cmid = Some(self.keeping.cmid(cmid));
        let mut text =
            String::with_capacity(128 + envelope.msg.as_ref().map_or(0, |msg| msg.get().len()));
        print_envelope(&mut text, &envelope);
        let limit = self.config.max_message_bytes;
        if text.len() > limit {
            return Err(SendError::TooLarge {
                bytes: text.len(),
                limit,
            });
        }
        self.last_cmid = cmid;
        self.keep_and_queue(&envelope, text, waiter, keep);
        self.wanted = true;
        Ok(cmid)
    }

    /// Queues the answer to a server request. There is no limit on answers, since the server's requests are limited.
    pub(super) fn reply(
        &mut self,
        epoch: u64,
        smid: String,
        trace_id: String,
        settled: Settled,
        order: Option<u64>,
    ) {
        if epoch != self.epoch {
            self.owe(order.map(Write::Done).into_iter().collect());
            return;
        }
        let envelope = Envelope {
            smid: Some(smid),
            tid: Some(trace_id),
            msg: settled.msg,
            desc: settled.desc,
            ..Envelope::new(settled.t)
        };
        let (smid, tid) = (envelope.smid.clone(), envelope.tid.clone());
        let keep = || Keep {
            kept: true,
            done: order,
            ..Keep::default()
        };
        if let Err(error) = self.push(envelope, Waiter::Reply, keep()) {
            // Too large: the server must get some reply, or its request stays open.
            let reject = Envelope {
                smid,
                tid,
                desc: Some(error.to_string()),
                ..Envelope::new(MessageType::Reject)
            };
            if let Err(error) = self.push(reject, Waiter::Reply, keep()) {
                log::error!("a reply cannot be sent: {error}");
            }
        }
    }

    /// The caller no longer waits for its answer.
    pub(super) fn abandon(&mut self, cmid: u64) {
        if self.requests.remove(&cmid).is_some() {
            self.outbox.remove_if_never_sent(cmid);
            self.settle_flushes();
        }
    }

    /// The id of the last message that was queued.
    pub(super) fn last_cmid(&self) -> u64 {
        self.last_cmid
    }

    /// A WebSocket is open: returns the first pipeline, HELLO and SUBs. Fails if the authorization has expired while
    /// connecting.
    pub(super) fn begin_connection(
        &mut self,
        mut hello: Envelope,
        now: Instant,
    ) -> Result<String, AlreadyExpired> {
        hello.auth = self.auth.for_hello()?;
        hello.sid = self.session_id.clone();
        self.may_send = self.session_id.is_none() && !self.config.wait_for_welcome;
        self.outbox.requeue_all();
        self.acks.requeue(now);
        let mut first = Pipeline::new();
        first.envelope(&hello);
        // The session keeps its subscriptions, but only a SUB tells the server what was last seen, and it must be in
        // force before anything else arrives.
        self.control.clear();
        for sub in self.topics.subs() {
            if first.len() < Self::FIRST_PIPELINE_BYTES {
                first.envelope(&sub);
            } else {
                self.control.push(sub);
            }
        }
        self.control
            .extend(self.unsubscribed.iter().map(|topic| Topics::unsub(topic)));
        Ok(first.finish().expect("HELLO is in it"))
    }

    /// The next pipeline, if something is to be sent now. `hold` keeps messages back, since they need a new
    /// authorization first.
    pub(super) fn take_pipeline(
        &mut self,
        now: Instant,
        ping: Option<u64>,
        hold: bool,
    ) -> Option<String> {
        if !self.may_send || self.keeping.unstored {
            return None;
        }
        self.outbox.queue_due(now);
        let acks_due = self.acks.due().is_some_and(|due| due <= now);
        let messages = !hold && self.outbox.has_queued();
        let auth = self.auth.for_auth();
        if !(messages || acks_due || ping.is_some() || auth.is_some() || !self.control.is_empty()) {
            return None;
        }
        let mut pipeline = Pipeline::new();
        if auth.is_some() {
            pipeline.envelope(&Envelope {
                auth,
                ..Envelope::new(MessageType::Auth)
            });
        }
        if let Some(x) = ping {
            let x = Some(PingId::Number(x as i64));
            pipeline.envelope(&Envelope {
                x,
                ..Envelope::new(MessageType::Ping)
            });
        }
        for envelope in self.control.drain(..) {
            pipeline.envelope(&envelope);
        }
        for envelope in self.acks.take() {
            pipeline.envelope(envelope);
        }
        if messages {
            self.take_messages(&mut pipeline);
        }
        pipeline.finish()
    }

    fn take_messages(&mut self, pipeline: &mut Pipeline) {
        for nth in 0..self.config.pipeline_messages {
            let room = self.config.pipeline_bytes.saturating_sub(pipeline.len());
            match self.outbox.next(room, nth == 0) {
                Some(text) => pipeline.text(text),
                None => break,
            }
        }
    }

    /// When [`take_pipeline`](Core::take_pipeline) should be called again at the latest.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        if !self.may_send || self.keeping.unstored {
            return None;
        }
        [
            self.acks.due(),
            self.outbox.next_due(),
            self.auth.pause(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Everything that was taken has been written.
    pub(super) fn written(&mut self) {
        self.acks.written();
        self.settle_flushes();
    }

    /// The session is gone: everything outstanding fails with it. Subscriptions stay, for the next one.
    pub(super) fn close_session(&mut self, closed: SessionClosed) {
        let gone = self.outbox.drain();
        self.end_session(closed, gone);
    }

    fn end_session(&mut self, closed: SessionClosed, gone: Vec<(u64, Entry)>) {
        self.epoch += 1;
        self.session_id = None;
        self.wanted = false;
        self.may_send = false;
        (self.inbox, self.acks) = (Inbox::default(), Acks::default());
        self.unsubscribed.clear();
        self.control.clear();
        self.auth.session_ended();
        self.flushes.fail(&closed);
        self.fail_session(&closed, gone);
        self.closed = Some(closed);
    }

    /// The session is gone, and a new one takes its place. What is kept, and no socket has carried, is sent there.
    pub(super) fn replace_session(&mut self, closed: SessionClosed) {
        let gone = self.outbox.drain_session();
        self.end_session(closed, gone);
        self.closed = None;
        self.wanted = true;
    }
}
