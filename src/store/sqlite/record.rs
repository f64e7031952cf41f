//! The content of a lock file: it identifies the database file, so that a write-ahead log left by another one is
//! noticed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::SystemTime;

const MARK: &str = "matssocket-lock-1";
/// Maximum length of a record in bytes.
const LONGEST: u64 = 200;

/// Identifies a file as well as possible over time; inode numbers are reused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    device: u64,
    inode: u64,
    /// When it was created, in nanoseconds since the epoch; zero if the file system does not tell.
    born: u128,
}

/// What is in a lock file.
#[derive(Debug, PartialEq, Eq)]
pub enum Noted {
    For(Record),
    /// Empty, or incompletely written.
    Nothing,
    /// Something else, which must not be overwritten.
    Other,
}

impl Record {
    /// The record of the file with this name.
    ///
    /// # Errors
    /// There is no such file, or its metadata cannot be read.
    pub fn of(path: &Path) -> io::Result<Record> {
        let metadata = path.metadata()?;
        let born = metadata.created().ok();
        let born = born.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        #[cfg(unix)]
        let (device, inode) = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let (device, inode) = (0, 0);
        Ok(Record {
            device,
            inode,
            born: born.map_or(0, |born| born.as_nanos()),
        })
    }

    /// Whether both identify the same file. If the creation time is known, the device is ignored: its number may change
    /// when the machine is restarted.
    pub fn is_same(&self, other: &Record) -> bool {
        let is_known = self.born != 0 && other.born != 0;
        let same = match is_known {
            true => self.born == other.born,
            false => self.device == other.device,
        };
        same && self.inode == other.inode
    }

    /// Writes it durably into a lock file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, mut file: &File) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{self}\n").as_bytes())?;
        file.sync_all()
    }

    fn parse(text: &str) -> Option<Record> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let record = match words.next()? {
            MARK => Record {
                device: words.next()?.parse().ok()?,
                inode: words.next()?.parse().ok()?,
                born: words.next()?.parse().ok()?,
            },
            _ => return None,
        };
        words.next().is_none().then_some(record)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record {
            device,
            inode,
            born,
        } = self;
        write!(f, "{MARK} {device} {inode} {born}")
    }
}

impl Noted {
    /// Reads the content of a lock file.
    pub fn read(mut file: &File) -> Noted {
        let mut bytes = Vec::new();
        let read = file
            .rewind()
            .and_then(|()| file.take(LONGEST).read_to_end(&mut bytes));
        match read {
            Ok(_) => Noted::parse(&bytes),
            Err(_) => Noted::Other,
        }
    }

    fn parse(bytes: &[u8]) -> Noted {
        if let Some(record) = str::from_utf8(bytes).ok().and_then(Record::parse) {
            return Noted::For(record);
        }
        let mark = MARK.as_bytes();
        match bytes.starts_with(mark) || mark.starts_with(bytes) {
            true => Noted::Nothing,
            false => Noted::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_other_contents_are_recognised() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert_eq!(Noted::read(file.as_file()), Noted::Nothing);
        let record = Record::of(file.path()).expect("there");
        for _ in 0..2 {
            record.write(file.as_file()).expect("written");
            assert_eq!(Noted::read(file.as_file()), Noted::For(record.clone()));
        }
        let half = record.to_string();
        assert_eq!(Noted::parse(half.as_bytes()), Noted::Nothing);
        assert_eq!(Noted::parse(b"SQLite format 3"), Noted::Other);
    }

    #[test]
    fn a_reused_inode_number_is_another_file() {
        let record = |device, inode, born| Record {
            device,
            inode,
            born,
        };
        let file = record(1, 2, 3);
        assert!(file.is_same(&record(1, 2, 3)));
        assert!(file.is_same(&record(9, 2, 3)), "mounted anew");
        assert!(!file.is_same(&record(1, 2, 4)) && !file.is_same(&record(1, 4, 3)));
        assert!(file.is_same(&record(1, 2, 0)) && !file.is_same(&record(9, 2, 0)));
    }
}
