//! Kinds of endpoints that stand on other endpoints, and how a reactor finds what is at the bottom.
//!
//! A kind is a wrapper: it says which endpoint it stands on, and what it puts around the factory:
//! layers, policies, limits. So nothing that listens or connects knows of kinds; a reactor calls
//! [`ServerEndpoint::resolve`] or [`ClientEndpoint::resolve`] and gets an endpoint that it can
//! open by itself, and a factory that does the rest. A kind that is no wrapper, a serial line say,
//! makes a descriptor and stands on that.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::client::{ClientEndpoint, DEFAULT_CONNECT_TIMEOUT};
use super::server::ServerEndpoint;
use crate::{ConnectError, Factory, ListenError, ReactorCore};

/// So many kinds may stand on one another.
pub(super) const MAX_DEPTH: usize = 16;

/// A kind of server endpoint that stands on another one.
///
/// Its [`Display`](fmt::Display) is the endpoint's text, by which endpoints are compared.
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, ServerKind};
/// use ropewalk_core::policies::LimitTotalConnectionsFactory;
/// use ropewalk_core::{Factory, ReactorCore};
/// use std::{fmt, io, rc::Rc, sync::Arc};
///
/// /// `single:INNER`: one connection at a time.
/// #[derive(Debug)]
/// struct Single(ServerEndpoint);
///
/// impl fmt::Display for Single {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "single:{}", self.0)
///     }
/// }
///
/// impl ServerKind for Single {
///     fn base(&self) -> io::Result<ServerEndpoint> {
///         Ok(self.0.clone())
///     }
///     fn factory(
///         &self,
///         _: &dyn ReactorCore,
///         factory: Rc<dyn Factory>,
///     ) -> io::Result<Rc<dyn Factory>> {
///         Ok(Rc::new(LimitTotalConnectionsFactory::new(factory, 1)))
///     }
/// }
///
/// let endpoint = ServerEndpoint::Other(Arc::new(Single("tcp:80".parse()?)));
/// assert_eq!(endpoint.to_string(), "single:tcp:80");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ServerKind: fmt::Debug + fmt::Display + Send + Sync {
    /// The endpoint that it stands on. Asked for each time that somebody listens, and so the place
    /// to open what is needed for that. Of several workers each asks, and what the first gets is
    /// opened, for all of them.
    ///
    /// # Errors
    /// Why it cannot be listened at: [`ListenError::Io`] tells it, after the endpoint's text.
    fn base(&self) -> io::Result<ServerEndpoint>;

    /// What stands between the connections of the base and `factory`. A layer that it adds belongs
    /// below those of `factory`: an endpoint reads from the wire upwards, so that `proxy:tls:443` is
    /// a PROXY header followed by TLS.
    ///
    /// # Errors
    /// As [`base`](Self::base).
    fn factory(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>>;
}

/// A kind of client endpoint that stands on another one: see [`ServerKind`].
pub trait ClientKind: fmt::Debug + fmt::Display + Send + Sync {
    /// The endpoint that it stands on. Asked for each time that somebody connects, and so the
    /// place to open what is needed for that.
    ///
    /// # Errors
    /// Why nobody can connect to it: [`ConnectError::Io`] tells it, after the endpoint's text.
    fn base(&self) -> io::Result<ClientEndpoint>;

    /// What stands between the connection of the base and `factory`; a layer that it adds belongs
    /// below those of `factory`. Since connecting waits until all layers are ready, a handshake
    /// that fails is a connection that could not be made.
    ///
    /// # Errors
    /// As [`base`](Self::base).
    fn factory(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>>;

    /// How long the attempt to connect may take, the handshakes of layers included.
    /// [`DEFAULT_CONNECT_TIMEOUT`], unless told otherwise.
    fn timeout(&self) -> Duration {
        DEFAULT_CONNECT_TIMEOUT
    }
}

impl PartialEq for dyn ServerKind {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for dyn ServerKind {}

impl PartialEq for dyn ClientKind {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for dyn ClientKind {}

impl ServerEndpoint {
    /// For those who implement a reactor: the endpoint at the bottom, which stands on
    /// no other, and `factory` as the kinds above it want it.
    ///
    /// # Errors
    /// What a kind says, under this endpoint's text.
    pub fn resolve(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> Result<(Self, Rc<dyn Factory>), ListenError> {
        self.resolve_within(reactor, factory, MAX_DEPTH)
            .map_err(|source| ListenError::Io {
                endpoint: self.to_string(),
                source,
            })
    }

    fn resolve_within(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
        depth: usize,
    ) -> io::Result<(Self, Rc<dyn Factory>)> {
        let kind = match self {
            Self::Other(kind) => kind.clone(),
            Self::Tcp(_) | Self::Unix(_) | Self::Fd(_) | Self::Stdio => {
                return Ok((self.clone(), factory));
            }
            Self::Tls(_) | Self::Systemd(_) => reactor.server_kind(self)?,
        };
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        let (bottom, factory) = kind.base()?.resolve_within(reactor, factory, depth)?;
        Ok((bottom, kind.factory(reactor, factory)?))
    }
}

impl ClientEndpoint {
    /// For those who implement a reactor: the endpoint at the bottom, which stands on
    /// no other, and `factory` as the kinds above it want it. The time that an
    /// attempt has is that of this endpoint, not of the one at the bottom.
    ///
    /// # Errors
    /// What a kind says, under this endpoint's text.
    pub fn resolve(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> Result<(Self, Rc<dyn Factory>), ConnectError> {
        self.resolve_within(reactor, factory, MAX_DEPTH)
            .map_err(|source| ConnectError::Io {
                endpoint: self.to_string(),
                source,
            })
    }

    fn resolve_within(
        &self,
        reactor: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
        depth: usize,
    ) -> io::Result<(Self, Rc<dyn Factory>)> {
        let kind = match self {
            Self::Other(kind) => kind.clone(),
            Self::Tcp(_) | Self::Unix(_) | Self::Fd(_) | Self::Exec(_) | Self::Stdio => {
                return Ok((self.clone(), factory));
            }
            Self::Tls(_) => reactor.client_kind(self)?,
        };
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        let (bottom, factory) = kind.base()?.resolve_within(reactor, factory, depth)?;
        Ok((bottom, kind.factory(reactor, factory)?))
    }
}

fn too_deep() -> io::Error {
    io::Error::other(format!(
        "more than {MAX_DEPTH} kinds stand on one another, or one stands on itself"
    ))
}
