//! A session's inbox and outbox, its open requests, and what was given up.

use std::time::{Duration, SystemTime};

use super::{Correlation, Holder, OutboxMessage, SessionKey};

/// What was answered to a client's message. `None`: not in the inbox. `Some(None)`: plain ACK.
#[derive(Clone, Debug)]
pub struct ReadAnswer {
    /// Whose inbox.
    pub session: SessionKey,
    /// The client's message id.
    pub cmid: String,
}

/// The client has dropped these from its outbox (ACK2): drop them from the inbox. Unknown ones are fine.
#[derive(Clone, Debug)]
pub struct DropInbox {
    /// On whose behalf.
    pub holder: Holder,
    /// Client message ids.
    pub cmids: Vec<String>,
}

/// Reads an outbox in order.
#[derive(Clone, Debug)]
pub struct FetchOutbox {
    /// Whose outbox.
    pub session: SessionKey,
    /// Only sequence numbers greater than this.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
    /// Only as many as have payloads of so many bytes together.
    pub max_bytes: u64,
    /// But the first one always, if its payload has at most so many bytes.
    pub max_first: u64,
}

/// Outcome of [`FetchOutbox`].
#[derive(Clone, Debug)]
pub struct FetchedOutbox {
    /// In order.
    pub messages: Vec<OutboxMessage>,
    /// Whether there are more behind them.
    pub more: bool,
    /// Nothing is given, because the first message has so many bytes.
    pub too_large: Option<u64>,
}

/// The client acknowledged these messages: delete them. Unknown ones are fine.
#[derive(Clone, Debug)]
pub struct Complete {
    /// On whose behalf.
    pub holder: Holder,
    /// Acknowledged with ACK.
    pub acked: Vec<i64>,
    /// Refused with NACK: deleted too, and the correlation of a REQUEST ends with that reason.
    pub nacked: Vec<i64>,
}

/// The client evidently received these without acknowledging them: raise their delivery count, and make those with
/// more than `max` deliveries dead letters.
#[derive(Clone, Debug)]
pub struct MarkRedelivery {
    /// On whose behalf.
    pub holder: Holder,
    /// Sequence numbers.
    pub seqs: Vec<i64>,
    /// Highest delivery count that is still delivered.
    pub max: u32,
}

/// Outcome of [`MarkRedelivery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkedRedelivery {
    /// Done; these became dead letters.
    Done(Vec<i64>),
    /// Another registration holds the session; nothing was changed.
    FencedOff,
}

/// Reads the correlation of a request of ours.
#[derive(Clone, Debug)]
pub struct ReadCorrelation {
    /// Whose request.
    pub session: SessionKey,
    /// Its sequence number.
    pub seq: i64,
}

/// Takes correlations that ended without reply (timed out, refused, session gone), to tell their reply terminators.
/// Whoever takes them settles them with [`Cause::EndedCorrelation`]; else they are due again after `again`.
#[derive(Clone, Debug)]
pub struct ClaimEndedCorrelations {
    /// At most so many. Fewer are taken when they have much to tell: there are no more when there is none.
    pub limit: u32,
    /// How long nobody else gets them.
    pub again: Duration,
    /// Where the caller's last look has come to ([`ClaimedCorrelations::since`]); `None`: this one begins anew, which one
    /// must now and then, as with [`Looked`](super::Looked).
    pub since: Option<i64>,
}

/// Outcome of [`ClaimEndedCorrelations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedCorrelations {
    /// Those that were taken.
    pub ended: Vec<EndedCorrelation>,
    /// None is due before this.
    pub since: i64,
}

/// A correlation that ended without reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedCorrelation {
    /// The session's key.
    pub session: SessionKey,
    /// The session's id (it may be gone).
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// The request's sequence number.
    pub seq: i64,
    /// The request's trace id.
    pub tid: String,
    /// What the request left behind.
    pub correlation: Correlation,
    /// Why it ended.
    pub reason: String,
}

/// Lists dead letters, oldest first.
#[derive(Clone, Debug)]
pub struct ListDeadLetters {
    /// Only ids greater than this.
    pub after: i64,
    /// At most so many. Fewer are listed when they are large: there are no more when there is none.
    pub limit: u32,
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its id.
    pub id: i64,
    /// `outbox` (not acknowledged by a client) or `service` (failed in a service).
    pub origin: String,
    /// The session.
    pub session_id: String,
    /// Endpoint, terminator or service.
    pub endpoint: Option<String>,
    /// Trace id.
    pub trace_id: String,
    /// Payload.
    pub payload: Option<String>,
    /// Why it was given up.
    pub reason: String,
    /// Counted deliveries or attempts.
    pub deliveries: u32,
    /// When it was given up. Serialised as milliseconds since the epoch.
    #[serde(serialize_with = "crate::clock::as_epoch_ms")]
    pub died: SystemTime,
}

/// Puts a dead letter back: at the end of its session's outbox (not if the session is gone), or as a free forwarded
/// row. False: no such dead letter, or its session is gone.
#[derive(Clone, Debug)]
pub struct RedriveDeadLetter {
    /// Which one.
    pub id: i64,
}

/// When a dead letter died, and its id, by which those of one moment are told apart: their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiedAt {
    /// Ms since the epoch.
    pub died: i64,
    /// Its id.
    pub id: i64,
}

/// Looks for the newest dead letter that is one too many, or too large together with those that died after it. It and
/// all before it are not kept.
#[derive(Clone, Debug)]
pub struct DeadLettersBeyond {
    /// So many are kept.
    pub max_letters: u64,
    /// So many payload bytes are kept.
    pub max_bytes: u64,
}

/// Deletes one part of the dead letters that are not kept, the oldest first. Several nodes may do so at the same time.
#[derive(Clone, Debug)]
pub struct ScavengeDeadLetters {
    /// Those that died longer ago than this go.
    pub older: Duration,
    /// This one goes, and all before it.
    pub beyond: Option<DiedAt>,
    /// Most letters deleted; and no more than have about 4 MiB.
    pub limit: u32,
}

/// Outcome of [`ScavengeDeadLetters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScavengedDeadLetters {
    /// Deleted because they were too old.
    pub aged: u64,
    /// Deleted although they were not.
    pub excess: u64,
    /// There may be more to delete.
    pub more: bool,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}

/// Deletes a dead letter. False: no such dead letter.
#[derive(Clone, Debug)]
pub struct DropDeadLetter {
    /// Which one.
    pub id: i64,
}
