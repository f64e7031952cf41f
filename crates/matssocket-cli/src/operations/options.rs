//! The options that all commands have in common: the [settings](super::settings), and a few others.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};

use super::remote::RemoteOptions;
use super::settings::{SETTINGS, Setting, Settings};
use super::sources::{Loaded, Sources};
use crate::failure::Failure;

const CONFIG: &str = "config";
const JSON: &str = "json";
const SERVER: &str = "server";
const TOKEN_FILE: &str = "token_file";

/// The options of a server: all settings.
pub type ServerOptions = Options<true>;

/// The options of commands that operate on a store: which store.
pub type StoreOptions = Options<false>;

/// The common options, as given.
pub struct Options<const SERVES: bool> {
    sources: Sources,
    json: bool,
    server: RemoteOptions,
}

/// The common part of a command's input.
pub struct Asked {
    pub loaded: Loaded,
    /// Print one JSON document.
    pub json: bool,
    /// The server to ask instead of opening the store, if one is named.
    pub server: RemoteOptions,
}

impl<const SERVES: bool> Options<SERVES> {
    /// Combines them with the environment and the configuration file.
    ///
    /// # Errors
    /// What is wrong.
    pub fn load(self) -> Result<Asked, Failure> {
        if self.server.url.is_some() && self.sources.has_option("store") {
            let why = "--server and --store name two places: the server knows its store, so name only one of them";
            return Err(Failure::Usage(why.into()));
        }
        let loaded = self.sources.load()?;
        Ok(Asked {
            loaded,
            json: self.json,
            server: self.server,
        })
    }

    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS.iter().filter(|setting| SERVES || setting.of_store)
    }
}

impl<const SERVES: bool> Args for Options<SERVES> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("The configuration file, TOML (or MATSSOCKET_CONFIG)");
        let json = Arg::new(JSON)
            .long("json")
            .action(ArgAction::SetTrue)
            .help("Print JSON instead of text");
        let defaults = Settings::default();
        let settings = Self::settings().map(|setting| argument(setting, &defaults));
        let common = [config, json].into_iter().chain(settings);
        let common = common.chain(remote().into_iter().filter(|_| !SERVES));
        // Before or after the subcommand.
        command.args(common.map(|argument| argument.global(!SERVES)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The options that name a running server.
fn remote() -> [Arg; 2] {
    let server = Arg::new(SERVER)
        .long("server")
        .value_name("URL")
        .help("Ask this running server instead of opening its store: where its dashboard is (or MATSSOCKET_SERVER)");
    let token = Arg::new(TOKEN_FILE)
        .long("token-file")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The file with the token for it (or MATSSOCKET_TOKEN_FILE; or the token itself in MATSSOCKET_TOKEN)");
    [server, token].map(|argument| argument.help_heading("Server").allow_hyphen_values(true))
}

fn argument(setting: &'static Setting, defaults: &Settings) -> Arg {
    let help = match setting.field.show(defaults) {
        Some(default) => format!("{} [default: {default}]", setting.help),
        None => setting.help.to_owned(),
    };
    let argument = Arg::new(setting.key)
        .long(setting.key.replace('_', "-"))
        .help(help)
        .help_heading("Settings");
    match setting.field.placeholder() {
        "" => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false"),
        placeholder => argument.value_name(placeholder).allow_hyphen_values(true),
    }
}

impl<const SERVES: bool> FromArgMatches for Options<SERVES> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut sources = Sources::default();
        if let Some(file) = matches.get_one::<PathBuf>(CONFIG) {
            sources.file(file.clone());
        }
        for setting in Self::settings() {
            if let Some(text) = matches.get_one::<String>(setting.key) {
                sources.option(setting, text.clone());
            }
        }
        let server = match SERVES {
            true => RemoteOptions::default(),
            false => RemoteOptions {
                url: matches.get_one(SERVER).cloned(),
                token_file: matches.get_one(TOKEN_FILE).cloned(),
            },
        };
        Ok(Options {
            sources,
            server,
            json: matches.get_flag(JSON),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
