//! Runs the handler of one message from a client, and commits what it did.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::ended::{End, HandlerEnded};
use super::running::{Owner, Running, RunningHandlers};
use super::transact::transact;
use super::unit::{received_debug, unit};
use crate::auth::{ClientInfo, Principal};
use crate::clock::jittered;
use crate::endpoint::{
    Authorization, Call, Context, Endpoint, Handled, Origin, RawOutcome, Run, to_terminator,
};
use crate::error::HandlerError;
use crate::mailbox::Mailbox;
use crate::node::{Counted, Node};
use crate::seldom::log_seldom;
use crate::store::operation::{
    Begins, Cause, Correlation, Effect, ForwardLimit, Holder, NewForward, ReadAnswer,
    ReadCorrelation, Unit, UnitOutcome,
};
use crate::store::{Share, StoreError};
use crate::trace::Trace;
use crate::wire::{DebugOptions, Envelope, MessageType, shown};

/// One message to be handled.
pub(in crate::session) struct Job {
    pub(in crate::session) node: Arc<Node>,
    pub(in crate::session) holder: Holder,
    pub(in crate::session) to: Mailbox<HandlerEnded>,
    pub(in crate::session) sid: String,
    pub(in crate::session) user_id: String,
    pub(in crate::session) principal: Option<Principal>,
    pub(in crate::session) authorization: Option<String>,
    /// When the authorization was last found valid, ms since the epoch.
    pub(in crate::session) authenticated: i64,
    pub(in crate::session) client: Option<Arc<ClientInfo>>,
    pub(in crate::session) debug: DebugOptions,
    /// When the message was received, ms since the epoch.
    pub(in crate::session) received: i64,
    /// For a reply: the sequence number of our request.
    pub(in crate::session) settles: Option<i64>,
    /// Held while a transactional handler of the session is running or is queued in the store.
    pub(in crate::session) transactions: Arc<tokio::sync::Mutex<()>>,
    /// Counts it as one of its user's handlers. `None` in the copy passed to the store.
    pub(in crate::session) _counted: Option<Counted>,
    pub(in crate::session) envelope: Box<Envelope>,
}

/// Attempts to store a client's reply, which cannot be answered with RETRY.
const REPLY_ATTEMPTS: u32 = 8;

/// Runs the handler of a message, unless one is already running for it. `HandlerEnded` goes to the registration that
/// holds the session when it ends.
pub(in crate::session) async fn handle(job: Box<Job>, running: Arc<RunningHandlers>) {
    let node = &job.node;
    let cmid = job.envelope.cmid.clone().unwrap_or_default();
    let kind = job.envelope.t;
    let owner = Owner {
        holder: job.holder,
        to: job.to.clone(),
    };
    let Some(mut running) = Running::enter(running, &cmid, kind, owner) else {
        return;
    };
    node.counters
        .handlers_running
        .fetch_add(1, Ordering::Relaxed);
    let mut delay = Duration::from_millis(100);
    let mut attempt = 1;
    loop {
        let end = attempt_once(&job, &mut running).await;
        if let End::FencedOff(fenced) = end
            && running.holder().is_some_and(|newest| newest != fenced)
        {
            // The client has reconnected to this node and is waiting for this handler: commit for its new registration.
            continue;
        }
        if matches!(end, End::Retry(_) | End::Unknown)
            && kind.is_reply()
            && attempt < REPLY_ATTEMPTS
            && !node.stopping()
        {
            tokio::time::sleep(jittered(delay)).await;
            delay = (delay * 2).min(Duration::from_secs(2));
            attempt += 1;
            continue;
        }
        if let Some(owner) = running.end() {
            let trace = Trace::current();
            trace.ended(end.outcome());
            owner.to.tell(HandlerEnded {
                cmid,
                kind,
                end,
                trace,
            });
        }
        break;
    }
    node.counters
        .handlers_running
        .fetch_sub(1, Ordering::Relaxed);
}

