//! The journal's tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use matssocket_wire::{Envelope, MessageType, parse_pipeline, print_pipeline};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, Transaction, params};

use super::{Bound, Delivery, Failed, JournalError, JournalSync, Kept, ReplyTo, Saved, Write};

/// Marks the file as ours: "MSCJ".
const APPLICATION_ID: i64 = 0x4d53_434a;
/// Raised when the tables change.
const VERSION: i64 = 1;
/// Failures beyond this many push out the oldest.
const MAX_FAILED: u32 = 10_000;

const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE outbox (
    key INTEGER PRIMARY KEY, cmid TEXT NOT NULL, envelope TEXT NOT NULL, carried INTEGER NOT NULL,
    taken INTEGER NOT NULL, reply_to TEXT, correlation TEXT
);
CREATE TABLE seen (smid TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE inbox (place INTEGER PRIMARY KEY, envelope TEXT NOT NULL, reply_to TEXT, correlation TEXT);
CREATE TABLE failed (
    key INTEGER PRIMARY KEY, envelope TEXT NOT NULL, carried INTEGER NOT NULL, why TEXT NOT NULL
);";

pub(super) struct File {
    database: Connection,
    path: PathBuf,
}

impl File {
    /// Opens or creates the file, and locks it for as long as it is open.
    pub(super) fn open(path: &Path, sync: JournalSync) -> Result<File, JournalError> {
        let wrong = |error| not_usable(path, error);
        let database = Connection::open(path).map_err(wrong)?;
        database.set_prepared_statement_cache_capacity(32);
        // Whoever has it keeps it: waiting does not help.
        database.busy_timeout(Duration::ZERO).map_err(wrong)?;
        // Held until the process ends, in whatever way; also, no shared memory is needed beside the file.
        database
            .pragma_update(None, "locking_mode", "EXCLUSIVE")
            .map_err(wrong)?;
        database.execute_batch("BEGIN EXCLUSIVE").map_err(wrong)?;
        let (id, version) = (
            pragma(&database, "application_id"),
            pragma(&database, "user_version"),
        );
        let tables: i64 = database
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(wrong)?;
        let (id, version) = (id.map_err(wrong)?, version.map_err(wrong)?);
        if tables == 0 {
            database.execute_batch(TABLES).map_err(wrong)?;
            database
                .pragma_update(None, "application_id", APPLICATION_ID)
                .map_err(wrong)?;
            database
                .pragma_update(None, "user_version", VERSION)
                .map_err(wrong)?;
        } else if id != APPLICATION_ID {
            return Err(JournalError::Foreign {
                path: path.to_owned(),
            });
        } else if version != VERSION {
            return Err(JournalError::Version {
                path: path.to_owned(),
                found: version,
                known: VERSION,
            });
        }
        database.execute_batch("COMMIT").map_err(wrong)?;
        database
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(wrong)?;
        database
            .pragma_update(None, "synchronous", sync.pragma())
            .map_err(wrong)?;
        Ok(File {
            database,
            path: path.to_owned(),
        })
    }

    /// Whose file this is. A new one becomes the property of `owner`.
    pub(super) fn owner(&self, owner: &str) -> Result<String, JournalError> {
        let wrong = |error| not_usable(&self.path, error);
        let put = "INSERT INTO meta (name, value) VALUES ('owner', ?) ON CONFLICT DO NOTHING";
        self.database.execute(put, [owner]).map_err(wrong)?;
        Ok(meta(&self.database, "owner")
            .map_err(wrong)?
            .unwrap_or_default())
    }

    pub(super) fn load(&self) -> Result<Saved, JournalError> {
        load(&self.database).map_err(|error| not_usable(&self.path, error))
    }

    /// All of it or nothing.
    pub(super) fn write<'a>(
        &mut self,
        writes: impl IntoIterator<Item = &'a Write>,
    ) -> Result<(), String> {
        let mut writes = writes.into_iter().peekable();
        if writes.peek().is_none() {
            return Ok(());
        }
        let path = &self.path;
        let wrong = |error: rusqlite::Error| format!("{}: {error}", path.display());
        let transaction = self.database.transaction().map_err(wrong)?;
        for write in writes {
            apply(&transaction, write).map_err(wrong)?;
        }
        transaction.commit().map_err(wrong)
    }

    /// All failures, oldest first.
    pub(super) fn failed(&self) -> Result<Vec<Failed>, String> {
        let list = || {
            let mut query = self
                .database
                .prepare_cached("SELECT * FROM failed ORDER BY key")?;
            query
                .query_map([], failure)?
                .collect::<rusqlite::Result<_>>()
        };
        list().map_err(|error: rusqlite::Error| format!("{}: {error}", self.path.display()))
    }

    /// Simulates a full disk (the file cannot grow), or ends that.
    #[cfg(test)]
    pub(super) fn fill(&self, full: bool) {
        let pages: i64 = pragma(&self.database, "page_count").expect("it is open");
        let most = if full { pages } else { 1 << 30 };
        let set = self
            .database
            .pragma_update_and_check(None, "max_page_count", most, |_| Ok(()));
        set.expect("it is open");
    }
}

