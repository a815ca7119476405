//! A protocol's side of its connection: [`Transport`] while it runs, [`Connection`] at any time.
//!
//! Both act on the state that stands here, and neither makes a system call: what they ask is
//! done by the loop when the running callback has returned, in the same turn.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::Span;

use crate::activity::{self, Doing};
use crate::context::{ConnectionId, LoopContext};
use crate::layer::Layer;
use crate::output::{FileRegion, OutputQueue, Segment};
use crate::reactor::ReactorCore;
use crate::{
    Address, ConnectionAborted, ConnectionDone, ConnectionLimits, Deferred, Factory, Failure,
    Panicked, Protocol, Resolver, WriteBufferFull,
};

/// The connection, lent to its protocol for the length of a callback.
///
/// ```
/// use ropewalk_core::testing::StringTransport;
/// use ropewalk_core::{Protocol, Transport};
/// use std::time::Duration;
///
/// /// Answers lines of up to 80 bytes, and waits a minute for each.
/// struct Parrot(Vec<u8>);
///
/// impl Protocol for Parrot {
///     fn connection_made(&mut self, transport: &mut Transport) {
///         transport.set_timeout(Some(Duration::from_secs(60)));
///         let peer = transport.peer();
///         transport.write(format!("hello, {peer}\n").as_bytes());
///     }
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.reset_timeout();
///         self.0.extend_from_slice(data);
///         while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
///             let line: Vec<u8> = self.0.drain(..=end).collect();
///             transport.write_bytes(line.into());
///         }
///         if self.0.len() > 80 {
///             transport.write(b"too long\n");
///             transport.lose_connection();
///         }
///     }
/// }
///
/// let mut transport = StringTransport::new();
/// let mut parrot = Parrot(Vec::new());
/// parrot.connection_made(&mut transport);
/// parrot.data_received(&mut transport, b"one\nt");
/// parrot.data_received(&mut transport, b"wo\n");
/// assert_eq!(transport.value(), b"hello, 192.0.2.2:1024\none\ntwo\n");
/// parrot.data_received(&mut transport, &[b'x'; 81]);
/// assert!(transport.disconnecting());
/// ```
pub struct Transport {
    pub(crate) shared: Rc<Shared>,
}

impl Transport {
    /// Appends a copy of `data` to the output. Nothing is sent before the callback returns;
    /// after [`lose_connection`](Self::lose_connection) nothing is appended.
    pub fn write(&mut self, data: &[u8]) {
        self.shared.output(|queue| queue.write(data));
    }

    /// Appends `data` without copying it (unless it is short).
    pub fn write_bytes(&mut self, data: Bytes) {
        self.shared.output(|queue| queue.write_bytes(data));
    }

    /// Appends a region of a file, which the kernel sends by itself where no layer needs to see
    /// its bytes.
    pub fn write_file(&mut self, region: FileRegion) {
        self.shared.output(|queue| queue.write_file(region));
    }

    /// Appends bytes or a region of a file.
    pub fn write_segment(&mut self, segment: Segment) {
        self.shared.output(|queue| queue.write_segment(segment));
    }

    /// Sends a descriptor over a Unix socket (`SCM_RIGHTS`, unix(7)): Twisted's
    /// `sendFileDescriptor`. It goes with the first byte that is written after it, so something
    /// must be. This end's is closed when it is sent, or when the connection ends before.
    ///
    /// # Errors
    /// The connection is no Unix one or is closing, or [`MAX_UNSENT_DESCRIPTORS`] wait already; the
    /// descriptor is closed. A layer carries none: where there is one, the connection ends.
    pub fn send_descriptor(
        &mut self,
        descriptor: impl Into<OwnedFd>,
    ) -> Result<(), SendDescriptorError> {
        if !matches!(self.peer(), Address::Unix(_)) {
            return Err(SendDescriptorError::NotUnix);
        }
        let waiting = self.shared.with_queue(OutputQueue::descriptors);
        if waiting.unwrap_or(0) >= MAX_UNSENT_DESCRIPTORS {
            return Err(SendDescriptorError::TooMany);
        }
        let descriptor = descriptor.into();
        let written = self
            .shared
            .output(|queue| queue.write_descriptor(descriptor));
        written.ok_or(SendDescriptorError::Closing)
    }

    /// Whether descriptors that the peer sends over a Unix socket are received, and told to
    /// [`Protocol::descriptor_received`]. They are not, unless this is asked for, in
    /// `connection_made` for instance: the kernel closes them.
    pub fn receive_descriptors(&mut self, on: bool) {
        self.shared
            .request(Request::Option(SocketOption::ReceiveDescriptors(on)));
    }

    /// Lets `fill` append to the output buffer itself: for those who format what they send.
    /// Returns what `fill` returned, or `None` (and `fill` is not called) if the connection is
    /// closing.
    ///
    /// ```
    /// use std::io::Write;
    /// # use ropewalk_core::testing::StringTransport;
    /// # let mut transport = StringTransport::new();
    /// transport.write_with(|buffer| write!(buffer, "{:04}", 42));
    /// assert_eq!(transport.value(), b"0042");
    /// ```
    ///
    /// What is written through a handle meanwhile comes after what `fill` appends. A panic in
    /// `fill` ends the connection, since nobody knows what part of a message was appended.
    pub fn write_with<R>(&mut self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let write = || self.shared.output(|queue| queue.write_with(fill));
        match catch_unwind(AssertUnwindSafe(write)) {
            Ok(result) => result,
            Err(payload) => {
                let panicked = Panicked::new("what write_with was given", &*payload);
                self.shared.end(panicked.into(), true);
                resume_unwind(payload);
            }
        }
    }

    /// Unsent bytes, those in layers and files included.
    #[must_use]
    pub fn unsent(&self) -> u64 {
        self.shared.unsent()
    }

