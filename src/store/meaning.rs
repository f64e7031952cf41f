//! What an error of the database means: sorted once, here, by the database's own codes, never by the text of a message.

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // not every database brings about all of them
pub enum Meaning {
    /// The operation asks for what cannot be: it fails alone, and would fail again.
    Refused,
    /// The connection is of no use any more; another one may do better.
    Line,
    /// It may go well another time.
    Again,
    /// The database is full, or forbids it: nothing goes until somebody has seen to that.
    Unable,
}
