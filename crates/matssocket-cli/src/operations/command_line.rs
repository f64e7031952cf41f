//! What the command lines of all commands have in common.

use std::path::PathBuf;

use lexopt::Parser;
use lexopt::prelude::*;

use super::masked::masked;
use super::settings::Setting;
use super::sources::{Loaded, Sources};
use super::{Failure, output};

/// A command.
pub struct Command {
    pub name: &'static str,
    /// What `--help` prints.
    pub help: fn() -> String,
    /// It takes every setting on its command line, not only those that say which store.
    pub serves: bool,
}

/// What was asked of a command, beside what is its own.
pub struct Asked {
    pub loaded: Loaded,
    /// Print one JSON document.
    pub json: bool,
}

impl Command {
    /// Reads the command line. `own` is given each word and each option (with its dashes) that is not common, and
    /// says whether it knows it. `None`: it was all about help.
    ///
    /// # Errors
    /// What is wrong.
    pub fn read(
        &self,
        mut parser: Parser,
        mut own: impl FnMut(&str, &mut Parser) -> Result<bool, Failure>,
    ) -> Result<Option<Asked>, Failure> {
        let (mut sources, mut json) = (Sources::default(), false);
        while let Some(argument) = parser.next()? {
            let word = match argument {
                Short('h') => "--help".to_owned(),
                Short(letter) => format!("-{letter}"),
                Long(name) => format!("--{name}"),
                Value(word) => word.string()?,
            };
            match &*word {
                "--help" => {
                    output::print(&(self.help)());
                    return Ok(None);
                }
                "--json" => json = true,
                "--config" => sources.file(PathBuf::from(parser.value()?)),
                _ => match self.setting(&word) {
                    Some(setting) if setting.field.placeholder().is_empty() => {
                        let value = parser
                            .optional_value()
                            .map(|value| value.string())
                            .transpose()?;
                        sources.option(setting, value.unwrap_or_else(|| "true".into()));
                    }
                    Some(setting) => sources.option(setting, parser.value()?.string()?),
                    None if own(&word, &mut parser)? => {}
                    None => return Err(self.unknown(&word)),
                },
            }
        }
        let loaded = sources.load()?;
        Ok(Some(Asked { loaded, json }))
    }

    fn setting(&self, word: &str) -> Option<&'static Setting> {
        let setting = Setting::find(&word.strip_prefix("--")?.replace('-', "_"))?;
        (self.serves || setting.of_store).then_some(setting)
    }

    fn unknown(&self, word: &str) -> Failure {
        Failure::Usage(format!(
            "{word:?} is nothing that {name} takes (see matssocket {name} --help)",
            word = masked(word),
            name = self.name
        ))
    }
}