    /// Whether a `write_resumed` is to come: the protocol was told `write_paused`, or has asked
    /// for it by [`await_drain`](Self::await_drain).
    #[must_use]
    pub fn is_write_paused(&self) -> bool {
        self.shared.is(WRITE_PAUSED)
    }

    /// Asks for one `write_resumed`, as soon as what is unsent has fallen to the low-water mark:
    /// for those who write piece by piece, and want to be called for the next one. No
    /// `write_paused` comes before it.
    pub fn await_drain(&mut self) {
        self.shared.clear(FLUSH_AWAITED);
        self.shared.set(WRITE_PAUSED);
    }

    /// Asks for one `write_resumed`, as soon as all that was written is sent: handed to the
    /// kernel, on a real socket. It takes the place of what
    /// [`await_drain`](Self::await_drain) asked for.
    ///
    /// ```
    /// use ropewalk_core::testing::Pair;
    /// use ropewalk_core::{Protocol, Transport};
    ///
    /// #[derive(Default)]
    /// struct Sender { flushed: bool }
    /// impl Protocol for Sender {
    ///     fn connection_made(&mut self, transport: &mut Transport) {
    ///         transport.write(b"the last words");
    ///         transport.await_flush();
    ///     }
    ///     fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    ///     fn write_resumed(&mut self, transport: &mut Transport) {
    ///         assert_eq!(transport.unsent(), 0);
    ///         self.flushed = true;
    ///     }
    /// }
    ///
    /// let pair = Pair::new(Sender::default(), Sender::default());
    /// pair.run();
    /// assert_eq!(pair.with_client(|sender: &mut Sender| sender.flushed), Some(true));
    /// ```
    pub fn await_flush(&mut self) {
        self.shared.set(WRITE_PAUSED | FLUSH_AWAITED);
    }

    /// Sends what was written, then closes. No more data is received.
    pub fn lose_connection(&mut self) {
        self.shared.set(CLOSING);
    }

    /// As [`lose_connection`](Self::lose_connection), and `connection_lost` is told `reason` in
    /// the place of [`ConnectionDone`].
    ///
    /// ```
    /// # use ropewalk_core::{Failure, testing::StringTransport};
    /// # let mut transport = StringTransport::new();
    /// transport.write(b"error: speak up\n");
    /// transport.lose_connection_with(Failure::msg("the peer said nothing"));
    /// assert!(transport.disconnecting() && !transport.aborted());
    /// ```
    pub fn lose_connection_with(&mut self, reason: Failure) {
        self.shared.close(reason);
    }

    /// Sends what was written, then tells the peer that nothing more will come, and goes on
    /// receiving. When the peer has closed its side too, the connection ends.
    pub fn lose_write_connection(&mut self) {
        self.shared.set(WRITE_CLOSING);
    }

    /// Ends the connection at once with a reset; what is unsent is lost. The reason is
    /// [`ConnectionAborted`].
    pub fn abort_connection(&mut self) {
        self.abort_with(ConnectionAborted.into());
    }

    /// As [`abort_connection`](Self::abort_connection), with a reason of the caller's own.
    pub fn abort_with(&mut self, reason: Failure) {
        self.shared.end(reason, true);
    }

