//! PostgreSQL connection strings: the options added to them, and how much of an error may be shown.

use std::fmt::Display;
use std::time::Duration;

/// Detect a dead peer while connecting, while idle, and while waiting for an answer.
const CAREFUL: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "5"),
    ("keepalives_interval", "2"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "10000"),
];

/// Of several hosts, choose the writable one, which changes with a failover.
const WRITABLE: (&str, &str) = ("target_session_attrs", "read-write");

/// Adds time-outs and a name for `pg_stat_activity` to a URL or list of `key=value`, unless it already has them.
pub(crate) fn with_keepalives(url: &str, name: &str) -> String {
    let writable = has_several_hosts(url).then_some(WRITABLE);
    let wanted = CAREFUL
        .into_iter()
        .chain([("fallback_application_name", name)])
        .chain(writable);
    match query(url) {
        Some(query) => {
            let given = |key| {
                query
                    .split('&')
                    .any(|pair| pair.split('=').next() == Some(key))
            };
            wanted
                .filter(|(key, _)| !given(key))
                .fold(url.to_owned(), |url, (key, value)| with(&url, key, value))
        }
        // If a key is given twice, libpq uses the later value.
        None => {
            wanted
                .map(|(key, value)| format!("{key}={value} "))
                .collect::<String>()
                + url
        }
    }
}

/// About the longest time that libpq needs to connect with this URL or list, to which
/// [`with_keepalives`] has added what was missing: each host may have an IPv4 and an IPv6 address, and each address is
/// given its `connect_timeout`.
pub(crate) fn longest_connect(url: &str) -> Duration {
    /// For a URL that asks libpq to wait without a limit.
    const UNLIMITED: u32 = 30;
    let given = url
        .rsplit_once("connect_timeout")
        .map(|(_, rest)| rest.trim_start_matches([' ', '=']));
    let digits = given.and_then(|it| it.split(|sign: char| !sign.is_ascii_digit()).next());
    let seconds = digits.and_then(|it| it.parse().ok());
    let seconds = seconds.filter(|it| *it > 0).unwrap_or(UNLIMITED);
    let hosts = url.matches(',').count().min(10) + 1;
    Duration::from_secs(seconds.into()).saturating_mul(2 * hosts as u32)
}

/// Adds a setting to a URL or list of `key=value`. If a key is given twice, libpq uses the last value.
pub(crate) fn with(url: &str, key: &str, value: &str) -> String {
    let sign = match query(url) {
        Some("") if !url.ends_with('?') => "?",
        Some(_) if url.ends_with(['?', '&']) => "",
        Some(_) => "&",
        None => " ",
    };
    format!("{url}{sign}{key}={value}")
}

/// Whether it names several hosts, so that libpq may choose.
fn has_several_hosts(url: &str) -> bool {
    let of_list = |text: &str, separator: char| {
        let pairs = text.split(separator).filter_map(|it| it.split_once('='));
        let hosts = pairs.filter(|(key, _)| matches!(key.trim(), "host" | "hostaddr"));
        hosts.map(|(_, value)| value).any(|it| it.contains(','))
    };
    let Some(query) = query(url) else {
        // Spaces are allowed around the equals sign.
        let parts: Vec<&str> = url.split('=').map(str::trim).collect();
        return of_list(&parts.join("="), ' ');
    };
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    // The password or the database name may contain a comma.
    let hosts = rest.strip_suffix(query).unwrap_or(rest);
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    let hosts = hosts.split(['/', '?']).next().unwrap_or_default();
    hosts.contains(',') || of_list(query, '&')
}

/// What follows the question mark of a URL. `None`: it is a list of `key=value`.
fn query(url: &str) -> Option<&str> {
    let rest = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme))?;
    // The password may contain a question mark.
    let rest = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => &rest[at..],
        Some(_) | None => rest,
    };
    Some(rest.split_once('?').map_or("", |(_, query)| query))
}

/// Whether libpq would read a part of a URL's password as a host or database name, and quote it in its errors: to
/// libpq, the password ends at the first `@`, and cannot contain a `/`.
pub(crate) fn is_ambiguous(url: &str) -> bool {
    let rest = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let after = rest.and_then(|rest| rest.split_once(['@', '/']));
    after.is_some_and(|(_, after)| after.split('?').next().is_some_and(|it| it.contains('@')))
}

/// Why there is no connection, in one line. When libpq cannot parse the URL it quotes the offending part, which may be
/// a piece of the password: so its message is shown only if it did parse the URL.
pub(crate) fn refusal(error: &impl Display) -> String {
    let text = one_line(error);
    let understood = ["connection to server", "could not translate host name"];
    if understood.iter().any(|start| text.starts_with(start)) {
        text
    } else {
        "libpq cannot parse the URL, or something that it names is missing (the message is not shown, since \
        it may contain a piece of the password)"
            .into()
    }
}

