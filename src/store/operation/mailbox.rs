//! A session's inbox, outbox and open requests, and dead letters.

use std::time::{Duration, SystemTime};

use super::{Correlation, Holder, OutboxMessage, SessionKey};

/// Reads the answer to a client's message. `None`: not in the inbox. `Some(None)`: plain ACK.
#[derive(Clone, Debug)]
pub struct ReadAnswer {
    /// Whose inbox.
    pub session: SessionKey,
    /// The client's message id.
    pub cmid: String,
}

/// The client has dropped these messages from its outbox (ACK2), so they leave the inbox. Unknown ids are ignored.
#[derive(Clone, Debug)]
pub struct DropInbox {
    /// The registration on whose behalf this is done.
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
    /// Maximum number of messages.
    pub limit: u32,
    /// Maximum payload bytes of all messages together.
    pub max_bytes: u64,
    /// The first message is exempt from `max_bytes` if its payload has at most this many bytes.
    pub max_first: u64,
}

/// Outcome of [`FetchOutbox`].
#[derive(Clone, Debug)]
pub struct FetchedOutbox {
    /// In order.
    pub messages: Vec<OutboxMessage>,
    /// Whether more messages follow.
    pub more: bool,
    /// The size of the first message in bytes, if it is too large and nothing is returned.
    pub too_large: Option<u64>,
}

/// The client acknowledged these messages, so they are deleted. Unknown numbers are ignored.
#[derive(Clone, Debug)]
pub struct Complete {
    /// The registration on whose behalf this is done.
    pub holder: Holder,
    /// Acknowledged with ACK.
    pub acked: Vec<i64>,
    /// Refused with NACK: deleted as well, and the correlation of a REQUEST ends with that reason.
    pub nacked: Vec<i64>,
}

/// The client evidently received these messages without acknowledging them. Raises their delivery counts, and makes
/// those with more than `max` deliveries dead letters.
#[derive(Clone, Debug)]
pub struct MarkRedelivery {
    /// The registration on whose behalf this is done.
    pub holder: Holder,
    /// Sequence numbers.
    pub seqs: Vec<i64>,
    /// Highest delivery count at which a message is still delivered.
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

/// Reads the correlation of one of our requests.
#[derive(Clone, Debug)]
pub struct ReadCorrelation {
    /// Whose request.
    pub session: SessionKey,
    /// Its sequence number.
    pub seq: i64,
}

/// Claims correlations that ended without a reply (timed out, refused, session gone), so that their reply terminators
/// can be notified. The claimant settles them with [`Cause::EndedCorrelation`]; otherwise they are due again after
/// `again`.
#[derive(Clone, Debug)]
pub struct ClaimEndedCorrelations {
    /// Maximum number claimed. Fewer are claimed if they are large; an empty result means that there are no more.
    pub limit: u32,
    /// How long they are reserved for the claimant.
    pub again: Duration,
    /// Where the caller's last query ended ([`ClaimedCorrelations::since`]). `None`: start over, which is necessary now
    /// and then; see [`Looked`](super::Looked).
    pub since: Option<i64>,
}

/// Outcome of [`ClaimEndedCorrelations`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedCorrelations {
    /// The correlations claimed.
    pub ended: Vec<EndedCorrelation>,
    /// No correlation is due before this time.
    pub since: i64,
}

/// A correlation that ended without a reply.
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
    /// What was stored with the request for its reply.
    pub correlation: Correlation,
    /// Why it ended.
    pub reason: String,
}

/// Lists dead letters, oldest first.
#[derive(Clone, Debug)]
pub struct ListDeadLetters {
    /// Only ids greater than this.
    pub after: i64,
    /// Maximum number listed. Fewer are listed if they are large; an empty result means that there are no more.
    pub limit: u32,
}

/// A message whose delivery was given up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its id.
    pub id: i64,
    /// `outbox` (a client did not acknowledge it) or `service` (it failed in a service).
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
    #[serde(with = "crate::clock::epoch_ms_of")]
    pub died: SystemTime,
}

/// Puts a dead letter back: at the end of its session's outbox, or as a forwarded row that any node may claim. False:
/// there is no such dead letter, or its session is gone.
#[derive(Clone, Debug)]
pub struct RedriveDeadLetter {
    /// Which one.
    pub id: i64,
}

/// When a dead letter died, with its id as the tie-breaker. Defines the order of dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiedAt {
    /// Ms since the epoch.
    pub died: i64,
    /// Its id.
    pub id: i64,
}

/// Finds the newest dead letter that exceeds the limits, counted from the newest one back. It and all older ones are
/// not kept.
#[derive(Clone, Debug)]
pub struct DeadLettersBeyond {
    /// How many letters are kept.
    pub max_letters: u64,
    /// How many payload bytes are kept.
    pub max_bytes: u64,
}

/// Deletes one batch of the dead letters that are not kept, oldest first. Several nodes may do this at the same time.
#[derive(Clone, Debug)]
pub struct ScavengeDeadLetters {
    /// Letters that died longer ago than this are deleted.
    pub older: Duration,
    /// This letter and all older ones are deleted.
    pub beyond: Option<DiedAt>,
    /// Maximum number of letters deleted. A batch also ends at about 4 MiB.
    pub limit: u32,
}

/// Outcome of [`ScavengeDeadLetters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScavengedDeadLetters {
    /// Letters deleted because of their age.
    pub aged: u64,
    /// Letters deleted because they exceeded the limits.
    pub excess: u64,
    /// Whether there may be more to delete.
    pub more: bool,
    /// How long it took, without waiting for its turn and without the commit.
    pub took: Duration,
}

/// Deletes a dead letter. False: there is no such dead letter.
#[derive(Clone, Debug)]
pub struct DropDeadLetter {
    /// Which one.
    pub id: i64,
}
