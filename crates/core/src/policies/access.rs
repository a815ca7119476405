//! Access lists by network.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::{Address, Factory, Protocol};

/// Rules that say which addresses may connect: the first that matches decides, and an address that
/// none matches is denied.
///
/// As text, rules stand between commas or on lines: `allow` or `deny`, and a network, an address
/// or `all`. An IPv4 address mapped into IPv6 is that IPv4 address, in rules and as a peer. Rules
/// look at the address that the connection comes from: behind a proxy, that is the proxy's.
///
/// ```
/// use ropewalk_core::policies::AccessList;
///
/// let list: AccessList = "deny 192.0.2.66, allow 192.0.2.0/24, allow 2001:db8::/32".parse()?;
/// assert!(list.allows("192.0.2.7".parse()?));
/// assert!(!list.allows("192.0.2.66".parse()?));
/// assert!(!list.allows("198.51.100.1".parse()?));
/// assert!(list.allows("::ffff:192.0.2.7".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    /// `None` for all.
    network: Option<IpNet>,
}

impl AccessList {
    /// A list without rules: it denies all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule at the end: the addresses of `network` may connect.
    #[must_use]
    pub fn allow(self, network: IpNet) -> Self {
        self.with(true, Some(network))
    }

    /// Adds a rule at the end: the addresses of `network` may not connect.
    #[must_use]
    pub fn deny(self, network: IpNet) -> Self {
        self.with(false, Some(network))
    }

    /// Adds a rule at the end: all may connect that no earlier rule denies.
    #[must_use]
    pub fn allow_all(self) -> Self {
        self.with(true, None)
    }

    fn with(mut self, allow: bool, network: Option<IpNet>) -> Self {
        let network = network.map(canonical);
        self.rules.push(Rule { allow, network });
        self
    }

    /// Whether `address` may connect.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let matches = |rule: &&Rule| {
            let network = rule.network.as_ref();
            network.is_none_or(|network| network.contains(&address))
        };
        self.rules
            .iter()
            .find(matches)
            .is_some_and(|rule| rule.allow)
    }
}

/// A network of mapped addresses is one of IPv4 addresses.
fn canonical(network: IpNet) -> IpNet {
    let IpAddr::V4(address) = network.addr().to_canonical() else {
        return network;
    };
    let bits = match network {
        IpNet::V4(_) => return network,
        IpNet::V6(network) => network.prefix_len().checked_sub(96),
    };
    // A shorter prefix holds other addresses too: it stays what it is.
    bits.and_then(|bits| IpNet::new(address.into(), bits).ok())
        .unwrap_or(network)
}

impl FromStr for AccessList {
    type Err = AccessListError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut list = Self::new();
        for rule in text.split([',', '\n']).map(str::trim) {
            if rule.is_empty() {
                continue;
            }
            let error = || AccessListError {
                rule: rule.to_owned(),
            };
            let (verb, network) = rule.split_once(char::is_whitespace).ok_or_else(error)?;
            let allow = match verb {
                "allow" => true,
                "deny" => false,
                _ => return Err(error()),
            };
            let network = match network.trim() {
                "all" => None,
                network => Some(parse_network(network).ok_or_else(error)?),
            };
            list = list.with(allow, network);
        }
        Ok(list)
    }
}

fn parse_network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

/// A rule of an [`AccessList`] that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessListError {
    rule: String,
}

impl fmt::Display for AccessListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot read the access rule {:?}: write \"allow\" or \"deny\", then a network as 192.0.2.0/24 or 2001:db8::/32, an address, or \"all\"",
            self.rule
        )
    }
}

impl Error for AccessListError {}

/// A wrapper that lets only the addresses of an [`AccessList`] connect to any factory. Others are
/// closed at once, before a protocol or layer is built. Unix peers have no address: who may
/// connect is what the permissions of the socket's file say.
///
/// ```
/// use ropewalk_core::policies::AccessListFactory;
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let list = "allow 192.0.2.0/24".parse().unwrap();
/// let factory = AccessListFactory::new(|_: &Address| Echo, list);
/// let friend = Address::Tcp("192.0.2.7:1024".parse().unwrap());
/// let stranger = Address::Tcp("198.51.100.1:1024".parse().unwrap());
/// assert!(factory.build_protocol(&friend).is_some());
/// assert!(factory.build_protocol(&stranger).is_none());
/// ```
pub struct AccessListFactory<F> {
    inner: F,
    list: AccessList,
}

