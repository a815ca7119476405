//! Groups and interfaces, as endpoints have them: `239.1.2.3`, `239.1.2.3%eth0`, `[ff02::114%2]`.

use std::fmt;
use std::net::IpAddr;

use super::value::Value;

/// An interface of this machine, for multicast.
///
/// ```
/// use ropewalk_core::endpoint::Interface;
/// assert_eq!(Interface::from("192.0.2.1"), Interface::Address([192, 0, 2, 1].into()));
/// assert_eq!(Interface::from("eth0").to_string(), "eth0");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interface {
    /// The one that the system chooses.
    #[default]
    Any,
    /// The one that has this address. For IPv4 groups alone.
    Address(IpAddr),
    /// The one with this number: 1 is the first, mostly the loopback.
    Index(u32),
    /// The one with this name.
    Name(String),
}

/// A multicast group, and the interface by which it is received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastGroup {
    /// The address of the group.
    pub address: IpAddr,
    /// The interface by which it is received.
    pub interface: Interface,
}

pub(super) const GROUP: Value<MulticastGroup> = Value {
    expected: "a multicast address such as `239.1.2.3`, `239.1.2.3%eth0` or `[ff02::114%eth0]`",
    parse: MulticastGroup::parse,
};

impl MulticastGroup {
    /// A group, received by the interface that the system chooses.
    #[must_use]
    pub fn new(address: impl Into<IpAddr>) -> Self {
        Self {
            address: address.into(),
            interface: Interface::Any,
        }
    }

    /// Received by `interface`.
    #[must_use]
    pub fn on(mut self, interface: impl Into<Interface>) -> Self {
        self.interface = interface.into();
        self
    }

    fn parse(text: &str) -> Option<Self> {
        let inner = match text.strip_prefix('[') {
            Some(text) => text.strip_suffix(']')?,
            None => text,
        };
        let (address, interface) = match inner.split_once('%') {
            Some((_, "")) => return None,
            Some((address, interface)) => (address, Interface::from(interface)),
            None => (inner, Interface::Any),
        };
        let address: IpAddr = address.parse().ok()?;
        address
            .is_multicast()
            .then_some(Self { address, interface })
    }
}

/// An address, a number or a name.
impl From<&str> for Interface {
    fn from(text: &str) -> Self {
        if let Ok(address) = text.parse() {
            return Self::Address(address);
        }
        match text.parse() {
            Ok(index) => Self::Index(index),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

impl From<IpAddr> for Interface {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Address(address) => address.fmt(f),
            Self::Index(index) => index.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// In brackets, if it has colons.
impl fmt::Display for MulticastGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.interface {
            Interface::Any => self.address.to_string(),
            interface => format!("{}%{interface}", self.address),
        };
        match text.contains(':') {
            true => write!(f, "[{text}]"),
            false => f.write_str(&text),
        }
    }
}