fn not_usable(path: &Path, error: rusqlite::Error) -> JournalError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => JournalError::InUse { path },
        Some(ErrorCode::NotADatabase) => JournalError::Foreign { path },
        _ => JournalError::File {
            path,
            why: error.to_string(),
        },
    }
}

fn pragma(database: &Connection, name: &str) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, name, |row| row.get(0))
}

fn meta(database: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let query = "SELECT value FROM meta WHERE name = ?";
    database
        .query_row(query, [name], |row| row.get(0))
        .optional()
}

fn apply(transaction: &Transaction<'_>, write: &Write) -> rusqlite::Result<()> {
    let run = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| {
        transaction
            .prepare_cached(sql)?
            .execute(parameters)
            .map(drop)
    };
    let put_meta =
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
    match write {
        Write::Bind(bound) => {
            run(put_meta, params!["app_name", bound.app_name])?;
            run(put_meta, params!["urls", bound.urls.join("\n")])
        }
        Write::Out(kept, trace_id) => {
            let (reply_to, correlation) = columns(kept.reply_to.as_ref());
            let put = "INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?, ?)";
            run(
                put,
                params![
                    kept.key,
                    kept.cmid,
                    kept.text,
                    kept.carried,
                    kept.taken,
                    reply_to,
                    correlation
                ],
            )?;
            run(put_meta, params!["last_key", kept.key.to_string()])?;
            trace_id
                .iter()
                .try_for_each(|id| run(put_meta, params!["last_trace_id", id]))
        }
        Write::DropOut(key) => run("DELETE FROM outbox WHERE key = ?", params![key]),
        Write::Taken(key) => run("UPDATE outbox SET taken = 1 WHERE key = ?", params![key]),
        Write::Session(id) => {
            run("UPDATE outbox SET carried = 1 WHERE carried = 0", &[])?;
            run(put_meta, params!["session_id", id])
        }
        Write::EndSession => {
            run("DELETE FROM meta WHERE name = 'session_id'", &[])?;
            run("DELETE FROM seen", &[])?;
            run("UPDATE outbox SET carried = 0", &[])
        }
        Write::Seen(smid, answer) => run(
            "INSERT OR REPLACE INTO seen VALUES (?, ?)",
            params![smid, answer.name()],
        ),
        Write::Forget(smid) => run("DELETE FROM seen WHERE smid = ?", params![smid]),
        Write::Deliver(delivery) => {
            let (reply_to, correlation) = columns(delivery.reply_to.as_ref());
            let text = print_pipeline([&delivery.envelope]);
            let put = "INSERT INTO inbox VALUES (?, ?, ?, ?)";
            run(put, params![delivery.order, text, reply_to, correlation])
        }
        Write::Done(order) => run("DELETE FROM inbox WHERE place = ?", params![order]),
        Write::Failed(key, why) => {
            let put = "INSERT OR REPLACE INTO failed SELECT key, envelope, carried, ? FROM outbox WHERE key = ?";
            run(put, params![why, key])?;
            run("DELETE FROM outbox WHERE key = ?", params![key])?;
            let bound = "DELETE FROM failed WHERE key <= (SELECT key FROM failed ORDER BY key DESC LIMIT 1 OFFSET ?)";
            run(bound, params![MAX_FAILED])
        }
        Write::DropFailed(key) => run("DELETE FROM failed WHERE key = ?", params![key]),
    }
}

