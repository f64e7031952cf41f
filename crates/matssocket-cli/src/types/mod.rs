//! `matssocket types`.

mod document;
mod module;
mod names;
mod schema;

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::operations::masked::masked;
use crate::output;

/// Largest document, in bytes. A larger one is hardly a server's.
const MOST: u64 = 16 << 20;

/// Write TypeScript types of what a server takes and says
///
/// The schema is the AsyncAPI document that an application prints of its server (ServerBuilder::schema). The types go into
/// the browser client: connect<Api>(…) then knows every endpoint, topic and payload.
#[derive(clap::Args)]
pub struct Types {
    /// The server's document; - reads it from the standard input
    #[arg(long, value_name = "FILE")]
    schema: PathBuf,
    /// Where to write the types; without it, they are printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write nothing, and fail if the file is not what would be written
    #[arg(long, requires = "out")]
    check: bool,
}

impl Types {
    /// # Errors
    /// The document cannot be read, or the types cannot be written or, with `--check`, are not current.
    pub fn run(self) -> Result<(), Failure> {
        let shown = shown(&self.schema);
        let text = read(&self.schema)
            .map_err(|why| Failure::Undone(format!("cannot read the schema {shown}: {why}")))?;
        let document = document::parse(&text).map_err(|why| {
            Failure::Undone(format!(
                "{shown} is not a schema of a MatsSocket server: {why}; give it what the server's schema() prints"
            ))
        })?;
        let types = module::typescript(&document);
        match self.out {
            None => output::print(&types),
            Some(out) if self.check => check(&out, &types, &shown)?,
            Some(out) => write(&out, &types)?,
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let source: Box<dyn io::Read> = match path == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(fs::File::open(path)?),
    };
    source.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    Ok(text)
}

fn check(out: &Path, types: &str, schema: &str) -> Result<(), Failure> {
    // A checkout on Windows may have other line ends.
    match fs::read_to_string(out) {
        Ok(current) if current.replace("\r\n", "\n") == types => Ok(()),
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(Failure::Undone(format!(
            "cannot read {}: {why}",
            shown(out)
        ))),
        _ => Err(Failure::Undone(format!(
            "{out} is not current: run matssocket types --schema {schema} --out {out}",
            out = shown(out)
        ))),
    }
}

/// Leaves a file alone that is current, so that nothing is built again for nothing.
fn write(out: &Path, types: &str) -> Result<(), Failure> {
    if fs::read_to_string(out).is_ok_and(|current| current == types) {
        return Ok(());
    }
    fs::write(out, types)
        .map_err(|why| Failure::Undone(format!("cannot write {}: {why}", shown(out))))
}

fn shown(path: &Path) -> String {
    masked(&path.display().to_string())
}
