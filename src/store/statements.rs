//! The narrow inner trait: what a database must be able to do. One method per operation.

use std::sync::Arc;

use super::operation::*;
use crate::clock::Clock;

/// What can go wrong inside a database; for all others it becomes a [`StoreError`](super::StoreError).
pub type DbError = diesel::result::Error;

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

/// Where an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// In a group commit, with others.
    Write,
    /// In a transaction of its own.
    Alone,
    /// Changes nothing: beside the writer, if the database can.
    Read,
}

/// Why a transaction did not take place.
#[derive(Debug)]
pub enum Fault {
    /// It could not begin: the database is away or locked.
    Begin(DbError),
    /// Something in it, or its commit, failed; it was rolled back.
    Inside(DbError),
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
    /// The number of sessions of this user.
    User(&'a str),
    /// The order of publications.
    Publications,
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

    /// A connection that reads.
    ///
    /// # Errors
    /// Why it cannot be reached.
    fn reader(&self) -> Result<Box<dyn Line>, String>;

    /// How many threads may write at a time. If several, the last one is for what touches nothing.
    fn writers(&self) -> usize;

    /// How many threads may read beside the writers. 0: reads go through the writers.
    fn readers(&self) -> usize;
}

/// A connection.
pub trait Line {
    /// Runs a group in one transaction, and does with it what the verdict says.
    ///
    /// # Errors
    /// Nothing was changed, unless the fault says otherwise.
    fn transaction(&mut self, group: &mut dyn Group, care: Care) -> Result<Verdict, Fault>;

    /// Whether the connection must not be used any more.
    fn is_broken(&mut self) -> bool;
}

/// The table of all operations: lane, method, operation and outcome. Calls `$callback` with it. [`Unit`] and
/// [`Transact`] are the exceptions, and written out by hand.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            Write register(Register) -> Registered;
            Write deregister(Deregister) -> bool;
            Write close_session(CloseSession) -> Option<ClosedSession>;
            Write close_later(CloseLater) -> Option<ClosesLater>;
            Write close_due(CloseDue) -> ClosedDue;
            Read read_standing(ReadStanding) -> Option<Standing>;
            Read find_home(FindHome) -> SessionHome;
            Read list_sessions(ListSessions) -> Vec<StoredSession>;
            Read count_sessions(CountSessions) -> u64;
            Write liveliness(Liveliness) -> ();
            Write time_out_sessions(TimeOutSessions) -> Vec<ClosedSession>;
            Write scavenge(Scavenge) -> u64;
            Write subscribe(Subscribe) -> Fenced;
            Write unsubscribe(Unsubscribe) -> Fenced;
            Read read_answer(ReadAnswer) -> Option<Option<String>>;
            Write drop_inbox(DropInbox) -> Fenced;
            Read fetch_outbox(FetchOutbox) -> FetchedOutbox;
            Write complete(Complete) -> Fenced;
            Write mark_redelivery(MarkRedelivery) -> MarkedRedelivery;
            Read read_correlation(ReadCorrelation) -> Option<Correlation>;
            Write claim_ended_correlations(ClaimEndedCorrelations) -> Vec<EndedCorrelation>;
            Write claim_forwarded(ClaimForwarded) -> Vec<Forwarded>;
            Write postpone_forwarded(PostponeForwarded) -> bool;
            Write bury_forwarded(BuryForwarded) -> bool;
            Read read_forwarded(ReadForwarded) -> Option<Forwarded>;
            Read list_dead_letters(ListDeadLetters) -> Vec<DeadLetter>;
            Write redrive_dead_letter(RedriveDeadLetter) -> bool;
            Write drop_dead_letter(DropDeadLetter) -> bool;
            Read fetch_publications(FetchPublications) -> Vec<Publication>;
            Read newest_publication(NewestPublication) -> i64;
            Read topic_history(TopicHistory) -> Option<Vec<Publication>>;
            Read topic_since(TopicSince) -> Option<Vec<Publication>>;
            Write renew_lease(RenewLease) -> bool;
            Write leave_node(LeaveNode) -> ();
            Read list_nodes(ListNodes) -> Vec<StoredNode>;
            Read sweep(Sweep) -> Swept;
            Read which_exist(WhichExist) -> Vec<SessionKey>;
        }
    };
}
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(super) use operations;

macro_rules! statements_trait {
    ($($lane:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
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
    ($($lane:ident $method:ident($operation:ty) -> $outcome:ty;)*) => {
        $(
            impl super::Operation for $operation {
                type Outcome = $outcome;
                const LANE: Lane = Lane::$lane;

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
    const LANE: Lane = Lane::Write;

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
    const LANE: Lane = Lane::Alone;

    fn touches(&self, see: &mut dyn FnMut(Touched<'_>)) {
        see(Touched::Session(self.holder.session));
    }

    fn apply(&mut self, statements: &mut dyn Statements) -> DbResult<Transacted> {
        statements.transact(self)
    }

    /// What the handler wrote itself must not outlive a unit that was refused.
    fn verdict(outcome: &Transacted) -> Verdict {
        match outcome {
            Transacted::Unit(UnitOutcome::Committed(_)) => Verdict::Commit,
            Transacted::Unit(_) | Transacted::RolledBack(_) | Transacted::TimedOut => {
                Verdict::RollBack
            }
            Transacted::Panicked(_) => Verdict::Discard,
        }
    }
}
