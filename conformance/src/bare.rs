//! What a body that runs on a bare driver is given: the driver, and a record of what it reports.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::{DatagramEndpoint, ServerEndpoint, TcpConnect, UnixConnect};
use ropewalk_core::{
    Address, ConnectionId, DatagramError, DatagramQueue, DatagramSendStatus, Incoming, OutputQueue,
    SendStatus,
};
use ropewalk_reactor::driver::{
    Accept, Completions, DatagramId, DatagramTarget, Driver, ListenerId, OpenedDatagrams, QueryId,
    Target, WatchId,
};

use crate::Subject;
use crate::case::{PATIENCE, loopback, udp_loopback};
use crate::watched::Watched;

/// What a driver has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Accepted(ListenerId, ConnectionId),
    Refused(ListenerId),
    AcceptFailed(ListenerId),
    Resolved(QueryId, Option<Vec<SocketAddr>>),
    Opened(ConnectionId),
    ConnectFailed(ConnectionId, io::ErrorKind),
    Descriptors(ConnectionId, usize),
    Received(ConnectionId, usize),
    ReadClosed(ConnectionId),
    Writable(ConnectionId),
    Failed(ConnectionId, io::ErrorKind),
    Ready(WatchId),
    Datagrams(DatagramId, usize),
    DatagramsWritable(DatagramId),
    DatagramFailed(DatagramId, String),
}

/// A datagram that has come.
#[derive(Clone, Debug)]
pub(crate) struct Came {
    pub(crate) port: DatagramId,
    pub(crate) data: Vec<u8>,
    pub(crate) from: Address,
    pub(crate) truncated: bool,
}

type Reaction = Box<dyn FnMut(&dyn Driver, &Event)>;

/// One run of one body.
pub(crate) struct Bare<'a> {
    subject: &'a dyn Subject,
    driver: Rc<Watched>,
    events: RefCell<Vec<(usize, Event)>>,
    received: RefCell<BTreeMap<ConnectionId, Vec<u8>>>,
    hosts: RefCell<BTreeMap<ConnectionId, Address>>,
    datagrams: RefCell<Vec<Came>>,
    /// What is done within a report.
    reaction: RefCell<Option<Reaction>>,
    refusing: Cell<bool>,
    named: Cell<u32>,
    folder: OnceCell<Box<dyn AsRef<Path>>>,
}

impl<'a> Bare<'a> {
    pub(crate) fn new(subject: &'a dyn Subject) -> Self {
        let driver = subject.driver().expect("the subject has a driver");
        Self {
            subject,
            driver: Rc::new(Watched::new(driver)),
            events: RefCell::default(),
            received: RefCell::default(),
            hosts: RefCell::default(),
            datagrams: RefCell::default(),
            reaction: RefCell::default(),
            refusing: Cell::new(false),
            named: Cell::new(0),
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

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// A name that no other connection has had.
    pub(crate) fn name(&self) -> ConnectionId {
        self.named.set(self.named.get() + 1);
        ConnectionId::new(self.named.get() - 1, 0)
    }

    /// Does this within each report from now on.
    pub(crate) fn react(&self, reaction: impl FnMut(&dyn Driver, &Event) + 'static) {
        self.reaction.replace(Some(Box::new(reaction)));
    }

    /// Whether connections are accepted from now on.
    pub(crate) fn refuse(&self, on: bool) {
        self.refusing.set(on);
    }

    /// One poll of no more than `timeout`.
    #[track_caller]
    pub(crate) fn poll(&self, timeout: Duration) {
        let polled = self.driver.poll(Some(timeout), &mut Recorder(self));
        polled.expect("the driver is well");
    }

    /// One poll that waits until something happens.
    #[track_caller]
    pub(crate) fn poll_without_end(&self) {
        let polled = self.driver.poll(None, &mut Recorder(self));
        polled.expect("the driver is well");
    }

    /// Polls until `condition` holds, which is `what`.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = self.driver.now() + PATIENCE;
        while !condition(self) {
            let left = deadline.saturating_duration_since(self.driver.now());
            assert!(
                !left.is_zero(),
                "{PATIENCE:?} were not enough until {what}; so far: {:#?}",
                self.events()
            );
            self.poll(left);
        }
    }

    /// Polls until this was reported.
    #[track_caller]
    pub(crate) fn until_event(&self, event: &Event) {
        self.until(&format!("{event:?}"), |bare| bare.has(event));
    }

    /// Polls for a while, whatever comes.
    #[track_caller]
    pub(crate) fn poll_for(&self, duration: Duration) {
        let deadline = self.driver.now() + duration;
        loop {
            let left = deadline.saturating_duration_since(self.driver.now());
            if left.is_zero() {
                return;
            }
            self.poll(left);
        }
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let events = self.events.borrow();
        events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// The events, each with the number of the poll that reported it.
    pub(crate) fn events_by_poll(&self) -> Vec<(usize, Event)> {
        self.events.borrow().clone()
    }

    pub(crate) fn polls(&self) -> usize {
        self.driver.polls()
    }

    pub(crate) fn has(&self, event: &Event) -> bool {
        self.events.borrow().iter().any(|(_, one)| one == event)
    }

    pub(crate) fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        let events = self.events.borrow();
        events.iter().filter(|(_, event)| is(event)).count()
    }

    /// What has come over a connection.
    pub(crate) fn received(&self, id: ConnectionId) -> Vec<u8> {
        self.received.borrow().get(&id).cloned().unwrap_or_default()
    }

    pub(crate) fn received_len(&self, id: ConnectionId) -> usize {
        self.received.borrow().get(&id).map_or(0, Vec::len)
    }

    /// The address that was reported for this end.
    pub(crate) fn host(&self, id: ConnectionId) -> Option<Address> {
        self.hosts.borrow().get(&id).cloned()
    }

    pub(crate) fn datagrams(&self) -> Vec<Came> {
        self.datagrams.borrow().clone()
    }

    /// The connections that a listener has had, in order.
    pub(crate) fn accepted(&self, listener: ListenerId) -> Vec<ConnectionId> {
        let events = self.events.borrow();
        let accepted = events.iter().filter_map(|(_, event)| match event {
            Event::Accepted(by, id) if *by == listener => Some(*id),
            _ => None,
        });
        accepted.collect()
    }

    /// Listens at any free port of the loopback interface.
    #[track_caller]
    pub(crate) fn listen(&self, listener: ListenerId) -> SocketAddr {
        let endpoint: ServerEndpoint = loopback().into();
        let address = self.driver.listen(listener, &endpoint).expect("listens");
        address.socket_addr().expect("a TCP address")
    }

    /// Begins to connect.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<ConnectionId> {
        let id = self.name();
        let options = TcpConnect::new(address.ip(), address.port());
        self.driver.connect(id, Target::Tcp(address, &options))?;
        Ok(id)
    }

