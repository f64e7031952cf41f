//! The command line.

use std::path::PathBuf;

use lexopt::prelude::*;

/// What `--help` prints.
pub const USAGE: &str = "\
The MatsSocket demo: several nodes in one process, and a page that shows what the library promises.

Usage: matssocket [demo] [--ports PORT,PORT…] [--database PATH]

  --ports PORT,…   one node per port (default 8080,8081; 0 takes a free one)
  --database PATH  the SQLite file, created if missing (default matssocket-demo.db)
  --help           prints this

RUST_LOG sets what is logged (default warn).
";

/// Nodes are named by letters, and shown side by side.
const MOST_NODES: usize = 8;

/// What to run.
pub struct Args {
    /// One node each.
    pub ports: Vec<u16>,
    /// The SQLite file.
    pub database: PathBuf,
}

/// Reads the command line; `None` asks for help.
pub fn parse(mut parser: lexopt::Parser) -> Result<Option<Args>, lexopt::Error> {
    let mut args = Args {
        ports: vec![8080, 8081],
        database: "matssocket-demo.db".into(),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Long("ports") => args.ports = parser.value()?.parse_with(parse_ports)?,
            Long("database") => args.database = parser.value()?.into(),
            Short('h') | Long("help") => return Ok(None),
            _ => return Err(argument.unexpected()),
        }
    }
    if args.database.as_os_str().is_empty() {
        return Err("--database needs the path of a file".into());
    }
    Ok(Some(args))
}

fn parse_ports(text: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for part in text.split(',') {
        let port = part
            .trim()
            .parse()
            .map_err(|_| format!("{part:?} is not a port (0 to 65535)"))?;
        if port != 0 && ports.contains(&port) {
            return Err(format!("port {port} is given twice"));
        }
        ports.push(port);
    }
    if ports.len() > MOST_NODES {
        return Err(format!("at most {MOST_NODES} ports"));
    }
    Ok(ports)
}
