//! Names to addresses: what a reactor looks names up with, and may be given in its place.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::Deferred;

/// Looks up the addresses of hosts, without blocking: Twisted's `IHostnameResolver`.
///
/// A reactor has one, which asks the system's own resolver (`getaddrinfo`) on threads. Another may
/// be installed by
/// [`ReactorNames::install_name_resolver`](crate::ReactorNames::install_name_resolver): one that
/// speaks DNS itself, or one for a test.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{FixedNames, NameResolver, ReactorNames};
/// use std::rc::Rc;
///
/// let reactor = MemoryReactor::new();
/// let names = FixedNames::new().with("example.com", ["192.0.2.1".parse().unwrap()]);
/// reactor.install_name_resolver(Rc::new(names));
/// let found = reactor.name_resolver().resolve_host_name("example.com", 80);
/// let shown = found.add_callback(|addresses: Vec<std::net::SocketAddr>| {
///     assert_eq!(addresses[0].to_string(), "192.0.2.1:80");
/// });
/// assert!(shown.is_fired());
/// ```
pub trait NameResolver {
    /// The addresses of the host `name`, each with `port`, in the order in which they are to be
    /// tried (RFC 6724). Fires with at least one, or fails with an [`io::Error`] that says why
    /// there is none. To cancel it is to give it up.
    fn resolve_host_name(&self, name: &str, port: u16) -> Deferred<Vec<SocketAddr>>;
}

/// A table of names, for tests. What is not in it is not found.
#[derive(Default)]
pub struct FixedNames {
    names: BTreeMap<String, Vec<IpAddr>>,
}

impl FixedNames {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With `addresses` for `name`, in this order.
    #[must_use]
    pub fn with(mut self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses = addresses.into_iter().collect();
        self.names.insert(name.to_owned(), addresses);
        self
    }
}

impl NameResolver for FixedNames {
    fn resolve_host_name(&self, name: &str, port: u16) -> Deferred<Vec<SocketAddr>> {
        let addresses = self.names.get(name).cloned().unwrap_or_default();
        if addresses.is_empty() {
            let error = io::Error::new(io::ErrorKind::NotFound, "it is not in the table of names");
            return Deferred::fail(error);
        }
        let with_port = |address| SocketAddr::new(address, port);
        Deferred::succeed(addresses.into_iter().map(with_port).collect())
    }
}

impl fmt::Debug for FixedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.names).finish()
    }
}
