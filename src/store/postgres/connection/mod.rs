//! The connection on which Diesel's statements run.
//!
//! It is not Diesel's own `PgConnection`, for two reasons. `PgConnection` distinguishes only ten of PostgreSQL's
//! SQLSTATEs, so that a value that will never be accepted looks like a database that is briefly unavailable. And it
//! waits inside libpq without a time limit: behind a proxy that swallows all traffic, or a paused pooler, its thread
//! would be lost. [`libpq`] solves both; [`statement`], [`row`] and [`diesel_traits`] adapt it to Diesel. Only transactional handlers are lent
//! a `PgConnection`, because that is what applications know; the statements before and after them run on that same
//! connection.

mod diesel_traits;
mod libpq;
#[cfg(test)]
pub mod plain;
mod row;
mod socket;
mod sqlstate;
mod statement;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use diesel::connection::statement_cache::StatementCache;
use diesel::connection::{
    AnsiTransactionManager, Connection, DynInstrumentation, SimpleConnection, TransactionManager,
    TransactionManagerStatus,
};
use diesel::pg::{Pg, PgConnection, PgMetadataCache};
use diesel::prelude::*;
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{QueryFragment, QueryId};
use diesel::r2d2::R2D2Connection;
use diesel::result::{DatabaseErrorKind, Error};

use self::libpq::{Answer, Failure, Libpq, Standing};
use self::socket::{Mark, Socket};
use self::statement::{Preparing, Statement};
use crate::conninfo;
use crate::store::statements::{Cutter, DbError, Meaning};

/// A connection to PostgreSQL.
pub struct PgConn {
    inner: Inner,
    /// The meaning of the last error.
    meaning: Option<Meaning>,
    // State that Diesel requires of each connection.
    manager: AnsiTransactionManager,
    metadata: PgMetadataCache,
    instrumentation: DynInstrumentation,
}

enum Inner {
    /// Ours.
    Own {
        libpq: Libpq,
        statements: StatementCache<Pg, Statement>,
        /// The statement that begins a transaction, to be sent with the next statement.
        begin: Option<String>,
    },
    /// Diesel's own, to be lent to handlers, with the mark that identifies its socket.
    Lent(PgConnection, Arc<Mark>),
}

/// The outcome of a COMMIT.
pub enum Committed {
    Yes,
    /// It was rolled back, and the connection is usable.
    No(DbError),
    /// The connection was lost.
    Unknown(DbError),
}

impl PgConn {
    /// Opens a connection that waits at most this long for progress.
    pub fn connect(url: &str, patience: Duration) -> Result<PgConn, String> {
        let libpq = Libpq::connect(url, patience).map_err(|error| conninfo::refusal(&error))?;
        let statements = StatementCache::new();
        let mut conn = PgConn::new(Inner::Own {
            libpq,
            statements,
            begin: None,
        });
        conn.set("SET TIME ZONE 'UTC'; SET CLIENT_ENCODING TO 'UTF8'")
            .map_err(|error| conninfo::one_line(&error))?;
        Ok(conn)
    }

    /// Opens a connection that can be lent to a handler. While it is being opened, the cutter passed to `opening` can
    /// end it.
    pub fn connect_to_lend(url: &str, opening: &mut dyn FnMut(Cutter)) -> Result<PgConn, String> {
        let mark = Arc::new(Mark::new());
        let (key, value) = mark.parameter();
        let url = conninfo::with(url, key, &value);
        opening(cutter_of(&mark));
        let conn = PgConnection::establish(&url).map_err(|error| conninfo::refusal(&error))?;
        Ok(PgConn::new(Inner::Lent(conn, mark)))
    }

    /// A way for another thread to end the connection while a handler waits on it.
    pub fn cutter(&self) -> Option<Cutter> {
        match &self.inner {
            Inner::Own { .. } => None,
            Inner::Lent(_, mark) => Some(cutter_of(mark)),
        }
    }

