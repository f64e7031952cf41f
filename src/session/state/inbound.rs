//! Incoming pipelines, processed strictly in order.

use bytestring::ByteString;

use super::pipeline::{Pipeline, Step, is_taken_at_once};
use super::recent::Outline;
use super::{Acks, Action, State, Waiting};
use crate::wire::{Close, CloseCode, DebugOptions, Envelope, MessageType, Unread, read_pipeline};

/// How many acknowledgements may wait for the store before the client's messages have to wait.
const MAX_UNSTORED_ACKS: usize = 10_000;

impl State {
    /// Processes pipelines until one has to wait, for example because the client does not read its answers, or
    /// acknowledges faster than the store can delete.
    pub(super) fn advance(&mut self) {
        while !self.ended
            && matches!(self.waiting, Waiting::Nothing)
            && self.leaving.is_none()
            && !self.environment.backpressured
            && self.unstored_acks() < MAX_UNSTORED_ACKS
        {
            match &self.current {
                None => match self.next_work() {
                    Some(text) => {
                        self.work_bytes -= text.len();
                        let bytes = text.len();
                        self.begin(text);
                        if self.current.as_ref().is_none_or(|it| !it.has_rest()) {
                            self.actions.push(Action::Processed(bytes));
                        }
                    }
                    None => return,
                },
                Some(pipeline) => match pipeline.step {
                    Step::Authenticate => self.step_authenticate(),
                    Step::Hello => self.step_hello(),
                    Step::Dispatch => self.step_dispatch(),
                },
            }
        }
    }

    /// Steps 2 to 8 of the protocol's section 5: what needs no authorization is done at once.
    fn begin(&mut self, text: ByteString) {
        let established = self.identity().is_some();
        let (limit, code) = match established {
            true => (self.config.max_message, CloseCode::MessageTooBig),
            false => (
                self.config.max_message_before_hello,
                CloseCode::ViolatedPolicy,
            ),
        };
        if text.len() > limit {
            return self.close(Close::new(
                code,
                format!(
                    "a message of {} bytes, at most {limit} are allowed",
                    text.len()
                ),
            ));
        }
        let (pipeline, at_once) = match self.sort(&text) {
            Ok(sorted) => sorted,
            Err(Unread::Malformed(error)) => {
                return self.violation(format!("not a pipeline: {error}"));
            }
            Err(Unread::Stopped(why)) => return self.close(why),
        };
        self.take_at_once(at_once);
        if !established && pipeline.hello.is_none() {
            // Otherwise a connection could stay open for ever without a session.
            return self.close(Close::new(
                CloseCode::ViolatedPolicy,
                "no session: HELLO must come first",
            ));
        }
        let nothing = pipeline.is_empty() && pipeline.hello.is_none();
        if nothing && self.authorization.nothing_held() && !pipeline.authorization {
            return;
        }
        self.current = Some(pipeline);
    }

    /// Scans a text, and extracts what needs no authorization.
    fn sort(&mut self, text: &ByteString) -> Result<(Pipeline, AtOnce), Unread<Close>> {
        let mut pipeline = Pipeline::new();
        let mut at_once = AtOnce::default();
        read_pipeline(text, |mut envelope, extent| {
            let (bytes, limit) = (extent.len(), self.config.max_envelope);
            if bytes > limit {
                let what = format!("an envelope of {bytes} bytes, at most {limit} are allowed");
                return Err(protocol_error(what));
            }
            at_once.requested_debug = envelope.rd.or(at_once.requested_debug);
            if let Some(value) = &envelope.auth {
                pipeline.authorization = true;
                at_once.authorization = Some(value.clone());
            }
            self.record(true, Outline::of(&envelope));
            if self.identity().is_none() && needs_session(envelope.t) {
                return Err(protocol_error(format!("{} before HELLO", envelope.t)));
            }
            match envelope.t {
                MessageType::Ping => at_once.pongs.push(Envelope {
                    x: envelope.x.take(),
                    ..Envelope::new(MessageType::Pong)
                }),
                MessageType::Ack | MessageType::Nack => {
                    self.acknowledged(envelope, &mut at_once.acks)?
                }
                MessageType::Ack2 => {
                    let cmids = one_or_several(&envelope, "cmid", &envelope.cmid)?;
                    at_once.ack2.extend(cmids);
                }
                MessageType::Hello if pipeline.hello.is_some() => {
                    return Err(Close::new(
                        CloseCode::ViolatedPolicy,
                        "two HELLOs in one pipeline",
                    ));
                }
                MessageType::Hello => pipeline.hello = Some(Box::new(envelope)),
                t if is_taken_at_once(t) => {}
                _ => pipeline.push(envelope, bytes, extent.start, text),
            }
            Ok(!pipeline.has_rest())
        })?;
        Ok((pipeline, at_once))
    }

