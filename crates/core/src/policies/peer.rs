//! Which addresses are one peer.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Address;

/// How much of an address says who a peer is.
///
/// A host with IPv6 has a network of its own, mostly a /64, and may use any address of it; so one
/// such network is one peer unless told otherwise. An IPv4 address mapped into IPv6 is that IPv4
/// address.
///
/// ```
/// use ropewalk_core::policies::PeerPrefix;
///
/// assert_eq!(PeerPrefix::default(), PeerPrefix::new(32, 64));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerPrefix {
    ipv4: u8,
    ipv6: u8,
}

impl PeerPrefix {
    /// The first so many bits of IPv4 addresses (at most 32), and of IPv6 addresses (at most 128).
    #[must_use]
    pub fn new(ipv4: u8, ipv6: u8) -> Self {
        Self {
            ipv4: ipv4.min(32),
            ipv6: ipv6.min(128),
        }
    }

    /// The network that an address stands for; `None` for a Unix socket.
    pub(crate) fn of(self, peer: &Address) -> Option<IpNet> {
        let address = peer.socket_addr()?.ip().to_canonical();
        let bits = match address {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
        };
        Some(IpNet::new(address, bits).ok()?.trunc())
    }
}

impl Default for PeerPrefix {
    fn default() -> Self {
        Self::new(32, 64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(prefix: PeerPrefix, one: &str, other: &str) -> bool {
        let of = |text: &str| prefix.of(&Address::Tcp(text.parse().unwrap())).unwrap();
        of(one) == of(other)
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let peer = PeerPrefix::default();
        assert!(same(peer, "192.0.2.1:1", "192.0.2.1:2"));
        assert!(!same(peer, "192.0.2.1:1", "192.0.2.2:1"));
        assert!(same(peer, "[2001:db8::1]:1", "[2001:db8::ffff:1:2:3]:1"));
        assert!(!same(peer, "[2001:db8::1]:1", "[2001:db8:0:1::1]:1"));
        assert!(same(peer, "[::ffff:192.0.2.1]:1", "192.0.2.1:2"));
        assert!(!same(peer, "[::ffff:192.0.2.1]:1", "[::ffff:192.0.2.2]:1"));
    }

    #[test]
    fn prefixes_can_be_chosen_and_too_long_ones_are_whole_addresses() {
        assert!(same(
            PeerPrefix::new(24, 64),
            "192.0.2.1:1",
            "192.0.2.200:1"
        ));
        assert!(!same(PeerPrefix::new(33, 64), "192.0.2.1:1", "192.0.2.2:1"));
        let whole = PeerPrefix::new(32, 200);
        assert!(!same(whole, "[2001:db8::1]:1", "[2001:db8::2]:1"));
        assert!(same(PeerPrefix::new(0, 0), "192.0.2.1:1", "198.51.100.1:1"));
    }

    #[test]
    fn a_unix_peer_has_no_network() {
        assert_eq!(PeerPrefix::default().of(&Address::Unix(None)), None);
    }
}
