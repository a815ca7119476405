//! `socks5:…` and `connect:…`: to an endpoint through a proxy.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::super::client::{ClientEndpoint, Host, TcpConnect};
use super::super::description::{Description, Escaped};
use super::super::error::EndpointError;
use super::super::form::Form;
use super::super::kind::ClientKind;
use super::super::value::{InBrackets, PORT, TEXT};
use crate::handshake::{Credentials, HttpConnect, HttpConnectLayer, Socks5, Socks5Layer};
use crate::{Address, Factory, Layer, Protocol, ReactorCore};

const OPTIONS: &[&str] = &["user", "password"];

const SOCKS5: Form = Form {
    usage: "socks5:PROXY:1080:tcp:HOST:PORT",
    arguments: &["proxy's host", "proxy's port"],
    options: OPTIONS,
};

const CONNECT: Form = Form {
    usage: "connect:PROXY:8080:tcp:HOST:PORT",
    arguments: &["proxy's host", "proxy's port"],
    options: OPTIONS,
};

/// Where a proxy is, who asks, and what is to be reached through it.
#[derive(Clone, Debug)]
struct Via {
    proxy: TcpConnect,
    credentials: Option<Credentials>,
    target: ClientEndpoint,
}

impl Via {
    fn new(proxy: TcpConnect, target: ClientEndpoint) -> Self {
        Self {
            proxy,
            credentials: None,
            target,
        }
    }

    fn read(description: &Description, form: &Form) -> Result<Self, EndpointError> {
        let (own, within) = super::split(description, form)?;
        let host = own.read_argument(0, &super::super::client::HOST)?;
        let port = own.read_argument(1, &PORT)?;
        let user = own.read_option("user", &TEXT)?;
        let password = own.read_option("password", &TEXT)?;
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some(Credentials::new(user, password)),
            (None, None) => None,
            _ => {
                let message = "`user` and `password` belong together; give both";
                return Err(description.error(within.kind().column(), message));
            }
        };
        let target = ClientEndpoint::read(&within)?;
        let mut proxy = TcpConnect::new(host, port);
        if let Some(options) = socket_options(&target) {
            // There is one socket, whatever goes through it.
            proxy.bind = options.bind;
            proxy.socket = options.socket.clone();
        }
        Ok(Self {
            credentials,
            ..Self::new(proxy, target)
        })
    }

    /// What the target stands on, which the proxy is to connect to, and what stands on that.
    fn resolve(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<(TcpConnect, Rc<dyn Factory>)> {
        let resolved = self.target.resolve(reactor, factory);
        let (bottom, factory) = resolved.map_err(io::Error::other)?;
        match bottom {
            ClientEndpoint::Tcp(target) => Ok((target, factory)),
            other => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("a proxy connects to TCP endpoints, and not to {other}"),
            )),
        }
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>, kind: &str) -> fmt::Result {
        match &self.proxy.host {
            Host::Ip(address) => write!(f, "{kind}:{}", InBrackets(*address))?,
            Host::Name(name) => write!(f, "{kind}:{}", Escaped(name))?,
        }
        write!(f, ":{}:", self.proxy.port)?;
        if let Some(credentials) = &self.credentials {
            write!(f, "user={}:password=***:", Escaped(credentials.user()))?;
        }
        write!(f, "{}", self.target)
    }
}

/// How the connection of `target` would be made, where that can be said.
fn socket_options(target: &ClientEndpoint) -> Option<&TcpConnect> {
    match target {
        ClientEndpoint::Tcp(tcp) => Some(tcp),
        ClientEndpoint::Tls(tls) => Some(&tls.tcp),
        _ => None,
    }
}

/// An endpoint that is reached through a SOCKS5 proxy (RFC 1928), which looks its name up. The
/// bottom of the endpoint within is a TCP one; what stands on that, TLS say, goes through the
/// proxy. A proxy can be reached through another one. In the text, the options of the endpoint within
/// that are its socket's (`bind`, `no_delay`, `keep_alive`, …) hold for the connection to the proxy.
///
/// The password is not written: not in the text of the endpoint, by which endpoints are compared,
/// nor in messages.
///
/// ```
/// use ropewalk_core::endpoint::{ClientEndpoint, Socks5Via, TcpConnect};
/// use ropewalk_core::handshake::Credentials;
///
/// let text = "socks5:proxy.example.com:1080:user=ada:password=secret:tcp:example.com:80";
/// let built = Socks5Via::new(TcpConnect::new("proxy.example.com", 1080), "tcp:example.com:80".parse()?)
///     .credentials(Credentials::new("ada", "secret"));
/// let endpoint = ClientEndpoint::from(built);
/// assert_eq!(endpoint, text.parse()?);
/// assert_eq!(endpoint.to_string(), text.replace("secret", "***"));
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Socks5Via(Via);

