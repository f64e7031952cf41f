//! Explains what is wrong with a command line.
//!
//! clap's own text has several lines and quotes values as they are. A value may be a URL with a password given in the
//! wrong place, so everything quoted here is masked. An explanation takes one line, like all errors of the program.

use std::error::Error as _;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::Failure;
use crate::operations::masked::masked;

/// What is wrong with a command line of this program, in one line.
pub fn explained(error: &clap::Error, program: &Command) -> Failure {
    let named = |kind| text_of(error, kind).unwrap_or_default();
    let argument = named(ContextKind::InvalidArg);
    let value = masked(&named(ContextKind::InvalidValue));
    let place = place_of(error);
    let help = format!("{} --help", place.join(" "));
    Failure::Usage(match error.kind() {
        ErrorKind::UnknownArgument => {
            format!(
                "{:?} is not understood here (see {help})",
                masked(&argument)
            )
        }
        ErrorKind::InvalidSubcommand => format!(
            "there is no command {:?}; there are {} (see {help})",
            masked(&named(ContextKind::InvalidSubcommand)),
            subcommands(program, &place).join(", "),
        ),
        ErrorKind::ValueValidation => {
            let why = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{argument}: {value:?} {why}")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("{argument} needs a value"),
        ErrorKind::InvalidValue => format!(
            "{argument}: {value:?} is not one of {}",
            named(ContextKind::ValidValue)
        ),
        ErrorKind::TooManyValues => format!("{argument} takes no value (see {help})"),
        ErrorKind::ArgumentConflict => {
            let later = match argument.is_empty() {
                true => named(ContextKind::InvalidSubcommand),
                false => argument,
            };
            let before = named(ContextKind::PriorArg);
            format!("{later} cannot be combined with {before} (see {help})")
        }
        ErrorKind::MissingRequiredArgument => format!("{argument} is missing (see {help})"),
        _ => first_line(error),
    })
}

/// What clap says about a mistake, such as which argument is wrong.
fn text_of(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        _ => None,
    }
}

/// The words that name the command with the mistake, such as `matssocket nodes`.
fn place_of(error: &clap::Error) -> Vec<String> {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let names = |word: &&str| {
        word.chars().all(|it| it.is_ascii_lowercase() || it == '-') && !word.starts_with('-')
    };
    let words = usage.split_whitespace().skip(1).take_while(names);
    words.map(str::to_owned).collect()
}

fn subcommands(program: &Command, place: &[String]) -> Vec<String> {
    let mut words = place.iter().skip(1);
    let found = words.try_fold(program, |command, name| command.find_subcommand(name));
    let all = found.unwrap_or(program).get_subcommands();
    all.map(|command| command.get_name().to_owned()).collect()
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