    /// Whether the connection is being closed by this side, or has ended.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.shared.is(CLOSING | ENDED)
    }

    /// Asks for no more data until [`resume_producing`](Self::resume_producing): the network is
    /// not read, and the peer is slowed down.
    pub fn pause_producing(&mut self) {
        self.shared.set(READ_PAUSED);
    }

    /// Asks for data again.
    pub fn resume_producing(&mut self) {
        self.shared.clear(READ_PAUSED);
        self.shared.touch();
    }

    /// Calls `timeout_connection` when `after` has passed, unless this is called again before;
    /// `None` for never. Rounded up to the millisecond; at most 49 days.
    pub fn set_timeout(&mut self, after: Option<Duration>) {
        self.shared.set_timeout(after);
    }

    /// Starts the time of the last [`set_timeout`](Self::set_timeout) anew.
    pub fn reset_timeout(&mut self) {
        self.shared.restart_timeout();
    }

    /// The time of this turn of the loop.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.shared.context.now()
    }

    /// The reactor that runs this connection.
    ///
    /// # Panics
    /// When the reactor is gone: not within a callback.
    #[must_use]
    pub fn reactor(&self) -> Rc<dyn ReactorCore> {
        self.shared
            .context
            .reactor()
            .expect("a transport is lent only while its reactor lives")
    }

    /// The address of the other end.
    #[must_use]
    pub fn peer(&self) -> Address {
        self.shared.peer.to_address()
    }

    /// The address of this end.
    #[must_use]
    pub fn host(&self) -> &Address {
        &self.shared.host
    }

    /// Names this connection within its loop, in logs for instance.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.shared.id
    }

    /// A handle that may be kept.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection {
            shared: Rc::downgrade(&self.shared),
        }
    }

    /// Whether small segments are sent at once (`TCP_NODELAY`). Listeners set it by default.
    pub fn set_no_delay(&mut self, on: bool) {
        self.shared
            .request(Request::Option(SocketOption::NoDelay(on)));
    }

    /// Whether the kernel probes a silent peer, after this much silence; `None` for never.
    pub fn set_keep_alive(&mut self, after: Option<Duration>) {
        self.shared
            .request(Request::Option(SocketOption::KeepAlive(after)));
    }

    /// Puts `protocol` in the place of the one that runs, when the running callback has
    /// returned. The new one gets `connection_made`, then `unread` (which may be empty) as data,
    /// then `read_closed` if the peer has sent its last. It starts as on a new connection: its
    /// reading is not paused, and no timeout is set. If the old one was told to
    /// [`drain`](Protocol::drain), so is the new one, right after `connection_made`. The old one is
    /// dropped; it gets no `connection_lost`.
    pub fn exchange_protocol(&mut self, protocol: Box<dyn Protocol>, unread: &[u8]) {
        self.shared
            .request(Request::Exchange(protocol, unread.to_vec()));
    }

    /// Gives the connection to what `factory` builds for it, as if it had just been accepted from
    /// `peer` at `host`: its protocol, layers and policies, and its limits. For those who learn
    /// from the first bytes whose connection it is, as from a PROXY header; `unread` is what came
    /// after them. What stands below stays. The protocol that runs is dropped, when the running
    /// callback has returned, and gets no `connection_lost`; handles to it act on a connection that
    /// is gone. If the factory refuses, the connection is closed, and the protocol that runs is told.
    ///
    /// ```
    /// use ropewalk_core::testing::MemoryReactor;
    /// use ropewalk_core::{Address, Factory, Protocol, Transport};
    /// use std::rc::Rc;
    ///
    /// /// The first byte is the last one of the peer's address.
    /// struct FirstByte(Rc<dyn Factory>);
    ///
    /// impl Protocol for FirstByte {
    ///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
    ///         let peer = Address::Tcp(([192, 0, 2, data[0]], 1024).into());
    ///         let host = transport.host().clone();
    ///         transport.hand_to(Rc::clone(&self.0), peer, host, &data[1..]);
    ///     }
    /// }
    ///
    /// struct Greeter;
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &mut Transport) {
    ///         assert_eq!(transport.peer().to_string(), "192.0.2.77:1024");
    ///     }
    ///     fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
    ///         assert_eq!(data, b"hello");
    ///     }
    /// }
    ///
    /// # struct Silent;
    /// # impl Protocol for Silent { fn data_received(&mut self, _: &mut Transport, _: &[u8]) {} }
    /// let greeters: Rc<dyn Factory> = Rc::new(|_: &Address| Greeter);
    /// let reactor = MemoryReactor::new();
    /// let (client, _) = reactor.join(Box::new(Silent), Box::new(FirstByte(greeters)));
    /// client.write(b"Mhello");
    /// reactor.run();
    /// ```
    pub fn hand_to(
        &mut self,
        factory: Rc<dyn Factory>,
        peer: Address,
        host: Address,
        unread: &[u8],
    ) {
        self.shared.request(Request::HandTo(Box::new(HandTo {
            factory,
            peer,
            host,
            unread: unread.to_vec(),
        })));
    }

    /// Puts `layer` between the protocol and what is below it: what was written before goes past
    /// it, what is written and received from now on goes through it. What has come already, and
    /// was not told to the protocol, the layer may [refuse](Layer::pushed).
    /// [`Connection::layers_ready`] tells when it is ready.
    pub fn push_layer(&mut self, layer: Box<dyn Layer>) {
        let before = self.shared.take_output();
        self.shared.request(Request::PushLayer(layer, before));
    }

    /// What the layers have [offered](crate::LayerIo::offer) of this type: about TLS, say.
    #[must_use]
    pub fn fact<T: Any>(&self) -> Option<Rc<T>> {
        self.shared.rare_if_any(|rare| {
            let facts = rare.facts.iter();
            let mut found = facts.filter_map(|fact| Rc::clone(fact).downcast().ok());
            found.next()
        })
    }

    /// Whether the protocol may be told more of what has come: it did not pause nor close, and no
    /// other protocol or layer is to have the rest.
    pub(crate) fn may_deliver(&self) -> bool {
        !self.shared.is(READ_PAUSED | CLOSING | ENDED) && !self.is_handing_over()
    }

    /// Whether another protocol or layer is to have what was not told.
    pub(crate) fn is_handing_over(&self) -> bool {
        self.shared
            .rare_if_any(|rare| (rare.handovers > 0).then_some(()))
            .is_some()
    }

    /// Gives back what was received and not told. Whoever may have it next gets it before
    /// anything else: only for when [`may_deliver`](Self::may_deliver) is false.
    pub(crate) fn unread(&mut self, mut data: Vec<u8>) {
        if !data.is_empty() && !self.is_closing() {
            self.shared.hold(|held| {
                data.append(&mut held.data);
                held.data = data;
            });
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("id", &format_args!("{}", self.shared.id))
            .field("peer", &self.peer())
            .field("host", self.host())
            .finish_non_exhaustive()
    }
}

/// A handle to a connection that may be kept anywhere on its thread.
///
/// It keeps nothing alive. Acting on a connection that has ended does nothing, and says so by
/// returning `false` or `None`.
#[derive(Clone, Default)]
pub struct Connection {
    shared: Weak<Shared>,
}

impl Connection {
    /// Appends a copy of `data` to the output, which is flushed in this turn. `false` if it was
    /// dropped, because the connection has ended or its writing side is being closed.
    pub fn write(&self, data: &[u8]) -> bool {
        self.append(|queue| queue.write(data))
    }

    /// Appends `data` without copying it (unless it is short). Returns what
    /// [`write`](Self::write) returns.
    pub fn write_bytes(&self, data: Bytes) -> bool {
        self.append(|queue| queue.write_bytes(data))
    }

    /// Appends a region of a file. Returns what [`write`](Self::write) returns.
    pub fn write_file(&self, region: FileRegion) -> bool {
        self.append(|queue| queue.write_file(region))
    }

    /// See [`Transport::lose_connection`].
    pub fn lose_connection(&self) -> bool {
        self.act(Transport::lose_connection).is_some()
    }

    /// See [`Transport::abort_connection`].
    pub fn abort_connection(&self) -> bool {
        self.act(Transport::abort_connection).is_some()
    }

    /// See [`Transport::pause_producing`].
    pub fn pause_producing(&self) -> bool {
        self.act(Transport::pause_producing).is_some()
    }

    /// See [`Transport::resume_producing`].
    pub fn resume_producing(&self) -> bool {
        self.act(Transport::resume_producing).is_some()
    }

    /// Unsent bytes, or `None` if the connection has ended.
    #[must_use]
    pub fn unsent(&self) -> Option<u64> {
        self.act(|transport| transport.unsent())
    }

    /// Whether the connection is up and not closing.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let is_up = |transport: &mut Transport| transport.shared.is(MADE);
        self.act(|transport| is_up(transport) && !transport.is_closing()) == Some(true)
    }

    /// Fires when no more than `to` bytes are unsent, in this turn at the earliest, and fails with
    /// the reason when the connection ends before.
    ///
    /// ```
    /// # use ropewalk_core::{Protocol, Transport, testing::Pair};
    /// # struct Silent;
    /// # impl Protocol for Silent { fn data_received(&mut self, _: &mut Transport, _: &[u8]) {} }
    /// let pair = Pair::new(Silent, Silent);
    /// pair.client().write(b"all of this");
    /// let sent = pair.client().drained(0).add_callback(|()| println!("it is on its way"));
    /// assert!(!sent.is_fired());
    /// pair.run();
    /// assert!(sent.is_fired());
    /// # let _: ropewalk_core::Deferred<()> = sent;
    /// ```
    #[track_caller]
    pub fn drained(&self, to: u64) -> Deferred<()> {
        let (resolver, deferred) = Deferred::pair();
        match self.shared.upgrade().filter(|shared| !shared.is(ENDED)) {
            Some(shared) => shared.await_drained(Drain { to, resolver }),
            None => resolver.errback(ConnectionDone),
        }
        deferred
    }

    /// Fires when the connection has been told to [drain](Protocol::drain), at once if it has been
    /// already, and fails with the reason when the connection ends before. For what would otherwise
    /// go on: a stream without an end, a task that waits for its peer.
    ///
    /// ```
    /// # use ropewalk_core::{Protocol, Transport, testing::MemoryReactor};
    /// # struct Busy;
    /// # impl Protocol for Busy {
    /// #     fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    /// #     fn drain(&mut self, _: &mut Transport) {}
    /// # }
    /// let reactor = MemoryReactor::new();
    /// let (here, _) = reactor.join(Box::new(Busy), Box::new(Busy));
    /// let ending = here.draining().add_callback(|()| println!("the program shuts down"));
    /// reactor.run();
    /// assert!(!ending.is_fired());
    /// reactor.drain();
    /// assert!(ending.is_fired());
    /// # let _: ropewalk_core::Deferred<()> = ending;
    /// ```
    #[track_caller]
    pub fn draining(&self) -> Deferred<()> {
        let (resolver, deferred) = Deferred::pair();
        match self.shared.upgrade().filter(|shared| !shared.is(ENDED)) {
            Some(shared) if shared.is_draining() => resolver.callback(()),
            Some(shared) => shared.await_draining(resolver),
            None => resolver.errback(ConnectionDone),
        }
        deferred
    }

    /// Fires when the protocol has had its `connection_made` and all layers are ready, those too
    /// that were pushed in this turn, and fails with the reason when the connection ends before.
    ///
    /// ```
    /// # use ropewalk_core::{Deferred, Failure, Layer, LayerIo, OutputQueue, Protocol, Transport};
    /// # use ropewalk_core::testing::Pair;
    /// # struct Silent;
    /// # impl Protocol for Silent { fn data_received(&mut self, _: &mut Transport, _: &[u8]) {} }
    /// /// Is ready when it has heard anything.
    /// struct Ear;
    /// impl Layer for Ear {
    ///     fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
    ///         Ok(())
    ///     }
    ///     fn received(&mut self, _: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
    ///         io.ready();
    ///         Ok(())
    ///     }
    ///     fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
    ///         io.down().append(output);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let pair = Pair::new(Silent, Silent);
    /// pair.server().act(|transport| transport.push_layer(Box::new(Ear)));
    /// let ready: Deferred<()> = pair.server().layers_ready();
    /// pair.run();
    /// assert!(!ready.is_fired());
    /// pair.client().write(b"hear, hear");
    /// pair.run();
    /// assert!(ready.is_fired());
    /// ```
    #[track_caller]
    pub fn layers_ready(&self) -> Deferred<()> {
        let (resolver, deferred) = Deferred::pair();
        match self.shared.upgrade().filter(|shared| !shared.is(ENDED)) {
            Some(shared) => shared.await_layers(resolver),
            None => resolver.errback(ConnectionDone),
        }
        deferred
    }

    /// Does at once what needs only the transport, from anywhere on the loop's thread: the
    /// protocol may be running. `None` if the connection has ended.
    pub fn act<R>(&self, action: impl FnOnce(&mut Transport) -> R) -> Option<R> {
        let shared = self.shared.upgrade()?;
        if shared.is(ENDED) {
            return None;
        }
        Some(action(&mut Transport { shared }))
    }

    /// Calls `action` with the protocol, when no callback of this connection is running, in this
    /// turn. `false`, and `action` is dropped, if the connection has ended; `action` is dropped
    /// also when it ends before its turn comes, or when its protocol is no `P`.
    ///
    /// ```
    /// use ropewalk_core::{Protocol, Transport, testing::Pair};
    ///
    /// struct Counter(u32);
    /// impl Protocol for Counter {
    ///     fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
    ///         self.0 += data.len() as u32;
    ///     }
    /// }
    ///
    /// let pair = Pair::new(Counter(0), Counter(0));
    /// pair.client().write(b"four");
    /// pair.run();
    /// pair.server().with(|counter: &mut Counter, transport| {
    ///     transport.write(counter.0.to_string().as_bytes());
    /// });
    /// pair.run();
    /// let seen = pair.with_client(|counter: &mut Counter| counter.0);
    /// assert_eq!(seen, Some(1));
    /// ```
    pub fn with<P: Protocol>(&self, action: impl FnOnce(&mut P, &mut Transport) + 'static) -> bool {
        self.act(|transport| {
            let call = Request::Call(Box::new(move |protocol, transport| {
                let protocol: &mut dyn Any = protocol;
                match protocol.downcast_mut::<P>() {
                    Some(protocol) => action(protocol, transport),
                    None => tracing::debug!("a call was dropped: its protocol was exchanged"),
                }
            }));
            transport.shared.request(call);
        })
        .is_some()
    }

    fn append(&self, fill: impl FnOnce(&mut OutputQueue)) -> bool {
        let append = |transport: &mut Transport| transport.shared.output(fill).is_some();
        // What went over the limit ended the connection, and was dropped with it.
        self.act(append) == Some(true) && self.act(|_| ()).is_some()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.act(|transport| transport.peer()) {
            Some(peer) => write!(f, "Connection({peer})"),
            None => f.write_str("Connection(ended)"),
        }
    }
}

