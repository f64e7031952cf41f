//! Why a command failed, and how that is printed.

use std::fmt;
use std::process::ExitCode;

use matssocket::{StartError, StoreError};

use crate::output;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line or a setting is wrong: no later attempt can go better.
    Usage(String),
    /// It could not be done: for example, the store is unavailable, or there is no such session.
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

/// One line, made safe for a terminal, since it may quote values from clients and others.
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
        match error {
            StartError::Configuration(_) => Failure::Usage(error.to_string()),
            _ => Failure::Undone(error.to_string()),
        }
    }
}
