//! Classifies database errors in one place, by the database's own codes and never by the text of a message.

/// How to react to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // not every database produces all of them
pub enum Meaning {
    /// The operation itself is invalid: it fails alone and would fail again.
    Refused,
    /// The connection is unusable; another one may work.
    Connection,
    /// A later attempt may succeed.
    Again,
    /// The database is full or denies permission: nothing can be written until an operator intervenes.
    Unable,
}