/// An option of a socket that is set while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketOption {
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `SO_KEEPALIVE` and `TCP_KEEPIDLE`.
    KeepAlive(Option<Duration>),
    /// Whether descriptors are received (`SCM_RIGHTS`).
    ReceiveDescriptors(bool),
}

/// So many descriptors may wait to be sent on one connection, and as many are received at once.
pub const MAX_UNSENT_DESCRIPTORS: usize = 64;

/// Why a descriptor was not sent. It is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendDescriptorError {
    /// Only Unix sockets carry descriptors.
    NotUnix,
    /// The connection is closing, or has ended.
    Closing,
    /// [`MAX_UNSENT_DESCRIPTORS`] wait to be sent.
    TooMany,
}

impl fmt::Display for SendDescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUnix => "cannot send a descriptor: the connection is not one of Unix sockets",
            Self::Closing => "cannot send a descriptor: the connection is closing",
            Self::TooMany => {
                "cannot send a descriptor: 64 wait to be sent; write what they go with, and wait \
                 until that is sent"
            }
        })
    }
}

impl std::error::Error for SendDescriptorError {}

/// What happens when the running callback has returned.
pub(crate) enum Request {
    Call(Call),
    Exchange(Box<dyn Protocol>, Vec<u8>),
    /// The layer, and what had been written before it.
    PushLayer(Box<dyn Layer>, Option<Box<OutputQueue>>),
    HandTo(Box<HandTo>),
    Option(SocketOption),
}

