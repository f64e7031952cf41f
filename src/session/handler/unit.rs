//! Turns a handler's work into a unit for the store, with the answer in it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::decide::{Answer, Decision, decide};
use super::run::Job;
use crate::endpoint::{Forward, Handled};
use crate::error::HandlerError;
use crate::store::operation::{Cause, Effect, NewForward, Unit};
use crate::wire::{Debug, Envelope, MessageType, print_pipeline, shown};

/// The unit that represents a handler's work, and the answer in it.
pub(super) fn unit(
    job: &Job,
    handled: Handled,
    mut effects: Vec<Effect>,
) -> Result<(Unit, Box<Envelope>), Option<String>> {
    let mut ends = None;
    match &handled {
        Err(error) if error.is_of_client() => {
            job.node.mistake(&described(job, error));
            ends = job.settles;
        }
        Err(error) => failed(job, error),
        Ok(_) => {}
    }
    let reveal = job.node.config.reveal_errors;
    let (mut answer, forward, keep) = match decide(job.envelope.t, handled, reveal) {
        Decision::Keep {
            answer,
            forward,
            effects,
        } => (answer, forward, effects),
        Decision::Retry(why) => return Err(why),
    };
    if !keep {
        effects.clear();
    }
    if let Some(forward) = forward {
        match forwarded(job, forward) {
            Ok(forwarded) => effects.push(Effect::Forward(Box::new(forwarded))),
            Err(error) => {
                failed(job, &error);
                effects.clear();
                answer = Answer::Nack(error.for_client(reveal).into_owned());
            }
        }
    }
    let plain = matches!(answer, Answer::Ack);
    let answer = Box::new(envelope(job, answer));
    if let Some(seq) = ends {
        effects.push(Effect::EndRequest {
            session: job.holder.session,
            seq,
            reason: "the client's reply cannot be read".to_owned(),
        });
    }
    let cause = Cause::Incoming {
        holder: job.holder,
        cmid: job.envelope.cmid.clone().unwrap_or_default(),
        answer: (!plain).then(|| print_pipeline([&*answer])),
        settles: job.settles.filter(|_| ends.is_none()),
    };
    Ok((Unit { cause, effects }, answer))
}

/// Counts and logs a failure of the handler.
fn failed(job: &Job, error: &HandlerError) {
    let failures = &job.node.counters.handler_failures;
    failures.fetch_add(1, Ordering::Relaxed);
    let endpoint = job.envelope.eid.as_deref().unwrap_or("reply");
    job.node.failed(endpoint, &described(job, error));
}

/// The log text of a failure.
fn described(job: &Job, error: &HandlerError) -> String {
    format!(
        "{} {} (trace id {}): {}",
        job.envelope.t,
        shown(job.envelope.eid.as_deref().unwrap_or("reply")),
        shown(job.envelope.tid.as_deref().unwrap_or_default()),
        shown(&error.to_string())
    )
}

fn forwarded(job: &Job, forward: Forward) -> Result<NewForward, HandlerError> {
    let request = job.envelope.t == MessageType::Request;
    let endpoint = job.envelope.eid.clone().unwrap_or_default();
    let adapter = job.node.endpoints.get(&endpoint);
    let forward = forward.checked()?;
    Ok(NewForward {
        begins: forward.begins,
        key: None,
        here: job.node.takes_at_once(&forward.service),
        left: patience(job).filter(|_| request),
        adapted: Some(adapter.is_some_and(|endpoint| endpoint.adapter.is_some())),
        service: forward.service,
        endpoint,
        sid: job.sid.clone(),
        user_id: job.user_id.clone(),
        cmid: job.envelope.cmid.clone().filter(|_| request),
        kind: job.envelope.t,
        tid: job.envelope.tid.clone().unwrap_or_default(),
        msg: forward.payload?,
        correlation: forward.correlation.transpose()?,
        debug: received_debug(job).map(|debug| Debug {
            mmsts: Some(job.node.clock.now_ms()),
            ..debug
        }),
    })
}

/// How much longer the client of a REQUEST waits for its reply, if it specified a timeout.
fn patience(job: &Job) -> Option<Duration> {
    let whole = job.envelope.to.filter(|ms| *ms > 0)?;
    let gone = job.node.clock.now_ms().saturating_sub(job.received).max(0);
    Some(Duration::from_millis(whole.saturating_sub(gone as u64)))
}

pub(super) fn received_debug(job: &Job) -> Option<Debug> {
    (!job.debug.is_empty()).then(|| Debug {
        resd: job.debug.bits(),
        cmrts: Some(job.received),
        cmrnn: Some(job.node.name().to_string()),
        ..Debug::default()
    })
}

fn envelope(job: &Job, answer: Answer) -> Envelope {
    let (t, desc, msg) = match answer {
        Answer::Ack => (MessageType::Ack, None, None),
        Answer::Nack(why) => (MessageType::Nack, Some(shown(&why).into_owned()), None),
        Answer::Resolve(payload) => (MessageType::Resolve, None, Some(payload)),
        Answer::Reject(payload) => (MessageType::Reject, None, Some(payload)),
    };
    let cmid = job.envelope.cmid.clone();
    let reply = t.is_reply();
    let tid = job.envelope.tid.clone().filter(|_| reply);
    let debug = if reply { received_debug(job) } else { None };
    Envelope {
        cmid,
        tid,
        desc,
        msg,
        debug,
        ..Envelope::new(t)
    }
}
