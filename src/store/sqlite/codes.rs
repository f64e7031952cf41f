//! Classifies errors of SQLite by result code.
//!
//! Diesel exposes neither the code nor the connection's handle. It only reports which constraint was violated, and the
//! text of the error, which for all codes that matter here is the library's own text for the code. So the code is found
//! by asking the library for its texts, none of which is hard-coded here. (They exist in one language only, and come
//! from the bundled library.) A text that belongs to no code describes what is wrong with a statement.

use std::ffi::c_int;

use diesel::result::DatabaseErrorKind;
use libsqlite3_sys::*;

use super::raw::text_of;
use crate::store::statements::{DbError, Meaning};

/// How to react to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorted {
    pub meaning: Meaning,
    /// Whether to discard the connection, because what it knows of the file may be wrong.
    pub discard: bool,
}

/// The meaning of each primary code. `None`: it is not an error, or it cannot occur here.
fn by_code(code: c_int) -> Option<Sorted> {
    let (meaning, discard) = match code {
        // The statement or its values are invalid: it would fail again.
        SQLITE_ERROR | SQLITE_CONSTRAINT | SQLITE_TOOBIG | SQLITE_MISMATCH | SQLITE_RANGE
        | SQLITE_NOTFOUND | SQLITE_FORMAT => (Meaning::Refused, false),
        // Another connection is using the database, or the statement was interrupted.
        SQLITE_BUSY | SQLITE_LOCKED | SQLITE_INTERRUPT | SQLITE_SCHEMA | SQLITE_NOMEM
        | SQLITE_ABORT | SQLITE_PROTOCOL | SQLITE_INTERNAL => (Meaning::Again, false),
        SQLITE_MISUSE => (Meaning::Connection, true),
        // Nothing can be written until an operator makes room or grants permission.
        SQLITE_FULL | SQLITE_READONLY | SQLITE_PERM | SQLITE_AUTH | SQLITE_NOLFS => {
            (Meaning::Unable, false)
        }
        // The same, and the next connection must open the file again.
        SQLITE_IOERR | SQLITE_CORRUPT | SQLITE_NOTADB | SQLITE_CANTOPEN => (Meaning::Unable, true),
        _ => return None,
    };
    Some(Sorted { meaning, discard })
}

/// The code that has this text.
fn code_of(text: &str) -> Option<c_int> {
    (SQLITE_ERROR..=SQLITE_NOTADB).find(|code| text_of(*code) == text)
}

