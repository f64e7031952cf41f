//! Whom a node admits: which pages, by which host names, and how many connections before HELLO.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use actix_web::HttpRequest;
use actix_web::http::header;

use super::Backend;
use super::before_hello::{ConnectionsBeforeHello, Place};
use crate::config::Config;
use crate::request::{Host, Network, Origin, Peer, only_value};
use crate::seldom::Seldom;
use crate::wire::shown;

/// Most refused origins that are logged once each; further ones share a rate-limited line.
const MAX_LOGGED_ORIGINS: usize = 100;

/// What the application configured about whom to admit. `None`: not configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// An empty list: clients connect directly.
    pub(crate) proxies: Option<Vec<Network>>,
    pub(crate) origins: Option<Vec<Origin>>,
    pub(crate) hosts: Option<Vec<Host>>,
}

/// State shared by all upgrades of one node.
pub(crate) struct Admission {
    access: Access,
    connections: ConnectionsBeforeHello,
    refused_origins: Mutex<HashSet<String>>,
    pub(super) logs: Logs,
}

/// Rate limits of log lines.
#[derive(Default)]
pub(super) struct Logs {
    pub(super) overload: Seldom,
    pub(super) slow_handshake: Seldom,
    pub(super) oversized_hello: Seldom,
    pub(super) refused_handshake: Seldom,
    foreign_host: Seldom,
    foreign_origin: Seldom,
}

impl Admission {
    pub(crate) fn new(access: Access, config: &Config) -> Admission {
        Admission {
            // If no proxies are configured, the address may be that of one in front of all clients.
            connections: ConnectionsBeforeHello::new(config, access.proxies.is_some()),
            access,
            refused_origins: Mutex::default(),
            logs: Logs::default(),
        }
    }

    /// Who sent a request.
    pub(crate) fn peer(&self, request: &HttpRequest) -> Peer {
        Peer::by(request, self.proxies())
    }

    fn proxies(&self) -> &[Network] {
        self.access.proxies.as_deref().unwrap_or_default()
    }

    /// Takes a place for a connection before HELLO. The error names the exhausted setting.
    pub(super) fn connection(&self, request: &HttpRequest) -> Result<Place, &'static str> {
        let address = self.peer(request).address;
        // If a proxy names no client, its own address stands for all its clients.
        let is_proxy = |address: &IpAddr| self.proxies().iter().any(|it| it.contains(*address));
        self.connections.enter(address.filter(|it| !is_proxy(it)))
    }

    /// Whether the request's host is one of ours. The error says why not, for the log.
    pub(crate) fn admits_host(&self, request: &HttpRequest) -> Result<(), String> {
        let Some(allowed) = &self.access.hosts else {
            return Ok(());
        };
        let peer = self.peer(request);
        let named = peer.host.as_deref().unwrap_or_default();
        match Host::parse(named) {
            Some(host) if allowed.iter().any(|a| a.admits(&host, peer.scheme)) => Ok(()),
            _ => {
                let why = format!("the host {} is not among allowed_hosts", shown(named));
                if let Some(count) = self.logs.foreign_host.count() {
                    log::warn!("refused since the last such line: {count}; this one because {why}");
                }
                Err(why)
            }
        }
    }

    /// Whether a page of this origin is refused for the first time. Also false if too many have been.
    fn is_new(&self, origin: &str) -> bool {
        let mut logged = self
            .refused_origins
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        logged.len() < MAX_LOGGED_ORIGINS && logged.insert(origin.to_owned())
    }

    fn has_many_origins(&self) -> bool {
        let logged = self.refused_origins.lock();
        logged.unwrap_or_else(PoisonError::into_inner).len() >= MAX_LOGGED_ORIGINS
    }

    /// Logs a refused page: each origin once, since a refused page keeps retrying.
    fn log_refused(&self, origin: &str, why: &str) {
        let origin = shown(origin);
        if self.is_new(&origin) {
            log::warn!(
                "refused the page of origin {origin}: {why}. If its pages may connect, add it to allowed_origins"
            );
        } else {
            log::debug!("refused the page of origin {origin} again: {why}");
            if self.has_many_origins()
                && let Some(count) = self.logs.foreign_origin.count()
            {
                log::warn!(
                    "pages refused since the last such line: {count}; this one of origin {origin}: {why}"
                );
            }
        }
    }
}

/// Whether the page that sent a request, if it was a page, may use this server. The error says why not. It is already
/// logged, and must not be sent to the client.
pub(crate) fn admits_page(backend: &dyn Backend, request: &HttpRequest) -> Result<(), String> {
    let admission = backend.admission();
    // Determined first, so that the application's `check_origin` and `same_host` can use it.
    admission.peer(request);
    let headers = request.headers();
    let site = headers
        .get("sec-fetch-site")
        .map(|site| site.as_bytes().trim_ascii());
    let Some(origin) = headers.get(header::ORIGIN) else {
        return match site {
            Some(site) if site.eq_ignore_ascii_case(b"cross-site") => {
                let why = "a page of another site sent a request without its origin";
                admission.log_refused("(none)", why);
                Err(why.into())
            }
            // The same site, or not a browser.
            _ => Ok(()),
        };
    };
    let why = match only_value(headers, header::ORIGIN) {
        None => "its origin is no text, or there are several",
        Some("null") => match site {
            Some(site) if site.eq_ignore_ascii_case(b"same-origin") => return Ok(()),
            _ => "its origin is opaque",
        },
        Some(origin) if allows_origin(backend, origin, request) => return Ok(()),
        Some(_) => "this origin is not allowed",
    };
    admission.log_refused(&String::from_utf8_lossy(origin.as_bytes()), why);
    Err(why.into())
}

/// The application's list decides if there is one, otherwise its authentication.
fn allows_origin(backend: &dyn Backend, origin: &str, request: &HttpRequest) -> bool {
    match &backend.admission().access.origins {
        Some(allowed) => Origin::parse(origin).is_some_and(|origin| allowed.contains(&origin)),
        None => backend.authentication().check_origin(origin, request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_origin_is_new_once_and_few_are_remembered() {
        let admission = Admission::new(Access::default(), &Config::default());
        assert!(admission.is_new("https://a.example"));
        assert!(!admission.is_new("https://a.example"));
        let new = (0..10_000).filter(|n| admission.is_new(&format!("https://{n}.example")));
        assert_eq!(new.count(), MAX_LOGGED_ORIGINS - 1);
    }
}