    /// Does what needs no authorization.
    fn take_at_once(&mut self, at_once: AtOnce) {
        if let Some(requested) = at_once.requested_debug {
            self.requested_debug = DebugOptions::from_bits(requested);
        }
        if let Some(value) = at_once.authorization {
            self.authorization.offer(value);
        }
        if !at_once.pongs.is_empty() {
            self.send_now(at_once.pongs);
        }
        let acks = at_once.acks;
        if let Some(newest) = acks.acked.iter().chain(&acks.nacked).max() {
            self.proves_position(*newest);
        }
        let settled = acks.acked.iter().chain(&acks.nacked);
        self.window.acknowledged(settled, self.environment.now);
        self.complete_later(acks);
        let droppable = self.inbox.acknowledged(at_once.ack2);
        self.to_drop.extend(droppable);
        // Only now, after the acknowledgements in this very message have been processed.
        self.count_redeliveries();
    }

    fn acknowledged(&self, envelope: Envelope, acks: &mut Acks) -> Result<(), Close> {
        let smids = one_or_several(&envelope, "smid", &envelope.smid)?;
        for smid in smids {
            // There is nothing to delete for an id that is not ours (of an earlier session, for example), but it is
            // answered all the same.
            let seq = self.identity().and_then(|identity| identity.seq_of(&smid));
            if let Some(seq) = seq.filter(|seq| self.window.knows(*seq)) {
                let seqs = if envelope.t == MessageType::Ack {
                    &mut acks.acked
                } else {
                    &mut acks.nacked
                };
                seqs.push(seq);
            }
            acks.smids.push(smid);
        }
        Ok(())
    }

    pub(super) fn step_dispatch(&mut self) {
        self.fill();
        let Some(pipeline) = &mut self.current else {
            return;
        };
        let next = pipeline.envelopes.front().map(|it| it.t);
        // The authorization may have been revoked since the pipeline was admitted.
        if !self.authorization.is_good() {
            return self.hold();
        }
        match next {
            None => return self.resume_topics(),
            Some(MessageType::Sub) => return self.subscribe(),
            Some(_) => {}
        }
        let Some(envelope) = self
            .current
            .as_mut()
            .and_then(|it| it.envelopes.pop_front())
        else {
            return;
        };
        match envelope.t {
            MessageType::Send
            | MessageType::Request
            | MessageType::Resolve
            | MessageType::Reject => {
                self.accept(envelope);
            }
            MessageType::Unsub => self.unsubscribe(*envelope),
            MessageType::Sub
            | MessageType::Hello
            | MessageType::Welcome
            | MessageType::Ack
            | MessageType::Nack
            | MessageType::Ack2
            | MessageType::Retry
            | MessageType::SubOk
            | MessageType::SubLost
            | MessageType::SubNoAuth
            | MessageType::Pub
            | MessageType::Reauth
            | MessageType::Auth
            | MessageType::Ping
            | MessageType::Pong => {
                self.violation(format!("{} is not for a client to send", envelope.t))
            }
        }
    }

    /// Parses the next envelopes of the pipeline.
    pub(super) fn fill(&mut self) {
        match self.current.as_mut().map(Pipeline::fill) {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(bytes))) => self.actions.push(Action::Processed(bytes)),
            // It was valid when it was scanned.
            Some(Err(error)) => self.violation(format!("not a pipeline: {error}")),
        }
    }
}

/// The parts of a pipeline that are processed at once.
#[derive(Default)]
struct AtOnce {
    requested_debug: Option<u32>,
    authorization: Option<String>,
    pongs: Vec<Envelope>,
    acks: Acks,
    ack2: Vec<String>,
}

fn needs_session(t: MessageType) -> bool {
    use MessageType::{Ack, Ack2, Nack, Ping, Pong};
    matches!(t, Ping | Pong | Ack | Nack | Ack2)
}

fn protocol_error(why: impl Into<String>) -> Close {
    Close::new(CloseCode::ProtocolError, why)
}

/// The ids in an envelope. If one of its fields cannot be read, those in the other.
fn one_or_several(
    envelope: &Envelope,
    field: &str,
    one: &Option<String>,
) -> Result<Vec<String>, Close> {
    let t = envelope.t;
    match (one, &envelope.ids) {
        (Some(one), None) => Ok(vec![one.clone()]),
        (None, Some(several)) if !several.is_empty() => Ok(several.clone()),
        (_, _) if envelope.fault.is_some() => Ok(Vec::new()),
        (Some(_), Some(_)) => Err(protocol_error(format!("{t} with both {field} and ids"))),
        (None, Some(_)) => Err(protocol_error(format!("{t} with empty ids"))),
        (None, None) => Err(protocol_error(format!("{t} without {field} or ids"))),
    }
}
