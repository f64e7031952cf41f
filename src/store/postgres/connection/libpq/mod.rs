//! libpq, with a time limit for every wait. This directory contains all of the unsafe code that talks to
//! PostgreSQL: here the connection, in [`answer`] its answers. [`given`] prepares what is passed to libpq.
//!
//! Once connected, a connection never blocks inside libpq: data is sent and awaited through the socket, for as long as
//! there is progress within the time limit.

#![allow(unsafe_code)] // libpq is a C library

mod answer;
mod given;

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use pq_sys::*;

pub use self::answer::Answer;
use self::given::{BINARY, Given, length, text};

/// A libpq connection.
pub struct Libpq {
    conn: NonNull<PGconn>,
    /// How long to wait for progress.
    patience: Duration,
    is_encrypted: bool,
    /// Set once the connection is abandoned.
    given_up: bool,
}

// SAFETY: any thread may use a connection, one at a time (libpq's documentation, "Behavior in Threaded Programs").
unsafe impl Send for Libpq {}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The server reported an error with this SQLSTATE.
    Server(Box<Refusal>),
    /// The connection is lost or was abandoned.
    Connection(String),
}

/// The server's report of an error.
#[derive(Debug, Default)]
pub struct Refusal {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    pub table: Option<String>,
    pub column: Option<String>,
    pub constraint: Option<String>,
}

/// A value to send to the server in PostgreSQL's binary format; `None` is NULL.
pub type Bound = Option<Vec<u8>>;

/// A statement to run.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    /// Prepared under this name.
    Prepared(&'a str),
    /// Not prepared; the server keeps nothing of it.
    Text { text: &'a str, types: &'a [u32] },
}

/// The state of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none.
    Idle,
    /// In progress.
    Open,
    /// In progress, but it can only be rolled back.
    Failed,
    /// Not known: the connection is lost or busy.
    Unknown,
}

impl Libpq {
    /// Connects. Takes as long as `connect_timeout` in the URL allows for each host.
    pub fn connect(url: &str, patience: Duration) -> Result<Libpq, String> {
        let url = CString::new(url).map_err(|error| error.to_string())?;
        // SAFETY: the string is NUL-terminated.
        let conn = NonNull::new(unsafe { PQconnectdb(url.as_ptr()) }).ok_or("no memory")?;
        let mut libpq = Libpq {
            conn,
            patience,
            is_encrypted: false,
            given_up: false,
        };
        // SAFETY: the connection is valid until it is dropped, here and below.
        unsafe {
            if PQstatus(conn.as_ptr()) != ConnStatusType::CONNECTION_OK {
                return Err(libpq.last_error());
            }
            libpq.is_encrypted =
                PQsslInUse(conn.as_ptr()) != 0 || PQgssEncInUse(conn.as_ptr()) != 0;
            PQsetNoticeProcessor(conn.as_ptr(), Some(ignore), ptr::null_mut());
            if PQsetnonblocking(conn.as_ptr(), 1) != 0 {
                return Err(libpq.last_error());
            }
        }
        Ok(libpq)
    }

    /// Changes how long to wait for progress.
    pub fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Runs statements without values, one after the other, and returns the answer to the last.
    pub fn run_all(&mut self, statements: &str) -> Result<Answer, Failure> {
        let text = text(statements)?;
        // SAFETY: libpq copies the text before it returns; likewise below.
        let sent = unsafe { PQsendQuery(self.conn.as_ptr(), text.as_ptr()) };
        self.answer(sent)
    }

    /// Prepares a statement under a name. A type of 0 is inferred by the server.
    pub fn prepare(&mut self, name: &str, statement: &str, types: &[u32]) -> Result<(), Failure> {
        let (name, statement) = (text(name)?, text(statement)?);
        let count = length(types.len())?;
        let conn = self.conn.as_ptr();
        // SAFETY: `types` has `count` elements.
        let sent = unsafe {
            let (name, statement) = (name.as_ptr(), statement.as_ptr());
            PQsendPrepare(conn, name, statement, count, types.as_ptr())
        };
        self.answer(sent).map(drop)
    }

    /// Runs a statement.
    pub fn run(&mut self, statement: Said<'_>, values: &[Bound]) -> Result<Answer, Failure> {
        let sent = self.send(statement, values)?;
        self.answer(sent)
    }

