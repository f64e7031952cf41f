//! Connection strings without their secrets.
//!
//! Values are shown only if their keys are known to hold no secret: a mistyped key, or a value in the wrong place, must
//! not put a password into a log. When in doubt, a value is hidden.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

const MASK: &str = "***";

/// Keys of libpq whose values may be shown. (`options` may set anything, `password` and `sslpassword` speak for
/// themselves.)
const SHOWN: [&str; 24] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "passfile",
    "port",
    "service",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// A connection string, either a URL or a list of `key=value`, with its secrets replaced. Any other text stays as it
/// is.
pub fn masked(text: &str) -> String {
    match scheme(text) {
        Some((scheme, rest)) => format!("{scheme}://{}", masked_url(rest)),
        None if text.contains('=') => masked_list(text),
        // A URL without its scheme.
        None => match text.rsplit_once('@') {
            Some((user, rest)) if user.contains(':') => format!("{}@{rest}", masked_user(user)),
            _ => text.to_owned(),
        },
    }
}

/// Scheme and rest of a URL.
pub fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let is_word = |char: char| char.is_ascii_alphanumeric() || "+-.".contains(char);
    (!scheme.is_empty() && scheme.chars().all(is_word)).then_some((scheme, rest))
}

/// Masks what follows the scheme. A password may hold an `@`, a `/` or a `?` that should have been escaped, so that
/// everything up to the last `@` may be part of it.
fn masked_url(rest: &str) -> String {
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (masked_user(user) + "@", rest),
        None => (String::new(), rest),
    };
    let (address, parameters) = match rest.split_once('?') {
        Some((address, parameters)) => (address, Some(parameters)),
        None => (rest, None),
    };
    let parameters = parameters.map(|parameters| {
        let parameters: Vec<_> = parameters.split('&').map(masked_parameter).collect();
        format!("?{}", parameters.join("&"))
    });
    user + &masked_address(address) + &parameters.unwrap_or_default()
}

fn masked_user(user: &str) -> String {
    match user.split_once(':') {
        Some((name, _)) if is_harmless(name) => format!("{name}:{MASK}"),
        None if is_harmless(user) => user.to_owned(),
        _ => MASK.into(),
    }
}

/// Hosts with their ports, and a database.
fn masked_address(address: &str) -> String {
    let (hosts, database) = match address.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (address, None),
    };
    // If the host was forgotten, there is a password in place of the port.
    let has_port = |host: &str| match host.rsplit_once(':') {
        Some((_, port)) => port.ends_with(']') || port.bytes().all(|it| it.is_ascii_digit()),
        None => true,
    };
    let hosts = match hosts.split(',').all(has_port) && is_harmless(hosts) {
        true => hosts,
        false => MASK,
    };
    match database {
        Some(database) if is_harmless(database) => format!("{hosts}/{database}"),
        Some(_) => format!("{hosts}/{MASK}"),
        None => hosts.to_owned(),
    }
}

fn masked_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((key, value)) if may_be_shown(&decoded(key), &decoded(value)) => parameter.to_owned(),
        Some((key, _)) => format!("{}={MASK}", shown_key(key)),
        None if parameter.is_empty() => String::new(),
        None => MASK.into(),
    }
}

/// Reads a list as libpq does: spaces may surround the `=`, a value may be quoted, and a backslash takes what follows.
fn masked_list(list: &str) -> String {
    let mut shown = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|char: char| char == '=' || char.is_whitespace())
            .unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // Most likely a piece of a value that should have been quoted.
            shown.push(MASK.to_owned());
            rest = after.trim_start();
            continue;
        };
        let after = after.trim_start();
        let (value, after) = after.split_at(end_of_value(after));
        shown.push(match may_be_shown(key, value.trim_matches('\'')) {
            true => format!("{key}={value}"),
            false => format!("{}={MASK}", shown_key(key)),
        });
        rest = after.trim_start();
    }
    shown.join(" ")
}

/// Where the value at the beginning of this text ends.
fn end_of_value(text: &str) -> usize {
    let quoted = text.starts_with('\'');
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(quoted.into()) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return at + 1,
            char if !quoted && char.is_whitespace() => return at,
            _ => {}
        }
    }
    text.len()
}

fn may_be_shown(key: &str, value: &str) -> bool {
    SHOWN.contains(&key.to_ascii_lowercase().as_str()) && is_harmless(value)
}

/// Whether nothing else hides in a value: another connection string, or what follows a wrong separator.
fn is_harmless(value: &str) -> bool {
    !value.contains("://")
        && !value.contains(|char: char| "=@;&?#".contains(char) || char.is_whitespace())
}

/// A key, unless it may be a piece of something else.
fn shown_key(key: &str) -> &str {
    let is_word = |char: char| char.is_ascii_alphanumeric() || "_%".contains(char);
    match key.chars().all(is_word) {
        true => key,
        false => MASK,
    }
}

/// A piece of a URL without percent-encoding.
fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn passwords_in_urls_are_masked() {
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
            (
                "postgres://anna:s@e?c@ret@host/db",
                "postgres://anna:***@host/db",
            ),
            ("postgres://host:5432/db", "postgres://host:5432/db"),
            (
                "postgres://a:1,[::1]:5432,[::2]/db",
                "postgres://a:1,[::1]:5432,[::2]/db",
            ),
            ("postgres://anna:secret/db", "postgres://***/db"),
            ("postgres://host/db password=secret", "postgres://host/***"),
            ("POSTGRES://anna:secret@host", "POSTGRES://anna:***@host"),
            ("anna:secret@host/db", "anna:***@host/db"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }

    #[test]
    fn secret_parameters_are_masked_however_they_are_written() {
        for (parameters, shown) in [
            (
                "user=anna&password=secret&sslmode=require",
                "user=anna&password=***&sslmode=require",
            ),
            ("pass%77ord=secret", "pass%77ord=***"),
            ("PASSWORD=secret", "PASSWORD=***"),
            ("sslpassword=secret", "sslpassword=***"),
            ("options=-c%20a.key%3Dsecret", "options=***"),
            ("unknown=secret", "unknown=***"),
            ("sslmode=require;password=secret", "sslmode=***"),
            ("sslmode=a%3Bpassword%3Dsecret", "sslmode=***"),
            ("secret", "***"),
            ("host=%2Frun%2Fpg", "host=%2Frun%2Fpg"),
        ] {
            let url = "postgres://host/db?";
            assert_eq!(
                masked(&format!("{url}{parameters}")),
                format!("{url}{shown}")
            );
        }
    }

    #[test]
    fn passwords_in_lists_are_masked() {
        for (list, shown) in [
            ("host=db password=secret", "host=db password=***"),
            (
                "host = db password = 'sec ret' user=anna",
                "host=db password=*** user=anna",
            ),
            (r"password='sec\'ret x' port=1", "password=*** port=1"),
            (r"password=sec\ ret port=1", "password=*** port=1"),
            ("PassWord=secret", "PassWord=***"),
            ("password=my secret", "password=*** ***"),
            ("password='my secret", "password=***"),
            ("password=a://secret host=db", "password=*** host=db"),
            ("options='-c a.b=secret' host=db", "options=*** host=db"),
            ("dbname=postgres://anna:secret@host", "dbname=***"),
            ("anna:se=cret@host/db", "***=***"),
            ("sqlite:host=db password=secret", "***=*** password=***"),
        ] {
            assert_eq!(masked(list), shown);
        }
    }

    #[test]
    fn other_texts_stay() {
        for text in ["", "3s", "a/b.db", "anna@host", "sqlite:a.db"] {
            assert_eq!(masked(text), text);
        }
    }
}
