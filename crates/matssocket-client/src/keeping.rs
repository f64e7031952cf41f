//! What the core tells the journal, and what it takes from it after a restart.
#![cfg_attr(not(feature = "durable"), allow(dead_code))]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use matssocket_wire::Envelope;
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};

use super::core::{Asker, Core};
use super::error::{SendError, SessionClosed};
use super::handler::{Job, ReplyHandler, Worker};
use super::journal::{Delivery, Kept, Link, ReplyTo, Saved, Then, Write};
use super::outbox::{Entry, Waiter};
use super::shared::Shared;

/// The core's side of the journal. Without one, all of it stays empty.
#[derive(Default)]
pub(super) struct Keeping {
    link: Option<Link>,
    /// Begins the ids of this process's messages: a number alone would come again if the file were restored from a
    /// backup, and the server would take the message for one that it has.
    prefix: String,
    /// The ids of messages of earlier processes.
    earlier: HashMap<String, u64>,
    /// Received, and not handled by an earlier process, or without a handler so far.
    leftovers: VecDeque<Delivery>,
    last_order: u64,
    /// What has to be committed before anything is sent or handled.
    pending: Vec<Write>,
    /// That is being done.
    pub(super) unstored: bool,
    pub(super) reply_terminators: HashMap<String, ReplyHandler>,
}

/// How a message of ours is kept.
#[derive(Default)]
pub(super) struct Keep {
    pub(super) kept: bool,
    pub(super) stored: Option<oneshot::Sender<()>>,
    pub(super) reply_to: Option<ReplyTo>,
    /// The delivery that this replies to.
    pub(super) done: Option<u64>,
}

