//! Detects connection strings given in place of a file name. SQLite would accept any of them as a file name, password
//! included.

use std::path::Path;

use crate::store::StoreError;

/// Refuses connection strings, without revealing anything of them.
pub fn check(path: &Path) -> Result<(), StoreError> {
    let text = path.to_string_lossy();
    match is_connection_string(&text) {
        false => Ok(()),
        true => Err(StoreError::Open(
            "cannot open the SQLite database: a file name is expected, but this looks like a connection string, which \
             is not shown since it may hold a password; for PostgreSQL, use `Store::postgres`; if it is a file, \
             put ./ before its name"
                .into(),
        )),
    }
}

/// Keywords of connection strings of databases other than SQLite.
const KEYWORDS: [&str; 12] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "service",
    "sslmode",
    "sslpassword",
    "options",
    "connect_timeout",
];

/// Whether a text that should name a file is a connection string: a URL, with or without its scheme, or a list of
/// `key=value` pairs. A text that begins like a path (`/`, `./`, `../`) never is.
fn is_connection_string(text: &str) -> bool {
    let text = text.trim_start();
    if ["/", "./", "../", r"\\", r".\", r"..\"]
        .iter()
        .any(|start| text.starts_with(start))
    {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    let is_drive = |scheme: &str| cfg!(windows) && scheme.len() == 1;
    let is_url = lower.split_once(':').is_some_and(|(scheme, rest)| {
        let databases = [
            "postgres",
            "postgresql",
            "mysql",
            "mariadb",
            "jdbc",
            "sqlite",
        ];
        let is_word = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
        // Without its scheme, a URL may begin with user and password.
        databases.contains(&scheme)
            || (rest.starts_with("//") && scheme.chars().all(is_word))
            || (!scheme.contains(['/', '\\']) && !is_drive(scheme) && rest.contains('@'))
    });
    // There may be spaces around the `=`, and a quoted value may contain anything.
    let is_list = lower.match_indices('=').any(|(at, _)| {
        let key = lower[..at].trim_end().rsplit(char::is_whitespace).next();
        key.is_some_and(|key| KEYWORDS.contains(&key))
    });
    is_url || is_list
}

#[cfg(test)]
mod tests {
    use super::is_connection_string;

    #[test]
    fn a_connection_string_is_no_file_name() {
        for text in [
            "host=db password=secret",
            " HOST = db",
            "application_name=x password = 'a b'",
            "postgres://anna:secret@host/db",
            "POSTGRES://host/db",
            "postgres:anna:secret@host/db",
            "mysql://host/db",
            "sqlite:a.db",
            "jdbc:postgresql://host/db",
            "anna:secret@host/db",
        ] {
            assert!(is_connection_string(text), "{text}");
        }
        for text in [
            "a.db",
            "a=b.db",
            "the host.db",
            "./host=db password=secret",
            "/tmp/host=db",
            "../user=a",
            "a:b.db",
            "me@host.db",
            "a/b:c@d.db",
        ] {
            assert!(!is_connection_string(text), "{text}");
        }
    }
}
