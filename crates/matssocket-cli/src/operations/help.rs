//! What `--help` prints.

use super::command_line::Command;
use super::settings::{SETTINGS, Setting, Settings};

/// For people who named a command that there is not.
pub const COMMANDS: &str = "demo, serve, migrate, sessions, dead-letters and nodes";

pub const WHOLE: &str = "\
Reliable messaging over WebSocket: a demo, a small server, and what an operator needs.

Usage: matssocket [COMMAND] [OPTIONS]

  demo          several nodes in one process, and a page to watch them (without a command, too)
  serve         one node, with a configuration file
  migrate       creates the store's tables, or brings them up to date
  sessions      lists, counts and closes sessions, revokes authorizations
  dead-letters  lists, redrives and drops messages that were given up
  nodes         lists the nodes of the cluster

matssocket COMMAND --help tells more of each, matssocket --version the version.

The demo takes:
  --ports PORT,…   one node per port (default 8080,8081; 0 takes a free one)
  --database PATH  the SQLite file, created if missing (default matssocket-demo.db)

Exit codes: 0 done, 1 it could not be done, 2 it was not understood.
RUST_LOG sets what is logged (default warn).
";

pub const SERVE: Command = Command {
    name: "serve",
    help: serve,
    serves: true,
};
pub const MIGRATE: Command = Command {
    name: "migrate",
    help: migrate,
    serves: false,
};
pub const SESSIONS: Command = Command {
    name: "sessions",
    help: sessions,
    serves: false,
};
pub const DEAD_LETTERS: Command = Command {
    name: "dead-letters",
    help: dead_letters,
    serves: false,
};
pub const NODES: Command = Command {
    name: "nodes",
    help: nodes,
    serves: false,
};

fn serve() -> String {
    format!(
        "\
Runs one node at ws://ADDRESS/matssocket, with the demo's endpoints (Demo.echo, Demo.slow, Demo.pushLater, Demo.say).
It is for trying things out: clients log in with the authorization value Demo:<name>, and are believed.
Stops in good order on SIGTERM and SIGINT.

Usage: matssocket serve [OPTIONS]

  --config FILE                   the configuration file, TOML (or MATSSOCKET_CONFIG)
  --print-config                  prints what would be in effect, with passwords masked, and ends
  --json                          prints JSON instead of text
  --help                          prints this

Each of the following is also an entry of the configuration file (stop_grace = \"5s\") and a variable of the environment
(MATSSOCKET_STOP_GRACE=5s). The command line comes before the environment, and that before the file.

{}
GET /health, /ready and /metrics tell how it is.
",
        settings(|_| true)
    )
}

fn migrate() -> String {
    of_store(
        "\
Creates the store's tables, or brings them up to date. (Servers do that themselves when they start.)

Usage: matssocket migrate [--rename-app NAME] [OPTIONS]

  --rename-app NAME  the application that has this store is called NAME from now on; another one is refused at start
",
    )
}

fn sessions() -> String {
    of_store(
        "\
Lists the sessions of the whole cluster, oldest first; closes one, or all of a user: their messages are deleted, their
clients are told; or ends a user's authorization: nothing reaches him, nor is taken from him, until he logs in again.

Usage: matssocket sessions [OPTIONS]
       matssocket sessions close SID|--user USER [--reason TEXT] [OPTIONS]
       matssocket sessions revoke --user USER [--topic TOPIC] [OPTIONS]

  --user USER     only this user's
  --app NAME      only this app's
  --connected     only those connected to a node
  --limit NUMBER  at most so many (default 100)
  --count         only their number
  --topic TOPIC   revoke: only the right to this topic
",
    )
}

fn dead_letters() -> String {
    of_store(
        "\
Lists messages that were given up; puts them back to be delivered; or deletes them.

Usage: matssocket dead-letters list [--after ID] [--limit NUMBER] [OPTIONS]
       matssocket dead-letters redrive ID…|--all [OPTIONS]
       matssocket dead-letters drop ID…|--all [OPTIONS]

  --after ID      only ids greater than this
  --limit NUMBER  at most so many (default 100)
  --all           every dead letter there is

Payloads, and long trace ids in full, are shown with --json.
",
    )
}

fn nodes() -> String {
    of_store(
        "\
Lists the nodes of the cluster, with their leases, the number of sessions that each holds, and their services; and the
services for which messages wait although no node has them.

Usage: matssocket nodes [OPTIONS]
",
    )
}

/// The help of a command that looks after a store.
fn of_store(own: &str) -> String {
    format!(
        "\
{own}
{}  --config FILE   the configuration file, TOML, which may name the store (or MATSSOCKET_CONFIG)
  --json          prints JSON instead of text
  --help          prints this

MATSSOCKET_STORE and MATSSOCKET_SCHEMA are heard as well. An SQLite file is open to one process at a time: stop the
server first.
",
        settings(|setting| setting.of_store)
    )
}

fn settings(wanted: fn(&Setting) -> bool) -> String {
    let defaults = Settings::default();
    let line = |setting: &&Setting| {
        let option = format!("{} {}", setting.option(), setting.field.placeholder());
        let default = setting.field.show(&defaults);
        let default = default
            .map(|value| format!(" (default {value})"))
            .unwrap_or_default();
        (option, format!("{}{default}", setting.help))
    };
    let lines: Vec<_> = SETTINGS
        .iter()
        .filter(|setting| wanted(setting))
        .map(|s| line(&s))
        .collect();
    let longest = lines
        .iter()
        .map(|(option, _)| option.chars().count())
        .max()
        .unwrap_or(0)
        .max(14);
    lines
        .into_iter()
        .map(|(option, help)| format!("  {option:longest$}  {help}\n"))
        .collect()
}