/// Who is to have the connection, and what is said of it.
pub(crate) struct HandTo {
    pub(crate) factory: Rc<dyn Factory>,
    pub(crate) peer: Address,
    pub(crate) host: Address,
    pub(crate) unread: Vec<u8>,
}

pub(crate) type Call = Box<dyn FnOnce(&mut dyn Protocol, &mut Transport)>;

impl Request {
    /// Whether what was received and not told goes to someone else.
    fn hands_over(&self) -> bool {
        matches!(
            self,
            Self::Exchange(..) | Self::PushLayer(..) | Self::HandTo(_)
        )
    }
}

/// One who waits until no more than `to` bytes are unsent.
pub(crate) struct Drain {
    to: u64,
    pub(crate) resolver: Resolver<()>,
}

/// The rare part of a connection's state.
#[derive(Default)]
struct Rare {
    requests: VecDeque<Request>,
    /// How many of them hand over.
    handovers: usize,
    drains: Vec<Drain>,
    /// Those who wait for the layers to be ready.
    awaiting_layers: Vec<Resolver<()>>,
    held: Held,
    /// What layers have offered, one of each type.
    facts: Vec<Rc<dyn Any>>,
    /// Why the connection ends.
    end: Option<Failure>,
    /// A protocol of it was told to drain.
    draining: bool,
    /// Those who wait for that.
    awaiting_draining: Vec<Resolver<()>>,
}

/// Why a connection ended, and what was still requested and waited for.
pub(crate) struct End {
    pub(crate) reason: Failure,
    pub(crate) requests: VecDeque<Request>,
    pub(crate) drains: Vec<Drain>,
    pub(crate) awaiting_layers: Vec<Resolver<()>>,
    pub(crate) awaiting_draining: Vec<Resolver<()>>,
    pub(crate) facts: Vec<Rc<dyn Any>>,
}

/// What has come for the protocol while it wanted nothing.
#[derive(Default)]
pub(crate) struct Held {
    /// They come before the data.
    pub(crate) descriptors: VecDeque<OwnedFd>,
    pub(crate) data: Vec<u8>,
    pub(crate) read_closed: bool,
}

/// The connection is being worked on by its loop, which will ask it what is next.
pub(crate) const HELD: u16 = 1;
/// Its id stands in the context's list of touched connections.
pub(crate) const TOUCHED: u16 = 1 << 1;
/// `connection_made` was called.
pub(crate) const MADE: u16 = 1 << 2;
/// `lose_connection` was called.
pub(crate) const CLOSING: u16 = 1 << 3;
/// `lose_write_connection` was called.
pub(crate) const WRITE_CLOSING: u16 = 1 << 4;
/// The loop has been told to shut the writing side down.
pub(crate) const WRITE_CLOSED: u16 = 1 << 5;
/// The peer will send no more.
pub(crate) const READ_CLOSED: u16 = 1 << 6;
/// The protocol wants no data.
pub(crate) const READ_PAUSED: u16 = 1 << 7;
/// The protocol was told `write_paused`.
pub(crate) const WRITE_PAUSED: u16 = 1 << 8;
/// The driver can take no more at present.
pub(crate) const BLOCKED: u16 = 1 << 9;
/// It is over; `end` says why.
pub(crate) const ENDED: u16 = 1 << 10;
/// It ends with a reset.
pub(crate) const RESET: u16 = 1 << 11;
/// The layers have said their last words.
pub(crate) const FINISHED: u16 = 1 << 12;
/// Data, or the end of it, is held for the protocol.
pub(crate) const HOLDING: u16 = 1 << 13;
/// The loop has said that the connection is up.
pub(crate) const CONNECTED: u16 = 1 << 14;
/// The `write_resumed` to come is for when nothing is unsent.
pub(crate) const FLUSH_AWAITED: u16 = 1 << 15;

