//! Where settings come from: the command line takes precedence over the environment, and that over the configuration
//! file.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::masked::masked;
use super::settings::{SETTINGS, Setting, Settings};
use crate::failure::Failure;
use crate::output::{tame, toml_text};

/// Where a value was written.
#[derive(Clone, Debug)]
enum Origin {
    File(PathBuf, usize),
    Environment(String),
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, line) => write!(out, "{}, line {line}", path.display()),
            Origin::Environment(variable) => write!(out, "the environment, {variable}"),
            Origin::CommandLine(option) => write!(out, "the command line, {option}"),
        }
    }
}

/// A value, as it was written.
struct Written {
    setting: &'static Setting,
    text: String,
    origin: Origin,
}

/// The sources of settings.
#[derive(Default)]
pub struct Sources {
    options: Vec<Written>,
    file: Option<PathBuf>,
}

/// The settings, and where each that is not a default comes from.
pub struct Loaded {
    pub settings: Settings,
    origins: HashMap<&'static str, Origin>,
}

impl Sources {
    /// An option of the command line.
    pub fn option(&mut self, setting: &'static Setting, text: String) {
        let origin = Origin::CommandLine(setting.option());
        self.options.push(Written {
            setting,
            text,
            origin,
        });
    }

    /// Whether the command line has an option for a setting.
    pub fn has_option(&self, key: &str) -> bool {
        self.options
            .iter()
            .any(|written| written.setting.key == key)
    }

    /// The configuration file.
    pub fn file(&mut self, path: PathBuf) {
        self.file = Some(path);
    }

    /// Combines all sources.
    ///
    /// # Errors
    /// Which values are wrong, where they come from, and what to write instead: all of them at once.
    pub fn load(self) -> Result<Loaded, Failure> {
        let from_environment = || variable("MATSSOCKET_CONFIG").map(PathBuf::from);
        let mut written = match self.file.or_else(from_environment) {
            Some(path) => read_file(&path).map_err(Failure::Usage)?,
            None => Vec::new(),
        };
        written.extend(environment());
        written.extend(self.options);

        let mut loaded = Loaded {
            settings: Settings::default(),
            origins: HashMap::new(),
        };
        let mut mistakes = Vec::new();
        for Written {
            setting,
            text,
            origin,
        } in written
        {
            if let Err(why) = setting.field.set(&mut loaded.settings, &text) {
                let (key, text) = (setting.key, masked(&text));
                mistakes.push(format!("{key} = {text:?} ({origin}) {why}"));
            }
            loaded.origins.insert(setting.key, origin);
        }
        mistakes.extend(loaded.check());
        match mistakes.is_empty() {
            true => Ok(loaded),
            false => Err(Failure::Usage(mistakes.join("; "))),
        }
    }
}

impl Loaded {
    /// Values with which a server would refuse to start, described as it would, and where they come from.
    fn check(&self) -> impl Iterator<Item = String> {
        let mistakes = self.settings.config.check().err().unwrap_or_default();
        mistakes.into_iter().map(|mistake| {
            let keys = mistake.fields.iter().map(|field| {
                // Settings of the store have no prefix here.
                field.strip_prefix("store.").unwrap_or(field)
            });
            let origins: Vec<_> = keys
                .filter_map(|key| self.origins.get(key))
                .map(Origin::to_string)
                .collect();
            format!("{mistake} ({})", origins.join("; "))
        })
    }

    /// The settings as a configuration file that says where each value comes from. Passwords are masked.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let line = match setting.field.show(&self.settings) {
                None => format!("# {} =", setting.key),
                Some(value) if setting.field.is_bare() => format!("{} = {value}", setting.key),
                Some(value) => format!("{} = {}", setting.key, toml_text(value)),
            };
            match self.origins.get(setting.key) {
                Some(origin) => {
                    let origin = origin.to_string();
                    text += &format!("{line:<40} # {}\n", tame(&origin));
                }
                None => text += &(line + "\n"),
            }
        }
        text
    }

    /// The settings as JSON: key, value and origin. Passwords are masked.
    pub fn to_json(&self) -> Value {
        let entry = |setting: &Setting| {
            let origin = self.origins.get(setting.key);
            let value = serde_json::json!({
                "value": setting.field.show(&self.settings),
                "from": origin.map_or("the default".to_owned(), Origin::to_string),
            });
            (setting.key.to_owned(), value)
        };
        SETTINGS.iter().map(entry).collect::<Map<_, _>>().into()
    }
}

/// An environment variable; an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn environment() -> impl Iterator<Item = Written> {
    SETTINGS.iter().filter_map(|setting| {
        let name = setting.variable();
        Some(Written {
            setting,
            text: variable(&name)?,
            origin: Origin::Environment(name),
        })
    })
}

fn read_file(path: &Path) -> Result<Vec<Written>, String> {
    let name = masked(&path.display().to_string());
    let text = std::fs::read_to_string(path)
        .map_err(|why| format!("the configuration file {name} cannot be read: {why}"))?;
    let line = |at: usize| text[..at].lines().count().max(1);
    let table = DeTable::parse(&text).map_err(|why| {
        let line = line(why.span().map_or(0, |span| span.end.min(text.len())));
        format!(
            "the configuration file {name} is not TOML, line {line}: {}",
            why.message().replace('\n', "; ")
        )
    })?;
    let mut written = Vec::new();
    for (key, value) in table.get_ref() {
        let at = line(key.span().end);
        let setting = Setting::find(key.get_ref()).ok_or_else(|| {
            let known: Vec<_> = SETTINGS.iter().map(|setting| setting.key).collect();
            let key = key.get_ref();
            format!(
                "{key:?} ({name}, line {at}) cannot be set; what can: {}",
                known.join(", ")
            )
        })?;
        let text = plain(value.get_ref()).ok_or_else(|| {
            let kind = value.get_ref().type_str();
            format!(
                "{} ({name}, line {at}) cannot be set by a TOML {kind}: write text in quotes",
                setting.key
            )
        })?;
        let origin = Origin::File(path.to_owned(), at);
        written.push(Written {
            setting,
            text,
            origin,
        });
    }
    Ok(written)
}

/// A value as it would be written on the command line.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(entries) => {
            let entries: Option<Vec<_>> =
                entries.iter().map(|entry| plain(entry.get_ref())).collect();
            Some(entries?.join(","))
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}
