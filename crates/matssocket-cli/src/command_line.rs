//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::demo::Demo;
use crate::failure::Failure;
use crate::mistake::explained;
use crate::operations::dead_letters::DeadLetters;
use crate::operations::masked::masked;
use crate::operations::migrate::Migrate;
use crate::operations::nodes::Nodes;
use crate::operations::serve::Serve;
use crate::operations::sessions::Sessions;
use crate::operations::users::Users;
use crate::output;
use crate::types::Types;

const CLOSING: &str = "\
matssocket COMMAND --help says more about each. Without a command, the demo runs.

Exit codes: 0 done, 1 it could not be done, 2 the command line or the configuration is wrong.
RUST_LOG sets what is logged (default warn).";

/// Reliable messaging over WebSocket: a demo, a small server, and what an operator needs
#[derive(Parser)]
#[command(
    name = "matssocket",
    version,
    after_help = CLOSING,
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    max_term_width = 100
)]
struct CommandLine {
    #[command(flatten)]
    demo: Demo,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Demo(Demo),
    Serve(Serve),
    Migrate(Migrate),
    Sessions(Sessions),
    Users(Users),
    DeadLetters(DeadLetters),
    Nodes(Nodes),
    Types(Types),
    /// Print a script that completes commands and options in a shell
    Completions {
        shell: Shell,
    },
    /// Write the manual pages
    ///
    /// One file for the program and one for each command, such as matssocket-serve.1.
    Man {
        /// Where to write them
        directory: PathBuf,
    },
}

/// Runs the command that the command line names.
///
/// # Errors
/// Why it was not done.
pub async fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let asked = match CommandLine::try_parse_from(arguments) {
        Ok(asked) => asked,
        // Help and version are errors to clap.
        Err(help) if !help.use_stderr() => {
            output::print(&help.render().to_string());
            return Ok(());
        }
        Err(mistake) => return Err(explained(&mistake, &CommandLine::command())),
    };
    match asked.command {
        None => asked.demo.run().await,
        Some(Command::Demo(demo)) => demo.run().await,
        Some(Command::Serve(serve)) => serve.run().await,
        Some(Command::Migrate(migrate)) => migrate.run().await,
        Some(Command::Sessions(sessions)) => sessions.run().await,
        Some(Command::Users(users)) => users.run().await,
        Some(Command::DeadLetters(dead_letters)) => dead_letters.run().await,
        Some(Command::Nodes(nodes)) => nodes.run().await,
        Some(Command::Types(types)) => types.run(),
        Some(Command::Completions { shell }) => {
            print_completions(shell);
            Ok(())
        }
        Some(Command::Man { directory }) => {
            clap_mangen::generate_to(CommandLine::command(), &directory).map_err(|why| {
                let directory = masked(&directory.display().to_string());
                Failure::Undone(format!("cannot write manual pages to {directory}: {why}"))
            })
        }
    }
}

fn print_completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut CommandLine::command(),
        "matssocket",
        &mut script,
    );
    output::print(&String::from_utf8_lossy(&script));
}

/// A whole number, for options that take one.
///
/// # Errors
/// What is wrong with it; reads on after the value.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "is not a whole number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }
}
