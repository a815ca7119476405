//! The driver contract: how a loop and what moves its bytes work together.
//!
//! A driver is shaped for completion: the loop asks (listen, connect, send, close, …), and learns
//! what came of it through [`Completions`] while it waits in [`Driver::poll`]. A simulator or
//! io_uring does this natively; the [poll driver](crate::PollDriver) emulates it over readiness,
//! and makes all system calls itself.
//!
//! What every driver promises, and a conformance suite can hold it to:
//!
//! - **One thread.** All calls are made on the loop's thread, except [`Wake::wake`], which any
//!   thread may call.
//! - **No surprise.** Completions are reported only within `poll`. There, a driver holds no borrow
//!   of its own state while it reports one: the loop may call any method but `poll` from within
//!   any completion, on any connection, the one that is reported too.
//! - **Names.** The loop names connections and listeners. The low 32 bits of a [`ConnectionId`]
//!   are a small number, fit for an index, unique among those that are open. After `close` or
//!   `abort` of a name nothing is reported for it, and what is asked of it does nothing to the one
//!   that has its number by then.
//! - **Order.** `opened` or `connect_failed` comes first. `received` comes in the order of the
//!   bytes; `read_closed` comes once and after all of them; `failed` comes at most once, and last.
//! - **Bytes.** Those of `received` are the driver's, for the length of the call. While reading is
//!   turned off by `set_reading`, none are reported, from the call on, and nothing is read from
//!   the network beyond what the driver keeps in bounds.
//! - **Sending.** `send` takes at least one byte or says [`SendStatus::Blocked`]; after that,
//!   `writable` is reported as soon as it would take more.
//! - **Datagrams.** They come in batches, whole or said to be truncated; those of a batch are the
//!   driver's, for the length of the call. No error ends a port, and none makes a busy loop. After
//!   `close_datagrams` nothing is reported for its name.
//! - **Fairness.** In one `poll`, one connection is reported at most a bounded number of bytes,
//!   one listener a bounded number of connections, and everything that is ready gets its turn
//!   before anything gets a second one.
//! - **Errors.** Running out of descriptors is `accept_failed`, and never a busy loop; the driver
//!   then accepts nothing from that listener until `resume_accepting`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::{
    DatagramClientEndpoint, DatagramEndpoint, ServerEndpoint, TcpConnect, UnixConnect,
};
use ropewalk_core::{
    Address, Commons, ConnectionId, DatagramError, DatagramSocket, Incoming, OutputQueue,
    SendStatus, SocketOption,
};

use crate::threads::PoolThreads;

/// Names a listener within its loop: a small number, used again after `close_listener`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u32);

/// Names a datagram port within its loop. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DatagramId {
    /// A small number, used again after the port is closed.
    pub index: u32,
    /// Tells ports apart that had the same number.
    pub serial: u32,
}

