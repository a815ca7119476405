//! Two protocols joined in memory.

use std::time::Duration;

use super::MemoryReactor;
use crate::{Connection, Protocol};

/// A client and a server, joined by a connection in memory, on a [`MemoryReactor`] of their own.
///
/// ```
/// use ropewalk_core::testing::Pair;
/// use ropewalk_core::{Protocol, Transport};
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
/// #[derive(Default)]
/// struct Collect(Vec<u8>);
/// impl Protocol for Collect {
///     fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
///         self.0.extend_from_slice(data);
///     }
/// }
///
/// let pair = Pair::new(Collect::default(), Echo);
/// pair.client().write(b"hello");
/// pair.run();
/// let answer = pair.with_client(|client: &mut Collect| client.0.clone());
/// assert_eq!(answer.unwrap(), b"hello");
/// ```
pub struct Pair {
    reactor: MemoryReactor,
    client: Connection,
    server: Connection,
}

impl Pair {
    /// Joins them. Both have had their `connection_made` when this returns.
    #[must_use]
    pub fn new(client: impl Protocol, server: impl Protocol) -> Self {
        Self::on(MemoryReactor::new(), Box::new(client), Box::new(server))
    }

    /// Joins them on a reactor that the caller has set up.
    #[must_use]
    pub fn on(
        reactor: MemoryReactor,
        client: Box<dyn Protocol>,
        server: Box<dyn Protocol>,
    ) -> Self {
        let (client, server) = reactor.join(client, server);
        Self {
            reactor,
            client,
            server,
        }
    }

    /// The reactor under them.
    #[must_use]
    pub fn reactor(&self) -> &MemoryReactor {
        &self.reactor
    }

    /// See [`MemoryReactor::run`].
    pub fn run(&self) {
        self.reactor.run();
    }

    /// See [`MemoryReactor::advance`].
    pub fn advance(&self, by: Duration) {
        self.reactor.advance(by);
    }

    /// The client's end.
    #[must_use]
    pub fn client(&self) -> &Connection {
        &self.client
    }

    /// The server's end.
    #[must_use]
    pub fn server(&self) -> &Connection {
        &self.server
    }

    /// Looks at the client's protocol: `None` if it is no `P`, or its end is closed.
    pub fn with_client<P: Protocol, R>(&self, look: impl FnOnce(&mut P) -> R) -> Option<R> {
        self.reactor.look(&self.client, look)
    }

    /// Looks at the server's protocol: `None` if it is no `P`, or its end is closed.
    pub fn with_server<P: Protocol, R>(&self, look: impl FnOnce(&mut P) -> R) -> Option<R> {
        self.reactor.look(&self.server, look)
    }
}
