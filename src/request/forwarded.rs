//! What proxies report about a request: `X-Forwarded-*`, or `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv4Addr};

use actix_web::http::header::{self, HeaderMap, HeaderName};

use super::origin::Scheme;

/// What each proxy reported about its peer, the nearest proxy last. Entries can only be attributed from the right: a
/// client may send such headers too, and proxies append to them.
pub(super) struct Hops {
    addresses: Vec<String>,
    hosts: Vec<String>,
    schemes: Vec<String>,
}

impl Hops {
    /// The headers `X-Forwarded-*`, or `Forwarded` if there are none: a proxy that sets one kind commonly passes the
    /// other through, and by far the most common is `X-Forwarded-For`.
    pub(super) fn read(headers: &HeaderMap) -> Hops {
        let list = |name| list(headers, HeaderName::from_static(name));
        let hops = Hops {
            addresses: list("x-forwarded-for"),
            hosts: list("x-forwarded-host"),
            schemes: list("x-forwarded-proto"),
        };
        match hops.addresses.is_empty() && hops.hosts.is_empty() && hops.schemes.is_empty() {
            true => Hops::read_forwarded(headers),
            false => hops,
        }
    }

    fn read_forwarded(headers: &HeaderMap) -> Hops {
        let mut hops = Hops {
            addresses: Vec::new(),
            hosts: Vec::new(),
            schemes: Vec::new(),
        };
        for value in headers.get_all(header::FORWARDED) {
            // A value that is not text is treated like one that names no one.
            for element in split(value.to_str().unwrap_or("for=unknown"), ',') {
                for pair in split(element, ';') {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let value = unquoted(value.trim());
                    match name.trim().to_ascii_lowercase().as_str() {
                        "for" => hops.addresses.push(value),
                        "host" => hops.hosts.push(value),
                        "proto" => hops.schemes.push(value),
                        _ => {}
                    }
                }
            }
        }
        hops
    }

    /// The client's address, which is the first from the right that is not a proxy's, and its distance from the right
    /// in entries. If a proxy names no one, entries further left are not trusted.
    pub(super) fn client(
        &self,
        connected: Option<IpAddr>,
        is_proxy: impl Fn(IpAddr) -> bool,
    ) -> (Option<IpAddr>, usize) {
        let mut last = connected;
        for (distance, word) in self.addresses.iter().rev().enumerate() {
            let Some(address) = address(word) else {
                return (last, distance);
            };
            if !is_proxy(address) {
                return (Some(address), distance);
            }
            last = Some(address);
        }
        (last, self.addresses.len().saturating_sub(1))
    }

    /// The host that the client named to the proxy at this distance.
    pub(super) fn host(&self, distance: usize) -> Option<String> {
        at(&self.hosts, distance)
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
    }

    /// The scheme by which the client reached the proxy at this distance.
    pub(super) fn scheme(&self, distance: usize) -> Option<Scheme> {
        at(&self.schemes, distance).and_then(Scheme::parse)
    }
}

/// Proxies that replace a header leave fewer entries than there are proxies: then the left-most is the outermost
/// proxy's.
fn at(words: &[String], distance: usize) -> Option<&str> {
    let index = words.len().checked_sub(1)?.saturating_sub(distance);
    words.get(index).map(String::as_str)
}

/// The comma-separated values of a header that may occur several times.
fn list(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .flat_map(|value| value.to_str().unwrap_or_default().split(','))
        .map(|value| value.trim().to_owned())
        .collect()
}

/// Splits at a separator outside quoted strings.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

fn unquoted(value: &str) -> String {
    match value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace('\\', ""),
        None => value.to_owned(),
    }
}

/// An address in a proxy's header: with or without brackets and port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(address, _)| address)?,
        None => match text.split_once(':') {
            Some((v4, _)) if v4.parse::<Ipv4Addr>().is_ok() => v4,
            _ => text,
        },
    };
    bare.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}