/// What a channel and all handles to it share: one allocation for each connection.
pub(crate) struct Shared {
    pub(crate) context: Rc<LoopContext>,
    pub(crate) id: ConnectionId,
    pub(crate) limits: Rc<ConnectionLimits>,
    peer: Peer,
    host: Rc<Address>,
    /// What the protocol wrote. `None` while there is nothing.
    queue: Cell<Option<Box<OutputQueue>>>,
    rare: Cell<Option<Box<Rare>>>,
    /// When `timeout_connection` is due, in nanoseconds of the context; 0 for never.
    pub(crate) deadline: Cell<u64>,
    /// When the driver last took something, or there was first something to take.
    pub(crate) progress: Cell<u64>,
    /// Unsent bytes held by layers.
    pub(crate) below: Cell<u64>,
    /// What is traced while a callback runs: made for the first that anybody subscribes to.
    span: Cell<Option<Rc<Span>>>,
    /// The period of the timeout in milliseconds; 0 for none.
    period: Cell<u32>,
    flags: Cell<u16>,
    /// The number of the protocol's name, in the loop's [`Activity`](crate::Activity).
    protocol: Cell<u16>,
}

impl Shared {
    pub(crate) fn new(
        context: Rc<LoopContext>,
        id: ConnectionId,
        limits: Rc<ConnectionLimits>,
        peer: Address,
        host: Rc<Address>,
    ) -> Self {
        Self {
            context,
            id,
            limits,
            peer: Peer::new(peer),
            host,
            queue: Cell::default(),
            rare: Cell::default(),
            deadline: Cell::new(0),
            progress: Cell::new(0),
            below: Cell::new(0),
            span: Cell::default(),
            protocol: Cell::new(0),
            period: Cell::new(0),
            flags: Cell::new(0),
        }
    }

    pub(crate) fn is(&self, flags: u16) -> bool {
        self.flags.get() & flags != 0
    }

    pub(crate) fn set(&self, flags: u16) {
        self.flags.set(self.flags.get() | flags);
        self.touch();
    }

    pub(crate) fn clear(&self, flags: u16) {
        self.flags.set(self.flags.get() & !flags);
    }

    /// Makes sure that the loop asks what is next before its turn ends.
    pub(crate) fn touch(&self) {
        if !self.is(HELD | TOUCHED) {
            self.flags.set(self.flags.get() | TOUCHED);
            self.context.touch(self.id);
        }
    }

    /// What is shared from now on, when the connection is handed to another: what the wire knows
    /// of it goes along.
    pub(crate) fn successor(
        &self,
        limits: Rc<ConnectionLimits>,
        peer: Address,
        host: Address,
    ) -> Self {
        let next = Self::new(
            Rc::clone(&self.context),
            self.id,
            limits,
            peer,
            Rc::new(host),
        );
        let kept = CONNECTED | HELD | TOUCHED | BLOCKED | WRITE_CLOSING | WRITE_CLOSED;
        next.flags.set(self.flags.get() & kept);
        next.progress.set(self.progress.get());
        next.below.set(self.below.get());
        let facts = self.rare_if_any(|rare| Some(mem::take(&mut rare.facts)));
        let facts = facts.into_iter().flatten();
        facts.for_each(|fact| next.add_fact(fact));
        next
    }

    /// Tells whoever watches the loop that a callback begins.
    #[inline]
    pub(crate) fn note(&self, doing: Doing) {
        if self.peer.word == activity::PEER_LONG {
            self.note_long_peer();
        }
        let activity = self.context.activity();
        activity.serve(doing, self.id, self.peer.word, self.protocol.get());
    }

    #[cold]
    fn note_long_peer(&self) {
        if let Some(peer) = &self.peer.long {
            self.context.activity().set_long_peer(self.id, peer);
        }
    }

    /// The connection has this protocol from now on.
    pub(crate) fn set_protocol(&self, protocol: &dyn Protocol) {
        let number = self
            .context
            .activity()
            .protocol_number(protocol.type_name());
        self.protocol.set(number);
        self.span.set(None);
    }

    /// The span of this connection's callbacks, made when it is first asked for. An error would be
    /// logged at any level; so the span has that of an error, to be there whenever anything is.
    #[cold]
    pub(crate) fn span(&self, protocol: &dyn Protocol) -> Option<Rc<Span>> {
        let made = self.span.take().or_else(|| {
            let span = tracing::error_span!(
                target: "ropewalk::connection",
                parent: None,
                "connection",
                id = %self.id,
                peer = %self.peer.to_address(),
                protocol = protocol.type_name(),
            );
            (!span.is_disabled()).then(|| Rc::new(span))
        });
        self.span.set(made.clone());
        made
    }

    /// Runs `fill` on the output, unless nothing more can be written.
    pub(crate) fn output<R>(&self, fill: impl FnOnce(&mut OutputQueue) -> R) -> Option<R> {
        if self.is(CLOSING | WRITE_CLOSING | ENDED) {
            return None;
        }
        let mut queue = self.take_output().unwrap_or_else(|| {
            if self.below.get() == 0 {
                self.progress.set(self.context.now_nanos());
            }
            self.context.take_queue()
        });
        let result = fill(&mut queue);
        self.put_output(queue);
        let (_, memory) = self.waiting();
        if memory > self.limits.write_limit {
            let limit = self.limits.write_limit;
            self.end(WriteBufferFull { limit }.into(), true);
        }
        self.touch();
        Some(result)
    }

