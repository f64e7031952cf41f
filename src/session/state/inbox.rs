//! Which of the client's messages are being handled or were handled.

use std::collections::{HashMap, VecDeque};

use crate::config::Config;
use crate::fault_injection::{Broken, is_broken};
use crate::session::handler::End;
use crate::wire::MessageType;

/// The inbox as this registration knows it. It is complete, since only the holder writes to it. (It may contain more
/// than the store.)
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) messages: HashMap<String, Stage>,
    pub(super) running: usize,
    /// Bytes of the answers that are in the store.
    answered: u64,
    /// Repeated messages that are to be answered as before, one after the other, since an answer may be large. Boxed,
    /// since they are rare and there are many sessions.
    #[allow(clippy::box_collection)]
    pub(super) again: Option<Box<VecDeque<(String, MessageType)>>>,
    /// The answer to the first of them is being read.
    pub(super) reading: bool,
}

/// The progress of a client's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its handler runs.
    Running {
        /// ACK2 has already arrived: it is deleted as soon as it is stored.
        drop: bool,
        /// Its RESOLVE or REJECT has already been sent: an ACK would follow it.
        settled: bool,
        /// Its earlier attempt is `Doubtful`.
        doubtful: bool,
    },
    /// It is in the store.
    Stored {
        /// It was repeated, and its answer has not been read yet.
        again: bool,
        /// Bytes of its answer.
        bytes: u64,
    },
    /// The result of storing it is unknown. The client was asked to send it again; but if it was stored, the reply of
    /// the service it was forwarded to may arrive first, and then the client only sends ACK2.
    Doubtful,
}

impl Inbox {
    pub(super) fn resume(&mut self, stored: Vec<(String, u64)>) {
        if is_broken(Broken::Deduplication) {
            return;
        }
        self.answered = stored.iter().map(|(_, bytes)| bytes).sum();
        let again = false;
        self.messages = stored
            .into_iter()
            .map(|(cmid, bytes)| (cmid, Stage::Stored { again, bytes }))
            .collect();
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// ACK2 for these: returns which can be deleted now. Those whose handler is running are deleted after it.
    pub(super) fn acknowledged(&mut self, cmids: Vec<String>) -> Vec<String> {
        let mut droppable = Vec::with_capacity(cmids.len());
        for cmid in cmids {
            if let Some(Stage::Running { drop, .. }) = self.messages.get_mut(&cmid) {
                *drop = true;
                continue;
            }
            match self.messages.remove(&cmid) {
                Some(Stage::Stored { bytes, .. }) => self.answered -= bytes,
                Some(_) => {}
                None => continue,
            }
            droppable.push(cmid);
        }
        droppable
    }

    /// Why there is no room for this message. Answers count once they exist: those of running handlers come on top.
    pub(super) fn full(&self, config: &Config, cmid: &str) -> Option<&'static str> {
        if self.messages.contains_key(cmid) {
            None
        } else if self.messages.len() >= config.max_inbox {
            Some("the inbox is full: acknowledge with ACK2 first (max_inbox)")
        } else if self.answered >= config.max_inbox_bytes as u64 {
            Some("the inbox is full of answers: acknowledge with ACK2 first (max_inbox_bytes)")
        } else {
            None
        }
    }

    pub(super) fn start(&mut self, cmid: String) {
        let running = Stage::Running {
            drop: false,
            settled: false,
            doubtful: matches!(self.messages.get(&cmid), Some(Stage::Doubtful)),
        };
        self.messages.insert(cmid, running);
        self.running += 1;
    }

    /// A RESOLVE or REJECT for this message is sent.
    pub(super) fn settled(&mut self, cmid: &str) {
        if let Some(Stage::Running { settled, .. }) = self.messages.get_mut(cmid) {
            *settled = true;
        }
    }

    /// A handler has ended. Returns whether ACK2 has arrived in the meantime and the message may be in the store, and
    /// whether its reply has been sent in the meantime.
    pub(super) fn ended(&mut self, cmid: &str, end: &End) -> (bool, bool) {
        let Some(&Stage::Running {
            drop,
            settled,
            doubtful,
        }) = self.messages.get(cmid)
        else {
            return (false, false);
        };
        self.messages.remove(cmid);
        self.running -= 1;
        let stage = match end {
            End::Answered { answer, .. } => {
                let bytes = answer.msg.as_ref().map_or(0, |msg| msg.get().len() as u64);
                Stage::Stored {
                    again: false,
                    bytes,
                }
            }
            End::Duplicate(answer) => Stage::Stored {
                again: false,
                bytes: answer.as_ref().map_or(0, |answer| answer.len() as u64),
            },
            End::Unknown => Stage::Doubtful,
            // This attempt stored nothing, but the one before may have.
            _ if doubtful => Stage::Doubtful,
            End::NothingToSettle | End::Retry(_) | End::FencedOff(_) => return (false, settled),
        };
        if !drop {
            if let Stage::Stored { bytes, .. } = stage {
                self.answered += bytes;
            }
            self.messages.insert(cmid.to_owned(), stage);
        }
        (drop, settled)
    }
}
