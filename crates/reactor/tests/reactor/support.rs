//! What the tests share: a protocol made of closures, blocking peers, a driver that counts.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{
    Address, ConnectionId, Factory, Failure, OutputQueue, Port, Protocol, SendStatus, SocketOption,
    Transport,
};
use ropewalk_reactor::driver::{
    Completions, DatagramId, DatagramTarget, Driver, ListenerId, OpenedDatagrams, QueryId, Target,
    Wake,
};
use ropewalk_reactor::{PollDriver, Reactor};

/// What happened, in order.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

type OnTransport = Box<dyn FnMut(&mut Transport)>;
type OnData = Box<dyn FnMut(&mut Transport, &[u8])>;

/// A protocol made of closures; what is not given is as in [`Protocol`].
#[derive(Default)]
pub(crate) struct On {
    made: Option<OnTransport>,
    data: Option<OnData>,
    read_closed: Option<OnTransport>,
    paused: Option<OnTransport>,
    resumed: Option<OnTransport>,
    drain: Option<OnTransport>,
    lost: Option<Box<dyn FnOnce(Failure)>>,
}

impl On {
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    pub(crate) fn made(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.made = Some(Box::new(call));
        self
    }

    pub(crate) fn data(mut self, call: impl FnMut(&mut Transport, &[u8]) + 'static) -> Self {
        self.data = Some(Box::new(call));
        self
    }

    pub(crate) fn read_closed(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.read_closed = Some(Box::new(call));
        self
    }

    pub(crate) fn paused(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.paused = Some(Box::new(call));
        self
    }

    pub(crate) fn resumed(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.resumed = Some(Box::new(call));
        self
    }

    pub(crate) fn drain(mut self, call: impl FnMut(&mut Transport) + 'static) -> Self {
        self.drain = Some(Box::new(call));
        self
    }

    pub(crate) fn lost(mut self, call: impl FnOnce(Failure) + 'static) -> Self {
        self.lost = Some(Box::new(call));
        self
    }

    pub(crate) fn echo() -> Self {
        Self::nothing().data(|transport, data| transport.write(data))
    }

    /// An echo that is held back by its peer, and holds it back.
    pub(crate) fn held_back_echo() -> Self {
        Self::echo()
            .paused(|transport| transport.pause_producing())
            .resumed(|transport| transport.resume_producing())
    }

    /// Notes everything, and does nothing of its own.
    pub(crate) fn logging(log: &Log) -> Self {
        let note = |event: &'static str| {
            let log = Rc::clone(log);
            move |_: &mut Transport| log.borrow_mut().push(event.to_owned())
        };
        let (data, lost) = (Rc::clone(log), Rc::clone(log));
        Self::nothing()
            .made(note("made"))
            .data(move |_, bytes| {
                let bytes = String::from_utf8_lossy(bytes);
                data.borrow_mut().push(format!("data {bytes}"));
            })
            .lost(move |reason| lost.borrow_mut().push(format!("lost: {reason}")))
    }
}

impl Protocol for On {
    fn connection_made(&mut self, transport: &mut Transport) {
        if let Some(call) = &mut self.made {
            call(transport);
        }
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        if let Some(call) = &mut self.data {
            call(transport, data);
        }
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        match &mut self.read_closed {
            Some(call) => call(transport),
            None => transport.lose_connection(),
        }
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        if let Some(call) = &mut self.paused {
            call(transport);
        }
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        if let Some(call) = &mut self.resumed {
            call(transport);
        }
    }

    fn drain(&mut self, transport: &mut Transport) {
        match &mut self.drain {
            Some(call) => call(transport),
            None => transport.lose_connection(),
        }
    }

    fn connection_lost(&mut self, reason: Failure) {
        if let Some(call) = self.lost.take() {
            call(reason);
        }
    }
}

/// A factory that builds what `build` returns.
pub(crate) fn factory(build: impl Fn() -> On + 'static) -> Rc<dyn Factory> {
    Rc::new(move |_: &Address| build())
}

/// A factory for a single connection.
pub(crate) fn once(protocol: On) -> Rc<dyn Factory> {
    let protocol = RefCell::new(Some(protocol));
    Rc::new(move |_: &Address| protocol.take().unwrap_or_default())
}

pub(crate) fn loopback() -> ServerEndpoint {
    "tcp:0:interface=127.0.0.1".parse().unwrap()
}

/// Listens on any free port of 127.0.0.1.
pub(crate) fn serve(reactor: &Reactor, factory: Rc<dyn Factory>) -> SocketAddr {
    socket_addr(&reactor.listen(&loopback(), factory).unwrap())
}

pub(crate) fn socket_addr(port: &Port) -> SocketAddr {
    port.address().socket_addr().unwrap()
}

/// Runs the reactor until `peer`, on a thread of its own, has returned; then stops it.
pub(crate) fn run_with<T: Send + 'static>(
    reactor: &Reactor,
    peer: impl FnOnce() -> T + Send + 'static,
) -> T {
    let remote = reactor.remote();
    let thread = std::thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(peer));
        remote.call_from_thread(|reactor| reactor.stop());
        result
    });
    reactor.run().unwrap();
    match thread.join().unwrap() {
        Ok(result) => result,
        Err(payload) => resume_unwind(payload),
    }
}