    pub(crate) fn connect_unix(&self, path: &Path) -> io::Result<ConnectionId> {
        let id = self.name();
        let options = UnixConnect::new(path);
        self.driver.connect(id, Target::Unix(&options))?;
        Ok(id)
    }

    /// One connection that is up at both ends, of a listener that is closed again: the client's and
    /// the server's name.
    #[track_caller]
    pub(crate) fn pair(&self) -> (ConnectionId, ConnectionId) {
        let listener = ListenerId(1000);
        let address = self.listen(listener);
        let before = self.accepted(listener).len();
        let client = self.connect(address).expect("begins to connect");
        self.until("both ends are up", |bare| {
            let server = bare.accepted(listener).get(before).copied();
            server.is_some_and(|server| {
                bare.has(&Event::Opened(server)) && bare.has(&Event::Opened(client))
            })
        });
        self.driver.close_listener(listener);
        (client, self.accepted(listener)[before])
    }

    /// Sends all of `data`, if need be in several turns.
    #[track_caller]
    pub(crate) fn send(&self, id: ConnectionId, data: &[u8]) {
        let mut output = OutputQueue::default();
        output.write(data);
        self.send_all(id, &mut output);
    }

    /// Sends all of `output`: when the driver is blocked, as soon as it says that it takes more.
    #[track_caller]
    pub(crate) fn send_all(&self, id: ConnectionId, output: &mut OutputQueue) {
        let writable = |bare: &Self| bare.count(|event| *event == Event::Writable(id));
        loop {
            let before = writable(self);
            let status = self.driver.send(id, output).expect("sends");
            if output.is_empty() {
                return;
            }
            if status == SendStatus::Blocked {
                self.until("the driver takes more", |bare| writable(bare) > before);
            }
        }
    }

    /// Sends until the driver is blocked; returns how much it took.
    #[track_caller]
    pub(crate) fn fill(&self, id: ConnectionId) -> u64 {
        let mut output = OutputQueue::default();
        let mut taken = 0;
        for _ in 0..1024 {
            output.write(&[b'x'; 64 * 1024]);
            let before = output.len();
            let status = self.driver.send(id, &mut output).expect("sends");
            taken += before - output.len();
            if status == SendStatus::Blocked {
                return taken;
            }
        }
        panic!("the driver took {taken} bytes that nobody has read, and is not blocked");
    }