async fn attempt_once(job: &Job, running: &mut Running) -> End {
    let correlation = match job.settles {
        None => None,
        Some(seq) => {
            let read = ReadCorrelation {
                session: job.holder.session,
                seq,
            };
            match job.node.store.run_for(job.share(), read).await {
                Ok(Some(correlation)) => Some(correlation),
                Ok(None) => return settled_already(job).await,
                Err(error) => return retry(&error),
            }
        }
    };
    if let Some(fault) = &job.envelope.fault {
        let refusal = Err(HandlerError::of_client(fault.as_ref()));
        return commit(job, running, refusal, Vec::new()).await;
    }
    let endpoint_id = match &correlation {
        Some(correlation) => correlation.terminator.clone(),
        None => job.envelope.eid.clone().unwrap_or_default(),
    };
    let endpoint = match find(job, &endpoint_id) {
        Ok(endpoint) => endpoint,
        Err(refusal) => {
            return match correlation {
                // A reply does not name its terminator, and another node may have one that this node lacks.
                Some(correlation) if job.node.hands_on().await => {
                    hand_on(job, running, correlation).await
                }
                Some(_) | None => {
                    let refusal = Err(HandlerError::of_client(refusal));
                    commit(job, running, refusal, Vec::new()).await
                }
            };
        }
    };
    let context = Context::new(origin(job, endpoint_id, correlation));
    match &endpoint.run {
        Run::Async(handler) => {
            let call = Call {
                context: context.clone(),
                payload: job.envelope.msg.clone(),
            };
            let begun = Instant::now();
            let handled = Trace::current().handler().run(handler(call)).await;
            endpoint.counters.ended(begun, &handled);
            let effects = job.node.effects_of(&context);
            commit(job, running, handled, effects).await
        }
        // Boxed, since it would be the largest part of this task and is seldom needed.
        Run::Transactional(handler) => {
            let turn = job.transactions.lock().await;
            let end = Box::pin(transact(job, running, context, endpoint, handler.clone())).await;
            drop(turn);
            end
        }
    }
}

/// Stores the reply, for a node that has its terminator.
async fn hand_on(job: &Job, running: &mut Running, correlation: Correlation) -> End {
    let payload = job.envelope.msg.clone();
    let work = NewForward {
        service: String::new(),
        endpoint: String::new(),
        sid: job.sid.clone(),
        user_id: job.user_id.clone(),
        cmid: None,
        kind: job.envelope.t,
        tid: job.envelope.tid.clone().unwrap_or_default(),
        msg: payload.unwrap_or_else(|| serde_json::value::RawValue::NULL.to_owned()),
        correlation: None,
        debug: received_debug(job),
        left: None,
        adapted: Some(false),
        here: false,
        begins: Begins::AT_ONCE,
        key: None,
    };
    let work = to_terminator(correlation, work);
    let effects = vec![Effect::Forward(Box::new(work))];
    commit(job, running, Ok(RawOutcome::Done), effects).await
}

/// The correlation no longer exists. This very reply may have settled it, in a commit whose result was lost: then it is
/// in the inbox.
async fn settled_already(job: &Job) -> End {
    let read = ReadAnswer {
        session: job.holder.session,
        cmid: job.envelope.cmid.clone().unwrap_or_default(),
    };
    match job.node.store.run_for(job.share(), read).await {
        Ok(Some(answer)) => End::Duplicate(answer),
        Ok(None) => End::NothingToSettle,
        Err(error) => retry(&error),
    }
}

fn find<'a>(job: &'a Job, id: &str) -> Result<&'a Endpoint, String> {
    let endpoint = job
        .node
        .endpoints
        .get(id)
        .ok_or_else(|| format!("there is no endpoint \"{}\"", shown(id)))?;
    if job.envelope.t == MessageType::Request && !endpoint.replies {
        return Err(format!(
            "{id:?} is a terminator: it takes a SEND, and never replies to a REQUEST"
        ));
    }
    Ok(endpoint)
}

fn origin(job: &Job, endpoint: String, correlation: Option<Correlation>) -> Origin {
    let (correlation_string, correlation_bytes) = match correlation {
        Some(correlation) => (correlation.string, correlation.bytes),
        None => (None, None),
    };
    Origin {
        session_id: job.sid.clone(),
        user_id: job.user_id.clone(),
        principal: job.principal.clone(),
        authorization: job.authorization.clone().map(Authorization),
        authenticated: Some(job.authenticated),
        client: job.client.clone(),
        trace_id: job.envelope.tid.clone().unwrap_or_default(),
        message_id: job.envelope.cmid.clone(),
        debug: job.debug,
        correlation_string,
        correlation_bytes,
        ..Origin::new(job.node.clone(), job.envelope.t, endpoint)
    }
}

