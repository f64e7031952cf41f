//! A node's own account of what it pushed. It is written to a file, so that a kill loses none of it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::data::Process;

/// What became of a push, as far as its node could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The node died over it, or could not learn: it may arrive, once.
    Open,
    /// `send` has returned `Ok`: it must arrive, once.
    Accepted,
    /// `send` said that nothing was stored: it must not arrive.
    Refused,
}

/// Appends to the file of one process. Each line is one write, and the kernel keeps what a killed process has written.
pub struct Journal(File);

impl Journal {
    pub fn create(path: &Path) -> std::io::Result<Journal> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(Journal)
    }

    pub fn note(&mut self, client: usize, number: u64, fate: Fate) {
        let mark = match fate {
            Fate::Open => '?',
            Fate::Accepted => '+',
            Fate::Refused => '-',
        };
        self.0
            .write_all(format!("{mark} {client} {number}\n").as_bytes())
            .expect("the journal can be written");
    }
}

/// Where the journal of a process is.
pub fn path(directory: &Path, process: Process) -> PathBuf {
    directory.join(format!("pushes-{process}"))
}

/// What a process pushed: by receiver and number.
pub fn read(directory: &Path, process: Process) -> HashMap<(usize, u64), Fate> {
    let text = std::fs::read_to_string(path(directory, process)).unwrap_or_default();
    let mut pushes = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let fate = match words.next() {
            Some("+") => Fate::Accepted,
            Some("-") => Fate::Refused,
            _ => Fate::Open,
        };
        let mut number = || words.next().and_then(|word| word.parse().ok());
        if let (Some(client), Some(number)) = (number(), number()) {
            pushes.insert((client as usize, number), fate);
        }
    }
    pushes
}
