//! Where a setting is kept, and how its value is read and written as text.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::masked::masked;
use super::settings::Settings;
use super::store_url::StoreUrl;
use super::units::{parse_size, parse_time, print_size, print_time};

/// Where a setting is kept, and how it is written.
#[derive(Clone, Copy)]
pub enum Field {
    Store(fn(&mut Settings) -> &mut StoreUrl),
    /// A URL, which may contain a password.
    OptionalUrl(fn(&mut Settings) -> &mut Option<String>),
    Text(fn(&mut Settings) -> &mut String),
    OptionalText(fn(&mut Settings) -> &mut Option<String>),
    OptionalFile(fn(&mut Settings) -> &mut Option<PathBuf>),
    List(fn(&mut Settings) -> &mut Vec<String>),
    Switch(fn(&mut Settings) -> &mut bool),
    Time(fn(&mut Settings) -> &mut Duration),
    Size(fn(&mut Settings) -> &mut usize),
    Count(fn(&mut Settings) -> &mut u32),
    LongCount(fn(&mut Settings) -> &mut usize),
}

impl Field {
    /// The placeholder of its value in the help.
    pub fn placeholder(self) -> &'static str {
        match self {
            Field::Store(_) | Field::OptionalUrl(_) => "URL",
            Field::Text(_) => "ADDRESS",
            Field::OptionalText(_) => "NAME",
            Field::OptionalFile(_) => "FILE",
            Field::List(_) => "ITEM,ITEM…",
            Field::Switch(_) => "",
            Field::Time(_) => "TIME",
            Field::Size(_) => "SIZE",
            Field::Count(_) | Field::LongCount(_) => "NUMBER",
        }
    }

    /// Sets it. Whether the server can run with the value is checked by [`Config::check`].
    ///
    /// # Errors
    /// How the value should have been written; reads on after the value.
    pub fn set(self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match self {
            Field::Store(field) => *field(settings) = text.parse()?,
            Field::OptionalUrl(field) => *field(settings) = Some(filled(text)?),
            Field::Text(field) => *field(settings) = filled(text)?,
            Field::OptionalText(field) => *field(settings) = Some(filled(text)?),
            Field::OptionalFile(field) => *field(settings) = Some(filled(text)?.into()),
            Field::List(field) => *field(settings) = list(text),
            Field::Switch(field) => {
                *field(settings) = text.parse().map_err(|_| "is neither true nor false")?
            }
            Field::Time(field) => *field(settings) = parse_time(text)?,
            Field::Size(field) => *field(settings) = parse_size(text)?,
            Field::Count(field) => *field(settings) = number(text)?,
            Field::LongCount(field) => *field(settings) = number(text)?,
        }
        Ok(())
    }

    /// The value as it would be written; `None` if there is none. Passwords are masked.
    pub fn show(self, settings: &Settings) -> Option<String> {
        // The table's accessors return mutable references, so this works on a clone.
        let settings = &mut settings.clone();
        Some(match self {
            Field::Store(field) => field(settings).to_string(),
            Field::OptionalUrl(field) => masked(field(settings).as_ref()?),
            Field::Text(field) => field(settings).clone(),
            Field::OptionalText(field) => field(settings).clone()?,
            Field::OptionalFile(field) => field(settings).as_ref()?.display().to_string(),
            Field::List(field) => match &**field(settings) {
                [] => return None,
                entries => entries.join(","),
            },
            Field::Switch(field) => field(settings).to_string(),
            Field::Time(field) => print_time(*field(settings)),
            Field::Size(field) => print_size(*field(settings)),
            Field::Count(field) => field(settings).to_string(),
            Field::LongCount(field) => field(settings).to_string(),
        })
    }

    /// Whether the configuration file has it as a number or Boolean rather than as text.
    pub fn is_bare(self) -> bool {
        matches!(
            self,
            Field::Switch(_) | Field::Count(_) | Field::LongCount(_)
        )
    }
}

fn filled(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".into()),
        text => Ok(text.to_owned()),
    }
}

fn list(text: &str) -> Vec<String> {
    let entries = text.split(',').map(|entry| entry.trim().to_owned());
    entries.filter(|entry| !entry.is_empty()).collect()
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "is not a whole number".into())
}