/// Commits for the registration that now holds the session on this node.
pub(super) async fn commit(
    job: &Job,
    running: &mut Running,
    handled: Handled,
    effects: Vec<Effect>,
) -> End {
    let (mut unit, mut answer) = match unit(job, handled, effects) {
        Ok(unit) => unit,
        Err(why) => return End::Retry(why),
    };
    let mut holder = job.holder;
    let mut was_refused = false;
    loop {
        if let Some(newest) = running.holder() {
            holder = newest;
        }
        if let Cause::Incoming { holder: of, .. } = &mut unit.cause {
            *of = holder;
        }
        let stored = job.node.store.run_back(job.share(), unit);
        match Trace::current().commit().run(stored).await {
            // Nothing was stored, so the unit is intact and can be committed again.
            Ok((refused, UnitOutcome::FencedOff))
                if running.holder().is_some_and(|newest| newest != holder) =>
            {
                unit = refused;
            }
            // It would be refused every time: the client gets a final answer.
            Ok((_, UnitOutcome::TooMuchForwarded(limit @ ForwardLimit::OneMessage))) => {
                (unit, answer) = match refusal(job, limit.to_string()) {
                    Ok(refusal) => refusal,
                    Err(end) => return end,
                };
            }
            Err(StoreError::Refused(why)) if !was_refused => {
                was_refused = true;
                let why = format!("the database refused its outcome: {why}");
                (unit, answer) = match refusal(job, why) {
                    Ok(refusal) => refusal,
                    Err(end) => return end,
                };
            }
            Ok((_, outcome)) => return end(job, holder, outcome, answer),
            Err(error) => return retry(&error),
        }
    }
}

/// The handler's outcome cannot be kept: its message is answered as if it had failed.
fn refusal(job: &Job, why: String) -> Result<(Unit, Box<Envelope>), End> {
    unit(job, Err(HandlerError::internal(why)), Vec::new()).map_err(End::Retry)
}

pub(super) fn end(job: &Job, holder: Holder, outcome: UnitOutcome, answer: Box<Envelope>) -> End {
    match outcome {
        UnitOutcome::Committed(effects) => {
            job.node.count_dropped(&effects);
            let endpoint = job.envelope.eid.as_deref();
            let endpoint = endpoint.and_then(|id| job.node.endpoints.get(id));
            let at_once = endpoint.is_some_and(|endpoint| endpoint.at_once);
            End::Answered { answer, at_once }
        }
        UnitOutcome::Duplicate(stored) => End::Duplicate(stored),
        UnitOutcome::AlreadySettled => End::NothingToSettle,
        UnitOutcome::FencedOff => End::FencedOff(holder),
        UnitOutcome::OutboxFull(full) => End::Retry(Some(full.to_string())),
        UnitOutcome::TooMuchForwarded(limit) => {
            let refused = &job.node.counters.forwards_refused;
            refused.fetch_add(1, Ordering::Relaxed);
            End::Retry(Some(limit.to_string()))
        }
        UnitOutcome::Repeated => End::Retry(None),
    }
}

pub(super) fn retry(error: &StoreError) -> End {
    log_seldom!(
        warn,
        "a message from a client could not be stored, it is to try again: {error}"
    );
    match error {
        StoreError::Unknown => End::Unknown,
        _ => End::Retry(Some("could not be stored now".to_owned())),
    }
}

impl Job {
    /// The account on which the store works for this message.
    pub(in crate::session) fn share(&self) -> Share {
        Share::of(&self.user_id, self.holder.session)
    }

    /// Bytes of its payload.
    pub(in crate::session) fn bytes(&self) -> usize {
        let payload = self.envelope.msg.as_ref();
        payload.map_or(0, |payload| payload.get().len())
    }

    pub(super) fn clone_for_store(&self, holder: Holder) -> Job {
        Job {
            node: self.node.clone(),
            holder,
            to: self.to.clone(),
            sid: self.sid.clone(),
            user_id: self.user_id.clone(),
            principal: self.principal.clone(),
            authorization: self.authorization.clone(),
            authenticated: self.authenticated,
            client: self.client.clone(),
            debug: self.debug,
            received: self.received,
            settles: self.settles,
            transactions: self.transactions.clone(),
            _counted: None,
            envelope: self.envelope.clone(),
        }
    }
}
