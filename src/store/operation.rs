//! What can be asked of the store: every operation, and its outcome.
//!
//! An operation is one atomic step. Several of them share a transaction in a group commit, but each is applied
//! whole or not at all, and its caller hears of it only after the commit. A refusal (no such session, fenced off,
//! duplicate …) is an outcome; only what should not happen (database away, broken) is a [`StoreError`](super::StoreError).
//!
//! Times are milliseconds since the epoch on the store's clock.

use std::any::Any;
use std::time::Duration;

use crate::wire::{Debug, MessageType, Payload};

/// The store's own key of a session; never used again after the session is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub i64);

/// Counts the registrations of one session: the higher one is the holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub i64);

/// A session as held by one registration: the fencing token of every write on behalf of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Which session.
    pub session: SessionKey,
    /// Which registration of it.
    pub connection: ConnectionId,
}

// ---- sessions ----

/// Opens a session, or resumes one.
#[derive(Clone, Debug)]
pub struct Register {
    /// What to open or resume.
    pub session: NewOrResumed,
    /// The authenticated user.
    pub user_id: String,
    /// Client library and versions.
    pub client: String,
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
    /// Most sessions that one user may have; a resumed session is not counted twice.
    pub max_sessions_per_user: u32,
}

/// Whether [`Register`] opens or resumes.
#[derive(Clone, Debug)]
pub enum NewOrResumed {
    /// Open a session with this id; its messages get ids starting with `smid_prefix`.
    New {
        /// Session id.
        sid: String,
        /// What the ids of its messages start with.
        smid_prefix: String,
    },
    /// Resume the session with this id.
    Resumed {
        /// Session id.
        sid: String,
    },
}

/// Outcome of [`Register`].
#[derive(Clone, Debug)]
pub enum Registered {
    /// The caller now holds the session.
    Held(Box<HeldSession>),
    /// No session with that id.
    NoSuchSession,
    /// The session belongs to somebody else; nothing was touched.
    WrongUser,
    /// The user has as many sessions as allowed.
    TooManySessions,
}

/// A session just registered.
#[derive(Clone, Debug)]
pub struct HeldSession {
    /// The fencing token.
    pub holder: Holder,
    /// Opened now, not resumed.
    pub new: bool,
    /// Session id.
    pub sid: String,
    /// What its server message ids start with.
    pub smid_prefix: String,
    /// The registration that held it until now, and its node, if it was connected.
    pub replaced: Option<(String, ConnectionId)>,
    /// Newest sequence number stored for it, 0 for none yet.
    pub last_seq: i64,
    /// Client message ids in its inbox.
    pub inbox: Vec<String>,
    /// Topics subscribed.
    pub topics: Vec<String>,
    /// Whether anything is in the outbox.
    pub has_outbox: bool,
}

/// The connection is gone; the session stays. True if this registration still held it.
#[derive(Clone, Debug)]
pub struct Deregister {
    /// Who lets go.
    pub holder: Holder,
}

/// Deletes a session with its inbox, outbox and subscriptions. Its request correlations end: they are due at once
/// with the reason given (see [`ClaimEndedCorrelations`]). Forwarded rows and dead letters stay.
#[derive(Clone, Debug)]
pub struct CloseSession {
    /// Which one.
    pub target: CloseTarget,
    /// Why, for the reply terminators of its open requests.
    pub reason: String,
}

/// Which session [`CloseSession`] closes.
#[derive(Clone, Debug)]
pub enum CloseTarget {
    /// By id, whoever holds it.
    Sid(String),
    /// By its holder; refused if fenced off.
    Holder(Holder),
}

/// A session that was closed, and where it was connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSession {
    /// Its key.
    pub session: SessionKey,
    /// Its id.
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// Node and registration that held it, if it was connected.
    pub home: Option<(String, ConnectionId)>,
}

/// Which sessions to list or count; all conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    /// Only sessions connected to a node.
    pub connected_only: bool,
    /// Only this user's.
    pub user_id: Option<String>,
    /// Only this app's.
    pub app_name: Option<String>,
    /// Only this app version or a higher one (dotted numbers compared as numbers).
    pub app_version_at_or_above: Option<String>,
}

/// Lists stored sessions, oldest first.
#[derive(Clone, Debug)]
pub struct ListSessions {
    /// Which ones.
    pub filter: SessionFilter,
    /// At most so many.
    pub limit: u32,
}