    fn new(inner: Inner) -> PgConn {
        PgConn {
            inner,
            meaning: None,
            manager: AnsiTransactionManager::default(),
            metadata: PgMetadataCache::new(),
            instrumentation: DynInstrumentation::none(),
        }
    }

    /// Removes the statement time limit set by the role or the database.
    pub fn lift_limit(&mut self) -> QueryResult<()> {
        // Sent on its own: the old limit could still apply to whatever follows in the same message.
        self.set("SET statement_timeout TO 0")
    }

    /// Changes settings while that limit applies, however short it is, by retrying.
    fn set(&mut self, statements: &str) -> QueryResult<()> {
        const ATTEMPTS: u32 = 10;
        let mut result = self.batch_execute(statements);
        for _ in 1..ATTEMPTS {
            match &result {
                Err(error) if self.meaning_of(error) == Meaning::Again => {
                    result = self.batch_execute(statements);
                }
                _ => break,
            }
        }
        result
    }

    /// The server's version, if it is known without asking: 150004 is 15.4.
    pub fn server_version(&self) -> Option<i32> {
        match &self.inner {
            Inner::Own { libpq, .. } => Some(libpq.server_version()),
            Inner::Lent(..) => None,
        }
    }

    /// The connection as a handler receives it: Diesel's own.
    pub fn lend(&mut self) -> &mut dyn Any {
        match self.inner {
            Inner::Lent(ref mut conn, _) => conn,
            Inner::Own { .. } => self,
        }
    }

    /// Changes how long to wait for progress. (A lent connection waits as long as its handler does.)
    pub fn be_patient(&mut self, patience: Duration) {
        if let Inner::Own { libpq, .. } = &mut self.inner {
            libpq.be_patient(patience);
        }
    }

    /// Begins a transaction with this statement, which is sent together with the next one to save a round trip.
    pub fn begin(&mut self, statement: &str) -> QueryResult<()> {
        match &mut self.inner {
            // A text with several statements cannot be combined with another one.
            Inner::Own { .. } if statement.contains(';') => self.batch_execute(statement),
            Inner::Own { begin, .. } => {
                *begin = Some(statement.to_owned());
                Ok(())
            }
            Inner::Lent(conn, _) => AnsiTransactionManager::begin_transaction_sql(conn, statement),
        }
    }

    /// Whether a transaction was to begin and did not.
    pub fn has_not_begun(&self) -> bool {
        match &self.inner {
            Inner::Own { libpq, begin, .. } => {
                begin.is_none() && libpq.standing() == Standing::Idle
            }
            Inner::Lent(..) => false,
        }
    }

    /// Cancels a transaction that has not begun yet. False: it has begun.
    fn begins_no_more(&mut self) -> bool {
        match &mut self.inner {
            Inner::Own { begin, .. } => begin.take().is_some(),
            Inner::Lent(..) => false,
        }
    }

    /// Commits the transaction.
    pub fn commit(&mut self) -> Committed {
        if self.begins_no_more() {
            return Committed::Yes;
        }
        let result = match &mut self.inner {
            // COMMIT would roll it back and report success.
            Inner::Own { libpq, .. } if libpq.standing() == Standing::Failed => {
                self.roll_back();
                return Committed::No(Error::RollbackTransaction);
            }
            Inner::Own { .. } => self.batch_execute("COMMIT"),
            Inner::Lent(conn, _) => AnsiTransactionManager::commit_transaction(conn),
        };
        let Err(error) = result else {
            return Committed::Yes;
        };
        let is_alive = match &mut self.inner {
            // A commit that was refused with an answer was rolled back.
            Inner::Own { libpq, .. } => libpq.standing() == Standing::Idle,
            Inner::Lent(conn, _) => conn.ping().is_ok(),
        };
        match is_alive && self.meaning_of(&error) != Meaning::Connection {
            true => Committed::No(error),
            false => Committed::Unknown(error),
        }
    }