/// A blocking client with a small receive buffer. (A tiny one, below the size of a loopback's
/// packet, makes the system send by its timers.)
pub(crate) fn narrow_client(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::STREAM,
        None,
    )
    .unwrap();
    socket.set_recv_buffer_size(128 * 1024).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// A socket with a port of 127.0.0.1 on which it does not listen: while it is held, nobody does.
pub(crate) fn nobody() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// A duplicate of this process's own end of the connection of `peer`. (Peers of several ports may
/// have one address, so both ends are compared.)
pub(crate) fn accepted_from(peer: &TcpStream) -> socket2::Socket {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let is = |end: io::Result<socket2::SockAddr>, address: io::Result<SocketAddr>| {
        end.is_ok_and(|end| end.as_socket() == address.ok())
    };
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let name = entry.unwrap().file_name();
        let number: i32 = name.to_str().unwrap().parse().unwrap();
        let Ok(copy) = pidfd_getfd(&me, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let socket = socket2::Socket::from(copy);
        if is(socket.peer_addr(), peer.local_addr()) && is(socket.local_addr(), peer.peer_addr()) {
            return socket;
        }
    }
    panic!("the accepted socket was not found");
}

/// Makes the close of `stream` a reset.
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Bytes that show when one is missing, doubled or out of order.
pub(crate) fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at % 251) as u8).collect()
}

/// Waits, in turns of the reactor, until `ready`; then calls `then`.
pub(crate) fn when(
    reactor: &ropewalk_reactor::Handle,
    ready: impl Fn() -> bool + 'static,
    then: impl FnOnce() + 'static,
) {
    if ready() {
        return then();
    }
    let again = reactor.clone();
    reactor.call_later(Duration::from_millis(1), move || when(&again, ready, then));
}

/// The poll driver, with its polls and wakes counted, and what it sends.
pub(crate) struct Counting {
    inner: PollDriver,
    pub(crate) polls: Cell<usize>,
    /// Bytes since the last poll, and the most that were ever sent between two.
    sent: Cell<u64>,
    pub(crate) most_sent: Cell<u64>,
    waker: Arc<CountingWake>,
}

struct CountingWake {
    inner: Arc<dyn Wake>,
    wakes: AtomicUsize,
}

impl Counting {
    pub(crate) fn new() -> Rc<Self> {
        let inner = PollDriver::new().unwrap();
        let waker = Arc::new(CountingWake {
            inner: inner.waker(),
            wakes: AtomicUsize::new(0),
        });
        Rc::new(Self {
            inner,
            polls: Cell::new(0),
            sent: Cell::new(0),
            most_sent: Cell::new(0),
            waker,
        })
    }

    pub(crate) fn wakes(&self) -> usize {
        self.waker.wakes.load(Ordering::SeqCst)
    }
}

impl Wake for CountingWake {
    fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.inner.wake();
    }
}

impl Driver for Counting {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.inner.wall_clock()
    }

    fn listen(&self, listener: ListenerId, endpoint: &ServerEndpoint) -> io::Result<Address> {
        self.inner.listen(listener, endpoint)
    }

    fn adopt(&self, listener: ListenerId, socket: OwnedFd) -> io::Result<Address> {
        self.inner.adopt(listener, socket)
    }

    fn resume_accepting(&self, listener: ListenerId) {
        self.inner.resume_accepting(listener);
    }

    fn close_listener(&self, listener: ListenerId) {
        self.inner.close_listener(listener);
    }

    fn resolve(&self, query: QueryId, host: &str, port: u16) {
        self.inner.resolve(query, host, port);
    }

    fn connect(&self, connection: ConnectionId, target: Target<'_>) -> io::Result<()> {
        self.inner.connect(connection, target)
    }

    fn open_datagrams(
        &self,
        port: DatagramId,
        target: DatagramTarget<'_>,
    ) -> io::Result<OpenedDatagrams> {
        self.inner.open_datagrams(port, target)
    }

    fn close_datagrams(&self, port: DatagramId) {
        self.inner.close_datagrams(port);
    }

    fn send(&self, connection: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus> {
        let before = output.len();
        let status = self.inner.send(connection, output);
        self.sent.set(self.sent.get() + before - output.len());
        self.most_sent
            .set(self.most_sent.get().max(self.sent.get()));
        status
    }

    fn set_reading(&self, connection: ConnectionId, on: bool) {
        self.inner.set_reading(connection, on);
    }

    fn shutdown_write(&self, connection: ConnectionId) -> io::Result<()> {
        self.inner.shutdown_write(connection)
    }

    fn set_option(&self, connection: ConnectionId, option: SocketOption) -> io::Result<()> {
        self.inner.set_option(connection, option)
    }

    fn close(&self, connection: ConnectionId) {
        self.inner.close(connection);
    }

    fn abort(&self, connection: ConnectionId) {
        self.inner.abort(connection);
    }

    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()> {
        self.polls.set(self.polls.get() + 1);
        self.sent.set(0);
        self.inner.poll(timeout, completions)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}