    pub(crate) fn take_output(&self) -> Option<Box<OutputQueue>> {
        self.queue.take()
    }

    pub(crate) fn put_output(&self, mut queue: Box<OutputQueue>) {
        // Whoever had it may have written through a handle meanwhile.
        if let Some(mut newer) = self.take_output() {
            queue.append(&mut newer);
        }
        if queue.is_empty() {
            self.context.give_back(queue);
        } else {
            self.queue.set(Some(queue));
        }
    }

    pub(crate) fn unsent(&self) -> u64 {
        self.waiting().0 + self.below.get()
    }

    /// What no layer has taken of what was written: all of it, and what is in memory.
    pub(crate) fn waiting(&self) -> (u64, usize) {
        self.with_queue(|queue| (queue.len(), queue.memory()))
            .unwrap_or_default()
    }

    fn with_queue<R>(&self, look: impl FnOnce(&OutputQueue) -> R) -> Option<R> {
        let queue = self.queue.take()?;
        let result = look(&queue);
        self.queue.set(Some(queue));
        Some(result)
    }

    pub(crate) fn request(&self, request: Request) {
        if self.is(ENDED) {
            return;
        }
        self.with_rare(|rare| {
            rare.handovers += usize::from(request.hands_over());
            rare.requests.push_back(request);
        });
        self.touch();
    }

    /// What is to be served next. Before the protocol is made, only what does not need it; and
    /// without `calls`, calls that have nothing but calls behind them wait.
    pub(crate) fn next_request(&self, calls: bool) -> Option<Request> {
        self.rare_if_any(|rare| {
            let requests = &mut rare.requests;
            let request = if !self.is(MADE) {
                let is_below = |request: &Request| {
                    matches!(request, Request::PushLayer(..) | Request::Option(_))
                };
                let at = requests.iter().position(is_below)?;
                requests.remove(at)?
            } else {
                let is_call = |request: &Request| matches!(request, Request::Call(_));
                if !calls && requests.iter().all(is_call) {
                    return None;
                }
                requests.pop_front()?
            };
            rare.handovers -= usize::from(request.hands_over());
            Some(request)
        })
    }

    fn await_drained(&self, drain: Drain) {
        self.with_rare(|rare| {
            rare.drains.retain(|drain| !drain.resolver.is_cancelled());
            rare.drains.push(drain);
        });
        self.touch();
    }

    fn await_layers(&self, resolver: Resolver<()>) {
        self.with_rare(|rare| {
            rare.awaiting_layers
                .retain(|resolver| !resolver.is_cancelled());
            rare.awaiting_layers.push(resolver);
        });
        self.touch();
    }

    fn await_draining(&self, resolver: Resolver<()>) {
        self.with_rare(|rare| {
            rare.awaiting_draining
                .retain(|resolver| !resolver.is_cancelled());
            rare.awaiting_draining.push(resolver);
        });
    }

    /// Those who waited for the connection to be told to drain.
    pub(crate) fn take_awaiting_draining(&self) -> Vec<Resolver<()>> {
        self.rare_if_any(|rare| Some(mem::take(&mut rare.awaiting_draining)))
            .unwrap_or_default()
    }

    /// How many wait for the layers.
    pub(crate) fn awaiting_layers(&self) -> usize {
        let waiting = |rare: &mut Rare| Some(rare.awaiting_layers.len());
        self.rare_if_any(waiting).unwrap_or_default()
    }

    /// One who waited for the layers, if none is about to be pushed.
    pub(crate) fn next_awaiting_layers(&self) -> Option<Resolver<()>> {
        self.rare_if_any(|rare| {
            let waits = rare.handovers == 0 && !rare.awaiting_layers.is_empty();
            waits.then(|| rare.awaiting_layers.remove(0))
        })
    }

    pub(crate) fn add_fact(&self, fact: Rc<dyn Any>) {
        let kind = (*fact).type_id();
        let old = self.with_rare(|rare| {
            let old = rare
                .facts
                .extract_if(.., |other| (**other).type_id() == kind);
            let old: Vec<_> = old.collect();
            rare.facts.push(fact);
            old
        });
        // Here, since it may act on the connection.
        drop(old);
    }