    /// Runs a statement after another one that begins the transaction. Both are sent together and answered together. If
    /// the first fails, the second does not run.
    pub fn run_after(
        &mut self,
        begin: &str,
        statement: Said<'_>,
        values: &[Bound],
    ) -> Result<Answer, Failure> {
        let conn = self.conn.as_ptr();
        let begin = Said::Text {
            text: begin,
            types: &[],
        };
        // SAFETY: nobody else uses the connection, here and below.
        let sent = unsafe { PQenterPipelineMode(conn) } == 1
            && self.send(begin, &[])? == 1
            && self.send(statement, values)? == 1
            && unsafe { PQpipelineSync(conn) } == 1;
        let answer = self.answers(c_int::from(sent), true);
        if !self.given_up && unsafe { PQexitPipelineMode(conn) } != 1 {
            return Err(self.give_up("an answer was left over"));
        }
        answer
    }

    fn send(&mut self, statement: Said<'_>, values: &[Bound]) -> Result<c_int, Failure> {
        let given = Given::new(values)?;
        let conn = self.conn.as_ptr();
        let (values, lengths) = (given.values.as_ptr(), given.lengths.as_ptr());
        let formats = given.formats.as_ptr();
        match statement {
            Said::Prepared(name) => {
                let name = text(name)?;
                // SAFETY: each array has `count` elements and lives until libpq has copied it.
                Ok(unsafe {
                    let name = name.as_ptr();
                    PQsendQueryPrepared(conn, name, given.count, values, lengths, formats, BINARY)
                })
            }
            Said::Text {
                text: statement,
                types,
            } => {
                debug_assert_eq!(types.len(), usize::try_from(given.count).unwrap_or(0));
                let statement = text(statement)?;
                // SAFETY: as above.
                Ok(unsafe {
                    let (text, types) = (statement.as_ptr(), types.as_ptr());
                    PQsendQueryParams(
                        conn,
                        text,
                        given.count,
                        types,
                        values,
                        lengths,
                        formats,
                        BINARY,
                    )
                })
            }
        }
    }

    /// The server's version: 150004 is 15.4.
    pub fn server_version(&self) -> i32 {
        // SAFETY: reads the connection's memory.
        unsafe { PQserverVersion(self.conn.as_ptr()) }
    }

    /// The state of the transaction, determined without asking the server.
    pub fn standing(&self) -> Standing {
        if self.given_up {
            return Standing::Unknown;
        }
        // SAFETY: reads the connection's memory.
        match unsafe { PQtransactionStatus(self.conn.as_ptr()) } {
            PGTransactionStatusType::PQTRANS_IDLE => Standing::Idle,
            PGTransactionStatusType::PQTRANS_INTRANS => Standing::Open,
            PGTransactionStatusType::PQTRANS_INERROR => Standing::Failed,
            PGTransactionStatusType::PQTRANS_ACTIVE | PGTransactionStatusType::PQTRANS_UNKNOWN => {
                Standing::Unknown
            }
        }
    }

    /// Whether the connection is not known to be lost.
    fn is_up(&self) -> bool {
        // SAFETY: reads the connection's memory.
        unsafe { PQstatus(self.conn.as_ptr()) == ConnStatusType::CONNECTION_OK }
    }

    /// Waits for the answer to what was sent.
    fn answer(&mut self, sent: c_int) -> Result<Answer, Failure> {
        self.answers(sent, false)
    }

    /// Waits for the answers to what was sent, and returns the last of them or the first failure. In a pipeline there
    /// are several answers, each followed by an end marker, and finally the answer to the synchronisation.
    fn answers(&mut self, sent: c_int, in_pipeline: bool) -> Result<Answer, Failure> {
        if self.given_up || sent != 1 {
            return Err(self.give_up("no data can be sent"));
        }
        self.send_all()?;
        let mut last = None;
        let mut failure = None;
        loop {
            self.wait_until_there()?;
            // SAFETY: nobody else uses the connection; the returned result is ours to clear.
            let Some(result) = NonNull::new(unsafe { PQgetResult(self.conn.as_ptr()) }) else {
                match in_pipeline && self.is_up() {
                    true => continue,
                    false => break,
                }
            };
            let answer = Answer(result);
            match answer.status() {
                ExecStatusType::PGRES_PIPELINE_SYNC => break,
                // A statement skipped because of an earlier failure.
                ExecStatusType::PGRES_PIPELINE_ABORTED => continue,
                _ => {}
            }
            match answer.checked() {
                Ok(answer) => last = Some(answer),
                Err(refused) => {
                    let is_lost = refused.sqlstate.is_empty();
                    failure = failure.or(Some(refused));
                    if is_lost {
                        break;
                    }
                }
            }
            if !self.is_up() {
                break;
            }
        }
        match (failure, last) {
            (Some(refused), _) if refused.sqlstate.is_empty() => {
                Err(self.give_up(&refused.message))
            }
            (Some(refused), _) => Err(Failure::Server(refused)),
            (None, Some(answer)) => Ok(answer),
            (None, None) => Err(self.give_up("no answer was received")),
        }
    }

