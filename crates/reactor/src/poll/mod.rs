//! The poll driver: the operating system's readiness interface (epoll, kqueue), through mio.
//!
//! It is edge-triggered. A connection is registered for reading once; writability is asked for
//! when the kernel has refused bytes for the first time, and no registration is changed after
//! that. One read buffer of 64 KiB serves all connections, so that an idle one holds none. After
//! a read that did not fill it no second one is made. See [`driver`](crate::driver) for what it
//! promises.

mod batch;
mod datagrams;
mod error_queue;
mod flag;
mod listener;
mod overflow;
mod pipes;
mod resolver;
mod socket;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{Address, ConnectionId, OutputQueue, SendStatus, SocketOption};

use crate::driver::{
    Accept, Completions, DatagramId, DatagramTarget, Driver, ListenerId, OpenedDatagrams, QueryId,
    Target, Wake, WatchId,
};
use batch::Batch;
use datagrams::{PollPort, Received};
pub(crate) use listener::probe;
use listener::{Accepted, Listener};
use pipes::Pipes;
use resolver::Resolver;
use socket::{Socket, Stream};

/// All connections of a loop read into one buffer of this size.
const READ_BUFFER: usize = 64 * 1024;

/// A connection that fills the buffer is read this often before others get their turn.
const READS_IN_A_ROW: usize = 4;

/// A listener accepts this many connections before others get their turn.
const ACCEPTS_IN_A_ROW: usize = 64;

/// A datagram port that fills its batches receives this many before others get their turn.
const BATCHES_IN_A_ROW: usize = 4;

const EVENTS: usize = 1024;

const WAKER: Token = Token(usize::MAX);
/// Tokens with this bit are listeners, those without it connections.
const LISTENER: usize = 1 << 63;
/// Tokens with both of these bits are descriptors that are watched.
const WATCH: usize = 1 << 61;
/// Tokens with this bit too are datagram ports.
const DATAGRAMS: usize = 1 << 62;

/// The driver for real sockets.
pub struct PollDriver {
    poll: RefCell<Poll>,
    registry: Rc<Registry>,
    events: Cell<Option<Events>>,
    buffer: Cell<Option<Box<[u8]>>>,
    /// By the index of the connection's name.
    sockets: RefCell<Vec<Option<Socket>>>,
    listeners: RefCell<Vec<Option<Listener>>>,
    watches: RefCell<BTreeMap<u32, Rc<OwnedFd>>>,
    ports: RefCell<Vec<Option<Rc<PollPort>>>>,
    /// What datagrams are received into, from when the first port is opened.
    batch: Cell<Option<Box<Batch>>>,
    /// What may be read, written or accepted now.
    ready: Rc<RefCell<VecDeque<Ready>>>,
    resolver: Resolver,
    waker: Arc<PollWaker>,
}

#[derive(Clone, Copy)]
enum Ready {
    Connection(u32),
    Listener(u32),
    Watch(u32),
    Datagrams(u32),
}

struct PollWaker(Waker);

impl Wake for PollWaker {
    fn wake(&self) {
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "cannot wake the loop; it goes on when something else happens");
        }
    }
}