    /// How many wait until less is unsent, or until the layers are ready.
    pub(crate) fn drains(&self) -> u32 {
        let drains = self.rare_if_any(|rare| Some(rare.drains.len()));
        let waiting = drains.unwrap_or_default() + self.awaiting_layers();
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    /// One who waited for no more than `unsent` bytes to be unsent.
    pub(crate) fn next_drained(&self, unsent: u64) -> Option<Drain> {
        self.rare_if_any(|rare| {
            let at = rare.drains.iter().position(|drain| unsent <= drain.to)?;
            Some(rare.drains.remove(at))
        })
    }

    /// The protocol is told to drain, and so is each that takes its place.
    pub(crate) fn set_draining(&self) {
        self.with_rare(|rare| rare.draining = true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.rare_if_any(|rare| rare.draining.then_some(()))
            .is_some()
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.rare_if_any(|rare| (!rare.requests.is_empty()).then_some(()))
            .is_some()
    }

    /// Keeps what the protocol is to get later.
    pub(crate) fn hold(&self, keep: impl FnOnce(&mut Held)) {
        self.with_rare(|rare| keep(&mut rare.held));
        self.set(HOLDING);
    }

    pub(crate) fn take_held(&self) -> Held {
        self.clear(HOLDING);
        self.rare_if_any(|rare| Some(mem::take(&mut rare.held)))
            .unwrap_or_default()
    }

    /// Closes when all is sent, for `reason`.
    fn close(&self, reason: Failure) {
        if !self.is(CLOSING | ENDED) {
            self.with_rare(|rare| rare.end = Some(reason));
            self.set(CLOSING);
        }
    }

    /// It is going to end for `reason`, unless it has another already.
    pub(crate) fn settle_on(&self, reason: Failure) {
        self.with_rare(|rare| {
            rare.end.get_or_insert(reason);
        });
    }

    /// Ends the connection. The first reason stands.
    pub(crate) fn end(&self, reason: Failure, reset: bool) {
        if self.is(ENDED) {
            return;
        }
        self.settle_on(reason);
        self.set(if reset { ENDED | RESET } else { ENDED });
    }

    /// How it ended, asked for once.
    pub(crate) fn take_end(&self) -> End {
        let rare = self.rare.take().map(|rare| *rare).unwrap_or_default();
        End {
            reason: rare.end.unwrap_or_else(|| ConnectionDone.into()),
            requests: rare.requests,
            drains: rare.drains,
            awaiting_layers: rare.awaiting_layers,
            awaiting_draining: rare.awaiting_draining,
            facts: rare.facts,
        }
    }

    fn with_rare<R>(&self, action: impl FnOnce(&mut Rare) -> R) -> R {
        let mut rare = self.rare.take().unwrap_or_default();
        let result = action(&mut rare);
        if !rare.is_empty() {
            self.rare.set(Some(rare));
        }
        result
    }

    fn rare_if_any<R>(&self, action: impl FnOnce(&mut Rare) -> Option<R>) -> Option<R> {
        let rare = self.rare.take()?;
        self.rare.set(Some(rare));
        self.with_rare(action)
    }

    pub(crate) fn set_timeout(&self, after: Option<Duration>) {
        // Rounded up, so that it is never too early.
        let millis = after.map_or(0, |after| {
            let millis = after.as_nanos().div_ceil(1_000_000);
            u32::try_from(millis).unwrap_or(u32::MAX).max(1)
        });
        self.period.set(millis);
        self.restart_timeout();
    }

    fn restart_timeout(&self) {
        self.deadline.set(match self.period.get() {
            0 => 0,
            millis => self.context.now_nanos() + u64::from(millis) * 1_000_000,
        });
        self.touch();
    }
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.drains.is_empty()
            && self.awaiting_layers.is_empty()
            && self.awaiting_draining.is_empty()
            && self.facts.is_empty()
            && self.end.is_none()
            && self.held.data.is_empty()
            && self.held.descriptors.is_empty()
            && !self.held.read_closed
            && !self.draining
    }
}

/// The address of the peer in little space: it is kept for every idle connection.
struct Peer {
    /// As the loop's [`Activity`](crate::Activity) takes it.
    word: u64,
    /// An address that does not fit into a word.
    long: Option<Box<Address>>,
}

impl Peer {
    fn new(address: Address) -> Self {
        let (word, long) = match address {
            Address::Tcp(SocketAddr::V4(address)) => (activity::peer_word(address), None),
            Address::Unix(None) => (activity::PEER_UNIX, None),
            long => (activity::PEER_LONG, Some(Box::new(long))),
        };
        Self { word, long }
    }

    fn to_address(&self) -> Address {
        match &self.long {
            Some(address) => (**address).clone(),
            None if self.word == activity::PEER_UNIX => Address::Unix(None),
            None => Address::Tcp(activity::v4_peer(self.word).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryReactor;
    use crate::{Channel, SendStatus, Step};

    struct Silent;

    impl Protocol for Silent {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
    }

    fn channel(context: &Rc<LoopContext>) -> Channel {
        let mut channel = Channel::new(
            Rc::clone(context),
            ConnectionId::new(0, 0),
            Box::new(Silent),
            Vec::new(),
            Rc::default(),
            Address::Unix(None),
            Rc::new(Address::Unix(None)),
        );
        channel.connected();
        channel
    }

    fn flush(channel: &mut Channel) {
        while channel.next_step() == Step::Send {
            channel.send(|queue| {
                queue.consume(queue.len());
                Ok(SendStatus::Ready)
            });
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_idle_connection_costs_little() {
        assert!(size_of::<Shared>() <= 104, "{}", size_of::<Shared>());
        assert!(size_of::<Channel>() <= 32, "{}", size_of::<Channel>());
    }

    #[test]
    fn an_idle_connection_holds_no_buffer_and_the_next_writer_gets_the_spare_one() {
        let context = MemoryReactor::new().context();
        let (mut first, mut second) = (channel(&context), channel(&context));
        let shared = |channel: &Channel| channel.connection().shared.upgrade().unwrap();
        let (one, two) = (shared(&first), shared(&second));
        first.connection().write(&[0; 1000]);
        let memory = one.with_queue(std::ptr::from_ref::<OutputQueue>).unwrap();
        flush(&mut first);
        assert!(one.with_queue(|_| ()).is_none());
        assert!(one.rare.take().is_none());
        second.connection().write(b"x");
        assert_eq!(
            two.with_queue(std::ptr::from_ref::<OutputQueue>),
            Some(memory)
        );
        flush(&mut second);
        assert!(two.with_queue(|_| ()).is_none());
    }

    #[test]
    fn what_is_served_leaves_no_memory_behind() {
        let reactor = MemoryReactor::new();
        let mut channel = channel(&reactor.context());
        let shared = channel.connection().shared.upgrade().unwrap();
        channel.connection().with(|_: &mut Silent, _| ());
        channel.connection().pause_producing();
        channel.received(b"held");
        assert!(shared.is(HOLDING));
        channel.connection().resume_producing();
        flush(&mut channel);
        assert!(!shared.is(HOLDING));
        assert!(shared.rare.take().is_none());
    }
}