impl Keeping {
    pub(super) fn cmid(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The number of one of our messages.
    pub(super) fn number(&self, cmid: &str) -> Option<u64> {
        match cmid.strip_prefix(&self.prefix) {
            Some(number) => number.parse().ok(),
            None => self.earlier.get(cmid).copied(),
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.link.is_some()
    }
}

impl Core {
    /// Begins with what an earlier process has left. `prefix` is random.
    pub(super) fn restore(&mut self, link: Link, saved: Saved, prefix: String) {
        self.session_id = saved.session_id;
        self.last_cmid = saved.last_key;
        for kept in saved.outbox {
            self.keeping.earlier.insert(kept.cmid, kept.key);
            if let Some(reply_to) = kept.reply_to {
                self.requests.insert(kept.key, Asker::Terminator(reply_to));
            }
            if !kept.taken {
                self.outbox.restore(kept.key, kept.text, kept.carried);
            }
        }
        for (smid, answer) in saved.seen {
            self.inbox.insert(smid, answer);
        }
        self.keeping.last_order = saved.inbox.last().map_or(0, |last| last.order);
        self.keeping.leftovers = saved.inbox.into();
        (self.keeping.link, self.keeping.prefix) = (Some(link), prefix);
    }

    /// Queues one of our messages: at once, or when the journal has committed it.
    pub(super) fn keep_and_queue(
        &mut self,
        envelope: &Envelope,
        text: String,
        waiter: Waiter,
        keep: Keep,
    ) {
        let key = self.last_cmid;
        if let Some(reply_to) = keep.reply_to.clone() {
            self.requests.insert(key, Asker::Terminator(reply_to));
        }
        let Some(link) = &self.keeping.link else {
            self.outbox.push(key, text, waiter);
            if let Some(stored) = keep.stored {
                let _ = stored.send(());
            }
            return;
        };
        let mut writes: Vec<Write> = keep.done.map(Write::Done).into_iter().collect();
        if keep.kept {
            let kept = Kept {
                key,
                cmid: self.keeping.cmid(key),
                text: text.clone(),
                // There is a line: it will carry the message as soon as it is committed.
                carried: self.may_send,
                taken: false,
                reply_to: keep.reply_to,
            };
            let trace_id = match waiter {
                Waiter::Reply => None,
                _ => envelope.tid.clone(),
            };
            writes.push(Write::Out(Box::new(kept), trace_id));
        }
        let (kept, stored) = (keep.kept, keep.stored);
        self.outbox.push_storing(key, text, waiter, kept, stored);
        link.send(writes, Then::Queue(key));
    }

    /// The journal has committed these messages, or could not.
    pub(super) fn kept(&mut self, keys: &[u64], outcome: &Result<(), String>) {
        for key in keys {
            match outcome {
                Ok(()) => self.outbox.committed(*key),
                // The server waits for it, and its request is in the journal: at worst, the next process replies again.
                Err(_) if self.outbox.is_reply(*key) => self.outbox.committed(*key),
                Err(error) => {
                    if let Some(entry) = self.outbox.remove(*key) {
                        self.fail_unkept(*key, entry, SendError::Storage(error.clone()));
                    }
                }
            }
        }
        self.settle_flushes();
    }

    /// Writes that nothing waits for.
    pub(super) fn owe(&self, writes: Vec<Write>) {
        if let (Some(link), false) = (&self.keeping.link, writes.is_empty()) {
            link.send(writes, Then::Nothing);
        }
    }

    /// Work for the journal, whose outcome somebody waits for. Returns whether there is a journal.
    pub(super) fn ask(&self, writes: Vec<Write>, then: Then) -> bool {
        let link = self.keeping.link.as_ref();
        link.inspect(|link| link.send(writes, then)).is_some()
    }

    /// A write that is committed before anything else is sent or handled.
    pub(super) fn first_write(&mut self, write: Write) {
        if self.keeping.is_durable() {
            self.keeping.pending.push(write);
        }
    }

    /// Begins to commit what has to be first. The writes are given back for another attempt.
    pub(super) fn commit_first(&mut self) -> Option<Committing> {
        let writes = std::mem::take(&mut self.keeping.pending);
        if writes.is_empty() {
            return None;
        }
        self.keeping.unstored = true;
        Some(Committing {
            outcome: self.commit(writes.clone())?,
            writes,
            epoch: self.epoch,
        })
    }

    fn commit(&self, writes: Vec<Write>) -> Option<Outcome> {
        let (tell, outcome) = oneshot::channel();
        self.keeping.link.as_ref()?.send(writes, Then::Tell(tell));
        Some(outcome)
    }

    /// Commits once more, without what concerns a session that has ended meanwhile.
    pub(super) fn commit_again(&self, mut committing: Committing) -> Option<Committing> {
        if committing.epoch != self.epoch {
            committing
                .writes
                .retain(|write| !matches!(write, Write::Session(_) | Write::Seen(..)));
        }
        let outcome = self.commit(committing.writes.clone())?;
        Some(Committing {
            outcome,
            ..committing
        })
    }

    /// Keeps a message of the server's until its handler has finished. Returns its place.
    pub(super) fn keep_delivery(
        &mut self,
        envelope: &Envelope,
        reply_to: Option<ReplyTo>,
    ) -> Option<u64> {
        if !self.keeping.is_durable() {
            return None;
        }
        self.keeping.last_order += 1;
        let (order, envelope) = (self.keeping.last_order, envelope.clone());
        let delivery = Delivery {
            order,
            envelope,
            reply_to,
        };
        self.first_write(Write::Deliver(Box::new(delivery)));
        Some(order)
    }

    /// What an earlier process has left, and what has had no handler so far, for the handlers that there are now.
    pub(super) fn leftover_jobs(&mut self) -> Vec<Job> {
        let mut jobs = Vec::new();
        for delivery in std::mem::take(&mut self.keeping.leftovers) {
            match self.redeliver(&delivery) {
                Ok(job) => jobs.push(job),
                Err(why) => {
                    log::error!("a message stays in the journal unhandled: {why}");
                    self.keeping.leftovers.push_back(delivery);
                }
            }
        }
        jobs
    }

    fn redeliver(&self, delivery: &Delivery) -> Result<Job, String> {
        let (envelope, order) = (delivery.envelope.clone(), Some(delivery.order));
        match &delivery.reply_to {
            Some(reply_to) => self.reply_job(envelope, reply_to, true, order),
            None => {
                let smid = envelope.smid.clone().unwrap_or_default();
                self.prepare(envelope, &smid, true, order)
            }
        }
    }

    fn reply_job(
        &self,
        envelope: Envelope,
        reply_to: &ReplyTo,
        redelivered: bool,
        order: Option<u64>,
    ) -> Result<Job, String> {
        let id = &reply_to.terminator;
        let handler = self.keeping.reply_terminators.get(id);
        let handler = handler.ok_or_else(|| format!("no reply terminator {id:?}"))?;
        let run = handler(envelope, &reply_to.correlation, redelivered)?;
        Ok(Job::InTurn { run, order })
    }

    /// The reply to a request that outlives its process.
    pub(super) fn kept_reply(
        &mut self,
        key: u64,
        envelope: Envelope,
        reply_to: ReplyTo,
    ) -> Option<Job> {
        let order = self.keep_delivery(&envelope, Some(reply_to.clone()));
        self.first_write(Write::DropOut(key));
        match self.reply_job(envelope.clone(), &reply_to, false, order) {
            Ok(job) => Some(job),
            Err(why) => {
                log::error!("a reply has nowhere to go: {why}");
                if let Some(order) = order {
                    let delivery = Delivery {
                        order,
                        envelope,
                        reply_to: Some(reply_to),
                    };
                    self.keeping.leftovers.push_back(delivery);
                }
                None
            }
        }
    }

    /// The session has ended: tells all who wait. What nobody is told of stays in the journal as failed.
    pub(super) fn fail_session(&mut self, closed: &SessionClosed, gone: Vec<(u64, Entry)>) {
        let mut writes = Vec::new();
        for (key, entry) in gone {
            let told = match entry.waiter {
                Waiter::Send(done) => done.send(Err(closed.clone().into())).is_ok(),
                Waiter::Reply => true,
                Waiter::Request | Waiter::Nobody => false,
            };
            if entry.kept {
                writes.push(settle_kept(key, told, closed));
            }
        }
        for (key, asker) in std::mem::take(&mut self.requests) {
            match asker {
                Asker::Caller(reply) => drop(reply.send(Err(closed.clone().into()))),
                Asker::Terminator(_) if self.outbox.contains(key) => {
                    self.requests.insert(key, asker);
                }
                // Its reply is not going to come. If it is dealt with above, this changes nothing.
                Asker::Terminator(_) => writes.push(settle_kept(key, false, closed)),
            }
        }
        self.keeping.pending.clear();
        writes.push(Write::EndSession);
        self.owe(writes);
    }
}

/// A message that failed: its caller was told, or else it stays readable.
pub(super) fn settle_kept(key: u64, told: bool, why: &impl ToString) -> Write {
    match told {
        true => Write::DropOut(key),
        false => Write::Failed(key, why.to_string()),
    }
}

type Outcome = oneshot::Receiver<Result<(), String>>;

/// Writes on their way to the journal.
pub(super) struct Committing {
    pub(super) outcome: Outcome,
    writes: Vec<Write>,
    epoch: u64,
}

/// Between attempts to write to a journal that cannot be written, since the disk is full.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// Waits until the journal has what was received, however long that takes; only then do handlers run, and
/// acknowledgements go out.
pub(super) async fn store(
    shared: Arc<Shared>,
    worker: Worker,
    mut committing: Committing,
    jobs: Vec<Job>,
) {
    // If the journal's thread is gone, it never will.
    while let Ok(outcome) = (&mut committing.outcome).await {
        let Err(error) = outcome else {
            jobs.into_iter().for_each(|job| worker.push(job));
            shared.core().keeping.unstored = false;
            shared.wake.notify_one();
            return;
        };
        log::error!("what the server sent waits, since it cannot be kept: {error}");
        sleep(STORE_AGAIN).await;
        if shared.abandoned.load(Ordering::Acquire) {
            // It is not acknowledged: the server sends it to the next process.
            return;
        }
        match shared.core().commit_again(committing) {
            Some(again) => committing = again,
            None => return,
        }
    }
}