    /// A path where nothing is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let folder = self
            .folder
            .get_or_init(|| self.subject.folder().expect("there is a folder"));
        (**folder).as_ref().join(name)
    }

    /// Opens a datagram port of the loopback interface.
    #[track_caller]
    pub(crate) fn udp(&self, index: u32) -> (DatagramId, OpenedDatagrams) {
        let endpoint: DatagramEndpoint = udp_loopback().into();
        self.open_datagrams(index, &endpoint)
    }

    #[track_caller]
    pub(crate) fn open_datagrams(
        &self,
        index: u32,
        endpoint: &DatagramEndpoint,
    ) -> (DatagramId, OpenedDatagrams) {
        let id = DatagramId { index, serial: 0 };
        let target = DatagramTarget::Bound(endpoint);
        let opened = self.driver.open_datagrams(id, target);
        (id, opened.expect("a datagram port opens"))
    }

    /// Sends one datagram, if need be in a later turn.
    #[track_caller]
    pub(crate) fn send_datagram(&self, from: &OpenedDatagrams, data: &[u8], to: &Address) {
        let mut queue = DatagramQueue::default();
        queue.push(data, Some(to.clone()));
        let writable =
            |bare: &Self| bare.count(|event| matches!(event, Event::DatagramsWritable(_)));
        while !queue.is_empty() {
            let before = writable(self);
            match from.socket.send(&mut queue).expect("sends") {
                DatagramSendStatus::Sent => {}
                DatagramSendStatus::Blocked => {
                    self.until("the driver takes more", |bare| writable(bare) > before);
                }
                DatagramSendStatus::TryAgain => self.poll(Duration::from_millis(1)),
            }
        }
    }

    /// Polls until so many datagrams have come to a port.
    #[track_caller]
    pub(crate) fn until_datagrams(&self, port: DatagramId, count: usize) -> Vec<Came> {
        let of_port = |bare: &Self| -> Vec<Came> {
            let came = bare.datagrams();
            came.into_iter().filter(|one| one.port == port).collect()
        };
        self.until("the datagrams have come", |bare| {
            of_port(bare).len() >= count
        });
        of_port(self)
    }

    fn note(&self, event: Event) {
        let reaction = self.reaction.take();
        if let Some(mut reaction) = reaction {
            reaction(self.driver(), &event);
            self.reaction.replace(Some(reaction));
        }
        let poll = self.driver.polls();
        self.events.borrow_mut().push((poll, event));
    }
}

/// Writes down what is reported.
struct Recorder<'a>(&'a Bare<'a>);

impl Completions for Recorder<'_> {
    fn waited(&mut self) {}

    fn accepted(&mut self, listener: ListenerId, _: Address, _: &Rc<Address>) -> Accept {
        if self.0.refusing.get() {
            self.0.note(Event::Refused(listener));
            return Accept::Refuse;
        }
        let id = self.0.name();
        self.0.note(Event::Accepted(listener, id));
        Accept::As(id)
    }

    fn accept_failed(&mut self, listener: ListenerId, _: io::Error) {
        self.0.note(Event::AcceptFailed(listener));
    }

    fn resolved(&mut self, query: QueryId, result: io::Result<Vec<SocketAddr>>) {
        self.0.note(Event::Resolved(query, result.ok()));
    }

    fn opened(&mut self, connection: ConnectionId, host: &Rc<Address>) {
        let mut hosts = self.0.hosts.borrow_mut();
        hosts.insert(connection, (**host).clone());
        drop(hosts);
        self.0.note(Event::Opened(connection));
    }

    fn connect_failed(&mut self, connection: ConnectionId, error: io::Error) {
        self.0.note(Event::ConnectFailed(connection, error.kind()));
    }

    fn descriptors(&mut self, connection: ConnectionId, descriptors: Vec<OwnedFd>) {
        self.0
            .note(Event::Descriptors(connection, descriptors.len()));
    }

    fn received(&mut self, connection: ConnectionId, data: &[u8]) {
        let mut received = self.0.received.borrow_mut();
        let all = received.entry(connection).or_default();
        all.extend_from_slice(data);
        drop(received);
        self.0.note(Event::Received(connection, data.len()));
    }

    fn read_closed(&mut self, connection: ConnectionId) {
        self.0.note(Event::ReadClosed(connection));
    }

    fn writable(&mut self, connection: ConnectionId) {
        self.0.note(Event::Writable(connection));
    }

    fn failed(&mut self, connection: ConnectionId, error: io::Error) {
        self.0.note(Event::Failed(connection, error.kind()));
    }

    fn ready(&mut self, watch: WatchId) {
        self.0.note(Event::Ready(watch));
    }

    fn datagrams(&mut self, port: DatagramId, batch: &mut dyn Iterator<Item = Incoming<'_>>) {
        let mut count = 0;
        for one in batch {
            count += 1;
            self.0.datagrams.borrow_mut().push(Came {
                port,
                data: one.data.to_vec(),
                from: one.from,
                truncated: one.truncated,
            });
        }
        self.0.note(Event::Datagrams(port, count));
    }

    fn datagrams_writable(&mut self, port: DatagramId) {
        self.0.note(Event::DatagramsWritable(port));
    }

    fn datagram_failed(&mut self, port: DatagramId, error: DatagramError) {
        self.0.note(Event::DatagramFailed(port, error.to_string()));
    }
}
