//! Why a command did not do what it was asked for, and how that is printed.

use std::fmt;
use std::process::ExitCode;

use matssocket::{StartError, StoreError};

use crate::output;

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// It was not understood: a word, an option or a value is wrong.
    Usage(String),
    /// It could not be done: the store is away, there is no such thing.
    Undone(String),
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Undone(_) => ExitCode::from(1),
            Failure::Usage(_) => ExitCode::from(2),
        }
    }
}

/// One line, fit for a terminal: what clients say of themselves, and what others have named, may be quoted in it.
impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(why) | Failure::Undone(why) => out.write_str(&output::tame(why)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::Undone(error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        Failure::Undone(error.to_string())
    }
}