impl PollDriver {
    /// A driver with no connections.
    ///
    /// # Errors
    /// The operating system gave no descriptor.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = Rc::new(poll.registry().try_clone()?);
        let waker = Arc::new(PollWaker(Waker::new(&registry, WAKER)?));
        Ok(Self {
            resolver: Resolver::new(Arc::clone(&waker) as Arc<dyn Wake>),
            poll: RefCell::new(poll),
            registry,
            events: Cell::new(Some(Events::with_capacity(EVENTS))),
            buffer: Cell::new(Some(vec![0; READ_BUFFER].into_boxed_slice())),
            sockets: RefCell::default(),
            listeners: RefCell::default(),
            watches: RefCell::default(),
            ports: RefCell::default(),
            batch: Cell::default(),
            ready: Rc::default(),
            waker,
        })
    }

    /// Runs `action` on a socket, if it is open.
    fn socket<R>(&self, id: ConnectionId, action: impl FnOnce(&mut Socket) -> R) -> Option<R> {
        let mut sockets = self.sockets.borrow_mut();
        let socket = sockets.get_mut(id.index() as usize)?.as_mut()?;
        (socket.generation == id.generation()).then(|| action(socket))
    }

    fn id_at(&self, index: u32) -> Option<ConnectionId> {
        let sockets = self.sockets.borrow();
        let socket = sockets.get(index as usize)?.as_ref()?;
        Some(ConnectionId::new(index, socket.generation))
    }

    fn insert(&self, id: ConnectionId, mut stream: Stream, flags: u16) -> io::Result<()> {
        let interest = match flags & flag::CONNECTING {
            0 => socket::READS,
            _ => socket::READS | Interest::WRITABLE,
        };
        stream.register(&self.registry, connection_token(id), interest)?;
        self.place(id, stream, flags);
        Ok(())
    }

    fn insert_pipes(
        &self,
        id: ConnectionId,
        read: Option<OwnedFd>,
        write: Option<OwnedFd>,
        more: u16,
    ) -> io::Result<()> {
        let (pipes, mut flags) = Pipes::open(read, write);
        flags |= more;
        let is_watched = pipes.register(&self.registry, connection_token(id))?;
        if !is_watched {
            flags |= flag::READABLE;
        }
        self.place(id, Stream::Pipes(pipes), flags);
        if !is_watched || flags & flag::CONNECTING != 0 {
            self.queue(id);
        }
        Ok(())
    }

    fn place(&self, id: ConnectionId, stream: Stream, flags: u16) {
        let mut sockets = self.sockets.borrow_mut();
        let index = id.index() as usize;
        if sockets.len() <= index {
            sockets.resize_with(index + 1, || None);
        }
        sockets[index] = Some(Socket::new(stream, id.generation(), flags));
    }

    fn remove(&self, id: ConnectionId) -> Option<Socket> {
        self.socket(id, |_| ())?;
        self.sockets.borrow_mut()[id.index() as usize].take()
    }

    /// Makes `id` ready, unless it is already.
    fn queue(&self, id: ConnectionId) {
        let queued = self.socket(id, |socket| {
            let queued = socket.is(flag::QUEUED);
            socket.set(flag::QUEUED);
            queued
        });
        if queued == Some(false) {
            let mut ready = self.ready.borrow_mut();
            ready.push_back(Ready::Connection(id.index()));
        }
    }

    /// Makes a listener ready, unless it is already or rests.
    fn queue_listener(&self, id: u32, listener: &mut Listener) {
        if listener.ready && !listener.resting && !listener.queued {
            listener.queued = true;
            self.ready.borrow_mut().push_back(Ready::Listener(id));
        }
    }

    /// Notes what the kernel said of a token.
    fn note(&self, event: &mio::event::Event) {
        let token = event.token().0;
        if token & (LISTENER | WATCH) == LISTENER | WATCH {
            let mut ready = self.ready.borrow_mut();
            ready.push_back(Ready::Watch(token as u32));
            return;
        }
        if token & LISTENER != 0 && token & DATAGRAMS != 0 {
            let port = self.port_at(token as u32);
            if let Some(port) = port.filter(|port| datagrams_token(port.id) == event.token()) {
                port.note(event);
            }
            return;
        }
        if token & LISTENER != 0 {
            let id = token as u32;
            let mut listeners = self.listeners.borrow_mut();
            if let Some(Some(listener)) = listeners.get_mut(id as usize) {
                listener.ready = true;
                self.queue_listener(id, listener);
            }
            return;
        }
        let Some(id) = self.id_at(token as u32) else {
            return;
        };
        if connection_token(id) != event.token() {
            // Of the connection that had this place before. The kernel still tells of it while
            // there is another descriptor for it, as in a child process before its exec.
            return;
        }
        self.socket(id, |socket| {
            if event.is_readable() || event.is_read_closed() {
                socket.set(flag::READABLE);
            }
            if event.is_read_closed() || event.is_priority() {
                socket.set(flag::MORE);
            }
            if event.is_writable() || event.is_write_closed() {
                socket.set(flag::WRITE_READY);
            }
            if event.is_error() {
                socket.set(flag::ERROR | flag::WRITE_READY);
            }
        });
        self.queue(id);
    }

    fn serve(&self, id: ConnectionId, buffer: &mut [u8], completions: &mut dyn Completions) {
        let flags = self.socket(id, |socket| {
            socket.begin_turn();
            socket.flags()
        });
        let Some(flags) = flags else { return };
        if flags & flag::CONNECTING != 0 {
            if flags & flag::WRITE_READY == 0 || !self.finish_connect(id, completions) {
                return;
            }
        } else if flags & flag::WRITE_READY != 0 {
            let blocked = self.socket(id, |socket| {
                socket.clear(flag::WRITE_READY);
                let blocked = socket.is(flag::BLOCKED);
                socket.clear(flag::BLOCKED);
                blocked
            });
            if blocked == Some(true) {
                completions.writable(id);
            }
        }
        self.read(id, buffer, completions);
        // A connection that is not being read would not notice that it is dead.
        let dead = self.socket(id, |socket| {
            if !socket.is(flag::ERROR) || socket.may_read() {
                return None;
            }
            socket.clear(flag::ERROR);
            socket.stream.take_error().transpose()
        });
        if let Some(Some(error)) = dead {
            completions.failed(id, error.unwrap_or_else(|error| error));
        }
    }

    /// Reads while there is something to read, the loop wants it, and the budget lasts.
    fn read(&self, id: ConnectionId, buffer: &mut [u8], completions: &mut dyn Completions) {
        let mut descriptors = Vec::new();
        for _ in 0..READS_IN_A_ROW {
            let read = self.socket(id, |socket| {
                if !socket.may_read() {
                    return None;
                }
                let read = match socket.is(flag::DESCRIPTORS) {
                    false => socket.read(buffer),
                    true => socket
                        .stream
                        .read_with_descriptors(buffer, &mut descriptors),
                };
                match &read {
                    Ok(0) => socket.set(flag::READ_END),
                    // A short read has emptied the socket, unless it holds something else.
                    // A read ends behind descriptors, whatever follows.
                    Ok(read)
                        if *read < buffer.len()
                            && !socket.is(flag::MORE | flag::PIPES)
                            && descriptors.is_empty() =>
                    {
                        socket.clear(flag::READABLE);
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        socket.clear(flag::READABLE | flag::MORE);
                        return None;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => socket.set(flag::READ_END),
                }
                Some(read)
            });
            if !descriptors.is_empty() {
                completions.descriptors(id, std::mem::take(&mut descriptors));
            }
            match read {
                Some(Some(Ok(0))) => {
                    completions.read_closed(id);
                    return self.retry_write(id);
                }
                Some(Some(Ok(read))) => completions.received(id, &buffer[..read]),
                Some(Some(Err(error))) if error.kind() == io::ErrorKind::Interrupted => {}
                Some(Some(Err(error))) => return completions.failed(id, error),
                Some(None) | None => return,
            }
        }
        if self.socket(id, |socket| socket.may_read()) == Some(true) {
            self.queue(id);
        }
    }

    /// What cannot be read any more may be broken for what is unsent, too: a terminal is.
    fn retry_write(&self, id: ConnectionId) {
        let retry = self.socket(id, |socket| {
            let retry = socket.is(flag::PIPES) && socket.is(flag::BLOCKED);
            if retry {
                socket.set(flag::WRITE_READY);
            }
            retry
        });
        if retry == Some(true) {
            self.queue(id);
        }
    }

    /// Whether the connection is up; reports it.
    fn finish_connect(&self, id: ConnectionId, completions: &mut dyn Completions) -> bool {
        let result = self.socket(id, |socket| {
            socket.clear(flag::CONNECTING | flag::WRITE_READY);
            match socket.stream.take_error() {
                Ok(None) => socket.stream.host(),
                Ok(Some(error)) | Err(error) => Err(error),
            }
        });
        match result {
            Some(Ok(host)) => {
                completions.opened(id, &Rc::new(host));
                true
            }
            Some(Err(error)) => {
                self.remove(id);
                completions.connect_failed(id, error);
                false
            }
            None => false,
        }
    }

    fn accept(&self, id: ListenerId, completions: &mut dyn Completions) {
        self.listener(id, |listener| listener.queued = false);
        for _ in 0..ACCEPTS_IN_A_ROW {
            let accepted = self.listener(id, |listener| {
                if listener.resting {
                    return Accepted::Nothing;
                }
                let accepted = listener.accept();
                listener.resting = matches!(accepted, Accepted::Failed(_));
                accepted
            });
            let (stream, peer, host) = match accepted {
                Some(Accepted::Connection(stream, peer, host)) => (stream, peer, host),
                Some(Accepted::Failed(error)) => return completions.accept_failed(id, error),
                Some(Accepted::Nothing) | None => return,
            };
            let connection = match completions.accepted(id, peer, &host) {
                Accept::As(connection) => connection,
                Accept::Refuse => continue,
                Accept::HandOver(to) => {
                    if let Some(socket) = stream.into_socket() {
                        to(socket);
                    }
                    continue;
                }
            };
            match self.insert(connection, stream, flag::READING) {
                Ok(()) => completions.opened(connection, &host),
                Err(error) => completions.connect_failed(connection, error),
            }
        }
        self.listener(id, |listener| self.queue_listener(id.0, listener));
    }

    fn port_at(&self, index: u32) -> Option<Rc<PollPort>> {
        self.ports.borrow().get(index as usize)?.clone()
    }

    /// Runs `action` on a datagram port, if it is open: it may be closed by what it was told, and
    /// its socket with it.
    fn port<R>(&self, id: DatagramId, action: impl FnOnce(&PollPort) -> R) -> Option<R> {
        let port = self.port_at(id.index).filter(|port| port.id == id)?;
        Some(action(&port))
    }

    /// Reports what has come to a datagram port, while the loop wants it and the budget lasts.
    fn serve_datagrams(&self, id: DatagramId, completions: &mut dyn Completions) {
        if self.port(id, PollPort::begin_turn) == Some(true) {
            completions.datagrams_writable(id);
        }
        let mut batch = self.batch.take().unwrap_or_else(|| Box::new(Batch::new()));
        for _ in 0..BATCHES_IN_A_ROW {
            let received = self.port(id, |port| {
                port.receive(|socket, max_size| batch.receive(socket, max_size))
            });
            match received {
                Some(Received::Batch) => completions.datagrams(id, &mut batch.iter()),
                Some(Received::Error) => {}
                Some(Received::Nothing) | None => break,
            }
        }
        self.batch.set(Some(batch));
        for error in self.port(id, PollPort::take_told).unwrap_or_default() {
            // Nothing is told of a port that is closed.
            if self.port(id, |_| ()).is_none() {
                return;
            }
            completions.datagram_failed(id, error);
        }
        self.port(id, PollPort::queue_if_readable);
    }

    /// Runs `action` on a listener, if it is open.
    fn listener<R>(&self, id: ListenerId, action: impl FnOnce(&mut Listener) -> R) -> Option<R> {
        let mut listeners = self.listeners.borrow_mut();
        let listener = listeners.get_mut(id.0 as usize)?.as_mut()?;
        Some(action(listener))
    }

    /// Ends a watch, if there is one of this name.
    fn end_watch(&self, id: u32) -> bool {
        let Some(descriptor) = self.watches.borrow_mut().remove(&id) else {
            return false;
        };
        // The registration would live on with a duplicate.
        if let Err(error) = self
            .registry
            .deregister(&mut SourceFd(&descriptor.as_raw_fd()))
        {
            tracing::debug!(%error, "a descriptor was not watched");
        }
        true
    }

    fn insert_listener(&self, id: ListenerId, listener: Listener) -> Address {
        let address = listener.address();
        let mut listeners = self.listeners.borrow_mut();
        let index = id.0 as usize;
        if listeners.len() <= index {
            listeners.resize_with(index + 1, || None);
        }
        listeners[index] = Some(listener);
        address
    }
}