impl<F: Factory> AccessListFactory<F> {
    /// The connections of `inner`, from whom `list` allows.
    #[must_use]
    pub fn new(inner: F, list: AccessList) -> Self {
        Self { inner, list }
    }
}

impl<F: Factory> Factory for AccessListFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let denied = |address: std::net::SocketAddr| !self.list.allows(address.ip());
        if peer.socket_addr().is_some_and(denied) {
            tracing::debug!(%peer, "a connection that the access list denies");
            return None;
        }
        self.inner.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn the_first_rule_that_matches_decides_and_no_match_denies() {
        let list: AccessList = "allow 192.0.2.1\ndeny 192.0.2.0/24\n\nallow all"
            .parse()
            .unwrap();
        for (address, allowed) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("::ffff:192.0.2.2", false),
            ("::ffff:192.0.2.1", true),
            ("198.51.100.1", true),
            ("2001:db8::1", true),
        ] {
            assert_eq!(list.allows(address.parse().unwrap()), allowed, "{address}");
        }
        assert!(!AccessList::new().allows("192.0.2.1".parse().unwrap()));
        let other: AccessList = "deny 192.0.2.0/24".parse().unwrap();
        assert!(!other.allows("198.51.100.1".parse().unwrap()));
    }

    #[test]
    fn a_network_of_mapped_addresses_is_one_of_ipv4_addresses() {
        let list: AccessList = "allow ::ffff:192.0.2.0/120".parse().unwrap();
        assert!(list.allows("192.0.2.200".parse().unwrap()));
        assert!(!list.allows("192.0.3.1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_shows_the_rule() {
        for rule in [
            "allow",
            "permit 192.0.2.0/24",
            "allow 192.0.2.0/33",
            "allow example.com",
            "deny 192.0.2.0/24 192.0.3.0/24",
        ] {
            let text = format!("allow 192.0.2.1, {rule}");
            let error = text.parse::<AccessList>().unwrap_err();
            assert!(error.to_string().contains(rule), "{error}");
        }
    }

    /// Few bits, so that rules and addresses meet.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0..16u32).prop_map(|bits| IpAddr::V4(Ipv4Addr::from(bits << 28 | bits))),
            (0..16u128).prop_map(|bits| IpAddr::V6(Ipv6Addr::from(bits << 124 | 1 << 100))),
            (0..16u32).prop_map(|bits| {
                IpAddr::V6(Ipv4Addr::from(bits << 28 | bits).to_ipv6_mapped())
            }),
        ]
    }

    fn rule() -> impl Strategy<Value = (bool, IpAddr, u8)> {
        (any::<bool>(), address(), 0..=128u8)
    }

    /// The bits of an address, with its family, as it is meant.
    fn bits(address: IpAddr) -> (bool, u128) {
        match address.to_canonical() {
            IpAddr::V4(address) => (true, u128::from(u32::from(address)) << 96),
            IpAddr::V6(address) => (false, u128::from(address)),
        }
    }

    proptest! {
        #[test]
        fn a_list_decides_as_bits_compared_one_by_one_do(
            rules in proptest::collection::vec(rule(), 0..8),
            asked in address(),
        ) {
            let mut list = AccessList::new();
            let mut expected = None;
            for (allow, network, len) in rules {
                let network = network.to_canonical();
                let len = match network {
                    IpAddr::V4(_) => len % 33,
                    IpAddr::V6(_) => len,
                };
                let rule = IpNet::new(network, len).unwrap();
                list = if allow { list.allow(rule) } else { list.deny(rule) };
                let (own, theirs) = (bits(network), bits(asked));
                let bit = |all: u128, at: u8| all >> (127 - at) & 1;
                let matches = own.0 == theirs.0
                    && (0..len).all(|at| bit(own.1, at) == bit(theirs.1, at));
                if matches && expected.is_none() {
                    expected = Some(allow);
                }
            }
            prop_assert_eq!(list.allows(asked), expected.unwrap_or(false));
            prop_assert!(list.allow_all().allows(asked) == expected.unwrap_or(true));
        }

        #[test]
        fn no_text_is_read_with_a_panic(text in "[a-z0-9:./, \n]{0,60}") {
            let _ = text.parse::<AccessList>();
        }
    }
}
