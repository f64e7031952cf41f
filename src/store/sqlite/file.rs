//! Files: which one a path refers to, how a new one is created, and how SQLite opens one.

use std::fmt::Write as _;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Identifies a file by device and inode, whatever its name.
#[cfg(unix)]
pub type Identity = (u64, u64);

/// Identifies a file by its canonical name; the standard library offers nothing better here.
#[cfg(not(unix))]
pub type Identity = PathBuf;

/// The identity of the file with this name.
///
/// # Errors
/// There is no such file, or its metadata cannot be read.
pub fn named(path: &Path) -> io::Result<Identity> {
    identity_of(&path.metadata()?, path)
}

/// The identity of an open file.
///
/// # Errors
/// Its metadata cannot be read.
pub fn identity(file: &File, path: &Path) -> io::Result<Identity> {
    identity_of(&file.metadata()?, path)
}

/// The identity of the file with this metadata and name.
///
/// # Errors
/// Its name cannot be resolved.
pub fn identity_of(metadata: &Metadata, path: &Path) -> io::Result<Identity> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let _ = path;
        Ok((metadata.dev(), metadata.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        path.canonicalize()
    }
}

/// The file that a database's path refers to, through all symbolic links, and whether it exists. The path is absolute,
/// in case the process changes its directory later.
///
/// # Errors
/// Why there is no such file, and none can be created.
pub fn resolve(path: &Path) -> Result<(PathBuf, bool), String> {
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => {
            let path = canonical(path).map_err(|why| why.to_string())?;
            Ok((path, true))
        }
        Ok(_) => Err("it is not a file".into()),
        Err(why) if why.kind() == ErrorKind::NotFound => {
            if path.is_symlink() {
                return Err("it is a symbolic link to a file that does not exist; create that file, empty, or name \
                            it directly"
                    .into());
            }
            Ok((missing(path)?, false))
        }
        Err(why) => Err(why.to_string()),
    }
}

/// The path of a file that does not exist yet.
fn missing(path: &Path) -> Result<PathBuf, String> {
    let absolute = std::path::absolute(path).map_err(|why| why.to_string())?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err("its path does not name a file".into());
    };
    let parent = canonical(parent).map_err(|why| {
        let parent = parent.display();
        format!("its directory {parent} cannot be used ({why}); does it exist?")
    })?;
    Ok(parent.join(name))
}

fn canonical(path: &Path) -> io::Result<PathBuf> {
    match cfg!(windows) {
        // On Windows, the canonical form is not understood by every program.
        true => std::path::absolute(path),
        false => path.canonicalize(),
    }
}

/// Creates a file that only its owner can use, whatever the umask. SQLite gives the files beside a database the
/// database's mode. Fails if anything of this name exists, even a symbolic link.
///
/// # Errors
/// Why it cannot be created.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::fs::Permissions;
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let file = options.mode(0o600).open(path)?;
        // The umask may have removed the owner's permissions.
        file.set_permissions(Permissions::from_mode(0o600))?;
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// The file with a suffix added to its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The URI for opening a file with these parameters. (Given a plain path, SQLite would create a missing file, with the
/// mode that the umask leaves.)
///
/// # Errors
/// The path is not valid UTF-8.
pub fn uri(path: &Path, parameters: &str) -> Result<String, String> {
    let path = path.to_str().ok_or("its path is not valid UTF-8")?;
    let path = match cfg!(windows) {
        true => format!("/{}", path.replace('\\', "/")),
        false => path.to_owned(),
    };
    let mut uri = String::from("file:");
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b':' => {
                uri.push(byte.into());
            }
            // Writing to a string cannot fail.
            _ => drop(write!(uri, "%{byte:02X}")),
        }
    }
    Ok(uri + "?" + parameters)
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn a_path_is_escaped() {
        let uri = |path: &str| uri(path.as_ref(), "mode=rw");
        assert_eq!(uri("/a/b.db"), Ok("file:/a/b.db?mode=rw".into()));
        assert_eq!(
            uri("/a b/ä?c#d%"),
            Ok("file:/a%20b/%C3%A4%3Fc%23d%25?mode=rw".into())
        );
    }
}