/// An endpoint that is reached through an HTTP proxy, by CONNECT (RFC 9110 section 9.3.6): as
/// [`Socks5Via`].
///
/// ```
/// use ropewalk_core::endpoint::{ClientEndpoint, HttpConnectVia, TcpConnect};
///
/// let target = "tcp:example.com:443".parse()?;
/// let built = HttpConnectVia::new(TcpConnect::new("proxy.example.com", 3128), target);
/// let text = "connect:proxy.example.com:3128:tcp:example.com:443";
/// assert_eq!(ClientEndpoint::from(built), text.parse()?);
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpConnectVia(Via);

impl Socks5Via {
    /// To `target` through `proxy`. The attempt has the target's time.
    #[must_use]
    pub fn new(proxy: TcpConnect, target: ClientEndpoint) -> Self {
        Self(Via::new(proxy, target))
    }

    /// Tells the proxy who asks.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.0.credentials = Some(credentials);
        self
    }

    pub(in crate::endpoint) fn read(
        description: &Description,
    ) -> Result<ClientEndpoint, EndpointError> {
        Ok(Self(Via::read(description, &SOCKS5)?).into())
    }
}

impl HttpConnectVia {
    /// To `target` through `proxy`. The attempt has the target's time.
    #[must_use]
    pub fn new(proxy: TcpConnect, target: ClientEndpoint) -> Self {
        Self(Via::new(proxy, target))
    }

    /// Tells the proxy who asks.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.0.credentials = Some(credentials);
        self
    }

    pub(in crate::endpoint) fn read(
        description: &Description,
    ) -> Result<ClientEndpoint, EndpointError> {
        Ok(Self(Via::read(description, &CONNECT)?).into())
    }
}

impl ClientKind for Socks5Via {
    fn base(&self) -> io::Result<ClientEndpoint> {
        Ok(self.0.proxy.clone().into())
    }

    fn factory(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        let (target, factory) = self.0.resolve(reactor, factory)?;
        let mut socks = Socks5::new(target.host, target.port);
        if let Some(credentials) = self.0.credentials.clone() {
            socks = socks.credentials(credentials);
        }
        Ok(Rc::new(Through {
            factory,
            layer: move || Box::new(Socks5Layer::new(socks.clone())),
        }))
    }

    fn timeout(&self) -> Duration {
        self.0.target.timeout()
    }
}

impl ClientKind for HttpConnectVia {
    fn base(&self) -> io::Result<ClientEndpoint> {
        Ok(self.0.proxy.clone().into())
    }

    fn factory(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        let (target, factory) = self.0.resolve(reactor, factory)?;
        let mut connect = HttpConnect::new(target.host, target.port);
        if let Some(credentials) = self.0.credentials.clone() {
            connect = connect.credentials(credentials);
        }
        Ok(Rc::new(Through {
            factory,
            layer: move || Box::new(HttpConnectLayer::new(connect.clone())),
        }))
    }

    fn timeout(&self) -> Duration {
        self.0.target.timeout()
    }
}

/// Puts a layer below those of another factory.
struct Through<F> {
    factory: Rc<dyn Factory>,
    layer: F,
}

impl<F, L> Factory for Through<F>
where
    F: Fn() -> Box<L> + 'static,
    L: Layer,
{
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&*self.factory)
    }

    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        let mut layers = self.factory.build_layers(peer);
        layers.insert(0, (self.layer)());
        layers
    }
}

impl fmt::Display for Socks5Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f, "socks5")
    }
}

impl fmt::Display for HttpConnectVia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f, "connect")
    }
}

impl From<Socks5Via> for ClientEndpoint {
    fn from(via: Socks5Via) -> Self {
        Self::Other(Arc::new(via))
    }
}

impl From<HttpConnectVia> for ClientEndpoint {
    fn from(via: HttpConnectVia) -> Self {
        Self::Other(Arc::new(via))
    }
}
