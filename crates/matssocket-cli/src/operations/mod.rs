//! The commands of an operator, on the library's public face only: [`settings`] what can be set, and [`sources`] where
//! it comes from; [`serve`] a server; the others look after a store ([`store_url`] says which) without one.

mod command_line;
mod dead_letters;
mod help;
mod masked;
mod migrate;
mod nodes;
mod open;
pub mod output;
mod serve;
mod sessions;
mod settings;
mod sources;
mod store_url;
mod units;

use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;

use lexopt::Parser;
use masked::masked;
use matssocket::{StartError, StoreError};

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

/// What is quoted may be a URL with a password that was put in the wrong place.
impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        use lexopt::Error::{NonUnicodeValue, ParsingFailed, UnexpectedArgument, UnexpectedValue};
        let masked = |value: OsString| masked(&value.to_string_lossy());
        let error = match error {
            UnexpectedArgument(value) => UnexpectedArgument(masked(value).into()),
            UnexpectedValue { option, value } => UnexpectedValue {
                option,
                value: masked(value).into(),
            },
            NonUnicodeValue(value) => NonUnicodeValue(masked(value).into()),
            ParsingFailed { value, error } => ParsingFailed {
                value: masked(value.into()),
                error,
            },
            other => other,
        };
        Failure::Usage(error.to_string())
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

/// Runs what the command line asks for: without a command, the demo.
///
/// # Errors
/// Why it was not done.
pub async fn run(arguments: Vec<OsString>) -> Result<(), Failure> {
    let first = arguments.first().and_then(|first| first.to_str());
    let rest = || Parser::from_args(arguments.iter().skip(1));
    match first {
        Some("serve") => serve::run(rest()).await,
        Some("migrate") => migrate::run(rest()).await,
        Some("sessions") => sessions::run(rest()).await,
        Some("dead-letters") => dead_letters::run(rest()).await,
        Some("nodes") => nodes::run(rest()).await,
        Some("demo") => demo(rest()).await,
        Some("help" | "--help" | "-h") => {
            output::print(help::WHOLE);
            Ok(())
        }
        Some("--version" | "-V") => {
            output::print(concat!("matssocket ", env!("CARGO_PKG_VERSION"), "\n"));
            Ok(())
        }
        Some(word) if !word.starts_with('-') => Err(Failure::Usage(format!(
            "there is no command {:?}; there are {} (see matssocket --help)",
            masked(word),
            help::COMMANDS
        ))),
        _ => demo(Parser::from_args(&arguments)).await,
    }
}

async fn demo(parser: Parser) -> Result<(), Failure> {
    crate::demo::run(parser).await.map_err(Failure::Usage)
}
