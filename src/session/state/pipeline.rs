//! The current pipeline. Only its text and the next few envelopes are in memory.
//!
//! A parsed envelope takes many times the bytes of the shortest text of one, and the payloads together take the bytes
//! of the text once more.

use std::collections::VecDeque;
use std::mem;

use bytestring::ByteString;

use crate::wire::{Envelope, MessageType, PipelineError, read_envelope};

/// Most envelopes parsed at a time.
const AT_A_TIME: usize = 256;
/// Most bytes of envelopes parsed at a time; one envelope is always parsed.
const BYTES_AT_A_TIME: usize = 64 * 1024;

/// The current pipeline.
pub(super) struct Pipeline {
    pub(super) step: Step,
    pub(super) hello: Option<Box<Envelope>>,
    /// Its next envelopes: information-bearing messages, SUB, UNSUB, and invalid ones.
    pub(super) envelopes: VecDeque<Box<Envelope>>,
    /// The rest of the text.
    rest: Option<Rest>,
    /// Whether it contains an authorization value.
    pub(super) authorization: bool,
    /// Bytes that the envelopes occupy.
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Authenticate,
    Hello,
    Dispatch,
}

/// The part of a text that is not parsed yet.
struct Rest {
    text: ByteString,
    /// Where the next envelope starts.
    at: usize,
}

impl Pipeline {
    pub(super) fn new() -> Pipeline {
        Pipeline {
            step: Step::Authenticate,
            hello: None,
            envelopes: VecDeque::new(),
            rest: None,
            authorization: false,
            bytes: 0,
        }
    }

    /// Adds an envelope of this many bytes, unless it and all that follow are left for later.
    pub(super) fn push(&mut self, envelope: Envelope, bytes: usize, at: usize, text: &ByteString) {
        if self.rest.is_some() {
            return;
        }
        if self.is_filled() {
            let text = text.clone();
            self.rest = Some(Rest { text, at });
            return;
        }
        self.bytes += bytes + size_of::<Envelope>();
        self.envelopes.push_back(Box::new(envelope));
    }

    fn is_filled(&self) -> bool {
        self.envelopes.len() >= AT_A_TIME || self.bytes >= BYTES_AT_A_TIME
    }

    /// Parses the next envelopes if there are none left. Returns the length of the text once it is no longer needed.
    pub(super) fn fill(&mut self) -> Result<Option<usize>, PipelineError> {
        if !self.envelopes.is_empty() {
            return Ok(None);
        }
        self.bytes = 0;
        let Some(Rest { text, at }) = self.rest.take() else {
            return Ok(None);
        };
        let mut next = Some(at);
        while let Some(at) = next {
            if self.is_filled() {
                self.rest = Some(Rest { text, at });
                return Ok(None);
            }
            let (envelope, behind) = read_envelope(&text, at)?;
            if !is_taken_at_once(envelope.t) {
                let bytes = behind.unwrap_or(text.len()) - at;
                self.bytes += bytes + size_of::<Envelope>();
                self.envelopes.push_back(Box::new(envelope));
            }
            next = behind;
        }
        Ok(Some(text.len()))
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.envelopes.is_empty() && self.rest.is_none()
    }

    /// Whether some of it is not parsed yet.
    pub(super) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Drops the text. Returns its length, if it was still needed.
    pub(super) fn give_up_text(&mut self) -> Option<usize> {
        self.rest.take().map(|rest| rest.text.len())
    }

    /// Bytes that it occupies, not including its text.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts held envelopes first.
    pub(super) fn put_first(&mut self, held: VecDeque<Box<Envelope>>) {
        let behind = mem::replace(&mut self.envelopes, held);
        self.envelopes.extend(behind);
    }
}

/// Whether envelopes of this type are already processed when their pipeline is first scanned, since they need no
/// authorization.
pub(super) fn is_taken_at_once(t: MessageType) -> bool {
    match t {
        MessageType::Auth
        | MessageType::Ping
        | MessageType::Pong
        | MessageType::Ack
        | MessageType::Nack
        | MessageType::Ack2
        | MessageType::Hello => true,
        MessageType::Send
        | MessageType::Request
        | MessageType::Resolve
        | MessageType::Reject
        | MessageType::Sub
        | MessageType::Unsub
        | MessageType::Welcome
        | MessageType::Retry
        | MessageType::SubOk
        | MessageType::SubLost
        | MessageType::SubNoAuth
        | MessageType::Pub
        | MessageType::Reauth => false,
    }
}
