//! `proxy:…`: behind a load balancer that sends PROXY headers.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use ipnet::IpNet;

use super::super::description::Description;
use super::super::error::EndpointError;
use super::super::form::Form;
use super::super::kind::ServerKind;
use super::super::server::ServerEndpoint;
use super::super::value::NETWORKS;
use crate::handshake::ProxyFactory;
use crate::{Factory, ReactorCore};

const PROXY: Form = Form {
    usage: "proxy:tcp:80",
    arguments: &[],
    options: &["trusted"],
};

/// An endpoint whose connections come through a load balancer, and begin with the PROXY header of
/// version 1 or 2 that says who made them. What is built for a connection is built for that one:
/// see [`ProxyFactory`], which also says whose headers are believed.
///
/// The header comes first, before TLS: `proxy:tls:443:…`.
///
/// ```
/// use ropewalk_core::endpoint::{ProxyListen, ServerEndpoint};
///
/// let parsed: ServerEndpoint = "proxy:trusted=[10.0.0.0/8,2001:db8::/32]:tcp:80".parse()?;
/// let built = ProxyListen::new("tcp:80".parse()?)
///     .trusted(["10.0.0.0/8".parse()?, "2001:db8::/32".parse()?]);
/// assert_eq!(parsed, built.into());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProxyListen {
    inner: ServerEndpoint,
    trusted: Vec<IpNet>,
}

impl ProxyListen {
    /// The connections of `inner`, through load balancers on this machine.
    #[must_use]
    pub fn new(inner: ServerEndpoint) -> Self {
        Self {
            inner,
            trusted: ProxyFactory::loopback().to_vec(),
        }
    }

    /// Believes the load balancers in these networks, in the place of this machine.
    #[must_use]
    pub fn trusted(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted = networks.into_iter().collect();
        self
    }

    pub(in crate::endpoint) fn read(
        description: &Description,
    ) -> Result<ServerEndpoint, EndpointError> {
        let (own, within) = super::split(description, &PROXY)?;
        if within.kind().text() == "proxy" {
            let message = "a connection has one PROXY header; write `proxy:` once";
            return Err(description.error(within.kind().column(), message));
        }
        let trusted = own.read_option("trusted", &NETWORKS)?;
        let mut proxy = Self::new(ServerEndpoint::read(&within)?);
        if let Some(networks) = trusted {
            proxy = proxy.trusted(networks);
        }
        Ok(proxy.into())
    }
}

impl ServerKind for ProxyListen {
    fn base(&self) -> io::Result<ServerEndpoint> {
        Ok(self.inner.clone())
    }

    fn factory(
        &self,
        _: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        let trusted = self.trusted.iter().copied();
        Ok(Rc::new(ProxyFactory::new(factory).trusted(trusted)))
    }
}

impl fmt::Display for ProxyListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proxy:")?;
        if self.trusted != ProxyFactory::loopback() {
            let networks: Vec<_> = self.trusted.iter().map(IpNet::to_string).collect();
            write!(f, "trusted=[{}]:", networks.join(","))?;
        }
        self.inner.fmt(f)
    }
}

impl From<ProxyListen> for ServerEndpoint {
    fn from(proxy: ProxyListen) -> Self {
        Self::Other(Arc::new(proxy))
    }
}
