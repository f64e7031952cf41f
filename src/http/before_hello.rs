//! A limit on connections that hold memory and a socket although no client has authenticated on them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::Config;
use crate::node::{Gate, Permit};
use crate::request::counted_address;

/// Counts a node's connections before HELLO, in total and by client address.
pub(super) struct ConnectionsBeforeHello {
    all: Arc<Gate>,
    /// `None` if an address may be that of a proxy in front of all clients.
    by_address: Option<Arc<ByAddress>>,
}

struct ByAddress {
    limit: usize,
    /// Only addresses that currently have connections.
    connections: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection, released on drop: when HELLO is done or the connection ends.
pub(super) struct Place {
    _all: Permit,
    _address: Option<AddressPlace>,
}

struct AddressPlace(Arc<ByAddress>, IpAddr);

impl ConnectionsBeforeHello {
    pub(super) fn new(config: &Config, by_address: bool) -> ConnectionsBeforeHello {
        let limit = config.max_connections_before_hello_per_address;
        ConnectionsBeforeHello {
            all: Gate::new(config.max_connections_before_hello),
            by_address: by_address.then(|| {
                Arc::new(ByAddress {
                    limit,
                    connections: Mutex::default(),
                })
            }),
        }
    }

    /// Takes a place for a connection. The error names the exhausted setting.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Result<Place, &'static str> {
        let all = self.all.enter().ok_or("max_connections_before_hello")?;
        let address = match (&self.by_address, address) {
            (Some(by_address), Some(address)) => Some(
                by_address
                    .enter(counted_address(address))
                    .ok_or("max_connections_before_hello_per_address")?,
            ),
            _ => None,
        };
        Ok(Place {
            _all: all,
            _address: address,
        })
    }
}

impl ByAddress {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<AddressPlace> {
        if self.limit == 0 {
            return None;
        }
        let mut connections = self.lock();
        let count = connections.entry(address).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(AddressPlace(self.clone(), address))
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut connections = self.0.lock();
        if let Entry::Occupied(mut count) = connections.entry(self.1) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(all: usize, each: usize, by_address: bool) -> ConnectionsBeforeHello {
        let config = Config {
            max_connections_before_hello: all,
            max_connections_before_hello_per_address: each,
            ..Config::default()
        };
        ConnectionsBeforeHello::new(&config, by_address)
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn counts_together_and_by_address() {
        let connections = connections(3, 2, true);
        let first = connections.enter(address("192.0.2.1")).unwrap();
        let _second = connections.enter(address("192.0.2.1")).unwrap();
        let full = connections.enter(address("192.0.2.1")).err();
        assert_eq!(full, Some("max_connections_before_hello_per_address"));
        let third = connections.enter(address("192.0.2.2")).unwrap();
        let full = connections.enter(address("192.0.2.3")).err();
        assert_eq!(full, Some("max_connections_before_hello"));
        drop((first, third));
        let by_address = connections.by_address.as_ref().unwrap();
        assert_eq!(by_address.lock().len(), 1, "nothing is kept of who left");
        connections.enter(address("192.0.2.1")).unwrap();
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let connections = connections(9, 1, true);
        let _first = connections.enter(address("2001:db8::1")).unwrap();
        assert!(connections.enter(address("2001:db8::2")).is_err());
        assert!(connections.enter(address("2001:db8:0:1::2")).is_ok());
    }

    #[test]
    fn addresses_mean_nothing_without_trusted_proxies() {
        let connections = connections(9, 1, false);
        let _first = connections.enter(address("192.0.2.1")).unwrap();
        assert!(connections.enter(address("192.0.2.1")).is_ok());
    }
}
