//! A handle to a datagram port: [`DatagramPort`].

use std::fmt;
use std::rc::{Rc, Weak};

use super::protocol::DatagramProtocol;
use super::transport::{DatagramCounts, DatagramTransport, Shared};
use crate::Address;

/// A handle to a datagram port that may be kept anywhere on its thread.
///
/// It keeps nothing alive: the port is open until it is told to stop, or its reactor ends. Acting
/// on a port that is closed does nothing, and says so by returning `false` or `None`.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, DatagramProtocol, DatagramTransport, ReactorDatagrams};
///
/// struct Count(u32);
/// impl DatagramProtocol for Count {
///     fn datagram_received(&mut self, _: &mut DatagramTransport, _: &[u8], _: &Address) {
///         self.0 += 1;
///     }
/// }
///
/// let reactor = MemoryReactor::new();
/// let port = reactor.listen_datagram(&"udp:7".parse().unwrap(), Box::new(Count(0))).unwrap();
/// let to = port.address().unwrap();
/// port.write_to(b"to itself", &to);
/// reactor.run();
/// assert!(port.with(|count: &mut Count, _| assert_eq!(count.0, 1)));
/// port.stop_listening();
/// reactor.run();
/// assert!(!port.write_to(b"too late", &to));
/// ```
#[derive(Clone, Default)]
pub struct DatagramPort {
    shared: Weak<Shared>,
}

impl DatagramPort {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        Self {
            shared: Rc::downgrade(shared),
        }
    }

    /// See [`DatagramTransport::write_to`]. It is sent in this turn.
    pub fn write_to(&self, data: &[u8], to: &Address) -> bool {
        self.act(|transport| transport.write_to(data, to)) == Some(true)
    }

    /// See [`DatagramTransport::write`]. It is sent in this turn.
    pub fn write(&self, data: &[u8]) -> bool {
        self.act(|transport| transport.write(data)) == Some(true)
    }

    /// See [`DatagramTransport::pause_producing`].
    pub fn pause_producing(&self) -> bool {
        self.act(DatagramTransport::pause_producing).is_some()
    }

    /// See [`DatagramTransport::resume_producing`].
    pub fn resume_producing(&self) -> bool {
        self.act(DatagramTransport::resume_producing).is_some()
    }

    /// Closes the port in this turn, when no callback of it is running.
    pub fn stop_listening(&self) -> bool {
        self.act(DatagramTransport::stop_listening).is_some()
    }

    /// Whether the port is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.act(|_| ()).is_some()
    }

    /// The address of the port, with the real number where port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.act(|transport| transport.host().clone())
    }

    /// See [`DatagramTransport::counts`].
    #[must_use]
    pub fn counts(&self) -> Option<DatagramCounts> {
        self.act(|transport| transport.counts())
    }

    /// Does at once what needs only the transport, from anywhere on the loop's thread: the
    /// protocol may be running. `None` if the port is closed.
    pub fn act<R>(&self, action: impl FnOnce(&mut DatagramTransport) -> R) -> Option<R> {
        let shared = self.shared.upgrade()?;
        if !shared.is_open() {
            return None;
        }
        Some(action(&mut DatagramTransport { shared }))
    }

    /// Calls `action` with the protocol, when no callback of this port is running, in this turn.
    /// `false`, and `action` is dropped, if the port is closed; `action` is dropped also when the
    /// port is closed before its turn comes, or when its protocol is no `P`.
    pub fn with<P: DatagramProtocol>(
        &self,
        action: impl FnOnce(&mut P, &mut DatagramTransport) + 'static,
    ) -> bool {
        self.act(|transport| {
            let shared = &transport.shared;
            shared
                .calls
                .borrow_mut()
                .push_back(Box::new(move |protocol, transport| {
                    let protocol: &mut dyn std::any::Any = protocol;
                    match protocol.downcast_mut::<P>() {
                        Some(protocol) => action(protocol, transport),
                        None => tracing::debug!("a call was dropped: the protocol is another"),
                    }
                }));
            shared.touch();
        })
        .is_some()
    }
}

impl fmt::Debug for DatagramPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "DatagramPort({address})"),
            None => f.write_str("DatagramPort(closed)"),
        }
    }
}
