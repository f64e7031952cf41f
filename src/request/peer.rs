//! The peer of a request: its address, and the host and scheme to which the request was made.
//!
//! Anyone can send the headers that a proxy adds. So they are trusted only from configured proxies.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpMessage, HttpRequest};

use super::forwarded::Hops;
use super::origin::Scheme;

/// The peer of one request. Determined once per request, and kept in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's address, or that of the last proxy that is known.
    pub(crate) address: Option<IpAddr>,
    /// The host to which the client sent its request, with the port if given.
    pub(crate) host: Option<String>,
    /// `None`: TLS may end at a proxy that is not configured.
    pub(crate) scheme: Option<Scheme>,
}

/// Addresses of proxies: a single one, or all with the same leading bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u32,
}

impl Peer {
    /// Determines the peer of a request that came through these proxies, and remembers it with the request.
    pub(crate) fn by(request: &HttpRequest, proxies: &[Network]) -> Peer {
        let peer = Peer::new(request, proxies);
        request.extensions_mut().insert(peer.clone());
        peer
    }

    /// The peer of a request, as determined with the configured proxies. Outside of our own routes no proxies are
    /// known, and none is trusted.
    pub(crate) fn of(request: &HttpRequest) -> Peer {
        let known = request.extensions().get::<Peer>().cloned();
        known.unwrap_or_else(|| Peer::new(request, &[]))
    }

    fn new(request: &HttpRequest, proxies: &[Network]) -> Peer {
        // HTTP/2 has it in the URI.
        let authority = request.uri().authority().map(|host| host.as_str());
        Peer::find(
            request.peer_addr().map(|address| address.ip()),
            request.app_config().secure(),
            authority,
            request.headers(),
            proxies,
        )
    }

    pub(super) fn find(
        connected: Option<IpAddr>,
        secure: bool,
        authority: Option<&str>,
        headers: &HeaderMap,
        proxies: &[Network],
    ) -> Peer {
        let address = connected.map(|address| address.to_canonical());
        let host = only_value(headers, header::HOST).or(authority);
        let direct = Peer {
            address,
            host: host.map(str::to_owned),
            scheme: secure.then_some(Scheme::Https),
        };
        let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.contains(address));
        if !address.is_some_and(is_proxy) {
            return direct;
        }
        let hops = Hops::read(headers);
        let (address, distance) = hops.client(address, is_proxy);
        Peer {
            address,
            host: hops.host(distance).or(direct.host),
            scheme: hops.scheme(distance).or(direct.scheme),
        }
    }
}

impl Network {
    /// An address, or a range of them such as `10.0.0.0/8`. The error says what is wrong, and how to fix it.
    pub(crate) fn parse(text: &str) -> Result<Network, String> {
        Network::read(text).ok_or_else(|| {
            format!(
                "the trusted proxy {text:?} is no address: write an IP address, or a range of them such as 10.0.0.0/8"
            )
        })
    }

    fn read(text: &str) -> Option<Network> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(bits.parse::<u32>().ok()?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(whole);
        if bits > whole {
            return None;
        }
        // A range of IPv4 addresses may be given as IPv4-mapped IPv6 addresses.
        let canonical = address.to_canonical();
        match canonical.is_ipv4() && address.is_ipv6() {
            true if bits < 96 => Some(Network { address, bits }),
            true => Some(Network {
                address: canonical,
                bits: bits - 96,
            }),
            false => Some(Network { address, bits }),
        }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same_front(
                ours.to_bits().into(),
                theirs.to_bits().into(),
                32,
                self.bits,
            ),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                same_front(ours.to_bits(), theirs.to_bits(), 128, self.bits)
            }
            (IpAddr::V6(ours), IpAddr::V4(theirs)) => {
                let theirs = theirs.to_ipv6_mapped();
                same_front(ours.to_bits(), theirs.to_bits(), 128, self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

fn same_front(ours: u128, theirs: u128, width: u32, bits: u32) -> bool {
    // Shifting by the whole width overflows; then no bit has to match.
    (ours ^ theirs).checked_shr(width - bits).unwrap_or(0) == 0
}

/// The address under which a client is counted: an IPv6 client has a whole network of addresses.
pub(crate) fn counted_address(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    }
}

/// The value of a header that occurs once. `None` if there are several values.
pub(crate) fn only_value(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    match values.next() {
        None => value.to_str().ok(),
        Some(_) => None,
    }
}
