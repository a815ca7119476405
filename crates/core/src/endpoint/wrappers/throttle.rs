//! `throttle:…`: how fast each connection goes.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::super::description::Description;
use super::super::error::EndpointError;
use super::super::form::Form;
use super::super::kind::ServerKind;
use super::super::server::ServerEndpoint;
use super::super::value::{InBytes, RATE};
use crate::policies::{Rate, Throttle, ThrottlingFactory};
use crate::{Factory, ReactorCore};

const THROTTLE: Form = Form {
    usage: "throttle:write=1m:tcp:80",
    arguments: &[],
    options: &["read", "write"],
};

/// A rate for each connection of another endpoint, in bytes a second, as [`ThrottlingFactory`]
/// keeps it. Rates for peers, and for all together, are for those who wrap the factory
/// themselves.
///
/// ```
/// use ropewalk_core::endpoint::{ServerEndpoint, ThrottleListen};
///
/// let parsed: ServerEndpoint = "throttle:read=64k:write=1m:tcp:80".parse()?;
/// let built = ThrottleListen::new("tcp:80".parse()?).read(64 << 10).write(1 << 20);
/// assert_eq!(parsed, built.into());
/// # Ok::<(), ropewalk_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ThrottleListen {
    inner: ServerEndpoint,
    read: Option<usize>,
    write: Option<usize>,
}

impl ThrottleListen {
    /// The connections of `inner`, as fast as they go.
    #[must_use]
    pub fn new(inner: ServerEndpoint) -> Self {
        Self {
            inner,
            read: None,
            write: None,
        }
    }

    /// What is read goes at so many bytes a second, at least one.
    #[must_use]
    pub fn read(mut self, bytes_per_second: usize) -> Self {
        self.read = Some(bytes_per_second.max(1));
        self
    }

    /// What is written goes at so many bytes a second, at least one.
    #[must_use]
    pub fn write(mut self, bytes_per_second: usize) -> Self {
        self.write = Some(bytes_per_second.max(1));
        self
    }

    pub(in crate::endpoint) fn parse(
        description: &Description,
    ) -> Result<ServerEndpoint, EndpointError> {
        let (own, within) = super::split(description, &THROTTLE)?;
        let read = own.read_option("read", &RATE)?;
        let write = own.read_option("write", &RATE)?;
        if read.is_none() && write.is_none() {
            let message = "the rate is missing; write `throttle:write=1m:…`, `throttle:read=1m:…` \
                           or both";
            return Err(description.error(within.kind().column(), message));
        }
        let throttle = Self {
            inner: ServerEndpoint::read(&within)?,
            read,
            write,
        };
        Ok(throttle.into())
    }
}

impl ServerKind for ThrottleListen {
    fn base(&self) -> io::Result<ServerEndpoint> {
        Ok(self.inner.clone())
    }

    fn factory(
        &self,
        _: &dyn ReactorCore,
        factory: Rc<dyn Factory>,
    ) -> io::Result<Rc<dyn Factory>> {
        let throttle = |bytes: Option<usize>| match bytes {
            Some(bytes) => Throttle::new().per_connection(Rate::per_second(bytes as u64)),
            None => Throttle::new(),
        };
        let throttled = ThrottlingFactory::new(factory)
            .reads(throttle(self.read))
            .writes(throttle(self.write));
        Ok(Rc::new(throttled))
    }
}

impl fmt::Display for ThrottleListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("throttle:")?;
        if let Some(bytes) = self.read {
            write!(f, "read={}:", InBytes(bytes))?;
        }
        if let Some(bytes) = self.write {
            write!(f, "write={}:", InBytes(bytes))?;
        }
        self.inner.fmt(f)
    }
}

impl From<ThrottleListen> for ServerEndpoint {
    fn from(throttle: ThrottleListen) -> Self {
        Self::Other(Arc::new(throttle))
    }
}
