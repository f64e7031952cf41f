//! The command line.

use std::time::Duration;

use clap::Parser;
use matssocket::Config;

use super::database::{self, Named};

/// A server with the fixed set of endpoints that clients of the MatsSocket protocol are tested against
#[derive(Parser)]
#[command(name = "conformance", args_override_self = true)]
struct CommandLine {
    /// One node per port, all in this process; 0 takes a free one [default: 8080,8081]
    #[arg(long, value_name = "PORT,…", value_parser = parse_ports, conflicts_with_all = ["node", "port"])]
    ports: Option<Ports>,
    /// A single node of this name
    #[arg(long, value_name = "NAME", requires = "port")]
    node: Option<String>,
    /// Its port
    #[arg(long, value_name = "PORT", value_parser = parse_port, requires = "node")]
    port: Option<u16>,
    /// An SQLite file, as a path or sqlite://PATH (default: a temporary file), or, built with the feature postgres,
    /// postgres://…, which several processes may share
    #[arg(long, value_name = "URL", value_parser = database::parse)]
    database: Option<Named>,
    /// Where its tables are in PostgreSQL
    #[arg(long, value_name = "NAME", default_value = "matssocket")]
    schema: String,
    /// Empty that database first
    #[arg(long)]
    fresh: bool,
    /// Instead of the default
    #[arg(long, value_name = "BYTES")]
    max_node_bytes: Option<usize>,
    /// Instead of the default
    #[arg(long, value_name = "SECONDS")]
    scavenge_interval: Option<u64>,
}

/// (To clap, a `Vec` would be an option that may be given several times.)
type Ports = Vec<u16>;

/// What to run.
#[derive(Debug)]
pub struct Args {
    /// One node per entry: what its name starts with, if given, and its port.
    pub nodes: Vec<(Option<String>, u16)>,
    /// A temporary SQLite file if `None`.
    pub database: Option<Named>,
    /// Of a PostgreSQL.
    pub schema: String,
    /// Empty the database first.
    pub fresh: bool,
    /// Of each node.
    pub config: Config,
}

/// Reads the command line. Ends the process if it asks for help.
///
/// # Errors
/// What is wrong, in one line.
pub fn parse() -> Result<Args, String> {
    let given = match CommandLine::try_parse() {
        Ok(given) => given,
        Err(help) if !help.use_stderr() => help.exit(),
        Err(mistake) => return Err(in_one_line(&mistake)),
    };
    let mut config = Config::default();
    // Clients try the largest messages that there are.
    config.max_envelope = config.max_message;
    if let Some(bytes) = given.max_node_bytes {
        config.max_node_bytes = bytes;
    }
    if let Some(seconds) = given.scavenge_interval {
        config.scavenge_interval = Duration::from_secs(seconds);
    }
    let nodes = match (given.ports, given.port) {
        (Some(ports), _) => ports.into_iter().map(|port| (None, port)).collect(),
        (None, Some(port)) => vec![(given.node, port)],
        (None, None) => vec![(None, 8080), (None, 8081)],
    };
    Ok(Args {
        nodes,
        database: given.database,
        schema: given.schema,
        fresh: given.fresh,
        config,
    })
}

/// What clap says up to the first blank line; tips and usage are behind it.
fn in_one_line(mistake: &clap::Error) -> String {
    let text = mistake.render().to_string();
    let words = text.lines().take_while(|line| !line.is_empty());
    let line = words.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{text:?} is not a port (0 to 65535)"))
}

fn parse_ports(text: &str) -> Result<Ports, String> {
    let ports = text
        .split(',')
        .map(parse_port)
        .collect::<Result<Vec<_>, _>>()?;
    for (index, port) in ports.iter().enumerate() {
        if *port != 0 && ports[..index].contains(port) {
            return Err(format!("port {port} is given twice"));
        }
    }
    Ok(ports)
}
