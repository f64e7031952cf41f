//! The narrow internal interface to a transaction of a database, with one method per operation. What opens databases and
//! transactions is in [`database`](super::database).

use std::sync::Arc;
use std::time::Duration;

pub use super::database::{Care, Cutter, Database, Fault, Group, WorkConnection};
pub use super::meaning::Meaning;
use super::operation::*;
use crate::clock::Clock;

/// An error inside a database; callers of the store see it as a [`StoreError`](super::StoreError).
pub type DbError = diesel::result::Error;

/// An error of our own with this text.
pub fn in_words(why: impl Into<String>) -> DbError {
    DbError::QueryBuilderError(why.into().into())
}

/// Result of a statement.
pub type DbResult<T> = Result<T, DbError>;

/// What to do with the transaction in which an operation ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it.
    Commit,
    /// Undo it; the outcome is reported all the same.
    RollBack,
    /// Undo it and never use this connection again: its state is unknown.
    Discard,
}

/// How an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In a group commit, with others.
    Write,
    /// In a transaction of its own.
    Alone,
    /// In a transaction of its own that runs the application's code and is never retried.
    Handler,
    /// Changes nothing; runs beside the writer if the database allows it.
    Read,
}

/// Priority of an operation. What keeps the node alive must not wait behind messages, however many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// What the node itself needs: its lease, its sweep, its leaving.
    Control,
    /// Sessions being opened, resumed and closed.
    Sessions,
    /// Everything that users and the application cause.
    Messages,
    /// What can wait. Done in parts, each a short transaction of its own.
    Maintenance,
}

/// What an operation touches, known before it runs. Used to lock in one global order and to choose the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched<'a> {
    /// This session.
    Session(SessionKey),
    /// The session with this id.
    Sid(&'a str),
    /// The session with this id, which is being resumed.
    Resumed(&'a str),
    /// The number of sessions of this user.
    User(&'a str),
    /// All sessions of this user, and their number.
    SessionsOf(&'a str),
    /// The forwarded row with this id.
    Forwarded(i64),
    /// The order of publications.
    Publications,
}

/// One kind of operation.
pub trait Operation: Send + 'static {
    /// What the caller receives after the commit.
    type Outcome: Send + 'static;

    /// How it runs.
    #[doc(hidden)]
    const MODE: Mode;

    /// Its priority.
    #[doc(hidden)]
    const RANK: Rank;

    /// How long it may take; only where the application's code runs in it.
    #[doc(hidden)]
    fn limit(&self) -> Option<Duration> {
        None
    }

    /// Calls `see` for everything it touches.
    #[doc(hidden)]
    fn touches(&self, _see: &mut dyn FnMut(Touched<'_>)) {}

    /// Approximate number of bytes that it writes.
    #[doc(hidden)]
    fn bytes(&self) -> usize {
        0
    }

    /// Runs it. It may run again if its transaction was rolled back, unless its mode is `Handler`.
    #[doc(hidden)]
    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Self::Outcome>;

    /// Moves the messages that it stored into the notifications for them. Called after the commit.
    #[doc(hidden)]
    fn give_messages(&mut self, _: &Self::Outcome, _stored: &mut [StoredMessage]) {}

    /// What to do with its transaction; anything but `Commit` only where the mode is `Handler`.
    #[doc(hidden)]
    fn verdict(_: &Self::Outcome) -> Verdict {
        Verdict::Commit
    }
}

/// What an operation touches and how large it is.
pub(super) trait Touches {
    /// Calls `see` for everything it touches.
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>));

    /// Approximate number of bytes that it writes; small values are not counted.
    fn bytes(&self) -> usize {
        0
    }
}

/// The table of all operations: mode, rank, method, operation and outcome. Calls `$callback` with it. [`Unit`] and
/// [`Transact`] differ from the others and are written out by hand.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            Write Sessions register(Register) -> Registered;
            Write Sessions deregister(Deregister) -> bool;
            Write Sessions close_session(CloseSession) -> Option<ClosedSession>;
            Write Sessions close_later(CloseLater) -> Option<ClosesLater>;
            Write Messages close_due(CloseDue) -> ClosedDue;
            Read Sessions read_standing(ReadStanding) -> Option<Standing>;
            Read Messages find_home(FindHome) -> SessionHome;
            Read Messages list_sessions(ListSessions) -> Vec<StoredSession>;
            Read Messages count_sessions(CountSessions) -> u64;
            Read Messages list_users(ListUsers) -> Vec<StoredUser>;
            Read Messages find_connected(FindConnected) -> Option<ConnectedUser>;
            Read Messages list_connected(ListConnected) -> Vec<ConnectedUser>;
            Read Messages read_presence(ReadPresence) -> Option<PresencePage>;
            Alone Maintenance settle_presence(SettlePresence) -> SettledPresence;
            Read Maintenance look_at_presence(LookAtPresence) -> PresenceDue;
            Alone Maintenance claim_presence_review(ClaimPresenceReview) -> bool;
            Read Maintenance review_presence(ReviewPresence) -> PresenceReviewed;
            Write Messages liveliness(Liveliness) -> ();
            Write Sessions note_positions(NotePositions) -> ();
            Alone Maintenance time_out_sessions(TimeOutSessions) -> Vec<ClosedSession>;
            Alone Maintenance mend_times(MendTimes) -> u64;
            Alone Maintenance scavenge(Scavenge) -> Scavenged;
            Alone Maintenance rotate(Rotate) -> Rotated;
            Alone Maintenance expire_messages(ExpireMessages) -> ExpiredMessages;
            Alone Maintenance expire_kept(ExpireKept) -> ExpiredKept;
            Write Messages drop_kept(DropKept) -> u64;
            Write Messages subscribe(Subscribe) -> Fenced;
            Write Messages unsubscribe(Unsubscribe) -> Fenced;
            Read Messages read_answer(ReadAnswer) -> Option<Option<String>>;
            Write Messages drop_inbox(DropInbox) -> Fenced;
            Read Messages fetch_outbox(FetchOutbox) -> FetchedOutbox;
            Write Messages complete(Complete) -> Fenced;
            Write Messages mark_redelivery(MarkRedelivery) -> MarkedRedelivery;
            Read Messages read_correlation(ReadCorrelation) -> Option<Correlation>;
            Write Messages claim_ended_correlations(ClaimEndedCorrelations) -> ClaimedCorrelations;
            Write Messages claim_forwarded(ClaimForwarded) -> ClaimedForwarded;
            Write Messages give_back_forwarded(GiveBackForwarded) -> ();
            Write Messages postpone_forwarded(PostponeForwarded) -> bool;
            Write Messages bury_forwarded(BuryForwarded) -> bool;
            Read Control find_unserved(FindUnserved) -> Vec<UnservedWork>;
            Read Messages read_forwarded(ReadForwarded) -> Option<Forwarded>;
            Read Messages list_dead_letters(ListDeadLetters) -> Vec<DeadLetter>;
            Write Messages redrive_dead_letter(RedriveDeadLetter) -> bool;
            Write Messages drop_dead_letter(DropDeadLetter) -> bool;
            Read Maintenance dead_letters_beyond(DeadLettersBeyond) -> Option<DiedAt>;
            Alone Maintenance scavenge_dead_letters(ScavengeDeadLetters) -> ScavengedDeadLetters;
            Read Messages fetch_publications(FetchPublications) -> PublicationPage;
            Read Control newest_publication(NewestPublication) -> i64;
            Read Messages find_missed(FindMissed) -> Vec<Option<Missed>>;
            Read Messages read_topic(ReadTopic) -> Option<PublicationPage>;
            Read Messages find_values(FindValues) -> Vec<Option<Values>>;
            Read Messages read_values(ReadValues) -> PublicationPage;
            Write Messages drop_value(DropValue) -> bool;
            Alone Control renew_lease(RenewLease) -> bool;
            Alone Control note_services(NoteServices) -> ();
            Read Control all_have_said(AllHaveSaid) -> bool;
            Alone Control claim_application(ClaimApplication) -> String;
            Alone Control rename_application(RenameApplication) -> Option<String>;
            Alone Control leave_node(LeaveNode) -> ();
            Read Control list_nodes(ListNodes) -> Vec<StoredNode>;
            Read Control sweep(Sweep) -> Swept;
            Read Control which_exist(WhichExist) -> Vec<SessionKey>;
        }
    };
}
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) use operations;

