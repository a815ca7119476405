//! A server behind a load balancer: each connection begins with a PROXY header, and belongs to
//! whom the header names.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::proxy_header::{ProxyHeader, ProxyHeaderError};
use crate::{
    Address, ConnectionLimits, Deadline, DeadlinePassed, Factory, Failure, Protocol, Transport,
};

/// A wrapper for a server behind a load balancer that speaks the PROXY protocol, version 1 or 2.
///
/// What `inner` builds it builds for the addresses in the header, when that has come: so access
/// lists, limits and logs of `inner` are about the real peer, and its layers begin after the header.
/// A wrapper around this one is about the connection of the load balancer.
///
/// Only those who may be believed may connect: of TCP peers those in [`trusted`](Self::trusted)
/// networks, by default this machine alone, and every Unix peer, since the socket's permissions say
/// who that is. Others are refused, and so is a connection that begins with anything but a header
/// (section 5 of haproxy's text: a receiver must not guess). The header has as long as
/// [`ConnectionLimits::handshake`] of `inner`.
///
/// ```
/// use ropewalk_core::handshake::ProxyFactory;
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # use std::rc::Rc;
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let factory = ProxyFactory::new(Rc::new(|_: &Address| Echo))
///     .trusted(["10.0.0.0/8".parse()?]);
/// let peer = |text: &str| Address::Tcp(text.parse().unwrap());
/// assert!(factory.build_protocol(&peer("10.0.0.1:1024")).is_some());
/// assert!(factory.build_protocol(&peer("192.0.2.7:1024")).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ProxyFactory {
    inner: Rc<dyn Factory>,
    trusted: Vec<IpNet>,
    /// Somebody was refused, and that was logged.
    has_refused: Cell<bool>,
}

impl ProxyFactory {
    /// The connections of `inner`, through load balancers on this machine.
    #[must_use]
    pub fn new(inner: Rc<dyn Factory>) -> Self {
        Self {
            inner,
            trusted: Self::loopback().to_vec(),
            has_refused: Cell::new(false),
        }
    }

    /// Believes the load balancers in these networks, in the place of this machine.
    #[must_use]
    pub fn trusted(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.trusted = networks.into_iter().collect();
        self
    }

    /// The networks that are believed unless told otherwise: `127.0.0.0/8` and `::1`.
    #[must_use]
    pub fn loopback() -> [IpNet; 2] {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
        [v4.into(), Ipv6Net::from(Ipv6Addr::LOCALHOST).into()]
    }

    fn is_trusted(&self, peer: &Address) -> bool {
        let contains = |address: IpAddr| self.trusted.iter().any(|net| net.contains(&address));
        peer.socket_addr()
            .is_none_or(|peer| contains(peer.ip().to_canonical()))
    }
}

impl Factory for ProxyFactory {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        if !self.is_trusted(peer) {
            if self.has_refused.replace(true) {
                tracing::debug!(%peer, "refused a peer that may not send PROXY headers");
            } else {
                // Once: anybody can try again and again.
                tracing::warn!(
                    %peer,
                    "refused a peer that may not send PROXY headers; add its network to `trusted` \
                     if it is a proxy of yours"
                );
            }
            return None;
        }
        Some(Box::new(Receiver {
            factory: Rc::clone(&self.inner),
            read: Vec::new(),
            deadline: self.inner.limits().handshake,
        }))
    }

    fn limits(&self) -> ConnectionLimits {
        self.inner.limits()
    }

    fn start_factory(&self) {
        self.inner.start_factory();
    }

    fn stop_factory(&self) {
        self.inner.stop_factory();
    }
}

/// Waits for the header, and hands the connection on.
struct Receiver {
    factory: Rc<dyn Factory>,
    /// What has come of a header that is not whole. Less than the longest one.
    read: Vec<u8>,
    deadline: Duration,
}

impl Receiver {
    fn hand_on(&self, header: ProxyHeader, transport: &mut Transport, unread: &[u8]) {
        let (peer, host) = match header {
            ProxyHeader::Local => (transport.peer(), transport.host().clone()),
            ProxyHeader::Proxied {
                source,
                destination,
            } => (source, destination),
        };
        transport.hand_to(Rc::clone(&self.factory), peer, host, unread);
    }
}

impl Protocol for Receiver {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.set_timeout(Some(self.deadline));
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        let kept = self.read.len();
        let whole = match kept {
            0 => data,
            _ => {
                self.read.extend_from_slice(data);
                &self.read
            }
        };
        match ProxyHeader::parse(whole) {
            Ok(Some((header, length))) => self.hand_on(header, transport, &data[length - kept..]),
            Ok(None) if kept == 0 => self.read.extend_from_slice(data),
            Ok(None) => {}
            Err(error) => transport.lose_connection_with(error.into()),
        }
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        let late = DeadlinePassed {
            deadline: Deadline::Handshake,
            after: self.deadline,
        };
        transport.abort_with(late.into());
    }

    fn connection_lost(&mut self, reason: Failure) {
        // The peer is one that may be believed: it is set up wrongly, and somebody wants to know.
        if reason.check::<ProxyHeaderError>().is_some() {
            tracing::warn!(%reason, "refused a connection");
        }
    }
}
