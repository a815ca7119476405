//! A transport that records.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::MemoryReactor;
use crate::transport::{CLOSING, ENDED, MADE, READ_PAUSED, RESET, Shared};
use crate::{Address, ConnectionId, ConnectionLimits, Transport};

/// A [`Transport`] with nothing at its other end: it records what is written and asked of it, for
/// tests that call a protocol's methods by hand.
///
/// What a loop would do after a callback, calls through
/// [`Connection::with`](crate::Connection::with) or an exchange of protocols, is not done: use a
/// [`Pair`](super::Pair) for that.
///
/// ```
/// use ropewalk_core::testing::StringTransport;
///
/// let mut transport = StringTransport::new();
/// transport.write(b"bye");
/// transport.lose_connection();
/// assert_eq!(transport.value(), b"bye");
/// assert!(transport.disconnecting());
/// ```
pub struct StringTransport {
    transport: Transport,
    /// Keeps the reactor that the transport lends.
    reactor: MemoryReactor,
}

impl StringTransport {
    /// A transport from 192.0.2.2:1024 to 192.0.2.1:80.
    #[must_use]
    pub fn new() -> Self {
        let reactor = MemoryReactor::new();
        let shared = Shared::new(
            reactor.context(),
            ConnectionId::new(0, 0),
            Rc::new(ConnectionLimits::default()),
            Address::Tcp(([192, 0, 2, 2], 1024).into()),
            Rc::new(Address::Tcp(([192, 0, 2, 1], 80).into())),
        );
        shared.set(MADE);
        let transport = Transport {
            shared: Rc::new(shared),
        };
        Self { transport, reactor }
    }

    /// All that was written since the last [`clear`](Self::clear).
    ///
    /// # Panics
    /// When a region of a file was written and cannot be read.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        let Some(queue) = self.transport.shared.take_output() else {
            return Vec::new();
        };
        let value = queue.to_vec().expect("the regions written can be read");
        self.transport.shared.put_output(queue);
        value
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        drop(self.transport.shared.take_output());
    }

    /// Whether the connection was to be closed, or aborted.
    #[must_use]
    pub fn disconnecting(&self) -> bool {
        self.transport.shared.is(CLOSING | ENDED)
    }

    /// Whether the connection was aborted.
    #[must_use]
    pub fn aborted(&self) -> bool {
        self.transport.shared.is(RESET)
    }

    /// Whether the protocol has asked for no more data.
    #[must_use]
    pub fn producing_paused(&self) -> bool {
        self.transport.shared.is(READ_PAUSED)
    }

    /// The reactor that [`Transport::reactor`] lends.
    #[must_use]
    pub fn memory_reactor(&self) -> &MemoryReactor {
        &self.reactor
    }
}

impl Default for StringTransport {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for StringTransport {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        &self.transport
    }
}

impl DerefMut for StringTransport {
    fn deref_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }
}
