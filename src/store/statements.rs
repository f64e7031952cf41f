//! The narrow inner trait: what a database must be able to do. One method per operation.

use std::sync::Arc;
use std::time::Duration;

pub use super::meaning::Meaning;
use super::operation::*;
use crate::clock::Clock;

/// What can go wrong inside a database; for all others it becomes a [`StoreError`](super::StoreError).
pub type DbError = diesel::result::Error;

/// An error of our own, in these words.
pub fn in_words(why: impl Into<String>) -> DbError {
    DbError::QueryBuilderError(why.into().into())
}

/// Result of a statement.
pub type DbResult<T> = Result<T, DbError>;

/// What shall become of the transaction in which an operation ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it.
    Commit,
    /// Undo it; the outcome is told all the same.
    RollBack,
    /// Undo it, and never use this connection again: its state is not known.
    Discard,
}

/// How an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In a group commit, with others.
    Write,
    /// In a transaction of its own.
    Alone,
    /// The application's own code runs in it, in a transaction of its own that is never begun again.
    Handler,
    /// Changes nothing: beside the writer, if the database can.
    Read,
}

/// What comes before what. What keeps the node alive must not wait behind messages, however many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The node's own: its lease, its sweep, its leaving.
    Control,
    /// Sessions that come and go.
    Sessions,
    /// All that users and the application cause.
    Messages,
    /// What can wait: in parts, each a short transaction of its own.
    Maintenance,
}

/// Why a transaction did not take place.
#[derive(Debug)]
pub enum Fault {
    /// It could not begin: the database is away or locked.
    Begin(DbError, Meaning),
    /// Something in it, or its commit, failed; it was rolled back.
    Inside(DbError, Meaning),
    /// The connection was lost, and the transaction with it; another one may do better.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Lost(DbError),
    /// The connection was lost during the commit, and what became of it could not be learnt.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    Unknown(DbError),
}

/// How a group is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// What is unlikely may be found out late, which fails the group.
    Quick,
    /// Everything is looked up before: only what cannot be done fails.
    Careful,
}