fn columns(reply_to: Option<&ReplyTo>) -> (Option<&str>, Option<&str>) {
    let to = reply_to.map(|to| (to.terminator.as_str(), to.correlation.get()));
    to.unzip()
}

fn load(database: &Connection) -> rusqlite::Result<Saved> {
    let last_key = meta(database, "last_key")?.and_then(|key| key.parse().ok());
    let mut saved = Saved {
        session_id: meta(database, "session_id")?,
        last_trace_id: meta(database, "last_trace_id")?,
        last_key: last_key.unwrap_or_default(),
        bound: bound(database)?,
        ..Saved::default()
    };
    let mut outbox = database.prepare("SELECT * FROM outbox ORDER BY key")?;
    for kept in outbox.query_map([], kept)? {
        saved.outbox.push(kept?);
    }
    let mut seen = database.prepare("SELECT smid, answer = 'NACK' FROM seen")?;
    for row in seen.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (smid, refused) = row?;
        saved.seen.push((
            smid,
            if refused {
                MessageType::Nack
            } else {
                MessageType::Ack
            },
        ));
    }
    let mut inbox = database.prepare("SELECT * FROM inbox ORDER BY place")?;
    for delivery in inbox.query_map([], delivery)? {
        saved.inbox.push(delivery?);
    }
    Ok(saved)
}

fn bound(database: &Connection) -> rusqlite::Result<Option<Bound>> {
    let (app_name, urls) = (meta(database, "app_name")?, meta(database, "urls")?);
    let both = app_name.zip(urls);
    Ok(both.map(|(app_name, urls)| Bound {
        app_name,
        urls: urls.lines().map(str::to_owned).collect(),
    }))
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        key: row.get(0)?,
        cmid: row.get(1)?,
        text: row.get(2)?,
        carried: row.get(3)?,
        taken: row.get(4)?,
        reply_to: reply_to(row, 5)?,
    })
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        order: row.get(0)?,
        envelope: envelope(row, 1)?,
        reply_to: reply_to(row, 2)?,
    })
}

fn failure(row: &Row<'_>) -> rusqlite::Result<Failed> {
    Ok(Failed {
        key: row.get(0)?,
        envelope: envelope(row, 1)?,
        carried: row.get(2)?,
        why: row.get(3)?,
    })
}

fn envelope(row: &Row<'_>, column: usize) -> rusqlite::Result<Envelope> {
    let text: String = row.get(column)?;
    let text = if text.starts_with('[') {
        text
    } else {
        format!("[{text}]")
    };
    let parsed = parse_pipeline(&text).map_err(|error| damaged(column, error))?;
    let first = parsed.into_iter().next();
    first.ok_or_else(|| damaged(column, std::io::Error::other("no envelope")))
}

fn reply_to(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ReplyTo>> {
    let (terminator, correlation): (Option<String>, Option<String>) =
        (row.get(column)?, row.get(column + 1)?);
    let Some((terminator, correlation)) = terminator.zip(correlation) else {
        return Ok(None);
    };
    let correlation = serde_json::value::RawValue::from_string(correlation)
        .map_err(|error| damaged(column, error))?;
    Ok(Some(ReplyTo {
        terminator,
        correlation,
    }))
}

fn damaged(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
