//! What a program sees of the loop: [`Reactor`] and [`Handle`].

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::{
    ClientEndpoint, ClientKind, DatagramClientEndpoint, DatagramEndpoint, ServerEndpoint,
    ServerKind,
};
use ropewalk_core::{
    Commons, ConnectError, Connection, DatagramPort, DatagramProtocol, Deferred, DelayedCall,
    Factory, IntoDeferred, JobName, ListenError, NameResolver, Port, Process, ProcessProtocol,
    ReactorDatagrams, ReactorNames, ReactorNet, ReactorProcess, ReactorTasks, ReactorThreads,
    ReactorTime, Spawn, SpawnError, Task, ThreadJobError,
};

use crate::PollDriver;
use crate::driver::Driver;
use crate::event_loop::EventLoop;
use crate::kinds;
use crate::ledger::Ledger;
use crate::remote::ReactorRemote;
use crate::shutdown::Phase;
use crate::signals::stop_on_signals;
use crate::threads::ThreadPool;

/// An event loop and all that runs on it.
///
/// A value like any other: made, run and dropped as often as wanted, several in one process, each
/// on its own thread. Dropping it ends everything on it.
///
/// ```
/// use ropewalk_reactor::Reactor;
/// use std::time::Duration;
///
/// let reactor = Reactor::new()?;
/// let handle = reactor.handle();
/// reactor.call_later(Duration::from_millis(1), move || handle.stop());
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reactor {
    handle: Handle,
}

impl Reactor {
    /// A reactor on the poll driver.
    ///
    /// # Errors
    /// The operating system gave no descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self::with_driver(Rc::new(PollDriver::new()?)))
    }

    /// A reactor on a driver of the caller's choice.
    #[must_use]
    pub fn with_driver(driver: Rc<dyn Driver>) -> Self {
        Self {
            handle: Handle {
                inner: EventLoop::new(driver),
            },
        }
    }

    /// Runs until [`Handle::stop`]; then, through the phases of the shutdown, until all has come to
    /// its end. What is left then, connections, timers, tasks, is ended. The reactor can be run
    /// again.
    ///
    /// # Errors
    /// [`RunError`]: the shutdown was cut short, or the driver is broken.
    pub fn run(&self) -> Result<(), RunError> {
        self.handle.inner.run()
    }

    /// As [`run`](Self::run); SIGINT and SIGTERM stop it, as
    /// [`stop_on_signals`](crate::stop_on_signals) says.
    ///
    /// # Errors
    /// [`RunError`]: as for [`run`](Self::run), or the signals cannot be watched.
    pub fn run_until_signalled(&self) -> Result<(), RunError> {
        let _guard = stop_on_signals([self.remote()]).map_err(RunError::Signals)?;
        self.run()
    }

    /// A handle, for those who are run by the reactor.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Deref for Reactor {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.handle.inner.end();
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("connections", &self.handle.connections())
            .finish_non_exhaustive()
    }
}

/// What can be asked of a reactor on its own thread. When the reactor is gone, listening and
/// connecting fail, and calls and tasks are dropped.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: Rc<EventLoop>,
}

