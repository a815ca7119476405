//! What a program says about its connections: [`Protocol`] and [`Factory`].

use std::any::Any;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::layer::Layer;
use crate::policy::Policy;
use crate::{Address, ConnectionLimits, Failure, Transport};

/// What happens on one connection, told to one object.
///
/// The order is a promise: `connection_made` comes first and once, `connection_lost` last and
/// once, and nothing after it, whatever fails. (A connection whose layers never became ready, a
/// failed TLS handshake say, gets neither.) While one of these runs, nothing else runs on this
/// connection. A panic in one ends the connection with a [`Panicked`](crate::Panicked) failure,
/// and no other.
///
/// ```
/// use ropewalk_core::{Protocol, Transport, testing::StringTransport};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let mut transport = StringTransport::new();
/// Echo.data_received(&mut transport, b"hello");
/// assert_eq!(transport.value(), b"hello");
/// ```
pub trait Protocol: Any {
    /// The connection is up.
    fn connection_made(&mut self, transport: &mut Transport) {
        let _ = transport;
    }

    /// Bytes have come: as many as the network gave, split anywhere. They are the loop's, for
    /// the length of this call. None come after [`Transport::lose_connection`], nor, until they
    /// are asked for again, after [`Transport::pause_producing`].
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]);

    /// A descriptor has come over a Unix socket: only after
    /// [`Transport::receive_descriptors`]. It comes before the byte that it was sent with, at the
    /// latest: the kernel tells no more of its place. Unless told otherwise, it is closed.
    fn descriptor_received(&mut self, transport: &mut Transport, descriptor: OwnedFd) {
        let _ = (transport, descriptor);
    }

    /// The peer has said that it will send no more; it may still read. Unless told otherwise,
    /// the connection is closed when all that was written is sent.
    fn read_closed(&mut self, transport: &mut Transport) {
        transport.lose_connection();
    }

    /// More is unsent than [`ConnectionLimits::high_water`]: write no more until
    /// [`write_resumed`](Self::write_resumed).
    fn write_paused(&mut self, transport: &mut Transport) {
        let _ = transport;
    }

    /// No more is unsent than [`ConnectionLimits::low_water`]: writing may go on.
    fn write_resumed(&mut self, transport: &mut Transport) {
        let _ = transport;
    }

    /// The time set by [`Transport::set_timeout`] has passed. Unless told otherwise, the
    /// connection is aborted with [`TimedOut`](crate::TimedOut).
    fn timeout_connection(&mut self, transport: &mut Transport) {
        transport.abort_with(crate::TimedOut.into());
    }

    /// The program is shutting down: finish what is being done and close. Connections that were
    /// accepted are told first; those that this side made, when the accepted ones are gone.
    /// Unless told otherwise, the connection is closed when all that was written is sent. What the
    /// peer has under way is not waited for; where some of it arrives unread, the system resets the
    /// connection, and the peer may lose what it was answered last. A protocol whose peer is owed an
    /// answer, or talks without a pause, stops reading here and closes when the other end does.
    fn drain(&mut self, transport: &mut Transport) {
        transport.lose_connection();
    }

    /// What this is called in logs: the name of its type.
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }

    /// The connection is gone. `reason` is a [`ConnectionDone`](crate::ConnectionDone) after a
    /// clean end, and otherwise tells what went wrong.
    fn connection_lost(&mut self, reason: Failure) {
        let _ = reason;
    }
}

/// Builds a protocol for each connection, and holds what the connections share.
///
/// Any closure from the peer's address to a protocol is a factory.
///
/// ```
/// # use ropewalk_core::{Address, Factory, Protocol, Transport};
/// # struct Echo;
/// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
/// let factory = |_peer: &Address| Echo;
/// assert!(factory.build_protocol(&Address::Unix(None)).is_some());
/// ```
pub trait Factory: 'static {
    /// The protocol for a connection with `peer`, or `None` to refuse it.
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>>;

    /// The factory that this one wraps. What is not said below is as that one says it, so that a
    /// wrapper says only what it changes. None, unless told otherwise.
    ///
    /// ```
    /// # use ropewalk_core::{Address, ConnectionLimits, Factory, Protocol};
    /// /// Builds nothing for Unix peers.
    /// struct OnlyTcp<F>(F);
    ///
    /// impl<F: Factory> Factory for OnlyTcp<F> {
    ///     fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
    ///         peer.socket_addr()?;
    ///         self.0.build_protocol(peer)
    ///     }
    ///     fn wrapped(&self) -> Option<&dyn Factory> {
    ///         Some(&self.0)
    ///     }
    /// }
    /// # use ropewalk_core::Transport;
    /// # struct Echo;
    /// # impl Protocol for Echo { fn data_received(&mut self, t: &mut Transport, d: &[u8]) { t.write(d) } }
    /// let factory = OnlyTcp(|_peer: &Address| Echo);
    /// assert!(factory.build_protocol(&Address::Unix(None)).is_none());
    /// assert_eq!(factory.limits(), ConnectionLimits::default());
    /// ```
    fn wrapped(&self) -> Option<&dyn Factory> {
        None
    }

    /// The layers between the wire and the protocol, the one nearest to the wire first. None,
    /// unless told otherwise.
    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        self.wrapped()
            .map_or_else(Vec::new, |factory| factory.build_layers(peer))
    }

    /// The policies that the connection is held to. Asked for last, right after
    /// [`build_protocol`](Self::build_protocol) has built a protocol for the same connection.
    /// None, unless told otherwise.
    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        self.wrapped()
            .map_or_else(Vec::new, |factory| factory.build_policies(peer))
    }

    /// The bounds for this factory's connections, asked for once for each port.
    fn limits(&self) -> ConnectionLimits {
        self.wrapped()
            .map_or_else(ConnectionLimits::default, Factory::limits)
    }

    /// What its protocols speak, by the names of ALPN (RFC 7301), the preferred one first: `h2`,
    /// `http/1.1`. A layer that negotiates offers these, unless it was told what to offer. None,
    /// unless told otherwise.
    fn application_protocols(&self) -> Vec<String> {
        self.wrapped()
            .map_or_else(Vec::new, Factory::application_protocols)
    }

    /// A port listens with this factory. A factory on several ports hears it for each.
    fn start_factory(&self) {
        if let Some(factory) = self.wrapped() {
            factory.start_factory();
        }
    }

    /// A port with this factory has stopped listening. Connections may still be open.
    fn stop_factory(&self) {
        if let Some(factory) = self.wrapped() {
            factory.stop_factory();
        }
    }
}

/// A factory that is shared: by several ports, or with those who look at what it holds.
impl<F: Factory + ?Sized> Factory for Rc<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        (**self).build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        (**self).wrapped()
    }

    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        (**self).build_layers(peer)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        (**self).build_policies(peer)
    }

    fn limits(&self) -> ConnectionLimits {
        (**self).limits()
    }

    fn application_protocols(&self) -> Vec<String> {
        (**self).application_protocols()
    }

    fn start_factory(&self) {
        (**self).start_factory();
    }

    fn stop_factory(&self) {
        (**self).stop_factory();
    }
}

impl<F, P> Factory for F
where
    F: Fn(&Address) -> P + 'static,
    P: Protocol,
{
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self(peer)))
    }
}
