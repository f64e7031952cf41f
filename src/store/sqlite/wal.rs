//! Keeps the write-ahead log short.
//!
//! SQLite itself copies the log to the database after some thousand pages, and then starts the log over. It cannot do
//! so while somebody reads an older state of the database: the log then grows, and keeps its largest size. So the log
//! is emptied when the writer has been idle for a moment, and whenever the log is large.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::watch::Watch;
use crate::logging;
use crate::seldom::log_seldom;

/// The size that the log may keep, in bytes: what SQLite lets it grow to by itself, and a little more.
pub const KEPT: u64 = 16 << 20;
/// Beyond this size in bytes, the log is emptied even under load.
const LARGE: u64 = 64 << 20;
/// How long the writer must have been idle before the log is emptied.
const QUIET: Duration = Duration::from_secs(1);
/// Minimum time between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an attempt waits for readers; nobody can write meanwhile.
const WAIT: Duration = Duration::from_millis(50);

/// Decides when the log is emptied.
pub struct Upkeep {
    committed: Instant,
    tried: Option<Instant>,
}

impl Upkeep {
    pub fn new(now: Instant) -> Upkeep {
        Upkeep {
            committed: now,
            tried: None,
        }
    }

    /// Called after a commit, with the size of the log in bytes. Whether the log is to be emptied now.
    fn is_due(&mut self, now: Instant, bytes: u64) -> bool {
        let quiet = now.duration_since(self.committed) >= QUIET;
        self.committed = now;
        let rested = |tried| now.duration_since(tried) >= PAUSE;
        let due = bytes > LARGE || (quiet && bytes > KEPT);
        if due && self.tried.is_none_or(rested) {
            self.tried = Some(now);
            return true;
        }
        false
    }
}

/// Empties the log if it is time. Must be called after a commit, outside any transaction.
pub fn tend(
    upkeep: &mut Upkeep,
    conn: &mut SqliteConnection,
    (watch, bytes): (&Watch, u64),
    busy_timeout: Duration,
) {
    if !upkeep.is_due(Instant::now(), bytes) {
        return;
    }
    if let Err(why) = empty(conn) {
        logging::debug!("the write-ahead log could not be emptied: {why}");
    }
    let timeout = format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis());
    if let Err(why) = conn.batch_execute(&timeout) {
        logging::debug!("the busy timeout could not be set: {why}");
    }
    let bytes = watch.log_bytes();
    if bytes > LARGE {
        log_seldom!(
            warn,
            "the write-ahead log of {} has grown to {} MiB and cannot be emptied while an old state of the database is \
             being read: look for a transaction left open by another program (a backup, a shell) or by the \
             application",
            watch.path().display(),
            bytes >> 20
        );
    }
}

/// Empties the log. Also fails if somebody reads an old state; as much as possible is copied even then.
fn empty(conn: &mut SqliteConnection) -> QueryResult<()> {
    conn.batch_execute(&format!(
        "PRAGMA busy_timeout = {}; PRAGMA wal_checkpoint(TRUNCATE)",
        WAIT.as_millis()
    ))
}

/// Empties the log that remains after the last connection was closed because another program has the file open: SQLite
/// leaves emptying it to whoever closes the file last.
pub fn empty_at_the_end(watch: &Watch, url: &str) {
    if !watch.has_left_its_log() {
        return;
    }
    let emptied = SqliteConnection::establish(url)
        .and_then(|mut conn| empty(&mut conn).map_err(ConnectionError::CouldntSetupConfiguration));
    let bytes = watch.log_bytes();
    if bytes > 0 {
        let path = watch.path().display();
        let why = emptied.err().map(|why| format!(" ({why})"));
        logging::warn!(
            "the store is closed, but {bytes} bytes of {path}-wal may not be in {path} yet, because another program is \
             reading it (a backup, a shell){}: a copy needs the -wal as well until that program is done",
            why.unwrap_or_default()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_emptied_when_quiet_and_when_large() {
        let start = Instant::now();
        let mut upkeep = Upkeep::new(start);
        let mut at = |ms, bytes| upkeep.is_due(start + Duration::from_millis(ms), bytes);
        assert!(!at(10, KEPT + 1), "there is something to do");
        assert!(at(1_100, KEPT + 1), "there was nothing to do");
        assert!(!at(3_000, KEPT), "it is short");
        assert!(at(3_001, LARGE + 1), "it is large");
        assert!(!at(3_500, LARGE + 1), "it was tried just now");
        assert!(at(4_001, LARGE + 1));
    }

    fn open(path: &std::path::Path) -> SqliteConnection {
        let mut conn = SqliteConnection::establish(path.to_str().expect("text")).expect("opens");
        conn.batch_execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
            .expect("works");
        conn
    }

    #[test]
    fn a_log_that_grew_during_a_long_read_is_emptied_after_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("test.db");
        let (mut writer, mut reader) = (open(&path), open(&path));
        let watch = Watch::over(&path).expect("there");
        let tend_quiet_log = |writer: &mut SqliteConnection| {
            let now = Instant::now();
            let mut upkeep = Upkeep::new(
                now.checked_sub(2 * QUIET)
                    .expect("the system is up for longer"),
            );
            let before = watch.check().expect("all is well");
            tend(
                &mut upkeep,
                writer,
                (&watch, before),
                Duration::from_millis(1234),
            );
            (before, watch.log_bytes())
        };
        writer
            .batch_execute("CREATE TABLE t (x BLOB)")
            .expect("works");
        reader
            .batch_execute("BEGIN; SELECT * FROM t")
            .expect("reads");
        let grow = format!("INSERT INTO t VALUES (zeroblob({}))", KEPT + 1);
        writer.batch_execute(&grow).expect("works");
        let (before, after) = tend_quiet_log(&mut writer);
        assert!(before > KEPT && after >= before, "{before} {after}");
        reader.batch_execute("COMMIT").expect("works");
        let (before, after) = tend_quiet_log(&mut writer);
        assert!(before > KEPT && after == 0, "{before} {after}");
        let timeout = diesel::dsl::sql::<diesel::sql_types::Integer>("PRAGMA busy_timeout");
        let timeout: i32 = timeout.get_result(&mut writer).expect("works");
        assert_eq!(timeout, 1234, "as it was");
    }
}