impl Driver for PollDriver {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn listen(&self, id: ListenerId, endpoint: &ServerEndpoint) -> io::Result<Address> {
        let token = listener_token(id);
        let listener = Listener::bind(endpoint, &self.registry, token)?;
        Ok(self.insert_listener(id, listener))
    }

    fn adopt(&self, id: ListenerId, socket: OwnedFd) -> io::Result<Address> {
        let listener = Listener::adopt(socket, &self.registry, listener_token(id))?;
        Ok(self.insert_listener(id, listener))
    }

    fn share(&self, id: ListenerId) -> io::Result<OwnedFd> {
        self.listener(id, |listener| listener.share())
            .unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    fn take_over(&self, id: ConnectionId, socket: OwnedFd) -> io::Result<()> {
        self.insert(id, Stream::adopt(socket)?, flag::READING)
    }

    fn attach(
        &self,
        id: ConnectionId,
        read: Option<OwnedFd>,
        write: Option<OwnedFd>,
    ) -> io::Result<()> {
        self.insert_pipes(id, read, write, 0)
    }

    fn watch(&self, watch: WatchId, descriptor: Rc<OwnedFd>) -> io::Result<()> {
        let token = Token(LISTENER | WATCH | watch.0 as usize);
        let raw = descriptor.as_raw_fd();
        self.registry
            .register(&mut SourceFd(&raw), token, Interest::READABLE)?;
        self.watches.borrow_mut().insert(watch.0, descriptor);
        Ok(())
    }

    fn unwatch(&self, watch: WatchId) {
        self.end_watch(watch.0);
    }

    fn resume_accepting(&self, id: ListenerId) {
        self.listener(id, |listener| {
            listener.resting = false;
            self.queue_listener(id.0, listener);
        });
    }

    fn close_listener(&self, id: ListenerId) {
        let closed = self
            .listeners
            .borrow_mut()
            .get_mut(id.0 as usize)
            .and_then(Option::take);
        if let Some(mut listener) = closed {
            listener.deregister(&self.registry);
        }
    }

    fn resolve(&self, query: QueryId, host: &str, port: u16) {
        self.resolver.resolve(query, host.to_owned(), port);
    }

    fn cancel_resolve(&self, query: QueryId) {
        self.resolver.cancel(query);
    }

    fn open_datagrams(
        &self,
        id: DatagramId,
        target: DatagramTarget<'_>,
    ) -> io::Result<OpenedDatagrams> {
        let token = datagrams_token(id);
        let (port, opened) = PollPort::open(id, target, &self.registry, token, &self.ready)?;
        let mut ports = self.ports.borrow_mut();
        let index = id.index as usize;
        if ports.len() <= index {
            ports.resize_with(index + 1, || None);
        }
        ports[index] = Some(port);
        Ok(opened)
    }

    fn close_datagrams(&self, id: DatagramId) {
        if self.port(id, |_| ()).is_some() {
            let port = self.ports.borrow_mut()[id.index as usize].take();
            drop(port);
        }
    }

    fn connect(&self, id: ConnectionId, target: Target<'_>) -> io::Result<()> {
        if let Target::Pair(read, write) = target {
            let read = Some(read.try_clone_to_owned()?);
            let write = Some(write.try_clone_to_owned()?);
            // It is up, and told so in the next turn.
            return self.insert_pipes(id, read, write, flag::CONNECTING | flag::WRITE_READY);
        }
        let stream = Stream::connect(target)?;
        self.insert(id, stream, flag::READING | flag::CONNECTING)
    }

    fn send(&self, id: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus> {
        let sent = self.socket(id, |socket| socket.send(output, id, &self.registry));
        match sent {
            Some(Ok(socket::Sent::All)) => Ok(SendStatus::Ready),
            Some(Ok(socket::Sent::Blocked)) => Ok(SendStatus::Blocked),
            Some(Ok(socket::Sent::Enough)) => {
                self.queue(id);
                Ok(SendStatus::Blocked)
            }
            Some(Err(error)) => Err(error),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn set_reading(&self, id: ConnectionId, on: bool) {
        let readable = self.socket(id, |socket| {
            if on {
                socket.set(flag::READING);
            } else {
                socket.clear(flag::READING);
            }
            socket.may_read()
        });
        if readable == Some(true) {
            self.queue(id);
        }
    }

    fn shutdown_write(&self, id: ConnectionId) -> io::Result<()> {
        self.socket(id, |socket| socket.stream.shutdown_write(&self.registry))
            .unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    fn set_option(&self, id: ConnectionId, option: SocketOption) -> io::Result<()> {
        if let SocketOption::ReceiveDescriptors(on) = option {
            self.socket(id, |socket| socket.take_descriptors(on));
            return Ok(());
        }
        self.socket(id, |socket| socket.stream.set_option(option))
            .unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }

    fn close(&self, id: ConnectionId) {
        // The kernel forgets the registration with the last descriptor.
        drop(self.remove(id));
    }

    fn abort(&self, id: ConnectionId) {
        if let Some(socket) = self.remove(id) {
            socket.stream.reset_on_close();
        }
    }

    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()> {
        let timeout = match self.ready.borrow().is_empty() {
            true => timeout,
            false => Some(Duration::ZERO),
        };
        let mut events = self
            .events
            .take()
            .unwrap_or_else(|| Events::with_capacity(EVENTS));
        let polled = self.poll.borrow_mut().poll(&mut events, timeout);
        completions.waited();
        let mut woken = false;
        if polled.is_ok() {
            for event in &events {
                match event.token() {
                    WAKER => woken = true,
                    _ => self.note(event),
                }
            }
        }
        self.events.set(Some(events));
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut buffer = self
            .buffer
            .take()
            .unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice());
        // What becomes ready from here on waits for the next poll.
        let ready = self.ready.borrow().len();
        for _ in 0..ready {
            let next = self.ready.borrow_mut().pop_front();
            match next {
                Some(Ready::Connection(index)) => {
                    if let Some(id) = self.id_at(index) {
                        self.serve(id, &mut buffer, completions);
                    }
                }
                Some(Ready::Listener(id)) => self.accept(ListenerId(id), completions),
                Some(Ready::Watch(id)) => {
                    if self.end_watch(id) {
                        completions.ready(WatchId(id));
                    }
                }
                Some(Ready::Datagrams(index)) => {
                    if let Some(id) = self.port_at(index).map(|port| port.id) {
                        self.serve_datagrams(id, completions);
                    }
                }
                None => break,
            }
        }
        self.buffer.set(Some(buffer));
        if woken {
            for (query, result) in self.resolver.take_answers() {
                completions.resolved(query, result);
            }
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }
}

fn listener_token(id: ListenerId) -> Token {
    Token(LISTENER | id.0 as usize)
}

/// The place of a datagram port, and as much of its serial number as there is room for.
fn datagrams_token(id: DatagramId) -> Token {
    // One bit less than there is: the token of the waker is all ones.
    let serial = (id.serial as usize & 0x1fff_ffff) << 32;
    Token(LISTENER | DATAGRAMS | serial | id.index as usize)
}

/// The place of a connection, and as much of its generation as there is room for.
fn connection_token(id: ConnectionId) -> Token {
    let generation = (id.generation() as usize) << 32;
    Token(generation & !LISTENER | id.index() as usize)
}

/// The addresses of this machine as people write them: an IPv4 peer of a dual-stack listener is
/// an IPv4 peer.
fn canonical(address: SocketAddr) -> Address {
    Address::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