/// A session as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoredSession {
    /// Session id.
    pub session_id: String,
    /// Its user.
    pub user_id: String,
    /// Node that holds it, if it is connected.
    pub node: Option<String>,
    /// Client library and versions.
    pub client: String,
    /// App name.
    pub app_name: String,
    /// App version.
    pub app_version: String,
    /// When it was first registered, ms since the epoch.
    pub created: i64,
    /// When it was last known to be alive, ms since the epoch.
    pub alive: i64,
}

/// Counts stored sessions.
#[derive(Clone, Debug)]
pub struct CountSessions {
    /// Which ones.
    pub filter: SessionFilter,
}

/// Notes that these sessions are alive; those fenced off are passed over.
#[derive(Clone, Debug)]
pub struct Liveliness {
    /// Sessions held by the caller.
    pub holders: Vec<Holder>,
}

/// Closes sessions that are not connected and have not been alive for so long; at most `limit` of them.
#[derive(Clone, Debug)]
pub struct TimeOutSessions {
    /// Longest time without liveliness.
    pub idle: Duration,
    /// At most so many in one go.
    pub limit: u32,
}

/// Deletes what is left of sessions that are gone, old inbox rows, old publications, old idempotency keys, and nodes whose lease ran
/// out long ago. Returns the number of rows deleted.
#[derive(Clone, Debug)]
pub struct Scavenge {
    /// Inbox rows older than this go: their clients had long been answered, but their ACK2 was lost.
    pub inbox_older: Duration,
    /// Publications older than this go.
    pub publications_older: Duration,
    /// Idempotency keys older than this go.
    pub keys_older: Duration,
}

/// Adds a subscription; one that is there already is fine. How many a session may have is the session's to check.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// On whose behalf.
    pub holder: Holder,
    /// Topic.
    pub topic: String,
}

/// Removes a subscription; unknown ones are fine.
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// On whose behalf.
    pub holder: Holder,
    /// Topic.
    pub topic: String,
}

/// Outcome of a write on behalf of a connection that can only be refused by the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Done.
    Done,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
}

// ---- units: what one handler did, as one ----

/// Everything that one handler, service or call did, to be committed as one.
#[derive(Debug)]
pub struct Unit {
    /// What it came from, and what it settles.
    pub cause: Cause,
    /// What it brings about, in order.
    pub effects: Vec<Effect>,
}

/// What a [`Unit`] came from.
#[derive(Clone, Debug)]
pub enum Cause {
    /// A message from a client: its id goes to the inbox, with the answer unless that is a plain ACK.
    Incoming {
        /// On whose behalf.
        holder: Holder,
        /// The client's message id.
        cmid: String,
        /// The answer envelope, as JSON text; `None` is a plain ACK.
        answer: Option<String>,
        /// The message is a reply to our request with this sequence number: its correlation is taken.
        settles: Option<i64>,
    },
    /// A forwarded row is settled: deleted.
    Forwarded {
        /// Which row.
        id: i64,
        /// The right to settle it.
        proof: Proof,
    },
    /// A request's correlation ended without a reply: deleted.
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

/// The right to settle a forwarded row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The claim under which the row was dispatched.
    Epoch(i64),
    /// The secret of its reply token.
    Token(String),
}

/// One thing that a [`Unit`] brings about.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // most are messages
pub enum Effect {
    /// A message for a session.
    Message {
        /// Session id.
        sid: String,
        /// The message.
        message: NewMessage,
    },
    /// A message for every subscriber of a topic.
    Publish {
        /// Topic.
        topic: String,
        /// Trace id.
        tid: String,
        /// Payload.
        msg: Payload,
    },
    /// Work for a service, claimed by the caller's node.
    Forward(Box<NewForward>),
}

/// A message for a client, not yet stored.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// SEND, REQUEST: client terminator or endpoint.
    pub eid: Option<String>,
    /// RESOLVE, REJECT: the client's message id.
    pub cmid: Option<String>,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
    /// REQUEST: what is needed when the reply comes.
    pub correlation: Option<Correlation>,
}

/// What a server REQUEST leaves behind until its reply comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlation {
    /// Reply terminator.
    pub terminator: String,
    /// Correlation string.
    pub string: Option<String>,
    /// Correlation bytes.
    pub bytes: Option<Vec<u8>>,
    /// When the request was made.
    pub requested: i64,
    /// After so many milliseconds the reply terminator is told of a time-out.
    pub timeout_ms: i64,
}

