//! Which store: a URL, or the plain path of an SQLite file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        let path = match text.split_once("://") {
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
            path => Ok(StoreUrl::Sqlite(path.into())),
        }
    }
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

/// A URL with its passwords replaced: that of the user, and that of a parameter.
pub fn masked(url: &str) -> String {
    const MASK: &str = "***";
    let mut masked = url.to_owned();
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let address = url.find('?').unwrap_or(url.len());
    // A password may itself hold an `@` or a `?` that should have been escaped: rather too much is hidden than too
    // little.
    let at = url[..address].rfind('@').or_else(|| url.rfind('@'));
    if let Some(at) = at.filter(|at| *at > start)
        && let Some(colon) = url[start..at].find(':')
    {
        masked.replace_range(start + colon + 1..at, MASK);
    }
    let Some((address, parameters)) = masked.split_once('?') else {
        return masked;
    };
    let hide = |parameter: &str| match parameter.split_once('=') {
        Some((name @ ("password" | "sslpassword"), _)) => format!("{name}={MASK}"),
        _ => parameter.to_owned(),
    };
    let parameters: Vec<_> = parameters.split('&').map(hide).collect();
    format!("{address}?{}", parameters.join("&"))
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
        ] {
            assert_eq!(text.parse(), Ok(StoreUrl::Sqlite(path.into())), "{text}");
        }
        for text in ["postgres://host/db", "postgresql://host/db"] {
            assert_eq!(text.parse(), Ok(StoreUrl::Postgres(text.into())));
        }
        for text in ["", "sqlite:", "mysql://host/db"] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn passwords_are_masked() {
        for (url, shown) in [
            ("postgres://host/db", "postgres://host/db"),
            (
                "postgres://anna@host:5432/db",
                "postgres://anna@host:5432/db",
            ),
            (
                "postgres://anna:secret@host:5432/db",
                "postgres://anna:***@host:5432/db",
            ),
            (
                "postgres://anna:se@cret@host/db",
                "postgres://anna:***@host/db",
            ),
            (
                "postgres://anna:se?cret@host/db",
                "postgres://anna:***@host/db",
            ),
            ("postgres://host:5432/db", "postgres://host:5432/db"),
            (
                "postgres://host/db?user=anna&password=secret&sslmode=require",
                "postgres://host/db?user=anna&password=***&sslmode=require",
            ),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