/// Classifies an error.
pub fn sort(error: &DbError) -> Sorted {
    let refused = Sorted {
        meaning: Meaning::Refused,
        discard: false,
    };
    match error {
        DbError::DatabaseError(DatabaseErrorKind::Unknown, why) => {
            code_of(why.message()).and_then(by_code).unwrap_or(refused)
        }
        // A violated constraint.
        DbError::DatabaseError(..) => refused,
        DbError::RollbackErrorOnCommit { commit_error, .. } => Sorted {
            discard: true,
            ..sort(commit_error)
        },
        DbError::BrokenTransactionManager
        | DbError::AlreadyInTransaction
        | DbError::NotInTransaction
        | DbError::RollbackTransaction => Sorted {
            meaning: Meaning::Connection,
            discard: true,
        },
        // Not an error of the database: a value that cannot be encoded, or a row that cannot be decoded.
        _ => refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> DbError {
        DbError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(text.to_owned()))
    }

    #[test]
    fn every_code_is_sorted_by_the_librarys_text() {
        for (code, meaning, discard) in [
            (SQLITE_CONSTRAINT, Meaning::Refused, false),
            (SQLITE_TOOBIG, Meaning::Refused, false),
            (SQLITE_MISMATCH, Meaning::Refused, false),
            (SQLITE_RANGE, Meaning::Refused, false),
            (SQLITE_BUSY, Meaning::Again, false),
            (SQLITE_LOCKED, Meaning::Again, false),
            (SQLITE_INTERRUPT, Meaning::Again, false),
            (SQLITE_SCHEMA, Meaning::Again, false),
            (SQLITE_NOMEM, Meaning::Again, false),
            (SQLITE_MISUSE, Meaning::Connection, true),
            (SQLITE_FULL, Meaning::Unable, false),
            (SQLITE_READONLY, Meaning::Unable, false),
            (SQLITE_PERM, Meaning::Unable, false),
            (SQLITE_AUTH, Meaning::Unable, false),
            (SQLITE_IOERR, Meaning::Unable, true),
            (SQLITE_CANTOPEN, Meaning::Unable, true),
            (SQLITE_CORRUPT, Meaning::Unable, true),
            (SQLITE_NOTADB, Meaning::Unable, true),
        ] {
            let text = text_of(code);
            let sorted = sort(&error(text));
            assert_eq!(sorted, Sorted { meaning, discard }, "{code}: {text}");
        }
    }

    #[test]
    fn extended_codes_have_the_texts_of_their_primary_ones() {
        for code in [
            SQLITE_READONLY_DBMOVED,
            SQLITE_READONLY_DIRECTORY,
            SQLITE_IOERR_WRITE,
            SQLITE_IOERR_FSYNC,
            SQLITE_BUSY_SNAPSHOT,
            SQLITE_CANTOPEN_NOTEMPDIR,
            SQLITE_CORRUPT_VTAB,
        ] {
            assert_eq!(text_of(code), text_of(code & 0xff), "{code}");
        }
    }

    #[test]
    fn unknown_errors_and_those_of_our_own_are_refusals() {
        let unreadable = DbError::DeserializationError("no message type".into());
        for error in [error("no such table: x"), unreadable] {
            assert_eq!(sort(&error).meaning, Meaning::Refused, "{error}");
        }
    }

    #[test]
    fn errors_of_real_statements_are_sorted() {
        use diesel::connection::SimpleConnection;
        use diesel::prelude::*;
        let mut conn = SqliteConnection::establish(":memory:").expect("opens");
        conn.batch_execute(
            "CREATE TABLE t (k INTEGER PRIMARY KEY, n TEXT NOT NULL UNIQUE CHECK (n <> 'x'));
            CREATE TRIGGER no BEFORE DELETE ON t BEGIN SELECT RAISE(ABORT, 'the shop is closed'); END;
            INSERT INTO t VALUES (1, 'a');",
        )
        .expect("works");
        for (sql, meaning) in [
            ("INSERT INTO t VALUES (1, 'b')", Meaning::Refused),
            ("INSERT INTO t VALUES (2, 'a')", Meaning::Refused),
            ("INSERT INTO t VALUES (2, NULL)", Meaning::Refused),
            ("INSERT INTO t VALUES (2, 'x')", Meaning::Refused),
            ("INSERT INTO t VALUES ('two', 'b')", Meaning::Refused),
            (
                "INSERT INTO t VALUES (2, zeroblob(2000000000))",
                Meaning::Refused,
            ),
            ("DELETE FROM t", Meaning::Refused),
            ("SELECT nonsense", Meaning::Refused),
            (
                "PRAGMA max_page_count = 1; INSERT INTO t VALUES (2, hex(zeroblob(99999)))",
                Meaning::Unable,
            ),
            (
                "PRAGMA query_only = ON; INSERT INTO t VALUES (3, 'b')",
                Meaning::Unable,
            ),
        ] {
            let error = conn.batch_execute(sql).expect_err(sql);
            let sorted = sort(&error).meaning;
            assert_eq!(sorted, meaning, "{sql}: {error}");
        }
    }

    #[test]
    fn a_commit_that_could_not_be_rolled_back_means_what_the_commit_meant() {
        let both = DbError::RollbackErrorOnCommit {
            rollback_error: Box::new(error("cannot rollback - no transaction is active")),
            commit_error: Box::new(error(text_of(SQLITE_FULL))),
        };
        let (meaning, discard) = (Meaning::Unable, true);
        assert_eq!(sort(&both), Sorted { meaning, discard });
    }
}
