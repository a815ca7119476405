//! What a body that runs on a reactor is given: the reactor, places to listen and connect at, and
//! words for what it waits for.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{
    ClientEndpoint, DatagramEndpoint, ServerEndpoint, TcpConnect, TcpListen, UdpListen,
    UnixConnect, UnixListen,
};
use ropewalk_core::{Connection, DatagramPort, DatagramProtocol, Deferred, Factory, Failure, Port};
use ropewalk_reactor::driver::Driver;
use ropewalk_reactor::{Handle, Reactor, RunError};

use crate::log::Log;
use crate::names::name_of;
use crate::script::{Script, once};
use crate::watched::Watched;
use crate::{Place, Subject};

/// How long a body waits for anything, in the reactor's time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A short while: for what would have happened by then if it happened at all.
pub(crate) const MOMENT: Duration = Duration::from_millis(10);

/// Milliseconds.
pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// One run of one body.
pub(crate) struct Case<'a> {
    subject: &'a dyn Subject,
    driver: Rc<Watched>,
    reactor: RefCell<Option<Reactor>>,
    handle: Handle,
    logs: RefCell<Vec<Log>>,
    frozen: Rc<Cell<bool>>,
    folder: OnceCell<Box<dyn AsRef<Path>>>,
}

/// What two ends talk over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Unix,
}

impl<'a> Case<'a> {
    pub(crate) fn new(subject: &'a dyn Subject) -> Self {
        let driver = subject.driver().expect("the subject has a driver");
        let driver = Rc::new(Watched::new(driver));
        let reactor = Reactor::with_driver(Rc::clone(&driver) as Rc<dyn Driver>);
        // Many bodies share the processors; what is slow here is no stall.
        reactor.set_stall_threshold(None);
        Self {
            subject,
            driver,
            handle: reactor.handle(),
            reactor: RefCell::new(Some(reactor)),
            logs: RefCell::default(),
            frozen: Rc::default(),
            folder: OnceCell::new(),
        }
    }

    /// Asserts that the driver has kept all its promises.
    #[track_caller]
    pub(crate) fn check(&self) {
        let broken = self.driver.promises().broken();
        assert!(broken.is_empty(), "the driver broke promises: {broken:#?}");
    }