/// What an operation touches, known before it runs: locked in one order, and sent to one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touched<'a> {
    /// This session.
    Session(SessionKey),
    /// The session with this id.
    Sid(&'a str),
    /// The session with this id, which is resumed.
    Resumed(&'a str),
    /// The number of sessions of this user.
    User(&'a str),
    /// The forwarded row with this id.
    Forwarded(i64),
    /// The order of publications.
    Publications,
}

/// One kind of operation.
pub trait Operation: Send + 'static {
    /// What the caller is told after the commit.
    type Outcome: Send + 'static;

    /// How it runs.
    #[doc(hidden)]
    const MODE: Mode;

    /// What it comes before.
    #[doc(hidden)]
    const RANK: Rank;

    /// How long it may take, where the application's code runs in it.
    #[doc(hidden)]
    fn limit(&self) -> Option<Duration> {
        None
    }

    /// Shows what it touches.
    #[doc(hidden)]
    fn touches(&self, _see: &mut dyn FnMut(Touched<'_>)) {}

    /// Bytes that it writes, about.
    #[doc(hidden)]
    fn bytes(&self) -> usize {
        0
    }

    /// Runs it. May run again if its transaction was rolled back, unless its mode is `Handler`.
    #[doc(hidden)]
    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Self::Outcome>;

    /// Gives up the messages that it has stored, to those who are told of them. Comes after the commit.
    #[doc(hidden)]
    fn give_messages(&mut self, _: &Self::Outcome, _told: &mut [StoredMessage]) {}

    /// What becomes of its transaction; other than `Commit` only where the mode is `Handler`.
    #[doc(hidden)]
    fn verdict(_: &Self::Outcome) -> Verdict {
        Verdict::Commit
    }
}

/// Operations that share a transaction.
pub trait Group {
    /// Shows what they touch.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))] // SQLite locks nothing
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>));

    /// Runs them. An error leaves the transaction to be rolled back.
    ///
    /// # Errors
    /// The database's.
    fn run(&mut self, statements: &mut dyn Statements) -> DbResult<Verdict>;
}

/// Shows what an operation touches, and how large it is.
pub(super) trait Touches {
    /// Shows it.
    fn touches(&self, see: &mut dyn FnMut(Touched<'_>));

    /// Bytes that it writes, about; what is small does not count.
    fn bytes(&self) -> usize {
        0
    }
}

/// An opened database.
pub trait Database: Send + Sync + 'static {
    /// A new connection that writes. At most [`writers`](Self::writers) are used at a time.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn writer(&self) -> Result<Box<dyn Line>, String>;

    /// A connection that writes, and that can be lent to a transactional handler. While it is being opened, another thread
    /// can end it by what `opening` is given.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn handler(&self, _opening: &mut dyn FnMut(Cutter)) -> Result<Box<dyn Line>, String> {
        self.writer()
    }

    /// A connection that reads.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn reader(&self) -> Result<Box<dyn Line>, String>;

    /// How many threads may write messages at a time.
    fn writers(&self) -> usize;

    /// How many transactional handlers may run at a time beside those that write. 0: there is one that writes, and it
    /// does everything, the node's own work and maintenance included; else those have threads of their own, too.
    fn handlers(&self) -> usize;

    /// For how long, up to now, a handler has had the only connection that writes, in all. Meanwhile nobody else could
    /// write, and so nobody's lease needed to be renewed. Zero where several write at a time.
    fn held(&self) -> Duration {
        Duration::ZERO
    }

    /// How many threads may read beside the writers. 0: reads go through the writers.
    fn readers(&self) -> usize;

    /// Whether a connection that writes also reads, and the other way round, so that threads can take turns with those
    /// that there are.
    fn lines_are_alike(&self) -> bool {
        false
    }

    /// Whether it is still there after its last connection was closed.
    fn outlives_closing(&self) -> bool {
        true
    }

    /// Whether there is something for [`Rotate`] to look at since this was asked last.
    fn wants_rotation(&self) -> bool {
        false
    }

    /// Bytes of the write-ahead log beside the database's file. Zero where there is none.
    fn log_bytes(&self) -> u64 {
        0
    }
}

/// Ends a connection from another thread.
pub type Cutter = Box<dyn FnOnce() + Send>;

/// A connection.
pub trait Line: Send {
    /// By this, another thread can end it while something waits on it; `None`: nobody can.
    fn cutter(&self) -> Option<Cutter> {
        None
    }

    /// Runs a group in one transaction, and does with it what the verdict says.
    ///
    /// # Errors
    /// Nothing was changed, unless the fault says otherwise.
    fn transaction(&mut self, group: &mut dyn Group, care: Care) -> Result<Verdict, Fault>;

    /// Whether the connection must not be used any more.
    fn is_broken(&mut self) -> bool;
}

/// The table of all operations: mode, rank, method, operation and outcome. Calls `$callback` with it. [`Unit`] and
/// [`Transact`] are the exceptions, and written out by hand.
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
            Write Messages liveliness(Liveliness) -> ();
            Write Sessions note_positions(NotePositions) -> ();
            Alone Maintenance time_out_sessions(TimeOutSessions) -> Vec<ClosedSession>;
            Alone Maintenance mend_times(MendTimes) -> u64;
            Alone Maintenance scavenge(Scavenge) -> Scavenged;
            Alone Maintenance rotate(Rotate) -> Rotated;
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
        /// A transaction under way. A method that returns `Err` leaves it to be rolled back; a refusal is an outcome
        /// and has written nothing.
        pub trait Statements {
            /// What comes next is on behalf of this node, at the time of its clock.
            fn on_behalf_of(&mut self, node: &Arc<str>, clock: &Clock);

            /// What somebody should be told after the commit, gathered since the last call.
            fn take_news(&mut self) -> News;

            /// See the operation.
            fn unit(&mut self, operation: &Unit) -> DbResult<UnitOutcome>;

            /// Runs a handler with the connection. The caller obeys [`Operation::verdict`](super::Operation::verdict).
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

    fn give_messages(&mut self, outcome: &UnitOutcome, told: &mut [StoredMessage]) {
        Unit::give_messages(self, outcome, told)
    }
}

impl super::Operation for Transact {
    type Outcome = Transacted;
    const MODE: Mode = Mode::Handler;
    const RANK: Rank = Rank::Messages;

    fn limit(&self) -> Option<Duration> {
        Some(self.limit)
    }

    /// Nothing before it has ended: its session must not be locked for as long as the application's code runs.
    fn touches(&self, _: &mut dyn FnMut(Touched<'_>)) {}

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Transacted> {
        statements.transact(self)
    }

    /// What the handler wrote itself must not outlive a unit that was refused.
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