/// Where a datagram port is to be, when names have been looked up.
#[derive(Clone, Copy, Debug)]
pub enum DatagramTarget<'a> {
    /// A place of its own.
    Bound(&'a DatagramEndpoint),
    /// Connected to a peer; its address, if it is a UDP one.
    Connected(&'a DatagramClientEndpoint, Option<SocketAddr>),
}

/// A datagram port that is open.
pub struct OpenedDatagrams {
    /// What sends, and sets options.
    pub socket: Rc<dyn DatagramSocket>,
    /// Where it is.
    pub host: Address,
    /// Where it is connected to.
    pub peer: Option<Address>,
}

/// Names a look-up within its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryId(pub u64);

/// Names a descriptor that is watched within its loop: a small number, used again after it was
/// reported, or `unwatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub u32);

/// Where to connect to, when names have been looked up.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A TCP address, with the options of the socket.
    Tcp(SocketAddr, &'a TcpConnect),
    /// A path.
    Unix(&'a UnixConnect),
    /// A stream socket that is connected. The driver takes a duplicate.
    Descriptor(BorrowedFd<'a>),
    /// Descriptors that need not be sockets, as for [`Driver::attach`]: the first is read, and the
    /// second one written. The driver takes duplicates.
    Pair(BorrowedFd<'a>, BorrowedFd<'a>),
}

/// What becomes of a connection that was accepted.
pub enum Accept {
    /// It has this name: the driver reports `opened`.
    As(ConnectionId),
    /// The driver closes it.
    Refuse,
    /// It is another's, who gets its socket.
    HandOver(Box<dyn FnOnce(OwnedFd)>),
}

/// What moves the bytes of one loop. See the [module](self) for the contract.
pub trait Driver {
    /// Monotonic time.
    fn now(&self) -> Instant;

    /// The time of day.
    fn wall_clock(&self) -> SystemTime;

    /// Listens at `endpoint`, and reports `accepted` for `listener` from now on. Returns where
    /// it listens. The endpoint is the one at the bottom of those that stand on others.
    ///
    /// # Errors
    /// What was refused.
    fn listen(&self, listener: ListenerId, endpoint: &ServerEndpoint) -> io::Result<Address>;

    /// Accepts connections from `socket`, which listens already, and reports `accepted` for
    /// `listener` from now on. Whoever bound the socket sees to what it leaves in the file system.
    /// Returns where it listens.
    ///
    /// # Errors
    /// It is not a socket that listens, or the driver knows no descriptors.
    fn adopt(&self, listener: ListenerId, socket: OwnedFd) -> io::Result<Address> {
        let _ = (listener, socket);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// A duplicate of a listening socket, for another driver to [`adopt`](Self::adopt): the
    /// connections go to whichever accepts first.
    ///
    /// # Errors
    /// No descriptor is left, or the driver knows none.
    fn share(&self, listener: ListenerId) -> io::Result<OwnedFd> {
        let _ = listener;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Accepts again after `accept_failed`.
    fn resume_accepting(&self, listener: ListenerId);

    /// Stops listening. An unknown name is ignored.
    fn close_listener(&self, listener: ListenerId);

    /// Looks up the addresses of `host`, and reports `resolved`.
    fn resolve(&self, query: QueryId, host: &str, port: u16);

    /// Nobody waits for `query` any more: it need not be made, nor reported.
    fn cancel_resolve(&self, query: QueryId) {
        let _ = query;
    }

    /// Opens a datagram port, and reports what comes to it from now on.
    ///
    /// # Errors
    /// What was refused, or the driver knows no datagrams.
    fn open_datagrams(
        &self,
        port: DatagramId,
        target: DatagramTarget<'_>,
    ) -> io::Result<OpenedDatagrams> {
        let _ = (port, target);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes a datagram port, with the last reference to its socket. An unknown name is ignored.
    fn close_datagrams(&self, port: DatagramId) {
        let _ = port;
    }

    /// Begins to connect `connection`, and reports `opened` or `connect_failed`.
    ///
    /// # Errors
    /// What is known to fail at once; nothing is reported then.
    fn connect(&self, connection: ConnectionId, target: Target<'_>) -> io::Result<()>;

    /// Serves `socket`, which another driver has accepted, as `connection`. It is up; `opened` is
    /// not reported.
    ///
    /// # Errors
    /// What the operating system refused, or the driver knows no descriptors.
    fn take_over(&self, connection: ConnectionId, socket: OwnedFd) -> io::Result<()> {
        let _ = (connection, socket);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Serves descriptors of what need not be a socket, a pipe, a terminal or a file, as
    /// `connection`: bytes come from `read` and go to `write`. Without one of them it goes one way
    /// only. Neither blocks. It is up; `opened` is not reported. What is written to a pipe that
    /// nobody reads is an error of `send`; with nothing but `write`, `failed` tells of it at once.
    ///
    /// # Errors
    /// What the operating system refused, or the driver knows no descriptors.
    fn attach(
        &self,
        connection: ConnectionId,
        read: Option<OwnedFd>,
        write: Option<OwnedFd>,
    ) -> io::Result<()> {
        let _ = (connection, read, write);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reports `ready` for `watch`, once, when `descriptor` can be read. Its name is free then. It
    /// may be reported too early, and never too late.
    ///
    /// # Errors
    /// What the operating system refused, or the driver knows no descriptors.
    fn watch(&self, watch: WatchId, descriptor: Rc<OwnedFd>) -> io::Result<()> {
        let _ = (watch, descriptor);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Reports `watch` no more. An unknown name is ignored.
    fn unwatch(&self, watch: WatchId) {
        let _ = watch;
    }

    /// Sends from the front of `output`, consuming what is taken.
    ///
    /// # Errors
    /// The connection is broken.
    fn send(&self, connection: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus>;

    /// Whether `received` and `read_closed` are wanted. They are at first.
    fn set_reading(&self, connection: ConnectionId, on: bool);

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// The connection is broken.
    fn shutdown_write(&self, connection: ConnectionId) -> io::Result<()>;

    /// Sets an option of the connection's socket.
    ///
    /// # Errors
    /// What the operating system refused.
    fn set_option(&self, connection: ConnectionId, option: SocketOption) -> io::Result<()>;

    /// Closes the connection; the kernel sends what it has.
    fn close(&self, connection: ConnectionId);

    /// Closes the connection with a reset.
    fn abort(&self, connection: ConnectionId);

    /// What the loop has in common with the others of its process: that of this program, unless the
    /// driver has processes of its own.
    fn commons(&self) -> Arc<Commons> {
        static COMMONS: LazyLock<Arc<Commons>> =
            LazyLock::new(|| Arc::new(Commons::new(SystemTime::now)));
        Arc::clone(&COMMONS)
    }

    /// What stands for the threads of the loop's own pool, if they are not the operating system's.
    fn pool_threads(&self) -> Option<Arc<dyn PoolThreads>> {
        None
    }

    /// Waits until something happens, `timeout` has passed (`None`: without end) or it is woken,
    /// and reports what is ready.
    ///
    /// # Errors
    /// The driver itself is broken, and the loop with it.
    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()>;

    /// What ends a wait from another thread.
    fn waker(&self) -> Arc<dyn Wake>;
}

/// Ends the wait in [`Driver::poll`], now or the next one.
pub trait Wake: Send + Sync {
    /// Ends the wait.
    fn wake(&self);
}

/// What a driver reports to its loop.
pub trait Completions {
    /// The wait is over. Reported first in each `poll`, so that the loop can read the time.
    fn waited(&mut self);

    /// `listener` has a connection from `peer`. Returns what becomes of it.
    fn accepted(&mut self, listener: ListenerId, peer: Address, host: &Rc<Address>) -> Accept;

    /// `listener` can accept nothing at present. It rests until `resume_accepting`.
    fn accept_failed(&mut self, listener: ListenerId, error: io::Error);

    /// The addresses of a host, best first.
    fn resolved(&mut self, query: QueryId, result: io::Result<Vec<SocketAddr>>);

    /// The connection is up. `host` is this end's address.
    fn opened(&mut self, connection: ConnectionId, host: &Rc<Address>);

    /// The connection could not be made. Its name is free.
    fn connect_failed(&mut self, connection: ConnectionId, error: io::Error);

    /// Descriptors from the peer, on a connection that takes them: before the bytes that they came
    /// with.
    fn descriptors(&mut self, connection: ConnectionId, descriptors: Vec<OwnedFd>);

    /// Bytes from the peer.
    fn received(&mut self, connection: ConnectionId, data: &[u8]);

    /// The peer will send no more.
    fn read_closed(&mut self, connection: ConnectionId);

    /// The driver takes output again.
    fn writable(&mut self, connection: ConnectionId);

    /// The connection is broken.
    fn failed(&mut self, connection: ConnectionId, error: io::Error);

    /// What is watched can be read.
    fn ready(&mut self, watch: WatchId);

    /// Datagrams came to a port.
    fn datagrams(&mut self, port: DatagramId, batch: &mut dyn Iterator<Item = Incoming<'_>>);

    /// A port that was [blocked](ropewalk_core::DatagramSendStatus::Blocked) takes datagrams again.
    fn datagrams_writable(&mut self, port: DatagramId);

    /// Something went wrong with a datagram.
    fn datagram_failed(&mut self, port: DatagramId, error: DatagramError);
}
