//! Origins as sent by browsers, and hosts as named in requests, in comparable form.

use url::Url;

/// A page's origin: letter case and default ports are normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    /// Empty for `file://` only.
    host: String,
    /// Given, or the scheme's default.
    port: Option<u16>,
}

/// The host of a request or of a setting, and its port if it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    name: String,
    port: Option<u16>,
}

impl Origin {
    /// An origin as a browser serialises it. `None` for anything else, `null` included.
    pub(crate) fn parse(text: &str) -> Option<Origin> {
        let (scheme, authority) = text.split_once("://")?;
        // The URL parser is as lenient as a browser's address bar, which an `Origin` header does not need.
        if !is_bare(authority) {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let host = url.host_str().unwrap_or_default();
        // Rejects a leading part that the parser took for something else.
        if !scheme.eq_ignore_ascii_case(url.scheme()) || host.is_empty() != authority.is_empty() {
            return None;
        }
        if host.is_empty() && url.scheme() != "file" {
            return None;
        }
        Some(Origin {
            scheme: url.scheme().to_owned(),
            // The parser keeps the letter case of hosts for schemes that it does not know.
            host: host.to_ascii_lowercase(),
            port: url.port_or_known_default(),
        })
    }

    /// An entry of the allowed origins. The error says what is wrong with it, and how to fix it.
    pub(crate) fn allowed(entry: &str) -> Result<Origin, String> {
        let mistake = |what: &str| Err(format!("the allowed origin {entry:?} {what}"));
        if entry.is_empty() {
            return mistake("is empty and never matches: remove it");
        }
        if entry.eq_ignore_ascii_case("null") {
            return mistake(
                "never matches, because any page can make its origin opaque: serve the page from an origin of its own",
            );
        }
        if entry.contains('*') {
            return mistake(
                "has a wildcard, which never matches: name each origin, or decide in Authentication::check_origin",
            );
        }
        let Some((scheme, rest)) = entry.split_once("://") else {
            return mistake("has no scheme and never matches: write it as https://shop.example");
        };
        if scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss") {
            return mistake(
                "never matches, because it is pages that have origins: write the page's https:// or http://",
            );
        }
        let bare = rest.strip_suffix('/').unwrap_or(rest);
        if !is_bare(bare) {
            return mistake(
                "never matches, because an origin has no user, path, query or fragment: write scheme, host and port only",
            );
        }
        match Origin::parse(&format!("{scheme}://{bare}")) {
            Some(origin) => Ok(origin),
            None => mistake("is no origin and never matches: write it as https://shop.example"),
        }
    }

    /// Whether a page of this origin was served by the host that a request names. `scheme` is our own, if it is known;
    /// if not, TLS may end at a proxy that is not configured, and the origin's own scheme is used.
    pub(crate) fn is_of(&self, host: &str, scheme: Option<Scheme>) -> bool {
        if !matches!(self.scheme.as_str(), "http" | "https") {
            return false;
        }
        if scheme.is_some_and(|scheme| scheme.name() != self.scheme) {
            return false;
        }
        is_bare(host) && Origin::parse(&format!("{}://{host}", self.scheme)).as_ref() == Some(self)
    }
}

impl Host {
    /// The `Host` of a request, or an entry of the allowed hosts.
    pub(crate) fn parse(text: &str) -> Option<Host> {
        if text.is_empty() || !is_bare(text) {
            return None;
        }
        let url = Url::parse(&format!("http://{text}")).ok()?;
        // The parser drops a default port, but here it matters whether one was given.
        let named = text.rsplit_once(':').map(|(_, port)| port.parse());
        Some(Host {
            name: url.host_str()?.to_owned(),
            port: named.and_then(Result::ok),
        })
    }

    /// An entry of the allowed hosts. The error says what is wrong with it, and how to fix it.
    pub(crate) fn allowed(entry: &str) -> Result<Host, String> {
        // An IPv6 address has brackets only in a `Host` header.
        let bracketed = entry
            .parse::<std::net::Ipv6Addr>()
            .map(|address| format!("[{address}]"));
        let text = bracketed.as_deref().unwrap_or(entry);
        match Host::parse(text) {
            Some(host) if !entry.contains('*') => Ok(host),
            _ => Err(format!(
                "the allowed host {entry:?} never matches: write it as shop.example or shop.example:8443, without scheme, path or wildcard"
            )),
        }
    }

    /// Whether this entry of the allowed hosts admits a request's host. Without a port it admits any port; a request
    /// without a port means its scheme's default, or either default while the scheme is unknown.
    pub(crate) fn admits(&self, host: &Host, scheme: Option<Scheme>) -> bool {
        if self.name != host.name {
            return false;
        }
        match (self.port, host.port, scheme) {
            (None, _, _) => true,
            (Some(port), Some(named), _) => port == named,
            (Some(port), None, Some(scheme)) => port == scheme.default_port(),
            (Some(port), None, None) => port == 80 || port == 443,
        }
    }
}

/// The scheme by which a client reached us, if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme that a proxy names; it may name that of the WebSocket.
    pub(crate) fn parse(text: &str) -> Option<Scheme> {
        match text.to_ascii_lowercase().as_str() {
            "http" | "ws" => Some(Scheme::Http),
            "https" | "wss" => Some(Scheme::Https),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Whether this is only a host and port, without characters that would start another part of a URL or be taken for one.
fn is_bare(authority: &str) -> bool {
    !authority
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || "/\\?#@%".contains(c))
}