    /// Sends everything queued. Also reads what arrives meanwhile; otherwise both sides could wait for each other.
    fn send_all(&mut self) -> Result<(), Failure> {
        loop {
            // SAFETY: nobody else uses the connection, here and below.
            match unsafe { PQflush(self.conn.as_ptr()) } {
                0 => return Ok(()),
                1 => self.wait(true)?,
                _ => return Err(self.give_up("the data could not be sent")),
            }
            self.take_in()?;
        }
    }

    fn wait_until_there(&mut self) -> Result<(), Failure> {
        while unsafe { PQisBusy(self.conn.as_ptr()) } != 0 {
            self.wait(false)?;
            self.take_in()?;
        }
        Ok(())
    }

    fn take_in(&mut self) -> Result<(), Failure> {
        let conn = self.conn.as_ptr();
        // Decrypted data may be left in a buffer of which the socket shows no sign: a record can be twice as large as
        // what libpq reads at a time.
        let times = if self.is_encrypted { 3 } else { 1 };
        for _ in 0..times {
            if unsafe { PQconsumeInput(conn) } != 1 {
                return Err(self.give_up("the connection was lost"));
            }
            if unsafe { PQisBusy(conn) } == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Waits until something can be read, or written.
    fn wait(&mut self, to_write: bool) -> Result<(), Failure> {
        // SAFETY: reads the connection's memory.
        let socket = unsafe { PQsocket(self.conn.as_ptr()) };
        if socket < 0 {
            return Err(self.give_up("the connection was lost"));
        }
        match moves(socket, to_write, self.patience) {
            true => Ok(()),
            false => {
                let why = format!("the database has not answered for {:?}", self.patience);
                self.given_up = true;
                Err(Failure::Connection(why))
            }
        }
    }

    /// Abandons the connection; it is never used again.
    fn give_up(&mut self, why: &str) -> Failure {
        self.given_up = true;
        let said = self.last_error();
        Failure::Connection(match said.is_empty() {
            true => why.to_owned(),
            false => said,
        })
    }

    fn last_error(&self) -> String {
        // SAFETY: a NUL-terminated string, copied before anything else happens to the connection.
        let said = unsafe { CStr::from_ptr(PQerrorMessage(self.conn.as_ptr())) };
        said.to_string_lossy().trim().to_owned()
    }
}

impl Drop for Libpq {
    /// Sends a termination message, if that is possible without waiting.
    fn drop(&mut self) {
        // SAFETY: it is not used after this.
        unsafe { PQfinish(self.conn.as_ptr()) }
    }
}

unsafe extern "C" fn ignore(_: *mut c_void, _: *const c_char) {}

/// Whether a socket becomes readable (or writable, if `to_write`) within this time.
#[cfg(unix)]
fn moves(socket: c_int, to_write: bool, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    let mut poll = libc::pollfd {
        fd: socket,
        events: libc::POLLIN | if to_write { libc::POLLOUT } else { 0 },
        revents: 0,
    };
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let ms = c_int::try_from(left.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the array has one element.
        match unsafe { libc::poll(&mut poll, 1, ms) } {
            0 => return false,
            // Interrupted by a signal.
            -1 if !left.is_zero() => {}
            -1 => return false,
            _ => return true,
        }
    }
}

/// Without poll, this only waits briefly; libpq then tells whether data has arrived.
#[cfg(not(unix))]
fn moves(_: c_int, _: bool, _: Duration) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    true
}