/// Joins a multi-line error into one line.
pub(crate) fn one_line(error: &impl Display) -> String {
    let text = error.to_string();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_outs_are_added_unless_given() {
        let added = "connect_timeout=5&keepalives_idle=5&keepalives_interval=2&keepalives_count=3&\
                     tcp_user_timeout=10000&fallback_application_name=me";
        for (url, sign) in [
            ("postgres://a:b?c@host:1/db", "?"),
            ("postgresql:///db", "?"),
            ("postgres://host/db?", ""),
            ("postgres://host/db?sslmode=require", "&"),
            ("postgres://host/db?sslmode=require&", ""),
        ] {
            assert_eq!(with_keepalives(url, "me"), format!("{url}{sign}{added}"));
        }
        let given = with_keepalives(
            "postgres://host/db?tcp_user_timeout=0&connect_timeout=60",
            "me",
        );
        assert_eq!(
            given,
            "postgres://host/db?tcp_user_timeout=0&connect_timeout=60&keepalives_idle=5&keepalives_interval=2&\
            keepalives_count=3&fallback_application_name=me"
        );
        let list = with_keepalives("host=db connect_timeout = 60", "me");
        assert!(
            list.starts_with("connect_timeout=5 ")
                && list.ends_with(" host=db connect_timeout = 60")
        );
    }

    #[test]
    fn how_long_connecting_may_take_is_what_the_url_says() {
        for (url, seconds) in [
            ("postgres://host/db", 10),
            ("postgres://a,b/db", 20),
            ("postgres://host/db?connect_timeout=2", 4),
            ("host=a,b connect_timeout = 3", 12),
            ("host=a connect_timeout=0", 60),
            ("postgres://host/db?connect_timeout=", 60),
        ] {
            let longest = longest_connect(&with_keepalives(url, "me"));
            assert_eq!(longest, Duration::from_secs(seconds), "{url}");
        }
    }

    #[test]
    fn of_several_hosts_the_writable_one_is_wanted_unless_the_user_says_otherwise() {
        for (url, several) in [
            ("postgres://a,b/db", true),
            ("postgres://u:p@a:1,b:2/db?sslmode=require", true),
            ("postgres:///db?host=a,b", true),
            ("postgres:///db?hostaddr=10.0.0.1,10.0.0.2&port=1,2", true),
            ("host=a,b port=1", true),
            ("port = 1 host = a,b", true),
            ("postgres://u:p,q@a/d,b", false),
            ("postgres://a/db?application_name=x,y", false),
            ("host=a application_name=x,y", false),
        ] {
            let added = with_keepalives(url, "me").contains("target_session_attrs=read-write");
            assert_eq!(added, several, "{url}");
        }
        let any = with_keepalives("postgres://a,b/db?target_session_attrs=any", "me");
        assert!(!any.contains("read-write"), "{any}");
    }

    #[test]
    fn one_more_is_added_at_the_end() {
        for (url, whole) in [
            ("postgres://host/db", "postgres://host/db?a=1"),
            ("postgres://host/db?", "postgres://host/db?a=1"),
            ("postgres://host/db?b=2", "postgres://host/db?b=2&a=1"),
            ("host=db b=2", "host=db b=2 a=1"),
        ] {
            assert_eq!(with(url, "a", "1"), whole);
        }
    }

    #[test]
    fn libpq_takes_them() {
        use diesel::{Connection, PgConnection};
        for url in [
            "postgres://user:se?cret@127.0.0.1:1/db",
            "postgres://user:se?cret@127.0.0.1:1/db?",
            "postgres://user:secret@127.0.0.1:1/db?application_name=x",
            "host=127.0.0.1 port=1 password='se cret' connect_timeout = 60",
        ] {
            let error = PgConnection::establish(&with_keepalives(url, "me"))
                .err()
                .expect("nobody listens there");
            assert!(refusal(&error).contains("refused"), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_that_libpq_would_misread_is_noticed() {
        for (url, ambiguous) in [
            ("postgres://user:sec/ret@host/db", true),
            ("postgres://user:1234/ret@host/db", true),
            ("postgresql://user:sec@ret@host/db", true),
            ("postgres://user:sec@ret/x@host/db", true),
            ("postgres://user:se?cret@host/db", false),
            (
                "postgres://user:se%40cret@host/db?application_name=a@b",
                false,
            ),
            ("postgres://host/db?application_name=a@b", false),
            ("postgres://host", false),
            ("password=a@b/c@d", false),
        ] {
            assert_eq!(is_ambiguous(url), ambiguous, "{url}");
        }
    }

    #[test]
    fn no_piece_of_a_password_is_shown() {
        use diesel::{Connection, PgConnection};
        for url in [
            "postgres://user:sec%zzret@host/db",
            "postgres://user:sec/ret@host/db",
            "password=sec ret",
            "user:sec/ret@host/db",
        ] {
            let error = PgConnection::establish(&with_keepalives(url, "me"))
                .err()
                .expect("no URL");
            let shown = refusal(&error);
            assert!(
                !shown.contains("sec") && !shown.contains("ret@"),
                "{url}: {shown}"
            );
        }
    }
}
