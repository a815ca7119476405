//! What a reactor offers to protocols, whichever reactor it is.
//!
//! Protocol crates use these traits and never a reactor itself, so that they run on the poll
//! driver, in a simulation and on the doubles of [`testing`](crate::testing) alike. All of it is
//! for the thread of the loop: none of these is `Send`.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::endpoint::{
    ClientEndpoint, ClientKind, DatagramClientEndpoint, DatagramEndpoint, ServerEndpoint,
    ServerKind,
};
use crate::{
    Address, Commons, Connection, DatagramPort, DatagramProtocol, Deferred, DelayedCall, Factory,
    ListenError, NameResolver, ReactorProcess, ReactorThreads, Task,
};

/// Time and timers.
pub trait ReactorTime {
    /// The time of this turn: monotonic, read once when the turn began.
    fn now(&self) -> Instant;

    /// The time of day, for dates that people or other programs read. It may jump.
    fn wall_clock(&self) -> SystemTime;

    /// Runs `call` once, on the loop, when `delay` has passed and never before.
    fn call_later(&self, delay: Duration, call: Box<dyn FnOnce()>) -> DelayedCall;
}

/// Futures that run on the loop's thread.
pub trait ReactorTasks {
    /// Starts `future`; it is first polled later in this turn. Dropping the [`Task`] lets it go
    /// on, [`Task::cancel`] ends it.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task;
}

/// Connections in and out.
pub trait ReactorNet {
    /// Listens at `endpoint`, with `factory` building a protocol for each connection.
    ///
    /// # Errors
    /// What the operating system refused, with the endpoint that it refused.
    fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError>;

    /// Connects to `endpoint`. The Deferred fires when the protocol that `factory` built has had
    /// its `connection_made`, or fails with a [`ConnectError`](crate::ConnectError).
    fn connect(&self, endpoint: &ClientEndpoint, factory: Rc<dyn Factory>) -> Deferred<Connection>;

    /// What this loop has in common with the others of its process.
    fn commons(&self) -> Arc<Commons>;

    /// What this reactor makes of an endpoint that `core` describes and leaves to reactors: the
    /// kind behind it. [`ServerEndpoint::resolve`] asks for it. None, unless told otherwise.
    ///
    /// # Errors
    /// This reactor has no such endpoints.
    fn server_kind(&self, endpoint: &ServerEndpoint) -> io::Result<Arc<dyn ServerKind>> {
        let _ = endpoint;
        Err(no_such_endpoints())
    }

    /// As [`server_kind`](Self::server_kind), for [`ClientEndpoint::resolve`].
    ///
    /// # Errors
    /// This reactor has no such endpoints.
    fn client_kind(&self, endpoint: &ClientEndpoint) -> io::Result<Arc<dyn ClientKind>> {
        let _ = endpoint;
        Err(no_such_endpoints())
    }
}

fn no_such_endpoints() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "this reactor has no endpoints of this kind",
    )
}

/// Datagrams.
pub trait ReactorDatagrams {
    /// Opens a port at `endpoint`: Twisted's `listenUDP`, `listenMulticast` and
    /// `listenUNIXDatagram`. `protocol` has had its `start_protocol` when this returns.
    ///
    /// # Errors
    /// What the operating system refused, with the endpoint that it refused.
    fn listen_datagram(
        &self,
        endpoint: &DatagramEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError>;

    /// Opens a port that sends to one peer, and receives from it alone: Twisted's
    /// `connectUNIXDatagram`, or `listenUDP` and `transport.connect`. The Deferred fires when
    /// `protocol` has had its `start_protocol`, at once if no name is to be looked up, or fails
    /// with a [`ConnectError`](crate::ConnectError). That somebody receives there is not known.
    fn connect_datagram(
        &self,
        endpoint: &DatagramClientEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort>;
}

/// Names of hosts.
pub trait ReactorNames {
    /// What looks names up. It never blocks.
    fn name_resolver(&self) -> Rc<dyn NameResolver>;

    /// Puts `resolver` in the place of what looks names up, for all that is connected from now
    /// on, and returns what did so far: Twisted's `installNameResolver`.
    fn install_name_resolver(&self, resolver: Rc<dyn NameResolver>) -> Rc<dyn NameResolver>;
}

/// All that a protocol may ask of the loop that runs it.
pub trait ReactorCore:
    ReactorTime
    + ReactorTasks
    + ReactorNet
    + ReactorThreads
    + ReactorProcess
    + ReactorDatagrams
    + ReactorNames
{
}

impl<R> ReactorCore for R where
    R: ReactorTime
        + ReactorTasks
        + ReactorNet
        + ReactorThreads
        + ReactorProcess
        + ReactorDatagrams
        + ReactorNames
{
}

/// A listening port. Dropping it changes nothing; it listens until it is told to stop, or the
/// reactor ends.
#[derive(Clone)]
pub struct Port {
    address: Address,
    stop: Rc<dyn Fn()>,
}

impl Port {
    /// For those who implement a reactor: a port at `address`, which `stop` closes. `stop` may
    /// be called more than once.
    #[must_use]
    pub fn new(address: Address, stop: Rc<dyn Fn()>) -> Self {
        Self { address, stop }
    }

    /// Where it listens, with the real port number where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Stops accepting, and closes the listening socket. Connections that were accepted live on.
    pub fn stop_listening(&self) {
        (self.stop)();
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Port({})", self.address)
    }
}
