//! One reactor for each core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{Factory, Failure, ListenError, Panicked, Port};

use crate::dealing::{Dealer, Load};
use crate::driver::{Driver, ListenerId};
use crate::event_loop::open_bottom;
use crate::poll::probe;
use crate::reactor::{Reactor, RunError};
use crate::remote::ReactorRemote;
use crate::signals::stop_on_signals;

/// Runs a reactor on each of several threads, named `worker-0` and so on, which share their ports
/// and nothing else.
///
/// ```
/// use ropewalk_core::{Address, Protocol, Transport};
/// use ropewalk_reactor::Workers;
/// use std::num::NonZeroUsize;
/// use std::rc::Rc;
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// let endpoint = "tcp:0:interface=127.0.0.1".parse()?;
/// Workers::new(NonZeroUsize::new(2).unwrap()).run(|worker| {
///     let port = worker.listen(&endpoint, Rc::new(|_: &Address| Echo))?;
///     if worker.index() == 0 {
///         println!("listening on {}", port.address());
///     }
///     # worker.reactor().stop();
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Workers {
    count: NonZeroUsize,
    on_signals: bool,
    deadline: Option<Duration>,
}

impl Workers {
    /// `n` workers. [`std::thread::available_parallelism`] says how many there is use for.
    #[must_use]
    pub fn new(n: NonZeroUsize) -> Self {
        Self {
            count: n,
            on_signals: false,
            deadline: None,
        }
    }

    /// Whether SIGINT and SIGTERM stop all workers, as [`stop_on_signals`] says, from when they
    /// are all set up. They do not, unless this is asked for.
    #[must_use]
    pub fn stop_on_signals(mut self, on: bool) -> Self {
        self.on_signals = on;
        self
    }

    /// How long a worker's shutdown may take: see
    /// [`Handle::set_shutdown_deadline`](crate::Handle::set_shutdown_deadline).
    #[must_use]
    pub fn shutdown_deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Makes the workers, calls `setup` on the thread of each, one after another and worker 0
    /// first, and then lets them run. Returns when all have ended.
    ///
    /// When one of them ends, for whatever reason, the others are stopped: through the phases of
    /// their shutdown, under their deadline.
    ///
    /// # Errors
    /// The first thing that went wrong. If it did before all were set up, none has run.
    pub fn run<F>(&self, setup: F) -> Result<(), WorkersError>
    where
        F: Fn(&Worker<'_>) -> Result<(), Failure> + Send + Sync,
    {
        let ports = SharedPorts::default();
        let loads = (0..self.count.get()).map(|_| Arc::default()).collect();
        let (tell, told) = channel();
        thread::scope(|scope| {
            let mut crew = Crew {
                told,
                remotes: Vec::new(),
                starts: Vec::new(),
            };
            for index in 0..self.count.get() {
                let (start, started) = channel();
                let tell = tell.clone();
                let (setup, ports, loads) = (&setup, &ports, &loads);
                let work = move || {
                    let work = || self.work(index, setup, ports, loads, &tell, &started);
                    let ended = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
                        let Panicked { message, .. } = Panicked::new("a worker", &*payload);
                        Err(WorkersError::Panicked { index, message })
                    });
                    // Nobody listens any more when another has failed already.
                    let _ = tell.send(Event::Ended(ended));
                };
                thread::Builder::new()
                    .name(format!("worker-{index}"))
                    .spawn_scoped(scope, work)
                    .map_err(|source| WorkersError::Start { index, source })?;
                crew.await_setup(start)?;
            }
            // Whoever comes later has a descriptor of their own.
            lock(&ports).clear();
            let remotes = crew.remotes.iter().cloned();
            let _guard = match self.on_signals {
                true => Some(stop_on_signals(remotes).map_err(WorkersError::Signals)?),
                false => None,
            };
            crew.run()
        })
    }

    /// A worker's life, on its thread.
    fn work(
        &self,
        index: usize,
        setup: &(dyn Fn(&Worker<'_>) -> Result<(), Failure> + Sync),
        ports: &SharedPorts,
        loads: &Arc<[Arc<Load>]>,
        tell: &Sender<Event>,
        started: &Receiver<()>,
    ) -> Result<(), WorkersError> {
        let reactor = Reactor::new().map_err(|source| WorkersError::Start { index, source })?;
        if let Some(after) = self.deadline {
            reactor.set_shutdown_deadline(after);
        }
        reactor
            .inner
            .connections
            .borrow_mut()
            .show(Arc::clone(&loads[index]));
        let worker = Worker {
            index,
            count: self.count.get(),
            reactor,
            ports,
            loads,
            asked: RefCell::default(),
        };
        setup(&worker).map_err(|failure| WorkersError::Setup { index, failure })?;
        let _ = tell.send(Event::SetUp(worker.reactor.remote()));
        if started.recv().is_err() {
            // Another could not be set up, and nobody starts.
            return Ok(());
        }
        let run = worker.reactor.run();
        run.map_err(|source| WorkersError::Run { index, source })
    }
}

/// One of [`Workers`], while it is set up.
pub struct Worker<'a> {
    index: usize,
    count: usize,
    reactor: Reactor,
    ports: &'a SharedPorts,
    loads: &'a Arc<[Arc<Load>]>,
    /// How often it has listened at the same endpoint.
    asked: RefCell<BTreeMap<String, usize>>,
}