impl Handle {
    /// Listens at `endpoint`, with `factory` building a protocol for each connection.
    ///
    /// # Errors
    /// What the operating system refused.
    ///
    /// ```
    /// use ropewalk_core::{Address, Protocol, Transport};
    /// use ropewalk_reactor::Reactor;
    /// use std::rc::Rc;
    ///
    /// struct Echo;
    /// impl Protocol for Echo {
    ///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
    ///         transport.write(data);
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let endpoint = "tcp:0:interface=127.0.0.1".parse()?;
    /// let port = reactor.listen(&endpoint, Rc::new(|_: &Address| Echo))?;
    /// assert_ne!(port.address().port(), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who listens hands its factory over, as who connects does"
    )]
    pub fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        self.inner.listen(endpoint, &factory)
    }

    /// Accepts connections from a socket that listens already: one that was inherited from
    /// another process, or a duplicate of another loop's. Its options stay as they are, and when
    /// it is closed nothing is removed from the file system: that is left to whoever bound it.
    ///
    /// # Errors
    /// The socket does not listen, or is neither TCP nor Unix.
    ///
    /// ```
    /// # use ropewalk_core::{Address, Protocol, Transport};
    /// # use ropewalk_reactor::Reactor;
    /// # use std::rc::Rc;
    /// # struct Echo;
    /// # impl Protocol for Echo {
    /// #     fn data_received(&mut self, t: &mut Transport, data: &[u8]) { t.write(data) }
    /// # }
    /// let inherited = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let reactor = Reactor::new()?;
    /// let port = reactor.adopt_stream_port(inherited.into(), Rc::new(|_: &Address| Echo))?;
    /// assert_ne!(port.address().port(), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(
        clippy::needless_pass_by_value,
        reason = "who listens hands its factory over, as who connects does"
    )]
    pub fn adopt_stream_port(
        &self,
        socket: OwnedFd,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        self.inner.adopt_port(socket, &factory)
    }

    /// Connects to `endpoint`. The Deferred fires when the protocol has had its
    /// `connection_made`, or fails with a [`ConnectError`]; cancelling it gives up.
    pub fn connect(
        &self,
        endpoint: &ClientEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Deferred<Connection> {
        self.inner.connect(endpoint, factory)
    }

    /// Starts a process, and tells `protocol` what happens to it: see
    /// [`ReactorProcess::spawn_process`]. [`process_output`](ropewalk_core::process_output) runs a
    /// program to its end.
    ///
    /// The loop stands still while the process is made, as long as a fork takes: a millisecond or
    /// so, and more in a program of many gigabytes.
    ///
    /// # Errors
    /// The program is not there, or what else the operating system refused.
    ///
    /// ```
    /// use ropewalk_core::{Output, Spawn, process_output};
    /// use ropewalk_reactor::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let stop = reactor.handle();
    /// let spawn = Spawn::new("echo").arg("hello");
    /// let told = process_output(&*reactor, &spawn).add_callback(move |output: Output| {
    ///     assert_eq!(output.stdout, b"hello\n");
    ///     assert!(output.status.success());
    ///     stop.stop();
    /// });
    /// reactor.run()?;
    /// # let _: ropewalk_core::Deferred<()> = told;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_process(
        &self,
        spawn: &Spawn,
        protocol: impl ProcessProtocol,
    ) -> Result<Process, SpawnError> {
        self.inner.spawn_process(spawn, Box::new(protocol))
    }

    /// Opens a datagram port at `endpoint`: Twisted's `listenUDP`, `listenMulticast` and
    /// `listenUNIXDatagram`.
    ///
    /// # Errors
    /// What the operating system refused.
    ///
    /// ```
    /// use ropewalk_core::{Address, DatagramProtocol, DatagramTransport};
    /// use ropewalk_reactor::Reactor;
    ///
    /// struct Echo;
    /// impl DatagramProtocol for Echo {
    ///     fn datagram_received(&mut self, t: &mut DatagramTransport, data: &[u8], from: &Address) {
    ///         t.write_to(data, from);
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let port = reactor.listen_datagram(&"udp:0:interface=127.0.0.1".parse()?, Echo)?;
    /// assert!(port.is_open());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listen_datagram(
        &self,
        endpoint: &DatagramEndpoint,
        protocol: impl DatagramProtocol,
    ) -> Result<DatagramPort, ListenError> {
        self.inner.listen_datagram(endpoint, Box::new(protocol))
    }

    /// Opens a datagram port that sends to one peer, and receives from it alone: see
    /// [`ReactorDatagrams::connect_datagram`].
    pub fn connect_datagram(
        &self,
        endpoint: &DatagramClientEndpoint,
        protocol: impl DatagramProtocol,
    ) -> Deferred<DatagramPort> {
        self.inner.connect_datagram(endpoint, Box::new(protocol))
    }

    /// What looks names up: the system's resolver, on threads, unless another one was installed.
    #[must_use]
    pub fn name_resolver(&self) -> Rc<dyn NameResolver> {
        self.inner.name_resolver()
    }

    /// Looks names up by `resolver` from now on, and returns what did so far: Twisted's
    /// `installNameResolver`.
    pub fn install_name_resolver(&self, resolver: Rc<dyn NameResolver>) -> Rc<dyn NameResolver> {
        self.inner.install_name_resolver(resolver)
    }

    /// Runs `call` when `delay` has passed.
    pub fn call_later(&self, delay: Duration, call: impl FnOnce() + 'static) -> DelayedCall {
        ReactorTime::call_later(&*self.inner, delay, Box::new(call))
    }

    /// Starts a future on this thread. It is first polled later in this turn.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> Task {
        ReactorTasks::spawn(&*self.inner, Box::pin(future))
    }

    /// Runs `call` when the reactor starts to run, in the order of the calls; at the beginning of
    /// the next turn, without waiting for anything, if it runs already.
    pub fn call_when_running(&self, call: impl FnOnce() + 'static) {
        self.inner.call_when_running(Box::new(call));
    }

    /// Runs `job`, which may block, on a thread of the reactor's [pool](Self::thread_pool). A panic
    /// in it is logged. [`defer_to_thread`](Self::defer_to_thread) brings a result.
    ///
    /// # Errors
    /// The pool's queue is full, it was stopped, or it has no thread.
    #[track_caller]
    pub fn call_in_thread(
        &self,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), ThreadJobError> {
        match self.inner.ledger.loose_job(&self.inner, JobName::here()) {
            None => self.inner.jobs.pool.call_in_thread(job),
            Some(noted) => self.inner.jobs.pool.call_in_thread(|| noted.run(job)),
        }
    }

    /// Runs `job`, which may block, on a thread of the reactor's [pool](Self::thread_pool), and
    /// brings its result back to this thread: see [`ropewalk_core::defer_to_thread`].
    ///
    /// ```
    /// use ropewalk_core::Deferred;
    /// use ropewalk_reactor::Reactor;
    ///
    /// let reactor = Reactor::new()?;
    /// let stop = reactor.handle();
    /// let read: Deferred<String> = reactor.defer_to_thread(|| std::fs::read_to_string("Cargo.toml"));
    /// drop(read.add_callback(move |text: String| {
    ///     assert!(text.contains("[package]"));
    ///     stop.stop();
    /// }));
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn defer_to_thread<T, R>(&self, job: impl FnOnce() -> R + Send + 'static) -> Deferred<T>
    where
        T: 'static,
        R: IntoDeferred<T> + Send + 'static,
    {
        ropewalk_core::defer_to_thread(self, job)
    }

    /// As [`defer_to_thread`](Self::defer_to_thread), on a thread of another pool: Twisted's
    /// `deferToThreadPool`. The shutdown of the reactor does not wait for it.
    ///
    /// ```
    /// use ropewalk_core::Deferred;
    /// use ropewalk_reactor::{Reactor, ThreadPool};
    ///
    /// let reactor = Reactor::new()?;
    /// let pool = ThreadPool::new("primes", 0..=1);
    /// let stop = reactor.handle();
    /// let count: Deferred<usize> = reactor.defer_to_thread_pool(&pool, || {
    ///     (2..100).filter(|n| (2..*n).all(|d| n % d != 0)).count()
    /// });
    /// drop(count.add_callback(move |count: usize| {
    ///     assert_eq!(count, 25);
    ///     stop.stop();
    /// }));
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn defer_to_thread_pool<T, R>(
        &self,
        pool: &ThreadPool,
        job: impl FnOnce() -> R + Send + 'static,
    ) -> Deferred<T>
    where
        T: 'static,
        R: IntoDeferred<T> + Send + 'static,
    {
        ropewalk_core::defer_to_thread(&OnPool(self, pool), job)
    }

    /// The reactor's own pool, called `reactor`: up to 10 threads, none before the first job, and
    /// up to 1024 jobs that wait; [`ThreadPool::adjust_pool_size`] and
    /// [`ThreadPool::set_queue_limit`] change that.
    ///
    /// It is stopped in the shutdown, when the connections are gone, and takes jobs again in the
    /// next run.
    #[must_use]
    pub fn thread_pool(&self) -> &ThreadPool {
        &self.inner.jobs.pool
    }

    /// Runs `trigger` in a phase of the shutdown. The phase lasts until the Deferred that it
    /// returns, if it returns one, has fired. A failure is logged, and does not stop the shutdown.
    /// A trigger may add others to its phase; one that is added when all of its phase have fired is
    /// not run.
    ///
    /// ```
    /// use ropewalk_reactor::{Phase, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.add_system_event_trigger(Phase::Before, || println!("saving"));
    /// reactor.stop();
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add_system_event_trigger<R>(&self, phase: Phase, trigger: impl FnOnce() -> R + 'static)
    where
        R: IntoDeferred<()>,
    {
        if !self.inner.is_over() {
            let trigger = Box::new(move || trigger().into_deferred());
            self.inner.shutdown.add(phase, trigger);
        }
    }

    /// How long a shutdown may take before it is cut short. 30 s.
    pub fn set_shutdown_deadline(&self, after: Duration) {
        self.inner.shutdown.set_deadline(after);
    }

    /// How long a callback may run before it is reported, or `None` for any time. 100 ms.
    ///
    /// A callback that runs for longer is reported by a warning of target `ropewalk::stall`, once,
    /// and while it still runs: with its kind, the connection that it serves, the peer and the type
    /// of the protocol, what the thread does as the kernel sees it, and its callers. (If it computes,
    /// it is stopped by SIGURG for as long as it takes to copy its stack: on Linux on x86-64 only.)
    /// It is looked for four times in this time, so a report comes up to a quarter of it late.
    pub fn set_stall_threshold(&self, after: Option<Duration>) {
        self.inner.stalls.set_threshold(after);
    }

    /// How many stalls were reported: see [`set_stall_threshold`](Self::set_stall_threshold).
    #[must_use]
    pub fn stalls(&self) -> u64 {
        self.inner.stalls.count()
    }

    /// Begins the shutdown: see [`Phase`]. A reactor that does not run yet will begin it as soon as
    /// it does. A second call changes nothing.
    pub fn stop(&self) {
        self.inner.stop();
    }

    /// Ends the run at once, in this turn, whatever the shutdown waits for.
    pub fn stop_now(&self) {
        self.inner.stop_now();
    }

    /// The part that other threads may have.
    #[must_use]
    pub fn remote(&self) -> ReactorRemote {
        ReactorRemote::new(self.inner.remote.clone())
    }

    /// Notes all that is begun from now on, and where, until it has ended: for tests that are to
    /// leave nothing behind. See [`Ledger`].
    #[must_use]
    pub fn track(&self) -> Ledger {
        self.inner.ledger.open(Rc::downgrade(&self.inner))
    }

    /// The time of this turn; the present one while the reactor does not run.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.inner.now()
    }

    /// How many datagram ports are open.
    #[must_use]
    pub fn datagram_ports(&self) -> usize {
        self.inner.datagrams.len()
    }

    /// How many connections are open or being made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.connections.borrow().len()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

impl ReactorTime for Handle {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.inner.wall_clock()
    }

    fn call_later(&self, delay: Duration, call: Box<dyn FnOnce()>) -> DelayedCall {
        ReactorTime::call_later(&*self.inner, delay, call)
    }
}

