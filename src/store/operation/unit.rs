//! Units: everything one handler did, committed atomically.

use super::{
    Effect, EffectOutcome, ForwardLimit, Holder, PostponeForwarded, SessionKey, StoredMessage,
};

/// Everything that one handler, service or call did, to be committed atomically.
#[derive(Debug)]
pub struct Unit {
    /// Where it came from, and what it settles.
    pub cause: Cause,
    /// What it does, in order.
    pub effects: Vec<Effect>,
}

impl Unit {
    /// Moves the stored messages into the notifications for them. The unit must not be run again afterwards.
    pub fn give_messages(&mut self, outcome: &UnitOutcome, stored: &mut [StoredMessage]) {
        let UnitOutcome::Committed(outcomes) = outcome else {
            return;
        };
        let mut stored = stored.iter_mut();
        for (effect, outcome) in self.effects.iter_mut().zip(outcomes) {
            match (effect, outcome) {
                (Effect::Message { message, .. }, EffectOutcome::Stored(seq)) => {
                    if let Some(stored) = stored.next() {
                        stored.message = Some(std::mem::take(message).stored(*seq));
                    }
                }
                (Effect::ToUser { message, .. }, EffectOutcome::StoredForUser(of_user)) => {
                    for (seq, stored) in of_user.seqs.iter().zip(stored.by_ref()) {
                        // Nobody would take a copy for a session that is not connected.
                        stored.message =
                            (stored.home.is_some()).then(|| message.clone().stored(*seq));
                    }
                }
                _ => {}
            }
        }
    }
}

/// What caused a [`Unit`].
#[derive(Clone, Debug)]
pub enum Cause {
    /// A message from a client. Its id goes to the inbox, together with the answer unless that is a plain ACK.
    Incoming {
        /// The registration on whose behalf this is done.
        holder: Holder,
        /// The client's message id.
        cmid: String,
        /// The answer envelope, as JSON text; `None` is a plain ACK.
        answer: Option<String>,
        /// If the message is a reply to our request with this sequence number, its correlation is deleted.
        settles: Option<i64>,
    },
    /// A forwarded row is settled: deleted.
    Forwarded {
        /// Which row.
        id: i64,
        /// The right to settle it.
        proof: Proof,
    },
    /// A forwarded row is put back, to be claimed again when it is due.
    Postponed {
        /// Which row, and until when.
        back: PostponeForwarded,
        /// Stored, so that a repeated call with the same key is recognised.
        idempotency_key: Option<String>,
    },
    /// A request's correlation that ended without a reply is deleted.
    EndedCorrelation {
        /// The session it belonged to.
        session: SessionKey,
        /// The request's sequence number.
        seq: i64,
    },
    /// A call of the application.
    Call {
        /// Makes repeats of this call harmless.
        idempotency_key: Option<String>,
    },
}

/// What entitles the caller to settle a forwarded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The claim under which the row was dispatched.
    Epoch(i64),
    /// The secret of its reply token.
    Token(String),
}

/// Outcome of a [`Unit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitOutcome {
    /// Everything is stored. The outcome of each effect, in order.
    Committed(Vec<EffectOutcome>),
    /// The client's message id is in the inbox already; nothing was changed. Holds the answer given then.
    Duplicate(Option<String>),
    /// There is nothing left to settle (correlation taken, row settled or claimed again); nothing was changed.
    AlreadySettled,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
    /// An outbox is full; nothing was changed.
    OutboxFull(FullOutbox),
    /// The client has too much forwarded work outstanding; nothing was changed.
    TooMuchForwarded(ForwardLimit),
    /// A call with this idempotency key has been committed before; nothing was changed.
    Repeated,
}

/// An outbox that cannot take another message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the outbox of session {session_id} is full: {cap}")]
#[non_exhaustive]
pub struct FullOutbox {
    /// The session.
    pub session_id: String,
    /// Which cap has been reached.
    pub cap: OutboxCap,
}

/// A limit on what is stored for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxCap {
    /// Messages of the session.
    #[error("at most {0} messages may wait for it (store.max_outbox)")]
    Messages(i64),
    /// Payload bytes of the session.
    #[error("at most {0} bytes may wait for it (store.max_outbox_bytes)")]
    Bytes(i64),
    /// Payload bytes of all sessions of its user.
    #[error(
        "at most {0} bytes may wait for all sessions of its user (store.max_outbox_bytes_per_user)"
    )]
    BytesOfUser(i64),
}
