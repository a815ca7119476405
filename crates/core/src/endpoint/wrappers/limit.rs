//! `limit:…`: so many connections, and no more.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::super::description::Description;
use super::super::error::EndpointError;
use super::super::form::Form;
use super::super::kind::ServerKind;
use super::super::server::ServerEndpoint;
use super::super::value::COUNT;
use crate::policies::{LimitConnectionsByPeer, LimitTotalConnectionsFactory};
use crate::{Factory, ReactorCore};

const LIMIT: Form = Form {
    usage: "limit:connections=100:tcp:80",
    arguments: &[],
    options: &["connections", "per_peer"],
};

/// A limit on the connections of another endpoint, in all and by peer. Those that are too many are
/// closed at once, as [`LimitTotalConnectionsFactory`] and [`LimitConnectionsByPeer`] say.
///
/// Each one that listens counts for itself: with several workers, each of them has so many.
///
/// ```
/// use ropewalk_core::endpoint::{LimitListen, ServerEndpoint};
///
/// let parsed: ServerEndpoint = "limit:connections=100:per_peer=5:tcp:80".parse()?;
/// let built = LimitListen::new("tcp:80".parse()?).connections(100).per_peer(5);
/// assert_eq!(parsed, built.into());
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LimitListen {
    inner: ServerEndpoint,
    connections: Option<usize>,
    per_peer: Option<usize>,
}

impl LimitListen {
    /// The connections of `inner`, without a limit yet.
    #[must_use]
    pub fn new(inner: ServerEndpoint) -> Self {
        Self {
            inner,
            connections: None,
            per_peer: None,
        }
    }

    /// So many connections in all.
    #[must_use]
    pub fn connections(mut self, max: usize) -> Self {
        self.connections = Some(max);
        self
    }

    /// So many connections of a peer: of an IPv4 address, or an IPv6 /64.
    #[must_use]
    pub fn per_peer(mut self, max: usize) -> Self {
        self.per_peer = Some(max);
        self
    }

    pub(in crate::endpoint) fn read(
        description: &Description,
    ) -> Result<ServerEndpoint, EndpointError> {
        let (own, within) = super::split(description, &LIMIT)?;
        let connections = own.read_option("connections", &COUNT)?;
        let per_peer = own.read_option("per_peer", &COUNT)?;
        if connections.is_none() && per_peer.is_none() {
            let message = "the limit is missing; write `limit:connections=100:…`, \
                           `limit:per_peer=5:…` or both";
            return Err(description.error(within.kind().column(), message));
        }
        let limit = Self {
            inner: ServerEndpoint::read(&within)?,
            connections,
            per_peer,
        };
        Ok(limit.into())
    }
}

impl ServerKind for LimitListen {
    fn base(&self) -> io::Result<ServerEndpoint> {
        Ok(self.inner.clone())
    }

    fn factory(
        &self,
        _: &dyn ReactorCore,
        mut factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        if let Some(max) = self.per_peer {
            factory = Rc::new(LimitConnectionsByPeer::new(factory, max));
        }
        if let Some(max) = self.connections {
            factory = Rc::new(LimitTotalConnectionsFactory::new(factory, max));
        }
        Ok(factory)
    }
}

impl fmt::Display for LimitListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("limit:")?;
        if let Some(max) = self.connections {
            write!(f, "connections={max}:")?;
        }
        if let Some(max) = self.per_peer {
            write!(f, "per_peer={max}:")?;
        }
        self.inner.fmt(f)
    }
}

impl From<LimitListen> for ServerEndpoint {
    fn from(limit: LimitListen) -> Self {
        Self::Other(Arc::new(limit))
    }
}