impl ReactorTasks for Handle {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task {
        ReactorTasks::spawn(&*self.inner, future)
    }
}

impl ReactorThreads for Handle {
    fn run_in_thread(&self, name: JobName, job: Box<dyn FnOnce() + Send>) -> Deferred<()> {
        self.inner.run_in_thread(name, job)
    }
}

impl ReactorProcess for Handle {
    fn spawn_process(
        &self,
        spawn: &Spawn,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError> {
        self.inner.spawn_process(spawn, protocol)
    }
}

/// Another pool in the place of the reactor's own.
struct OnPool<'a>(&'a Handle, &'a ThreadPool);

impl ReactorThreads for OnPool<'_> {
    fn run_in_thread(&self, name: JobName, job: Box<dyn FnOnce() + Send>) -> Deferred<()> {
        let event_loop = &self.0.inner;
        let job = event_loop.ledger.with_log(job);
        let ran = event_loop.jobs.defer(event_loop, self.1, name.clone(), job);
        event_loop.ledger.job(event_loop, name, ran)
    }
}

impl ReactorNet for Handle {
    fn commons(&self) -> Arc<Commons> {
        self.inner.driver.commons()
    }

    fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        self.inner.listen(endpoint, &factory)
    }

    fn connect(&self, endpoint: &ClientEndpoint, factory: Rc<dyn Factory>) -> Deferred<Connection> {
        self.inner.connect(endpoint, factory)
    }

    fn server_kind(&self, endpoint: &ServerEndpoint) -> io::Result<Arc<dyn ServerKind>> {
        kinds::server(endpoint)
    }

    fn client_kind(&self, endpoint: &ClientEndpoint) -> io::Result<Arc<dyn ClientKind>> {
        kinds::client(endpoint)
    }
}

