//! The command line.

use std::time::Duration;

use lexopt::prelude::*;
use matssocket::Config;

use super::database::{self, Named};

/// What `--help` prints.
pub const USAGE: &str = "\
A server with the fixed set of endpoints that clients of the MatsSocket protocol are tested against.

Usage: conformance --ports PORT[,PORT…] [--database URL] [--fresh]
       conformance --node NAME --port PORT --database URL

  --ports PORT,…   one node per port, all in this process (default 8080,8081; 0 takes a free one)
  --node NAME      a single node of this name
  --port PORT      its port
  --database URL   an SQLite file, as a path or sqlite://PATH (default: a temporary file), or, built with the feature
                   postgres, postgres://…, which several processes may share
  --schema NAME    where its tables are in PostgreSQL (default matssocket)
  --fresh          empties that database first
  --max-node-bytes BYTES, --scavenge-interval SECONDS
                   instead of the defaults
  --help           prints this
";

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

/// Reads the command line; `None` asks for help.
pub fn parse() -> Result<Option<Args>, lexopt::Error> {
    let (mut ports, mut node, mut port, mut database, mut fresh) = (None, None, None, None, false);
    let mut schema = "matssocket".to_owned();
    let mut config = Config::default();
    // Clients try the largest messages that there are.
    config.max_envelope = config.max_message;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("ports") => ports = Some(parser.value()?.parse_with(parse_ports)?),
            Long("node") => node = Some(parser.value()?.string()?),
            Long("port") => port = Some(parser.value()?.parse_with(parse_port)?),
            Long("database") => database = Some(parser.value()?.parse_with(database::parse)?),
            Long("schema") => schema = parser.value()?.string()?,
            Long("fresh") => fresh = true,
            Long("max-node-bytes") => config.max_node_bytes = parser.value()?.parse()?,
            Long("scavenge-interval") => {
                config.scavenge_interval = Duration::from_secs(parser.value()?.parse()?);
            }
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    let nodes = match (ports, node, port) {
        (Some(ports), None, None) => ports.into_iter().map(|port| (None, port)).collect(),
        (None, None, None) => vec![(None, 8080), (None, 8081)],
        (None, Some(node), Some(port)) => vec![(Some(node), port)],
        (None, _, _) => return Err("--node NAME and --port PORT go together".into()),
        (Some(_), _, _) => return Err("--ports excludes --node and --port".into()),
    };
    Ok(Some(Args {
        nodes,
        database,
        schema,
        fresh,
        config,
    }))
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("{text:?} is not a port (0 to 65535)"))
}

fn parse_ports(text: &str) -> Result<Vec<u16>, String> {
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
