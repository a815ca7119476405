//! A client that keeps its connection up: Twisted's `ClientService`.
//!
//! It connects, waits longer after each failure, and connects again when the connection is lost,
//! until it is stopped. It runs on what a reactor lends, so on the manual clock too.

mod machine;
mod observers;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use crate::endpoint::ClientEndpoint;
use crate::{Backoff, Connection, Deferred, Factory, Failure, IntoDeferred, Panicked, ReactorCore};

use machine::{Machine, Setup};
pub use observers::StateSubscription;

/// Keeps one connection to an endpoint up.
///
/// Clones are the same service. Once started it runs until it is [stopped](Self::stop) or the
/// reactor ends, whether anybody holds it or not. Any of these may be called from any callback,
/// its own included.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, ClientService, ClientState, Connection, Deferred, Protocol, Transport};
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// struct Silent;
/// impl Protocol for Silent {
///     fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
/// }
///
/// let reactor = MemoryReactor::new();
/// let endpoint = "tcp:example.com:7".parse()?;
/// let service = ClientService::new(reactor.handle(), endpoint, Rc::new(|_: &Address| Silent));
/// service.start();
/// let connected: Deferred<()> = service
///     .when_connected(None)
///     .add_callback(|connection: Connection| drop(connection.write(b"hello")));
/// // Nobody listens yet.
/// assert!(matches!(service.state(), ClientState::Waiting { .. }));
///
/// reactor.listen(&"tcp:7".parse()?, Rc::new(|_: &Address| Silent))?;
/// reactor.advance(Duration::from_secs(1));
/// assert!(connected.is_fired());
/// assert_eq!(service.state(), ClientState::Connected);
///
/// let stopped = service.stop();
/// reactor.run();
/// assert!(stopped.is_fired());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClientService {
    machine: Rc<Machine>,
}

/// What a [`ClientService`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientState {
    /// It does nothing.
    Stopped,
    /// It connects.
    Connecting,
    /// It is connected, and the [preparation](ClientServiceBuilder::prepare) is not done.
    Preparing,
    /// It is connected.
    Connected,
    /// It waits before it connects again.
    Waiting {
        /// How many attempts have failed since it was last connected: 0 when a connection was lost.
        failures: u32,
    },
    /// It was stopped, or its preparation has failed, and its connection is not closed yet.
    Disconnecting,
}

impl ClientService {
    /// A service that is not started, with the delays of [`Backoff::new`].
    #[must_use]
    pub fn new(
        reactor: Rc<dyn ReactorCore>,
        endpoint: ClientEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Self {
        Self::builder(reactor, endpoint, factory).build()
    }

    /// A service that is yet to be told more.
    #[must_use]
    pub fn builder(
        reactor: Rc<dyn ReactorCore>,
        endpoint: ClientEndpoint,
        factory: Rc<dyn Factory>,
    ) -> ClientServiceBuilder {
        // A program has no better chance than its time; in tests it is always the same.
        let since = reactor.wall_clock().duration_since(UNIX_EPOCH);
        let mut seed = since.map_or(0, |since| since.as_nanos() as u64);
        let random = move || {
            // SplitMix64.
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = seed;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) as f64 / u64::MAX as f64
        };
        ClientServiceBuilder {
            setup: Setup {
                reactor,
                endpoint,
                factory,
                backoff: Backoff::new(),
                random: Box::new(random),
                prepare: None,
            },
        }
    }

    /// Begins to connect. While it is being stopped, it begins when that is done; if it runs,
    /// nothing changes.
    pub fn start(&self) {
        self.machine.start();
    }

    /// Stops: a pause or an attempt is cancelled, a connection is closed when what was written is
    /// sent. The Deferred fires when all is down; to cancel it changes nothing. Those who
    /// [wait](Self::when_connected) for a connection fail with [`Cancelled`](crate::Cancelled).
    pub fn stop(&self) -> Deferred<()> {
        self.machine.stop()
    }

    /// The connection, prepared, as soon as there is one. It may be waited for before the service is
    /// started. After so many attempts as `fail_after` says, counted from now and at least one, have
    /// failed, it fails with what the last one did; `None` waits as long as it takes.
    ///
    /// It fails with [`Cancelled`](crate::Cancelled) when the service is stopped, or was; and with
    /// [`TooManyWaiters`](crate::TooManyWaiters) beside 65,536 others.
    pub fn when_connected(&self, fail_after: Option<u32>) -> Deferred<Connection> {
        self.machine.when_connected(fail_after)
    }

