//! Who sent an HTTP request, and from which page.

mod forwarded;
mod origin;
mod peer;
#[cfg(test)]
mod tests;

use actix_web::HttpRequest;

pub(crate) use origin::{Host, Origin};
pub(crate) use peer::{Network, Peer, counted_address, only_value};

/// Whether an `Origin` header names the host that the request was made to: see [`crate::same_host`].
pub(crate) fn same_host(origin: &str, request: &HttpRequest) -> bool {
    let peer = Peer::of(request);
    let (Some(origin), Some(host)) = (Origin::parse(origin), peer.host) else {
        return false;
    };
    origin.is_of(&host, peer.scheme)
}