impl Worker<'_> {
    /// Which one it is, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its reactor.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// Listens at `endpoint` together with the other workers that do: the first call of each
    /// belongs together, and so do the second calls at an endpoint of the same text, if there are
    /// any. Where the port is 0, all get the one that the first of them got.
    ///
    /// A TCP port is shared by `SO_REUSEPORT`, so that the system deals the connections out; a
    /// port that another program has, even one that would share it, is in use all the same (unless
    /// the endpoint itself says `reuse_port=yes`). A Unix socket is one for all, and the first to
    /// accept has the connection. Whoever would then have more connections than the worker with the
    /// fewest, by more than an eighth, hands what it accepts to that one: few connections are
    /// spread as evenly as many.
    ///
    /// # Errors
    /// What the operating system refused.
    pub fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        if self.count == 1 {
            return self.reactor.listen(endpoint, factory);
        }
        let text = endpoint.to_string();
        let nth = {
            let mut asked = self.asked.borrow_mut();
            let asked = asked.entry(text.clone()).or_default();
            *asked += 1;
            *asked
        };
        let (bottom, factory) = endpoint.resolve(&*self.reactor.inner, factory)?;
        if bottom == ServerEndpoint::Stdio {
            let error = io::Error::new(
                io::ErrorKind::InvalidInput,
                "the standard streams are one connection; serve them with one worker alone",
            );
            return Err(ListenError::from_io(endpoint, error));
        }
        // Workers are set up one after another, so nobody waits here.
        let mut opened = lock(self.ports);
        let (port, listener, dealer) = match opened.entry((text.clone(), nth)) {
            Entry::Vacant(first) => {
                let (port, listener, socket) = self.listen_first(&text, &bottom, &factory)?;
                let dealer = Dealer::new(Arc::clone(self.loads));
                let shared = first.insert(SharedPort { socket, dealer });
                (port, listener, &shared.dealer)
            }
            Entry::Occupied(shared) => {
                let shared = shared.into_mut();
                let (port, listener) = self.listen_too(&text, &shared.socket, &factory)?;
                (port, listener, &shared.dealer)
            }
        };
        let seat = dealer.seat(self.index, self.reactor.remote(), listener);
        self.reactor.inner.ports.take_seat(listener, seat);
        Ok(port)
    }

    /// `name` is for messages: the text of the endpoint that stands on `bottom`.
    fn listen_first(
        &self,
        name: &str,
        bottom: &ServerEndpoint,
        factory: &Rc<dyn Factory>,
    ) -> Result<(Port, ListenerId, SharedSocket), ListenError> {
        let reactor = &self.reactor.inner;
        let ServerEndpoint::Tcp(listen) = bottom else {
            let listen = |driver: &dyn Driver, id| {
                let address = open_bottom(driver, id, bottom)?;
                let duplicate = driver.share(id);
                if duplicate.is_err() {
                    driver.close_listener(id);
                }
                Ok((address, (id, duplicate?)))
            };
            let (port, (listener, duplicate)) =
                reactor.open_port(name.to_owned(), factory, listen)?;
            return Ok((port, listener, SharedSocket::Duplicate(duplicate)));
        };
        if !listen.reuse_port && listen.port != 0 {
            probe(listen).map_err(|error| ListenError::from_io(name, error))?;
        }
        let mut listen = listen.clone().reuse_port(true);
        let (port, listener) = self.listen_at(name, &listen.clone().into(), factory)?;
        listen.port = port.address().port().unwrap_or(listen.port);
        Ok((
            port,
            listener,
            SharedSocket::Endpoint(Box::new(listen.into())),
        ))
    }

    fn listen_at(
        &self,
        name: &str,
        bottom: &ServerEndpoint,
        factory: &Rc<dyn Factory>,
    ) -> Result<(Port, ListenerId), ListenError> {
        let listen = |driver: &dyn Driver, id| Ok((driver.listen(id, bottom)?, id));
        let reactor = &self.reactor.inner;
        reactor.open_port(name.to_owned(), factory, listen)
    }

    fn listen_too(
        &self,
        name: &str,
        shared: &SharedSocket,
        factory: &Rc<dyn Factory>,
    ) -> Result<(Port, ListenerId), ListenError> {
        match shared {
            SharedSocket::Endpoint(bottom) => self.listen_at(name, bottom, factory),
            SharedSocket::Duplicate(socket) => {
                let adopt =
                    |driver: &dyn Driver, id| Ok((driver.adopt(id, socket.try_clone()?)?, id));
                let reactor = &self.reactor.inner;
                reactor.open_port(name.to_owned(), factory, adopt)
            }
        }
    }
}