    /// What it is about.
    #[must_use]
    pub fn state(&self) -> ClientState {
        self.machine.state()
    }

    /// Calls `observer` with each state that it comes into from now on, in order, until what is
    /// returned is dropped. A state may have been left again by then: what an observer does to
    /// the service is told to all after what was before.
    ///
    /// ```
    /// # use ropewalk_core::testing::MemoryReactor;
    /// # use ropewalk_core::{Address, ClientService, ClientState, Protocol, Transport};
    /// # use std::{cell::RefCell, rc::Rc};
    /// # struct Silent;
    /// # impl Protocol for Silent { fn data_received(&mut self, _: &mut Transport, _: &[u8]) {} }
    /// # let reactor = MemoryReactor::new();
    /// # let endpoint = "tcp:example.com:7".parse().unwrap();
    /// let service = ClientService::new(reactor.handle(), endpoint, Rc::new(|_: &Address| Silent));
    /// let states = Rc::new(RefCell::new(Vec::new()));
    /// let seen = Rc::clone(&states);
    /// let subscription = service.subscribe(move |state| seen.borrow_mut().push(state));
    /// service.start();
    /// assert_eq!(
    ///     *states.borrow(),
    ///     [ClientState::Connecting, ClientState::Waiting { failures: 1 }],
    /// );
    /// # drop(subscription);
    /// ```
    #[must_use = "it is told nothing any more when this is dropped"]
    pub fn subscribe(&self, observer: impl Fn(ClientState) + 'static) -> StateSubscription {
        self.machine.observers.subscribe(Rc::new(observer))
    }
}

impl fmt::Debug for ClientService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientService")
            .field("endpoint", &format_args!("{}", self.machine.endpoint()))
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What a [`ClientService`] is to do beside connecting.
pub struct ClientServiceBuilder {
    setup: Setup,
}

impl ClientServiceBuilder {
    /// The delays between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.setup.backoff = backoff;
        self
    }

    /// Where the chance in the delays comes from: numbers from 0 up to 1. Unless told otherwise, a
    /// generator whose seed is the time.
    #[must_use]
    pub fn random(mut self, random: impl FnMut() -> f64 + 'static) -> Self {
        self.setup.random = Box::new(random);
        self
    }

    /// What is done with a connection before it counts as one, to log in for instance: a value, a
    /// `Result`, or a Deferred. If it fails, or panics, the connection is closed, and the attempt has
    /// failed. If the connection is lost meanwhile or the service stopped, it is cancelled. It has no
    /// time of its own: see [`Deferred::add_timeout`].
    ///
    /// ```
    /// # use ropewalk_core::testing::MemoryReactor;
    /// # use ropewalk_core::{Address, ClientService, Connection, Protocol, Transport};
    /// # use std::rc::Rc;
    /// # struct Silent;
    /// # impl Protocol for Silent { fn data_received(&mut self, _: &mut Transport, _: &[u8]) {} }
    /// # let reactor = MemoryReactor::new();
    /// # let endpoint = "tcp:example.com:7".parse().unwrap();
    /// # let factory = Rc::new(|_: &Address| Silent);
    /// let service = ClientService::builder(reactor.handle(), endpoint, factory)
    ///     .prepare(|connection: &Connection| drop(connection.write(b"LOGIN ada\r\n")))
    ///     .build();
    /// # service.start();
    /// ```
    #[must_use]
    pub fn prepare<R: IntoDeferred<()>>(
        mut self,
        prepare: impl Fn(&Connection) -> R + 'static,
    ) -> Self {
        self.setup.prepare = Some(Rc::new(move |connection: Connection| {
            let prepare = || prepare(&connection).into_deferred();
            catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(|payload| {
                Deferred::fail(Panicked::new("the preparation of a connection", &*payload))
            })
        }));
        self
    }

    /// The service, not started.
    #[must_use]
    pub fn build(self) -> ClientService {
        ClientService {
            machine: Machine::new(self.setup),
        }
    }
}

impl fmt::Debug for ClientServiceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientServiceBuilder")
            .field("endpoint", &format_args!("{}", self.setup.endpoint))
            .finish_non_exhaustive()
    }
}

/// Why an attempt has failed whose connection was made.
fn lost_early() -> Failure {
    Failure::msg("the connection was lost before it was prepared")
}