    pub(crate) fn subject(&self) -> &'a dyn Subject {
        self.subject
    }

    /// The reactor, for those that it runs.
    pub(crate) fn reactor(&self) -> Handle {
        self.handle.clone()
    }

    /// Drops the reactor.
    pub(crate) fn drop_reactor(&self) {
        let reactor = self.reactor.take();
        drop(reactor);
    }

    /// How often the driver was polled.
    pub(crate) fn polls(&self) -> usize {
        self.driver.polls()
    }

    /// An end of its own, that nothing is noted after.
    pub(crate) fn log(&self) -> Log {
        let log = Log::new(Rc::clone(&self.frozen));
        self.logs.borrow_mut().push(log.clone());
        log
    }

    /// Runs `call` between two turns, as soon as `condition` holds.
    pub(crate) fn when(
        &self,
        condition: impl Fn() -> bool + 'static,
        call: impl FnOnce() + 'static,
    ) {
        self.driver.when(Box::new(condition), Box::new(call));
    }

    /// Runs the reactor until `condition` holds, which is `what`, and then ends it at once.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, condition: impl Fn() -> bool + 'static) {
        let met = Rc::new(Cell::new(false));
        let (frozen, handle, done) = (Rc::clone(&self.frozen), self.reactor(), Rc::clone(&met));
        self.when(condition, move || {
            done.set(true);
            frozen.set(true);
            handle.stop_now();
        });
        let ended = self.run_for(what);
        self.driver.forget_waiting();
        assert!(
            matches!(ended, Err(RunError::EndedAtOnce { .. })) && met.get(),
            "while waiting until {what}, the run ended with {ended:?}; so far: {:#?}",
            self.so_far()
        );
    }

    /// Runs the reactor until the connections of all `logs` are gone.
    #[track_caller]
    pub(crate) fn until_over(&self, logs: &[&Log]) {
        let logs: Vec<Log> = logs.iter().copied().cloned().collect();
        self.until("all connections are gone", move || {
            logs.iter().all(Log::is_over)
        });
    }

    /// Runs the reactor until `event` is in `log`.
    #[track_caller]
    pub(crate) fn until_noted(&self, log: &Log, event: &'static str) {
        let log = log.clone();
        self.until(event, move || log.has(event));
    }

    /// Runs the reactor until it was stopped by the body, and has come to its end.
    #[track_caller]
    pub(crate) fn run(&self) -> Result<(), RunError> {
        self.run_for("the body stops the reactor, and it has ended")
    }

    #[track_caller]
    fn run_for(&self, what: &str) -> Result<(), RunError> {
        let late = Rc::new(Cell::new(false));
        let (is_late, handle) = (Rc::clone(&late), self.reactor());
        let deadline = self.handle.call_later(PATIENCE, move || {
            is_late.set(true);
            handle.stop_now();
        });
        let reactor = self.reactor.take().expect("the reactor was not dropped");
        let ended = reactor.run();
        self.reactor.replace(Some(reactor));
        deadline.cancel();
        assert!(
            !late.get(),
            "{PATIENCE:?} were not enough until {what}; so far: {:#?}",
            self.so_far()
        );
        ended
    }

    fn so_far(&self) -> Vec<Vec<String>> {
        self.logs.borrow().iter().map(Log::events).collect()
    }

    /// Listens at any free port of the loopback interface.
    #[track_caller]
    pub(crate) fn serve(&self, factory: Rc<dyn Factory>) -> (Port, ClientEndpoint) {
        let endpoint = loopback().into();
        let port = self.handle.listen(&endpoint, factory).expect("listens");
        let address = socket_addr(&port);
        (port, to(address))
    }

    /// Listens at a path that nobody has.
    #[track_caller]
    pub(crate) fn serve_unix(&self, factory: Rc<dyn Factory>) -> (Port, ClientEndpoint) {
        let path = self.path("socket");
        let endpoint = UnixListen::new(&path).into();
        let port = self.handle.listen(&endpoint, factory).expect("listens");
        (port, UnixConnect::new(path).into())
    }

    #[track_caller]
    pub(crate) fn serve_over(
        &self,
        over: Over,
        factory: Rc<dyn Factory>,
    ) -> (Port, ClientEndpoint) {
        match over {
            Over::Tcp => self.serve(factory),
            Over::Unix => self.serve_unix(factory),
        }
    }

    /// Connects, and notes in `log` what came of it.
    pub(crate) fn connect(
        &self,
        endpoint: &ClientEndpoint,
        factory: Rc<dyn Factory>,
        log: &Log,
    ) -> Deferred<()> {
        connect(&self.handle, endpoint, factory, log)
    }

    /// One connection between two protocols, over TCP.
    #[track_caller]
    pub(crate) fn join(&self, server: Script, client: Script) {
        self.join_over(Over::Tcp, server, client);
    }

    #[track_caller]
    pub(crate) fn join_over(&self, over: Over, server: Script, client: Script) {
        self.join_factories(over, once(server), once(client));
    }

    /// One connection between what two factories build.
    #[track_caller]
    pub(crate) fn join_factories(
        &self,
        over: Over,
        server: Rc<dyn Factory>,
        client: Rc<dyn Factory>,
    ) {
        let (_, endpoint) = self.serve_over(over, server);
        drop(self.handle.connect(&endpoint, client));
    }

    /// Where nobody listens, for as long as this is kept.
    #[track_caller]
    pub(crate) fn nobody(&self) -> Place {
        self.subject.nobody().expect("there is a place with nobody")
    }

    /// A place that does not answer.
    #[track_caller]
    pub(crate) fn black_hole(&self) -> Place {
        self.subject.black_hole().expect("there is a black hole")
    }

    /// A path where nothing is, in a folder of this body's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let folder = self
            .folder
            .get_or_init(|| self.subject.folder().expect("there is a folder"));
        (**folder).as_ref().join(name)
    }

    /// A datagram port of the loopback interface.
    #[track_caller]
    pub(crate) fn udp(&self, protocol: impl DatagramProtocol) -> DatagramPort {
        let endpoint: DatagramEndpoint = udp_loopback().into();
        let port = self.handle.listen_datagram(&endpoint, protocol);
        port.expect("a datagram port opens")
    }
}

/// As [`Case::connect`], for those who are run by the reactor.
pub(crate) fn connect(
    reactor: &Handle,
    endpoint: &ClientEndpoint,
    factory: Rc<dyn Factory>,
    log: &Log,
) -> Deferred<()> {
    let log = log.clone();
    let told = move |result: Result<Connection, Failure>| match result {
        Ok(_) => log.note("connected"),
        Err(failure) => log.note(format!("not connected: {}", name_of(&failure))),
    };
    reactor.connect(endpoint, factory).add_both(told)
}

pub(crate) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Any free port of the loopback interface.
pub(crate) fn loopback() -> TcpListen {
    TcpListen::new(0).interface(LOOPBACK)
}

/// As [`loopback`], for datagrams.
pub(crate) fn udp_loopback() -> UdpListen {
    UdpListen::new(0).interface(LOOPBACK)
}

pub(crate) fn to(address: SocketAddr) -> ClientEndpoint {
    TcpConnect::new(address.ip(), address.port()).into()
}

/// Where a port listens.
#[track_caller]
pub(crate) fn socket_addr(port: &Port) -> SocketAddr {
    port.address().socket_addr().expect("a port of TCP")
}

/// The endpoint that listens where `port` does.
pub(crate) fn same(port: &Port) -> ServerEndpoint {
    let address = socket_addr(port);
    TcpListen::new(address.port())
        .interface(address.ip())
        .into()
}