impl fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("index", &self.index)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// The ports that the first worker to ask for them has opened, by the text of the endpoint and
/// the number of the call.
type SharedPorts = Mutex<BTreeMap<(String, usize), SharedPort>>;

/// A port that the next worker listens at, too.
struct SharedPort {
    socket: SharedSocket,
    dealer: Arc<Dealer>,
}

/// How the next worker gets at it.
enum SharedSocket {
    /// With the real port, to be shared.
    Endpoint(Box<ServerEndpoint>),
    /// A duplicate of the socket.
    Duplicate(OwnedFd),
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a worker tells the thread that made it.
enum Event {
    SetUp(ReactorRemote),
    Ended(Result<(), WorkersError>),
}

/// The workers, seen from the thread that made them.
struct Crew {
    told: Receiver<Event>,
    remotes: Vec<ReactorRemote>,
    /// A worker that waits for its start goes home when this is dropped.
    starts: Vec<Sender<()>>,
}

impl Crew {
    /// Waits until the worker that was made last is set up.
    fn await_setup(&mut self, start: Sender<()>) -> Result<(), WorkersError> {
        match self.told.recv() {
            Ok(Event::SetUp(remote)) => {
                self.remotes.push(remote);
                self.starts.push(start);
                Ok(())
            }
            Ok(Event::Ended(ended)) => ended,
            Err(_) => Ok(()),
        }
    }

    /// Lets all run until all have ended.
    fn run(self) -> Result<(), WorkersError> {
        for start in &self.starts {
            // It waits for this, and for nothing else.
            let _ = start.send(());
        }
        let mut outcome = Ok(());
        for _ in &self.starts {
            let Ok(Event::Ended(ended)) = self.told.recv() else {
                break;
            };
            outcome = outcome.and(ended);
            for remote in &self.remotes {
                remote.call_from_thread(|reactor| reactor.stop());
            }
        }
        outcome
    }
}

/// Why [`Workers::run`] did not end as it should.
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkersError {
    /// A worker has no thread, or its reactor no descriptors.
    Start {
        /// Which worker.
        index: usize,
        /// What the operating system said.
        source: io::Error,
    },
    /// What `setup` returned for a worker.
    Setup {
        /// Which worker.
        index: usize,
        /// What it returned.
        failure: Failure,
    },
    /// The operating system does not let signals be watched.
    Signals(io::Error),
    /// A worker's run did not end as it should.
    Run {
        /// Which worker.
        index: usize,
        /// How it ended.
        source: RunError,
    },
    /// `setup`, or the loop itself, panicked.
    Panicked {
        /// Which worker.
        index: usize,
        /// What the panic said.
        message: String,
    },
}

impl fmt::Display for WorkersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { index, source } => write!(f, "cannot start worker {index}: {source}"),
            // The same for all workers, and it speaks for itself.
            Self::Setup { failure, .. } => failure.fmt(f),
            Self::Signals(error) => write!(f, "cannot watch for SIGINT and SIGTERM: {error}"),
            Self::Run { index, source } => write!(f, "worker {index}: {source}"),
            Self::Panicked { index, message } => write!(f, "worker {index} panicked: {message}"),
        }
    }
}

impl std::error::Error for WorkersError {}