/// A message in an outbox.
#[derive(Clone, Debug)]
pub struct OutboxMessage {
    /// Its sequence number within the session.
    pub seq: i64,
    /// SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// Client terminator or endpoint.
    pub eid: Option<String>,
    /// The client's message id that a reply settles.
    pub cmid: Option<String>,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
}

/// Work for a service.
#[derive(Clone, Debug)]
pub struct NewForward {
    /// The service's name.
    pub service: String,
    /// The endpoint that forwarded, whose reply adapter is used.
    pub endpoint: String,
    /// The session it came from.
    pub sid: String,
    /// Its user.
    pub user_id: String,
    /// The client's message id if it waits for a reply (a REQUEST).
    pub cmid: Option<String>,
    /// What came from the client: SEND, REQUEST, RESOLVE or REJECT.
    pub kind: MessageType,
    /// Trace id.
    pub tid: String,
    /// What the service gets.
    pub msg: Payload,
    /// Travels beside the payload, to the service and to the reply adapter.
    pub correlation: Option<Payload>,
    /// Debug object so far.
    pub debug: Option<Debug>,
}

/// A forwarded row, claimed.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// Its id.
    pub id: i64,
    /// Counts its claims: only the newest may settle.
    pub epoch: i64,
    /// The secret of its reply token.
    pub secret: String,
    /// Failed attempts so far.
    pub attempts: u32,
    /// The work.
    pub work: Box<NewForward>,
}

/// Outcome of a [`Unit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitOutcome {
    /// Everything is stored; what became of each effect, in order.
    Committed(Vec<EffectOutcome>),
    /// The client's message id is in the inbox already; nothing was changed. The answer given then.
    Duplicate(Option<String>),
    /// Nothing left to settle (correlation taken, row settled or claimed anew); nothing was changed.
    AlreadySettled,
    /// Another registration holds the session, or it is gone; nothing was changed.
    FencedOff,
    /// This session's outbox is full; nothing was changed.
    OutboxFull(String),
    /// A call with this idempotency key has been committed before; nothing was changed.
    Repeated,
}

/// What became of one [`Effect`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectOutcome {
    /// Stored in the outbox under this sequence number.
    Stored(i64),
    /// No such session: dropped.
    NoSession,
    /// Published under this number.
    Published(i64),
    /// Stored as a forwarded row with this id.
    Forwarded(i64),
}

/// A handler that runs inside the transaction, with the Diesel connection. Never batched, never run twice.
pub struct Transact {
    /// On whose behalf.
    pub holder: Holder,
    /// The client's message id.
    pub cmid: String,
    /// When the handler took longer than this, nothing is kept.
    pub limit: Duration,
    /// Gets the connection (`&mut SqliteConnection` as `Any`), returns what to commit.
    pub run: TransactBody,
}

/// The body of a [`Transact`]: `Err` carries the handler's failure and rolls back.
pub type TransactBody = Box<dyn FnOnce(&mut dyn Any) -> Result<Unit, Box<dyn Any + Send>> + Send>;

/// Outcome of [`Transact`].
pub enum Transacted {
    /// The handler ended well; what became of its unit.
    Unit(UnitOutcome),
    /// The handler failed; rolled back. What it said.
    RolledBack(Box<dyn Any + Send>),
    /// The handler panicked; rolled back.
    Panicked(String),
    /// The handler took longer than its limit; rolled back.
    TimedOut,
}

// ---- inbox, outbox ----

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
    /// Stop when the payloads reach so many bytes; at least one message is always given.
    pub max_bytes: u64,
}