impl ReactorDatagrams for Handle {
    fn listen_datagram(
        &self,
        endpoint: &DatagramEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError> {
        self.inner.listen_datagram(endpoint, protocol)
    }

    fn connect_datagram(
        &self,
        endpoint: &DatagramClientEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        self.inner.connect_datagram(endpoint, protocol)
    }
}

impl ReactorNames for Handle {
    fn name_resolver(&self) -> Rc<dyn NameResolver> {
        self.inner.name_resolver()
    }

    fn install_name_resolver(&self, resolver: Rc<dyn NameResolver>) -> Rc<dyn NameResolver> {
        self.inner.install_name_resolver(resolver)
    }
}

/// Why [`Reactor::run`] did not end as it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// It was called by something that the reactor itself runs.
    AlreadyRunning,
    /// [`Handle::stop_now`] ended the run before all had come to its end.
    EndedAtOnce {
        /// How many connections were cut.
        connections: usize,
    },
    /// The shutdown took longer than it may.
    ShutdownTimedOut {
        /// How long it was allowed to take.
        after: Duration,
        /// How many connections were cut.
        connections: usize,
        /// The names of the jobs in threads that have not ended. They go on, and nobody hears of
        /// their results.
        jobs: Vec<String>,
    },
    /// The driver cannot wait for events any more.
    Driver(io::Error),
    /// The operating system does not let signals be watched. Nothing has run.
    Signals(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => f.write_str("the reactor is running already"),
            Self::EndedAtOnce { connections } => {
                write!(f, "ended at once, with {connections} connections open")
            }
            Self::ShutdownTimedOut {
                after,
                connections,
                jobs,
            } => {
                write!(
                    f,
                    "the shutdown was not done in {after:?}; {connections} connections were cut"
                )?;
                match &jobs[..] {
                    [] => Ok(()),
                    jobs => write!(f, ", and these jobs still run: {}", jobs.join(", ")),
                }
            }
            Self::Driver(error) => write!(f, "the event loop cannot wait for events: {error}"),
            Self::Signals(error) => write!(f, "cannot watch for SIGINT and SIGTERM: {error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// The loop's own errors for those who come too late.
pub(crate) fn stopped_connect() -> Deferred<Connection> {
    Deferred::fail(ConnectError::ReactorStopped)
}
