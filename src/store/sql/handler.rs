//! Runs one of the application's transactional handlers inside the transaction of what it handles.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use diesel::prelude::*;
use diesel::result::DatabaseErrorKind;

use super::Transaction;
use super::schema::{correlation, forwarded, session};
use crate::clock::ms;
use crate::store::operation::*;
use crate::store::statements::{DbError, DbResult};

impl Transaction<'_> {
    /// Runs a handler. On PostgreSQL, its session is not locked while the handler runs, which may take long; what was
    /// checked before is checked again afterwards, when the lock is taken.
    pub(super) fn run_handler(&mut self, operation: &mut Transact) -> DbResult<Transacted> {
        self.with_dialect(|dialect, conn| dialect.look_before_handler(conn))?;
        if let Some(refusal) = self.look_at(&operation.handles)? {
            return Ok(Transacted::Unit(refusal));
        }
        // In mode `Handler`, the operation is never run again.
        let run = std::mem::replace(
            &mut operation.run,
            Box::new(|_| Err(Box::new("already run"))),
        );
        self.reset_conn()?;
        self.with_dialect(|dialect, conn| dialect.lend(conn, operation.limit))?;
        let started = Instant::now();
        let conn: &mut dyn Any = super::lendable(self.raw_conn());
        // The connection of a panicked handler is discarded, so its state does not matter.
        let result = catch_unwind(AssertUnwindSafe(|| run(conn)));
        let took = started.elapsed();
        self.dialect.returned();
        match result {
            Err(panic) => Ok(Transacted::Panicked(text_of(&*panic))),
            // Whatever the handler returned: the database may have cut it off, which looks like a failure of its own.
            Ok(_) if took > operation.limit => Ok(Transacted::TimedOut(took)),
            // The database failed, whatever the handler made of that.
            Ok(_) if super::is_lost(self.raw_conn()) => Err(DbError::BrokenTransactionManager),
            Ok(Err(failure)) => Ok(Transacted::RolledBack(failure)),
            Ok(Ok(unit)) => match self.with_dialect(|dialect, conn| dialect.take_back(conn)) {
                Ok(()) => {
                    // What it stores is dated by its end: looks pass over what is dated long before it is committed.
                    self.now = self.now.saturating_add(ms(took));
                    self.keep(operation, unit)
                }
                Err(error) if may_go_well_again(&error) => Err(error),
                Err(error) => Ok(Transacted::Spoilt(error.to_string())),
            },
        }
    }

    /// Commits what a handler did, provided that it was still to be handled by it.
    fn keep(&mut self, operation: &Transact, mut unit: Unit) -> DbResult<Transacted> {
        self.lock_unit(&unit)?;
        if let Some(refusal) = self.check(&operation.handles)? {
            return Ok(Transacted::Unit(refusal));
        }
        let outcome = self.unit(&unit)?;
        unit.give_messages(&outcome, &mut self.news.stored);
        Ok(Transacted::Unit(outcome))
    }

    /// Why there is nothing to handle, as it was a moment ago; nothing is locked. (This transaction has no pending writes
    /// yet.)
    fn look_at(&mut self, handles: &Handles) -> DbResult<Option<UnitOutcome>> {
        match handles {
            Handles::Message { holder, .. } if !self.seems_to_hold(*holder)? => {
                Ok(Some(UnitOutcome::FencedOff))
            }
            Handles::Message { holder, cmid } => self.handled(*holder, cmid),
            Handles::Work { id, epoch } => {
                let by = self.by.clone();
                let claimed: Option<i64> = forwarded::table
                    .find(id)
                    .filter(forwarded::node.eq(&*by))
                    .select(forwarded::epoch)
                    .get_result(self.raw_conn())
                    .optional()?;
                Ok((claimed != Some(*epoch)).then_some(UnitOutcome::AlreadySettled))
            }
            Handles::Ended { session, seq } => {
                let open = correlation::table
                    .find((session.0, seq))
                    .select(correlation::seq);
                let open: Option<i64> = open.get_result(self.raw_conn()).optional()?;
                Ok(open.is_none().then_some(UnitOutcome::AlreadySettled))
            }
        }
    }

    /// Why there is nothing to handle, with everything locked. The rest is checked with the unit.
    fn check(&mut self, handles: &Handles) -> DbResult<Option<UnitOutcome>> {
        match handles {
            Handles::Message { holder, .. } if !self.holds(*holder)? => {
                Ok(Some(UnitOutcome::FencedOff))
            }
            Handles::Message { holder, cmid } => self.handled(*holder, cmid),
            Handles::Work { .. } | Handles::Ended { .. } => Ok(None),
        }
    }

    /// Whether a message has its answer already.
    fn handled(&mut self, holder: Holder, cmid: &str) -> DbResult<Option<UnitOutcome>> {
        let answer = self.answer(holder.session, cmid)?;
        Ok(answer.map(UnitOutcome::Duplicate))
    }

    /// Whether this registration held its session a moment ago.
    fn seems_to_hold(&mut self, holder: Holder) -> DbResult<bool> {
        let connection: Option<i64> = session::table
            .find(holder.session.0)
            .select(session::connection)
            .get_result(self.raw_conn())
            .optional()?;
        Ok(connection == Some(holder.connection.0))
    }
}

/// Whether another attempt may succeed: the connection is lost, and with it the transaction, or another transaction was
/// faster.
fn may_go_well_again(error: &DbError) -> bool {
    use DatabaseErrorKind::{ClosedConnection, SerializationFailure, UnableToSendCommand};
    match error {
        DbError::BrokenTransactionManager => true,
        DbError::DatabaseError(kind, _) => matches!(
            kind,
            ClosedConnection | SerializationFailure | UnableToSendCommand
        ),
        _ => false,
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked".into())
}