macro_rules! statements_trait {
    ($($mode:ident $rank:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
        /// A transaction in progress. A method that returns `Err` leaves it to be rolled back. A refusal is an outcome
        /// and has written nothing.
        pub trait Statements {
            /// Whatever follows is on behalf of this node, at the time of its clock.
            fn on_behalf_of(&mut self, node: &Arc<str>, clock: &Clock);

            /// Takes the news for subscribers, gathered since the last call, to be sent after the commit.
            fn take_news(&mut self) -> News;

            /// See the operation.
            fn unit(&mut self, operation: &Unit) -> DbResult<UnitOutcome>;

            /// Runs a handler with the connection. The caller must obey
            /// [`Operation::verdict`](super::Operation::verdict).
            fn transact(&mut self, operation: &mut Transact) -> DbResult<Transacted>;

            $(
                #[allow(missing_docs)] // see the operation
                fn $method(&mut self, operation: &$operation) -> DbResult<$outcome>;
            )*
        }
    };
}
operations!(statements_trait);

macro_rules! implement_operation {
    ($($mode:ident $rank:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
        $(
            impl super::Operation for $operation {
                type Outcome = $outcome;
                const MODE: Mode = Mode::$mode;
                const RANK: Rank = Rank::$rank;

                fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
                    Touches::touches(self, see)
                }

                fn bytes(&self) -> usize {
                    Touches::bytes(self)
                }

                fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<$outcome> {
                    statements.$method(self)
                }
            }
        )*
    };
}
operations!(implement_operation);

impl super::Operation for Unit {
    type Outcome = UnitOutcome;
    const MODE: Mode = Mode::Write;
    const RANK: Rank = Rank::Messages;

    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        Touches::touches(self, see)
    }

    fn bytes(&self) -> usize {
        Touches::bytes(self)
    }

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<UnitOutcome> {
        statements.unit(self)
    }

    fn give_messages(&mut self, outcome: &UnitOutcome, stored: &mut [StoredMessage]) {
        Unit::give_messages(self, outcome, stored)
    }
}

impl super::Operation for Transact {
    type Outcome = Transacted;
    const MODE: Mode = Mode::Handler;
    const RANK: Rank = Rank::Messages;

    fn limit(&self) -> Option<Duration> {
        Some(self.limit)
    }

    /// Nothing until the handler has ended: its session must not stay locked while the application's code runs.
    fn touches(&self, _: &mut dyn FnMut(Touched<'_>)) {}

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Transacted> {
        statements.transact(self)
    }

    /// What the handler wrote itself must not survive if its unit is refused.
    fn verdict(outcome: &Transacted) -> Verdict {
        match outcome {
            Transacted::Unit(UnitOutcome::Committed(_)) => Verdict::Commit,
            Transacted::Unit(_)
            | Transacted::RolledBack(_)
            | Transacted::Spoilt(_)
            | Transacted::TimedOut(_) => Verdict::RollBack,
            Transacted::Panicked(_) => Verdict::Discard,
        }
    }
}