/// Outcome of [`FetchOutbox`].
#[derive(Clone, Debug)]
pub struct FetchedOutbox {
    /// In order.
    pub messages: Vec<OutboxMessage>,
    /// Whether there are more behind them.
    pub more: bool,
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
    /// At most so many.
    pub limit: u32,
    /// How long nobody else gets them.
    pub again: Duration,
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

// ---- forwarded rows ----

/// Claims forwarded rows that are due and free, or whose claiming node's lease has run out.
#[derive(Clone, Debug)]
pub struct ClaimForwarded {
    /// At most so many.
    pub limit: u32,
}

/// Puts a claimed row back, to be claimed again by anyone when it is due. False: claimed anew or settled meanwhile.
#[derive(Clone, Debug)]
pub struct PostponeForwarded {
    /// Which row.
    pub id: i64,
    /// The claim.
    pub epoch: i64,
    /// Failed attempts now.
    pub attempts: u32,
    /// Due again after this.
    pub delay: Duration,
}

/// Makes a claimed row a dead letter. False: claimed anew or settled meanwhile.
#[derive(Clone, Debug)]
pub struct BuryForwarded {
    /// Which row.
    pub id: i64,
    /// The claim.
    pub epoch: i64,
    /// Why.
    pub reason: String,
}

/// Reads a forwarded row by its reply token, without claiming it. `None`: settled, or wrong secret.
#[derive(Clone, Debug)]
pub struct ReadForwarded {
    /// Which row.
    pub id: i64,
    /// The token's secret.
    pub secret: String,
}

// ---- dead letters ----

/// Lists dead letters, oldest first.
#[derive(Clone, Debug)]
pub struct ListDeadLetters {
    /// Only ids greater than this.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// A message that was given up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
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
    /// When it was given up, ms since the epoch.
    pub died: i64,
}

/// Puts a dead letter back: at the end of its session's outbox (not if the session is gone), or as a free forwarded
/// row. False: no such dead letter, or its session is gone.
#[derive(Clone, Debug)]
pub struct RedriveDeadLetter {
    /// Which one.
    pub id: i64,
}

/// Deletes a dead letter. False: no such dead letter.
#[derive(Clone, Debug)]
pub struct DropDeadLetter {
    /// Which one.
    pub id: i64,
}

// ---- topics ----

/// A published message.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its number: the order of publications.
    pub id: i64,
    /// When it was published; with the id it makes the message id on the wire.
    pub created: i64,
    /// Topic.
    pub topic: String,
    /// Trace id.
    pub tid: String,
    /// Payload.
    pub msg: Payload,
}

/// Reads publications in order.
#[derive(Clone, Debug)]
pub struct FetchPublications {
    /// Only numbers greater than this.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
}

/// The newest publication's number, 0 for none.
#[derive(Clone, Debug)]
pub struct NewestPublication;

/// What was published on a topic after a publication that a client has seen. `None`: that one is no longer known, or
/// more than `limit` came after it.
#[derive(Clone, Debug)]
pub struct TopicHistory {
    /// Topic.
    pub topic: String,
    /// The publication last seen: number and time.
    pub seen: (i64, i64),
    /// Only up to this number.
    pub up_to: i64,
    /// At most so many.
    pub limit: u32,
}

// ---- nodes ----

/// Makes the caller's node known, or renews its lease. False: the lease had run out (and the node may have been given
/// up by others): it must come back as a new incarnation.
#[derive(Clone, Debug)]
pub struct RenewLease {
    /// True for the first time.
    pub join: bool,
    /// How long the lease holds.
    pub lease: Duration,
}

/// The caller's node stops: its sessions are not connected any more, its claims are free, its row goes.
#[derive(Clone, Debug)]
pub struct LeaveNode;

/// All sessions that the store believes to be on the caller's node.
#[derive(Clone, Debug)]
pub struct Sweep;

/// One session in the outcome of [`Sweep`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweptSession {
    /// Who holds it.
    pub holder: Holder,
    /// Newest sequence number stored for it.
    pub last_seq: i64,
}

/// Outcome of [`Sweep`].
#[derive(Clone, Debug)]
pub struct Swept {
    /// Sessions that the store believes to be on this node.
    pub sessions: Vec<SweptSession>,
    /// Newest publication's number.
    pub newest_publication: i64,
}

/// Which of these sessions exist, by key.
#[derive(Clone, Debug)]
pub struct WhichExist {
    /// Keys.
    pub sessions: Vec<SessionKey>,
}

// ---- after a commit ----

/// What a commit brought about that somebody should be told: sent to the node on whose behalf it was committed.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Messages stored, in commit order.
    pub stored: Vec<StoredMessage>,
    /// Forwarded rows stored and claimed by this node.
    pub forwarded: Vec<Forwarded>,
    /// Whether something was published.
    pub published: bool,
}

/// A message just stored, and where its session is connected.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    /// The session.
    pub session: SessionKey,
    /// Node and registration, if it is connected.
    pub home: Option<(String, ConnectionId)>,
    /// The message.
    pub message: OutboxMessage,
}
