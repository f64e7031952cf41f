//! Classifies PostgreSQL's errors by SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

use diesel::result::DatabaseErrorKind;

use crate::store::statements::Meaning;

/// The meaning of an error with this SQLSTATE. Unknown errors count as temporary: every retry is bounded, and no
/// message is given up because of them.
pub fn meaning(sqlstate: &str) -> Meaning {
    match sqlstate {
        // Read-only: a server that was replaced by another one, or that has not yet been promoted.
        "25006" => Meaning::Connection,
        // The session, or its transaction, was ended by an administrator or by the role's own limits (25P03, 25P04).
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03" | "25P04" => Meaning::Connection,
        // Prepared statements are invalid: the tables have changed, or an undeclared pooler is in between.
        "0A000" | "26000" | "42P05" => Meaning::Connection,
        // Missing permission, or missing objects: a table, a column, a function, a schema, a database.
        "42501" | "42P01" | "42703" | "42883" | "3F000" | "3D000" => Meaning::Unable,
        // Data corruption.
        "XX001" | "XX002" => Meaning::Unable,
        "40002" => Meaning::Refused,
        "55P03" | "55006" | "57014" => Meaning::Again,
        _ => match sqlstate.get(..2).unwrap_or_default() {
            "08" => Meaning::Connection,
            "53" | "58" | "28" | "F0" => Meaning::Unable,
            // Values and constraints, errors raised by a trigger (P0), and exceeded program limits (54).
            "20" | "21" | "22" | "23" | "27" | "42" | "44" | "54" | "P0" => Meaning::Refused,
            _ => Meaning::Again,
        },
    }
}

/// The kind that Diesel's own connection assigns to it.
pub fn kind(sqlstate: &str) -> DatabaseErrorKind {
    match sqlstate {
        "23505" => DatabaseErrorKind::UniqueViolation,
        "23503" => DatabaseErrorKind::ForeignKeyViolation,
        "23502" => DatabaseErrorKind::NotNullViolation,
        "23514" => DatabaseErrorKind::CheckViolation,
        "23P01" => DatabaseErrorKind::ExclusionViolation,
        "23001" => DatabaseErrorKind::RestrictViolation,
        "40001" => DatabaseErrorKind::SerializationFailure,
        "25006" => DatabaseErrorKind::ReadOnlyTransaction,
        _ if sqlstate.starts_with("08") => DatabaseErrorKind::ClosedConnection,
        _ => DatabaseErrorKind::Unknown,
    }
}

/// Like [`meaning`], for errors of Diesel's own connection, which hides most SQLSTATEs.
pub fn meaning_of_kind(kind: &DatabaseErrorKind) -> Meaning {
    match kind {
        DatabaseErrorKind::UniqueViolation
        | DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::CheckViolation
        | DatabaseErrorKind::ExclusionViolation
        | DatabaseErrorKind::RestrictViolation => Meaning::Refused,
        DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::ReadOnlyTransaction => Meaning::Connection,
        _ => Meaning::Again,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_meaning() {
        for (meant, sqlstates) in [
            (
                Meaning::Refused,
                &[
                    "22021", "22P05", "23505", "23514", "21000", "54000", "P0001", "42804",
                ][..],
            ),
            (
                Meaning::Connection,
                &[
                    "08006", "08P01", "57P01", "57P03", "25006", "0A000", "26000", "25P03",
                ],
            ),
            (
                Meaning::Again,
                &[
                    "40001", "40P01", "55P03", "57014", "25P02", "XX000", "", "?",
                ],
            ),
            (
                Meaning::Unable,
                &[
                    "53100", "53300", "42501", "42P01", "28000", "58030", "XX001",
                ],
            ),
        ] {
            for sqlstate in sqlstates {
                assert_eq!(meaning(sqlstate), meant, "{sqlstate}");
            }
        }
    }
}