    /// Rolls the transaction back. False: the connection is unusable.
    pub fn roll_back(&mut self) -> bool {
        if self.begins_no_more() {
            return true;
        }
        let meant = self.meaning;
        let rolled_back = match &mut self.inner {
            Inner::Own { .. } => self.batch_execute("ROLLBACK"),
            Inner::Lent(conn, _) => AnsiTransactionManager::rollback_transaction(conn),
        };
        // Keep the meaning of the original error, which may be asked for later.
        self.meaning = meant;
        rolled_back.is_ok() && !self.is_broken()
    }

    /// Whether the connection is unusable.
    pub fn is_broken(&mut self) -> bool {
        match &mut self.inner {
            Inner::Own { libpq, .. } => libpq.standing() == Standing::Unknown,
            Inner::Lent(conn, _) => AnsiTransactionManager::is_broken_transaction_manager(conn),
        }
    }

    /// Whether the connection is lost, even in the middle of a transaction.
    pub fn is_lost(&mut self) -> bool {
        match &mut self.inner {
            Inner::Own { libpq, .. } => libpq.standing() == Standing::Unknown,
            Inner::Lent(conn, _) => matches!(
                AnsiTransactionManager::transaction_manager_status_mut(conn),
                TransactionManagerStatus::InError
            ),
        }
    }

    /// The meaning of an error that this connection has just returned.
    pub fn meaning_of(&self, error: &DbError) -> Meaning {
        match error {
            Error::DatabaseError(kind, _) => self
                .meaning
                .unwrap_or_else(|| sqlstate::meaning_of_kind(kind)),
            Error::BrokenTransactionManager => Meaning::Connection,
            Error::RollbackTransaction => Meaning::Again,
            // A value could not be encoded or decoded on our side.
            _ => Meaning::Refused,
        }
    }

    fn noted<T>(&mut self, result: Result<T, Failure>) -> QueryResult<T> {
        result.map_err(|failure| {
            let (meaning, error) = sorted(failure);
            self.meaning = Some(meaning);
            error
        })
    }

    /// Runs a statement on our own kind of connection.
    fn run<T>(&mut self, source: &T) -> QueryResult<Answer>
    where
        T: QueryFragment<Pg> + QueryId,
    {
        self.meaning = None;
        let mut bound = RawBytesBindCollector::<Pg>::new();
        source.collect_binds(&mut bound, self, &Pg)?;
        let Inner::Own {
            libpq,
            statements,
            begin,
        } = &mut self.inner
        else {
            return Err(Error::BrokenTransactionManager);
        };
        let mut preparing = Preparing {
            libpq,
            failed: None,
        };
        let prepared = statements.cached_statement(
            source,
            &Pg,
            &bound.metadata,
            &mut preparing,
            Statement::prepare,
            &mut *self.instrumentation,
        );
        let answer = match prepared {
            Ok(statement) => Ok(statement.run(preparing.libpq, begin.take(), &bound.binds)),
            Err(error) => match preparing.failed.take() {
                Some(failure) => Ok(Err(failure)),
                None => Err(error),
            },
        };
        self.noted(answer?)
    }
}

/// Ends the connection with this mark, if its socket is found.
fn cutter_of(mark: &Arc<Mark>) -> Cutter {
    let mark = mark.clone();
    Box::new(move || {
        if let Some(socket) = Socket::with(&mark) {
            socket.cut();
        }
    })
}

/// The meaning of a failure, and the error in Diesel's terms.
fn sorted(failure: Failure) -> (Meaning, DbError) {
    match failure {
        Failure::Server(refusal) => {
            let kind = sqlstate::kind(&refusal.sqlstate);
            let meaning = sqlstate::meaning(&refusal.sqlstate);
            (meaning, Error::DatabaseError(kind, refusal))
        }
        Failure::Connection(why) => {
            let kind = DatabaseErrorKind::ClosedConnection;
            (
                Meaning::Connection,
                Error::DatabaseError(kind, Box::new(why)),
            )
        }
    }
}
