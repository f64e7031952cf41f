//! Which store: a URL, or the plain path of an SQLite file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::masked::{masked, scheme};

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:path/to/file.db`, or a plain path.
    Sqlite(PathBuf),
    /// `postgres://user:password@host:port/database`.
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<StoreUrl, String> {
        const FORMS: &str = "write sqlite:path/to/file.db or postgres://user@host/database";
        let path = match scheme(text) {
            Some(("postgres" | "postgresql", _)) => return Ok(StoreUrl::Postgres(text.to_owned())),
            Some(("sqlite", path)) => path,
            Some((kind, _)) => {
                return Err(format!(
                    "names a kind of database that is not known ({kind}): {FORMS}"
                ));
            }
            None => text.strip_prefix("sqlite:").unwrap_or(text),
        };
        match path {
            "" => Err(format!("names no store: {FORMS}")),
            path if is_file_name(path) => Ok(StoreUrl::Sqlite(path.into())),
            _ => Err(format!(
                "looks like a connection string rather than a file name: {FORMS}, and ./ before the name of a file that \
                 has one of : = @ in it"
            )),
        }
    }
}

/// Whether a text can be accepted as a file name, so that no file is named after a password: it begins like a path, or
/// contains nothing that a connection string would.
fn is_file_name(text: &str) -> bool {
    let is_path = ["/", "./", "../"].iter().any(|it| text.starts_with(it))
        || cfg!(windows) && std::path::Path::new(text).is_absolute();
    is_path || !text.contains([':', '=', '@'])
}

/// Without passwords.
impl fmt::Display for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(out, "sqlite:{}", path.display()),
            StoreUrl::Postgres(url) => out.write_str(&masked(url)),
        }
    }
}

/// Without passwords, too.
impl fmt::Debug for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_a_url_or_a_path() {
        for (text, path) in [
            ("sqlite:a/b.db", "a/b.db"),
            ("sqlite:/a/b.db", "/a/b.db"),
            ("sqlite:///a/b.db", "/a/b.db"),
            ("sqlite://b.db", "b.db"),
            ("b.db", "b.db"),
            ("./host=a", "./host=a"),
            ("sqlite:../a:b@c", "../a:b@c"),
        ] {
            assert_eq!(text.parse(), Ok(StoreUrl::Sqlite(path.into())), "{text}");
        }
        for text in ["postgres://host/db", "postgresql://host/db"] {
            assert_eq!(text.parse(), Ok(StoreUrl::Postgres(text.into())));
        }
        for text in [
            "",
            "sqlite:",
            "mysql://host/db",
            "host=db password=secret",
            "sqlite:host=db password=secret",
            "host=db password=secret://x",
            "postgres:anna:secret@host/db",
            "anna:secret@host/db",
        ] {
            let refused = text.parse::<StoreUrl>().expect_err(text);
            assert!(!refused.contains("secret"), "{text:?}: {refused}");
        }
    }
}
