//! A connection to PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};

use super::Shared;
use super::connection::{Committed, PgConn};
use super::dialect::Dialect;
use super::query::{Value, sql};
use super::sql::{Known, Rooms, Transaction};
use crate::logging;
use crate::seldom::log_seldom;
use crate::store::statements::{
    Care, Cutter, DbError, DbResult, Fault, Group, Meaning, Verdict, WorkConnection,
};

/// How often to ask for the outcome of a transaction whose COMMIT was not answered.
const ASK_AGAIN: Duration = Duration::from_millis(50);

pub struct PgWorkConnection {
    pub(super) conn: PgConn,
    shared: Arc<Shared>,
    /// When its server was started.
    came_up: String,
    /// The statement that begins its transactions.
    begin: String,
    rooms: Rooms,
}

impl PgWorkConnection {
    pub fn open(shared: &Arc<Shared>) -> Result<PgWorkConnection, String> {
        PgWorkConnection::new(shared, shared.connect()?)
    }

    /// Opens one that can be lent to handlers.
    pub fn open_to_lend(
        shared: &Arc<Shared>,
        opening: &mut dyn FnMut(Cutter),
    ) -> Result<PgWorkConnection, String> {
        PgWorkConnection::new(shared, shared.connect_to_lend(opening)?)
    }

    fn new(shared: &Arc<Shared>, mut conn: PgConn) -> Result<PgWorkConnection, String> {
        Ok(PgWorkConnection {
            came_up: came_up(&mut conn)?,
            begin: shared.needs.begin(shared.pooled, conn.server_version()),
            conn,
            shared: shared.clone(),
            rooms: Rooms::new(shared.limits),
        })
    }

    /// Runs the group up to its commit. Also returns the transaction's id if it has written anything.
    fn run(&mut self, group: &mut dyn Group, care: Care) -> DbResult<(Verdict, Option<i64>)> {
        let dialect = Dialect::new(self.shared.clone(), care);
        let mut known = Known::default();
        let mut transaction =
            Transaction::new(&mut self.conn, &mut self.rooms, &mut known, dialect);
        transaction.lock(group)?;
        let verdict = group.run(&mut transaction)?;
        if verdict != Verdict::Commit {
            return Ok((verdict, None));
        }
        transaction.write_back()?;
        Ok((verdict, transaction.xid()?))
    }

    fn roll_back(&mut self) -> bool {
        self.rooms.rolled_back();
        self.conn.roll_back()
    }

    fn commit(&mut self, xid: Option<i64>) -> Result<Verdict, Fault> {
        let error = match self.conn.commit() {
            Committed::Yes => {
                self.rooms.reserved.committed();
                return Ok(Verdict::Commit);
            }
            Committed::No(error) => {
                self.rooms.rolled_back();
                let meaning = self.conn.meaning_of(&error);
                return Err(Fault::Inside(error, meaning));
            }
            Committed::Unknown(error) => error,
        };
        self.rooms.forget();
        log_seldom!(
            warn,
            "the connection to PostgreSQL was lost during a commit: {error}"
        );
        match xid {
            // It has written nothing.
            None => Err(Fault::Lost(error)),
            Some(xid) => match self.shared.committed(xid, &self.came_up) {
                Some(true) => Ok(Verdict::Commit),
                Some(false) => Err(Fault::Lost(error)),
                None => Err(Fault::Unknown(error)),
            },
        }
    }

    fn did_not_begin(&mut self, error: DbError) -> Fault {
        self.rooms.rolled_back();
        match self.conn.meaning_of(&error) {
            Meaning::Unable => Fault::Begin(error, Meaning::Unable),
            _ => Fault::Lost(error),
        }
    }

    /// Classifies an error before the commit, and rolls back.
    fn fault(&mut self, error: DbError) -> Fault {
        let meaning = self.conn.meaning_of(&error);
        match self.roll_back() && meaning != Meaning::Connection {
            true => Fault::Inside(error, meaning),
            false => Fault::Lost(error),
        }
    }
}

impl WorkConnection for PgWorkConnection {
    fn cutter(&self) -> Option<Cutter> {
        self.conn.cutter()
    }

    fn transaction(&mut self, group: &mut dyn Group, care: Care) -> Result<Verdict, Fault> {
        self.conn.be_patient(self.shared.answer_timeout);
        if let Err(error) = self.conn.begin(&self.begin) {
            return Err(self.did_not_begin(error));
        }
        match self.run(group, care) {
            Ok((Verdict::Commit, xid)) => self.commit(xid),
            Ok((Verdict::RollBack, _)) if !self.roll_back() => Ok(Verdict::Discard),
            Ok((verdict, _)) => Ok(verdict),
            Err(error) if self.conn.has_not_begun() => Err(self.did_not_begin(error)),
            Err(error) => Err(self.fault(error)),
        }
    }

    fn is_broken(&mut self) -> bool {
        self.conn.is_broken()
    }
}

impl Shared {
    /// The outcome of a transaction whose COMMIT was not answered. `None`: it could not be determined in time.
    fn committed(&self, xid: i64, came_up: &str) -> Option<bool> {
        let until = Instant::now() + self.patience;
        loop {
            match self.ask_for(xid, came_up) {
                Ok(Some("committed")) => return Some(true),
                Ok(Some("aborted")) => return Some(false),
                // The server has not yet noticed that the connection is gone.
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => logging::debug!("PostgreSQL cannot be reached yet: {error}"),
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(ASK_AGAIN);
        }
    }

    /// Asks for the status of a transaction. A server that has crashed reuses the ids of transactions of which it had
    /// written nothing to disk, so a committed status counts only if the server has not restarted since.
    fn ask_for(&self, xid: i64, since: &str) -> Result<Option<&'static str>, String> {
        let ask = "SELECT pg_xact_status(?::text::xid8)";
        let xid = xid.to_string();
        let mut conn = self.connect()?;
        let status: Option<String> = sql::<Nullable<Text>>(ask, [Value::Text(&xid)])
            .get_result(&mut conn)
            .map_err(|error: DbError| error.to_string())?;
        Ok(match status.as_deref() {
            Some("committed") => (came_up(&mut conn)? == since).then_some("committed"),
            Some("aborted") => Some("aborted"),
            Some(_) => Some("in progress"),
            None => None,
        })
    }
}

/// When the server last started, including restarts after the crash of one of its processes (which resets its
/// statistics).
fn came_up(conn: &mut PgConn) -> Result<String, String> {
    let ask = "SELECT extract(epoch FROM greatest(pg_postmaster_start_time(), stats_reset))::text \
        FROM pg_stat_bgwriter";
    sql::<Text>(ask, [])
        .get_result(conn)
        .map_err(|error: DbError| error.to_string())
}
