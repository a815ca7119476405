//! The driver under test, with all that it is asked and reports seen by [`Promises`].

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{
    Address, Commons, ConnectionId, DatagramError, Incoming, OutputQueue, SendStatus, SocketOption,
};
use ropewalk_reactor::PoolThreads;
use ropewalk_reactor::driver::{
    Accept, Completions, DatagramId, DatagramTarget, Driver, ListenerId, OpenedDatagrams, QueryId,
    Target, Wake, WatchId,
};

use crate::promises::Promises;

type Condition = Box<dyn Fn() -> bool>;
type Call = Box<dyn FnOnce()>;

/// Passes everything on, and looks at it.
pub(crate) struct Watched {
    inner: Rc<dyn Driver>,
    promises: Promises,
    polls: Cell<usize>,
    /// What is to happen as soon as something holds: looked at between two turns.
    waiting: RefCell<Vec<(Condition, Call)>>,
}

impl Watched {
    pub(crate) fn new(inner: Rc<dyn Driver>) -> Self {
        Self {
            inner,
            promises: Promises::default(),
            polls: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    pub(crate) fn promises(&self) -> &Promises {
        &self.promises
    }

    /// How often it was polled.
    pub(crate) fn polls(&self) -> usize {
        self.polls.get()
    }

    /// Runs `call` between two turns, as soon as `condition` holds.
    pub(crate) fn when(&self, condition: Condition, call: Call) {
        self.waiting.borrow_mut().push((condition, call));
    }

    pub(crate) fn forget_waiting(&self) {
        let waiting = self.waiting.take();
        drop(waiting);
    }

    /// Runs what has waited for what holds now; whether there was any.
    fn run_waiting(&self) -> bool {
        let waiting = self.waiting.take();
        let (due, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(condition, _)| condition());
        self.waiting.borrow_mut().extend(rest);
        let any = !due.is_empty();
        due.into_iter().for_each(|(_, call)| call());
        any
    }

    /// Notes what became of a name that the loop gave before it asked.
    fn named<T>(&self, id: ConnectionId, is_up: bool, result: io::Result<T>) -> io::Result<T> {
        if result.is_ok() {
            self.promises.open(id, is_up);
        }
        result
    }
}

impl Driver for Watched {
    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.inner.wall_clock()
    }

    fn listen(&self, listener: ListenerId, endpoint: &ServerEndpoint) -> io::Result<Address> {
        let address = self.inner.listen(listener, endpoint)?;
        self.promises.listen(listener);
        Ok(address)
    }

    fn adopt(&self, listener: ListenerId, socket: OwnedFd) -> io::Result<Address> {
        let address = self.inner.adopt(listener, socket)?;
        self.promises.listen(listener);
        Ok(address)
    }

    fn share(&self, listener: ListenerId) -> io::Result<OwnedFd> {
        self.inner.share(listener)
    }

    fn resume_accepting(&self, listener: ListenerId) {
        self.promises.resume_accepting(listener);
        self.inner.resume_accepting(listener);
    }

    fn close_listener(&self, listener: ListenerId) {
        self.promises.close_listener(listener);
        self.inner.close_listener(listener);
    }

    fn resolve(&self, query: QueryId, host: &str, port: u16) {
        self.promises.resolve(query);
        self.inner.resolve(query, host, port);
    }

    fn cancel_resolve(&self, query: QueryId) {
        self.inner.cancel_resolve(query);
    }

    fn open_datagrams(
        &self,
        port: DatagramId,
        target: DatagramTarget<'_>,
    ) -> io::Result<OpenedDatagrams> {
        let opened = self.inner.open_datagrams(port, target)?;
        self.promises.open_datagrams(port);
        Ok(opened)
    }

    fn close_datagrams(&self, port: DatagramId) {
        self.promises.close_datagrams(port);
        self.inner.close_datagrams(port);
    }

    fn connect(&self, connection: ConnectionId, target: Target<'_>) -> io::Result<()> {
        let begun = self.inner.connect(connection, target);
        self.named(connection, false, begun)
    }

    fn take_over(&self, connection: ConnectionId, socket: OwnedFd) -> io::Result<()> {
        let taken = self.inner.take_over(connection, socket);
        self.named(connection, true, taken)
    }

    fn attach(
        &self,
        connection: ConnectionId,
        read: Option<OwnedFd>,
        write: Option<OwnedFd>,
    ) -> io::Result<()> {
        let attached = self.inner.attach(connection, read, write);
        self.named(connection, true, attached)
    }

    fn watch(&self, watch: WatchId, descriptor: Rc<OwnedFd>) -> io::Result<()> {
        self.inner.watch(watch, descriptor)?;
        self.promises.watch(watch);
        Ok(())
    }

    fn unwatch(&self, watch: WatchId) {
        self.promises.unwatch(watch);
        self.inner.unwatch(watch);
    }

    fn send(&self, connection: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus> {
        let before = output.len();
        let status = self.inner.send(connection, output)?;
        if before > 0 && output.len() == before && status == SendStatus::Ready {
            let what = format!("`send` for {connection} took nothing, and said that it takes more");
            self.promises.break_with(what);
        }
        Ok(status)
    }

    fn set_reading(&self, connection: ConnectionId, on: bool) {
        self.promises.set_reading(connection, on);
        self.inner.set_reading(connection, on);
    }

    fn shutdown_write(&self, connection: ConnectionId) -> io::Result<()> {
        self.inner.shutdown_write(connection)
    }

    fn set_option(&self, connection: ConnectionId, option: SocketOption) -> io::Result<()> {
        self.inner.set_option(connection, option)
    }

    fn close(&self, connection: ConnectionId) {
        self.promises.close(connection);
        self.inner.close(connection);
    }

    fn abort(&self, connection: ConnectionId) {
        self.promises.close(connection);
        self.inner.abort(connection);
    }

    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()> {
        self.polls.set(self.polls.get() + 1);
        // What was run may have asked for something to be done at once.
        let timeout = match self.run_waiting() {
            true => Some(Duration::ZERO),
            false => timeout,
        };
        self.promises.begin_poll();
        let promises = &self.promises;
        self.inner.poll(
            timeout,
            &mut Seen {
                promises,
                completions,
            },
        )?;
        self.promises.end_poll();
        Ok(())
    }

    fn commons(&self) -> Arc<Commons> {
        self.inner.commons()
    }

    fn pool_threads(&self) -> Option<Arc<dyn PoolThreads>> {
        self.inner.pool_threads()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
}

/// What is reported, on its way to the loop.
struct Seen<'a> {
    promises: &'a Promises,
    completions: &'a mut dyn Completions,
}

impl Completions for Seen<'_> {
    fn waited(&mut self) {
        self.promises.waited();
        self.completions.waited();
    }

    fn accepted(&mut self, listener: ListenerId, peer: Address, host: &Rc<Address>) -> Accept {
        self.promises.accepted(listener);
        let accept = self.completions.accepted(listener, peer, host);
        if let Accept::As(id) = &accept {
            self.promises.open(*id, false);
        }
        accept
    }

    fn accept_failed(&mut self, listener: ListenerId, error: io::Error) {
        self.promises.accept_failed(listener);
        self.completions.accept_failed(listener, error);
    }

    fn resolved(&mut self, query: QueryId, result: io::Result<Vec<SocketAddr>>) {
        self.promises.resolved(query);
        self.completions.resolved(query, result);
    }

    fn opened(&mut self, connection: ConnectionId, host: &Rc<Address>) {
        self.promises.opened(connection);
        self.completions.opened(connection, host);
    }

    fn connect_failed(&mut self, connection: ConnectionId, error: io::Error) {
        self.promises.connect_failed(connection);
        self.completions.connect_failed(connection, error);
    }

    fn descriptors(&mut self, connection: ConnectionId, descriptors: Vec<OwnedFd>) {
        self.promises.descriptors(connection);
        self.completions.descriptors(connection, descriptors);
    }

    fn received(&mut self, connection: ConnectionId, data: &[u8]) {
        self.promises.received(connection, data.len());
        self.completions.received(connection, data);
    }

    fn read_closed(&mut self, connection: ConnectionId) {
        self.promises.read_closed(connection);
        self.completions.read_closed(connection);
    }

    fn writable(&mut self, connection: ConnectionId) {
        self.promises.writable(connection);
        self.completions.writable(connection);
    }

    fn failed(&mut self, connection: ConnectionId, error: io::Error) {
        self.promises.failed(connection);
        self.completions.failed(connection, error);
    }

    fn ready(&mut self, watch: WatchId) {
        self.promises.ready(watch);
        self.completions.ready(watch);
    }

    fn datagrams(&mut self, port: DatagramId, batch: &mut dyn Iterator<Item = Incoming<'_>>) {
        self.promises.of_datagrams("datagrams", port);
        self.completions.datagrams(port, batch);
    }

    fn datagrams_writable(&mut self, port: DatagramId) {
        self.promises.of_datagrams("datagrams_writable", port);
        self.completions.datagrams_writable(port);
    }

    fn datagram_failed(&mut self, port: DatagramId, error: DatagramError) {
        self.promises.of_datagrams("datagram_failed", port);
        self.completions.datagram_failed(port, error);
    }
}
