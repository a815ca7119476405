//! A reactor in memory: channels joined in pairs, time by hand, no thread and no system call.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Clock;
use super::children::{ChildEnd, Ends, MemoryChild};
use super::memory_datagrams::Datagrams;
use crate::endpoint::{ClientEndpoint, DatagramClientEndpoint, DatagramEndpoint, ServerEndpoint};
use crate::{
    Address, Channel, ChildDescriptor, ChildProcess, Commons, ConnectError, Connection,
    ConnectionAborted, ConnectionId, ConnectionLimits, ContextSnapshot, DatagramPort,
    DatagramProtocol, Deferred, DelayedCall, Factory, Failure, FixedNames, JobName, ListenError,
    LoopContext, NameResolver, OutputQueue, Panicked, Port, Process, ProcessProtocol, Protocol,
    ReactorCore, ReactorDatagrams, ReactorNames, ReactorNet, ReactorProcess, ReactorTasks,
    ReactorThreads, ReactorTime, Resolver, SendStatus, SocketOption, Spawn, SpawnError, Step, Task,
    Tasks, ThreadJobError,
};

/// A reactor for tests: what is written on one end of a connection is received on the other, when
/// [`run`](Self::run) is called. Connections keep all the promises that they keep on a real
/// reactor, since the same [`Channel`] is at work.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{Address, Protocol, Transport};
/// use std::rc::Rc;
///
/// struct Shout;
/// impl Protocol for Shout {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(&data.to_ascii_uppercase());
///         transport.lose_connection();
///     }
/// }
/// struct Ask(String);
/// impl Protocol for Ask {
///     fn connection_made(&mut self, transport: &mut Transport) {
///         transport.write(b"hello");
///     }
///     fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
///         self.0.push_str(std::str::from_utf8(data).unwrap());
///         assert_eq!(self.0, "HELLO");
///     }
/// }
///
/// let reactor = MemoryReactor::new();
/// reactor.listen(&"tcp:7".parse().unwrap(), Rc::new(|_: &Address| Shout)).unwrap();
/// let made = reactor.connect(&"tcp:example.com:7".parse().unwrap(),
///     Rc::new(|_: &Address| Ask(String::new())));
/// reactor.run();
/// assert!(made.is_fired());
/// assert_eq!(reactor.connections(), 0);
/// ```
#[derive(Clone)]
pub struct MemoryReactor {
    inner: Rc<Memory>,
}

pub(super) struct Memory {
    clock: Clock,
    context: Rc<LoopContext>,
    tasks: Tasks,
    ends: RefCell<BTreeMap<ConnectionId, End>>,
    ports: Rc<RefCell<Ports>>,
    datagrams: Datagrams,
    commons: Arc<Commons>,
    names: RefCell<Rc<dyn NameResolver>>,
    opened: Cell<u32>,
    /// Connections that are up, and not yet told so.
    opening: RefCell<VecDeque<ConnectionId>>,
    /// Jobs for threads, which this reactor has none of.
    jobs: Rc<RefCell<Jobs>>,
    given: Cell<u64>,
    /// Bytes that a connection holds for an end that does not read them.
    window: Cell<usize>,
    /// The most bytes that are received at once.
    split: Cell<usize>,
    /// The processes that nobody has taken.
    children: RefCell<Vec<MemoryChild>>,
    spawned: Cell<u32>,
    /// What the next process fails with.
    refusal: Cell<Option<SpawnError>>,
}

/// Who listens, by the [`key`] of the address.
type Ports = BTreeMap<String, Rc<dyn Factory>>;

/// Jobs by their numbers, in the order in which they were given.
type Jobs = BTreeMap<u64, MemoryJob>;

struct MemoryJob {
    name: JobName,
    run: Box<dyn FnOnce() + Send>,
    resolver: Resolver<()>,
}

/// One end of a connection.
struct End {
    /// `None` while it is at work.
    channel: Option<Channel>,
    other: ConnectionId,
    /// What is under way to this end.
    inbound: VecDeque<u8>,
    /// Descriptors under way to it, and how many bytes of `inbound` come before each.
    descriptors: VecDeque<(usize, OwnedFd)>,
    /// It takes descriptors; otherwise they are closed.
    takes_descriptors: bool,
    /// What the other end has done, and what of it this end was told.
    fin: Fin,
    told: Fin,
    /// Who waits for the connection to be made, to which endpoint.
    awaited: Option<(Resolver<Connection>, String)>,
}

impl End {
    /// The descriptors that come before the next byte.
    fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        let mut taken = Vec::new();
        while self
            .descriptors
            .front()
            .is_some_and(|(before, _)| *before == 0)
        {
            taken.extend(
                self.descriptors
                    .pop_front()
                    .map(|(_, descriptor)| descriptor),
            );
        }
        if !self.takes_descriptors {
            taken.clear();
        }
        taken
    }

    /// How many bytes come before the next descriptor.
    fn until_descriptor(&self) -> usize {
        let next = self.descriptors.front().map(|(before, _)| *before);
        next.unwrap_or(self.inbound.len())
    }
}

/// How far the other end has closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fin {
    None,
    /// It sends no more.
    Closed,
    /// It takes no more either.
    Gone,
    Reset,
}

impl MemoryReactor {
    /// A reactor with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        let inner = Rc::new_cyclic(|me: &Weak<Memory>| {
            let clock = Clock::new();
            let commons = Arc::new(Commons::told(clock.wall_clock()));
            let reactor: Weak<dyn ReactorCore> = me.clone();
            Memory {
                context: Rc::new(LoopContext::new(clock.now(), reactor)),
                clock,
                // Whoever owns the reactor runs it; there is nobody to wake.
                tasks: Tasks::new(|| ()),
                ends: RefCell::default(),
                ports: Rc::default(),
                datagrams: Datagrams::default(),
                commons,
                names: RefCell::new(Rc::new(FixedNames::new())),
                opened: Cell::new(0),
                opening: RefCell::default(),
                jobs: Rc::default(),
                given: Cell::new(0),
                window: Cell::new(256 * 1024),
                split: Cell::new(64 * 1024),
                children: RefCell::default(),
                spawned: Cell::new(0),
                refusal: Cell::new(None),
            }
        });
        Self { inner }
    }

    /// The reactor, for those who keep what it lends.
    #[must_use]
    pub fn handle(&self) -> Rc<dyn ReactorCore> {
        Rc::clone(&self.inner) as Rc<dyn ReactorCore>
    }

    /// Lets at most `bytes` be received at once, so that a test can try every split.
    pub fn set_split(&self, bytes: usize) {
        self.inner.split.set(bytes.max(1));
    }

    /// How many bytes a connection takes for an end that does not read them. 256 KiB.
    pub fn set_window(&self, bytes: usize) {
        self.inner.window.set(bytes.max(1));
    }

    /// Joins two protocols. Each has had its `connection_made` when this returns.
    pub fn join(
        &self,
        client: Box<dyn Protocol>,
        server: Box<dyn Protocol>,
    ) -> (Connection, Connection) {
        let client: Rc<dyn Factory> = Rc::new(Once(Cell::new(Some(client))));
        let server: Rc<dyn Factory> = Rc::new(Once(Cell::new(Some(server))));
        let port = Address::Tcp(([192, 0, 2, 1], 80).into());
        let joined = self.inner.join(&*client, &*server, port);
        let [client, server] = joined.expect("both factories hold a protocol");
        self.inner.tell_opened();
        let connection = |id| self.inner.handle(id).unwrap_or_default();
        (connection(client), connection(server))
    }

    /// Moves bytes, and runs tasks and what is due, until nothing is left to do at this time. A
    /// turn has the order of any reactor's: completions, due deadlines of connections, due
    /// timers, jobs for threads, tasks, and the connections that were touched.
    ///
    /// There are no threads: a job that was given to one is run by the next turn, on this thread,
    /// in the order in which they were given. So the same test gives the same run.
    ///
    /// # Panics
    /// When that does not come to an end in a million rounds.
    pub fn run(&self) {
        for _ in 0..1_000_000 {
            if !self.inner.round() {
                return;
            }
        }
        panic!("the connections keep one another busy without end");
    }

    /// Runs what there is to do, and all that becomes due within `by`, in order.
    pub fn advance(&self, by: Duration) {
        self.run();
        let end = self.inner.clock.now() + by;
        while let Some(next) = self.inner.next_wake().filter(|next| *next <= end) {
            let now = self.inner.clock.now();
            self.inner.step(next.saturating_duration_since(now));
            self.run();
        }
        let now = self.inner.clock.now();
        self.inner.step(end.saturating_duration_since(now));
        self.run();
    }

    /// How many ends of connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.inner.ends.borrow().len()
    }

    /// The other sides of the processes that were started since the last call. Nothing runs in
    /// memory: what a process does, the test does.
    #[must_use]
    pub fn take_children(&self) -> Vec<MemoryChild> {
        self.inner.children.take()
    }

    /// Lets the next process fail to start.
    ///
    /// ```
    /// use ropewalk_core::testing::MemoryReactor;
    /// use ropewalk_core::{ProcessProtocol, Spawn, SpawnError};
    ///
    /// struct Silent;
    /// impl ProcessProtocol for Silent {}
    ///
    /// let reactor = MemoryReactor::new();
    /// reactor.refuse_to_spawn(SpawnError::ReactorStopped);
    /// assert!(reactor.spawn_process(&Spawn::new("cat"), Box::new(Silent)).is_err());
    /// assert!(reactor.spawn_process(&Spawn::new("cat"), Box::new(Silent)).is_ok());
    /// ```
    pub fn refuse_to_spawn(&self, error: SpawnError) {
        self.inner.refusal.set(Some(error));
    }

    /// Tells all connections that the program shuts down.
    pub fn drain(&self) {
        for id in self.inner.ids() {
            self.inner.with_channel(id, Channel::drain);
        }
    }

    pub(super) fn look<P: Protocol, R>(
        &self,
        connection: &Connection,
        look: impl FnOnce(&mut P) -> R,
    ) -> Option<R> {
        let id = connection.act(|transport| transport.id())?;
        let mut found = None;
        self.inner.with_channel(id, |channel| {
            let protocol: &mut dyn std::any::Any = channel.protocol();
            found = protocol.downcast_mut::<P>().map(look);
        });
        found
    }

    pub(crate) fn context(&self) -> Rc<LoopContext> {
        Rc::clone(&self.inner.context)
    }
}

/// It offers what every reactor offers.
impl Deref for MemoryReactor {
    type Target = dyn ReactorCore;

    fn deref(&self) -> &Self::Target {
        &*self.inner
    }
}

impl Default for MemoryReactor {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds the protocol that it was given.
struct Once(Cell<Option<Box<dyn Protocol>>>);

impl Factory for Once {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        self.0.take()
    }
}

/// Builds this side of a pipe.
struct PipeFactory {
    protocol: Once,
    limits: ConnectionLimits,
}

impl Factory for PipeFactory {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.protocol.build_protocol(peer)
    }

    fn limits(&self) -> ConnectionLimits {
        self.limits.clone()
    }
}

impl Memory {
    /// Joins what the factories build, not yet told that they are up: the client and the server.
    /// `None` if the client's factory builds nothing. What the server's refuses, the client finds
    /// closed.
    fn join(
        &self,
        client: &dyn Factory,
        server: &dyn Factory,
        port: Address,
    ) -> Option<[ConnectionId; 2]> {
        let number = self.opened.get();
        self.opened.set(number + 1);
        let ids = [
            ConnectionId::new(2 * number, 0),
            ConnectionId::new(2 * number + 1, 0),
        ];
        let ephemeral = 1024 + (number % 60_000) as u16;
        let from = match &port {
            Address::Tcp(_) | Address::Udp(_) => Address::Tcp(([192, 0, 2, 2], ephemeral).into()),
            Address::Unix(_) => Address::Unix(None),
            Address::Pipe(_) => port.clone(),
        };
        let at_client = self.build(client, ids[0], port.clone(), from.clone())?;
        let at_server = self.build(server, ids[1], from, port);
        let fin = match at_server {
            Some(_) => Fin::None,
            None => Fin::Gone,
        };
        for (channel, at) in [(at_server, 1), (Some(at_client), 0)] {
            let Some(channel) = channel else { continue };
            let end = End {
                channel: Some(channel),
                other: ids[1 - at],
                inbound: VecDeque::new(),
                descriptors: VecDeque::new(),
                takes_descriptors: false,
                fin,
                told: Fin::None,
                awaited: None,
            };
            self.ends.borrow_mut().insert(ids[at], end);
            self.opening.borrow_mut().push_back(ids[at]);
        }
        Some(ids)
    }

    fn build(
        &self,
        factory: &dyn Factory,
        id: ConnectionId,
        peer: Address,
        host: Address,
    ) -> Option<Channel> {
        let protocol = factory.build_protocol(&peer)?;
        let policies = factory.build_policies(&peer);
        let channel = Channel::new(
            Rc::clone(&self.context),
            id,
            protocol,
            factory.build_layers(&peer),
            Rc::new(factory.limits()),
            peer,
            Rc::new(host),
        );
        Some(channel.with_policies(policies))
    }

    fn handle(&self, id: ConnectionId) -> Option<Connection> {
        let ends = self.ends.borrow();
        Some(ends.get(&id)?.channel.as_ref()?.connection())
    }

    /// One turn; whether there was anything to do.
    fn round(&self) -> bool {
        let now = self.clock.now();
        self.context.set_now(now);
        self.commons.tell_wall_clock(self.clock.wall_clock());
        let mut busy = self.tell_opened();
        for id in self.ids() {
            busy |= self.deliver(id);
        }
        busy |= self.datagrams.round();
        if self.clock.next_call().is_some_and(|next| next <= now) {
            busy = true;
            self.clock.advance(Duration::ZERO);
        }
        busy |= self.run_jobs();
        busy |= self.tasks.run_woken() > 0;
        let mut touched = Vec::new();
        self.context.take_touched(&mut touched);
        busy |= !touched.is_empty();
        for id in touched {
            self.with_channel(id, |_| ());
        }
        busy
    }

    /// Runs the jobs that were given before this turn; whether there were any.
    fn run_jobs(&self) -> bool {
        let numbers: Vec<_> = self.jobs.borrow().keys().copied().collect();
        for number in &numbers {
            // One may have been cancelled by what another has brought.
            let job = self.jobs.borrow_mut().remove(number);
            let Some(MemoryJob { run, resolver, .. }) = job else {
                continue;
            };
            match catch_unwind(AssertUnwindSafe(run)) {
                Ok(()) => resolver.callback(()),
                Err(payload) => resolver.errback(Panicked::new("a job in a thread", &*payload)),
            }
        }
        !numbers.is_empty()
    }

    /// Tells new connections that they are up; whether there were any.
    fn tell_opened(&self) -> bool {
        let opening = self.opening.take();
        let any = !opening.is_empty();
        for id in opening {
            self.with_channel(id, Channel::connected);
        }
        any
    }

    /// Gives one end what is under way to it.
    fn deliver(&self, id: ConnectionId) -> bool {
        let (descriptors, data, fin, other) = {
            let mut ends = self.ends.borrow_mut();
            let Some(end) = ends.get_mut(&id) else {
                return false;
            };
            let Some(channel) = &end.channel else {
                return false;
            };
            let is_told = end.told != Fin::None;
            if end.fin == Fin::Reset {
                (Vec::new(), Vec::new(), Fin::Reset, end.other)
            } else if !is_told && !channel.wants_read() {
                return false;
            } else if !is_told && !end.inbound.is_empty() {
                let descriptors = end.take_descriptors();
                let count = end.until_descriptor().min(self.split.get());
                for (before, _) in &mut end.descriptors {
                    *before -= count;
                }
                let data = end.inbound.drain(..count).collect();
                (descriptors, data, Fin::None, end.other)
            } else if end.told != end.fin {
                (Vec::new(), Vec::new(), end.fin, end.other)
            } else {
                return false;
            }
        };
        match fin {
            Fin::None => {
                self.with_channel(id, |channel| {
                    if !descriptors.is_empty() {
                        channel.descriptors_received(descriptors);
                    }
                    channel.received(&data);
                });
                self.with_channel(other, Channel::writable);
            }
            Fin::Closed | Fin::Gone => {
                let told = match self.ends.borrow_mut().get_mut(&id) {
                    Some(end) => std::mem::replace(&mut end.told, fin),
                    None => fin,
                };
                if told == Fin::None {
                    self.with_channel(id, Channel::read_closed);
                }
                if fin == Fin::Gone {
                    // Whatever waits for room learns that there will be none.
                    self.with_channel(id, Channel::writable);
                }
            }
            Fin::Reset => self.with_channel(id, |channel| {
                channel.failed(io::ErrorKind::ConnectionReset.into());
            }),
        }
        true
    }

    fn with_channel(&self, id: ConnectionId, event: impl FnOnce(&mut Channel)) {
        let channel = match self.ends.borrow_mut().get_mut(&id) {
            Some(end) => end.channel.take(),
            None => None,
        };
        if let Some(mut channel) = channel {
            event(&mut channel);
            self.settle(channel);
        }
    }

    fn settle(&self, mut channel: Channel) {
        let id = channel.id();
        loop {
            match channel.next_step() {
                Step::Send => channel.send(|queue| self.send(id, queue)),
                Step::ShutdownWrite => self.end_with(id, Fin::Closed),
                Step::SetOption(SocketOption::ReceiveDescriptors(on)) => {
                    if let Some(end) = self.ends.borrow_mut().get_mut(&id) {
                        end.takes_descriptors = on;
                    }
                }
                Step::SetOption(_) => {}
                Step::Close => return self.close(channel, Fin::Gone),
                Step::Abort => return self.close(channel, Fin::Reset),
                Step::Wait => break,
            }
        }
        let is_made = channel.is_made();
        let connection = channel.connection();
        let mut awaited = None;
        if let Some(end) = self.ends.borrow_mut().get_mut(&id) {
            end.channel = Some(channel);
            awaited = is_made.then(|| end.awaited.take()).flatten();
        }
        if let Some((resolver, _)) = awaited {
            resolver.callback(connection);
        }
    }

    fn send(&self, id: ConnectionId, queue: &mut OutputQueue) -> io::Result<SendStatus> {
        while queue.has_bytes() {
            let descriptors = queue.take_front_descriptors();
            let until = queue.until_descriptor().unwrap_or(u64::MAX);
            let bytes = queue.front()?;
            let taken = {
                let mut ends = self.ends.borrow_mut();
                let other = ends.get(&id).map(|end| end.other);
                let Some(other) = other.and_then(|other| ends.get_mut(&other)) else {
                    return Err(io::ErrorKind::BrokenPipe.into());
                };
                let before = other.inbound.len();
                let under_way = descriptors.into_iter().map(|one| (before, one));
                other.descriptors.extend(under_way);
                let room = self.window.get().saturating_sub(before);
                let count = bytes
                    .len()
                    .min(room)
                    .min(usize::try_from(until).unwrap_or(room));
                other.inbound.extend(&bytes[..count]);
                count
            };
            if taken == 0 {
                return Ok(SendStatus::Blocked);
            }
            queue.consume(taken as u64);
        }
        Ok(SendStatus::Ready)
    }

    fn end_with(&self, id: ConnectionId, fin: Fin) {
        let mut ends = self.ends.borrow_mut();
        let other = ends.get(&id).map(|end| end.other);
        if let Some(other) = other.and_then(|other| ends.get_mut(&other)) {
            other.fin = fin;
        }
    }

    fn close(&self, channel: Channel, fin: Fin) {
        let id = channel.id();
        self.end_with(id, fin);
        let end = self.ends.borrow_mut().remove(&id);
        let awaited = end.and_then(|end| end.awaited);
        let is_made = channel.is_made();
        let connection = channel.connection();
        let reason = channel.lost();
        match awaited {
            // It was up, if only for the length of its `connection_made`.
            Some((resolver, _)) if is_made => resolver.callback(connection),
            Some((resolver, endpoint)) => {
                resolver.errback(reason.context(format!("cannot connect to {endpoint}")));
            }
            None => {}
        }
    }

    fn ids(&self) -> Vec<ConnectionId> {
        self.ends.borrow().keys().copied().collect()
    }

    /// When something becomes due next.
    fn next_wake(&self) -> Option<Instant> {
        let ends = self.ends.borrow();
        let channels = ends.values().filter_map(|end| end.channel.as_ref());
        let deadlines = channels.filter_map(Channel::deadline);
        let deadline = deadlines.min().map(|nanos| self.context.instant(nanos));
        [deadline, self.clock.next_call()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moves time, and runs what is due then.
    fn step(&self, by: Duration) {
        self.clock.move_to(self.clock.now() + by);
        self.context.set_now(self.clock.now());
        let now = self.context.nanos(self.clock.now());
        for id in self.ids() {
            self.with_channel(id, |channel| {
                if channel.deadline().is_some_and(|deadline| deadline <= now) {
                    channel.deadline_passed();
                }
            });
        }
        self.clock.advance(Duration::ZERO);
    }
}

/// What is still open when the reactor goes is ended, as on any reactor.
impl Drop for Memory {
    fn drop(&mut self) {
        for id in self.ids() {
            self.with_channel(id, |channel| {
                channel.end(Failure::from(ConnectionAborted).context("the reactor has ended"));
            });
        }
        self.datagrams.stop();
        let jobs = self.jobs.take();
        for MemoryJob { name, resolver, .. } in jobs.into_values() {
            resolver.errback(ThreadJobError::ReactorStopped { job: name });
        }
    }
}

/// The name under which a port is found: hosts are not told apart.
fn key(address: &Address) -> String {
    match address {
        Address::Tcp(address) => format!("tcp:{}", address.port()),
        Address::Udp(address) => format!("udp:{}", address.port()),
        other => other.to_string(),
    }
}

impl ReactorTime for Memory {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.clock.wall_clock()
    }

    fn call_later(&self, delay: Duration, call: Box<dyn FnOnce()>) -> DelayedCall {
        self.clock.call_later(delay, call)
    }
}

impl ReactorTasks for Memory {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task {
        self.tasks.spawn(future)
    }
}

impl ReactorThreads for Memory {
    fn run_in_thread(&self, name: JobName, run: Box<dyn FnOnce() + Send>) -> Deferred<()> {
        let number = self.given.get();
        self.given.set(number + 1);
        let jobs = Rc::downgrade(&self.jobs);
        let (resolver, ran) = Deferred::with_canceller(move || {
            let job = jobs.upgrade().map(|jobs| jobs.borrow_mut().remove(&number));
            drop(job);
        });
        let run: Box<dyn FnOnce() + Send> = match ContextSnapshot::capture_any() {
            Some(context) => Box::new(move || context.run(run)),
            None => run,
        };
        let job = MemoryJob {
            name,
            run,
            resolver,
        };
        self.jobs.borrow_mut().insert(number, job);
        ran
    }
}

/// A reactor that is gone: for a [`LoopContext`] whose protocols ask nothing of it.
///
/// ```
/// use ropewalk_core::{LoopContext, testing::no_reactor};
/// use std::time::Instant;
///
/// assert!(no_reactor().upgrade().is_none());
/// let context = LoopContext::new(Instant::now(), no_reactor());
/// assert!(context.now() <= Instant::now());
/// ```
#[must_use]
pub fn no_reactor() -> Weak<dyn ReactorCore> {
    Weak::<Memory>::new()
}

/// Each pipe is a connection to the test's side of the process.
impl ReactorProcess for Memory {
    fn spawn_process(
        &self,
        spawn: &Spawn,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError> {
        if let Some(error) = self.refusal.take() {
            return Err(error);
        }
        let number = self.spawned.get() + 1;
        self.spawned.set(number);
        let ends = Ends::default();
        let control = Box::new(ends.clone());
        let context = Rc::clone(&self.context);
        let child = ChildProcess::new(context, spawn, number, control, protocol);
        for (descriptor, is_writable) in piped(spawn) {
            let near = PipeFactory {
                protocol: Once(Cell::new(Some(child.pipe(descriptor, is_writable)))),
                limits: spawn.limits.clone(),
            };
            let far = Box::new(ChildEnd::new(&ends, descriptor)) as Box<dyn Protocol>;
            let far = Once(Cell::new(Some(far)));
            let what = format!("descriptor {descriptor} of {} ({number})", spawn.name());
            if let Some([near, far]) = self.join(&near, &far, Address::Pipe(what.into())) {
                child.joined(descriptor, self.handle(near).unwrap_or_default());
                ends.joined(descriptor, self.handle(far).unwrap_or_default());
            }
        }
        let started = child.clone();
        self.call_later(Duration::ZERO, Box::new(move || started.start()));
        let handle = child.handle();
        let taken = MemoryChild::new(spawn.clone(), child, ends);
        self.children.borrow_mut().push(taken);
        Ok(handle)
    }
}

/// The descriptors that are pipes, and whether they are written to. A terminal is one that goes
/// both ways.
fn piped(spawn: &Spawn) -> Vec<(u32, bool)> {
    let mut piped = Vec::new();
    if spawn.terminal.is_some() {
        piped.push((1, true));
    }
    for (number, descriptor) in &spawn.descriptors {
        match descriptor {
            _ if spawn.terminal.is_some() && *number < 3 => {}
            ChildDescriptor::PipeIn => piped.push((*number, true)),
            ChildDescriptor::PipeOut => piped.push((*number, false)),
            _ => {}
        }
    }
    piped
}

/// One machine: `192.0.2.1`, and the addresses that endpoints name as their interface. Multicast
/// comes to all members on it.
impl ReactorDatagrams for Memory {
    fn listen_datagram(
        &self,
        endpoint: &DatagramEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError> {
        self.datagrams.listen(&self.context, endpoint, protocol)
    }

    fn connect_datagram(
        &self,
        endpoint: &DatagramClientEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        self.datagrams.connect(&self.context, endpoint, protocol)
    }
}

/// There are no names, until a resolver is installed that knows some. Connecting asks for none.
impl ReactorNames for Memory {
    fn name_resolver(&self) -> Rc<dyn NameResolver> {
        Rc::clone(&self.names.borrow())
    }

    fn install_name_resolver(&self, resolver: Rc<dyn NameResolver>) -> Rc<dyn NameResolver> {
        self.names.replace(resolver)
    }
}

/// Hosts are not told apart: a connection goes to whoever listens on its port or path.
impl ReactorNet for Memory {
    fn commons(&self) -> Arc<Commons> {
        Arc::clone(&self.commons)
    }

    fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        let (bottom, factory) = endpoint.resolve(self, factory)?;
        let mut ports = self.ports.borrow_mut();
        let address = match &bottom {
            ServerEndpoint::Tcp(listen) => {
                let free = || (1..).find(|port| !ports.contains_key(&format!("tcp:{port}")));
                let port = Some(listen.port).filter(|port| *port != 0).or_else(free);
                Address::Tcp(([192, 0, 2, 1], port.unwrap_or(0)).into())
            }
            ServerEndpoint::Unix(listen) => Address::Unix(Some(Arc::from(listen.path.as_path()))),
            _ => return Err(ListenError::from_io(endpoint, no_sockets())),
        };
        if ports.contains_key(&key(&address)) {
            let error = io::ErrorKind::AddrInUse.into();
            return Err(ListenError::from_io(endpoint, error));
        }
        ports.insert(key(&address), Rc::clone(&factory));
        drop(ports);
        factory.start_factory();
        let ports = Rc::downgrade(&self.ports);
        let name = key(&address);
        let listens = Cell::new(true);
        let stop = move || {
            // Another one may listen here by now.
            if !listens.replace(false) {
                return;
            }
            let closed = ports
                .upgrade()
                .and_then(|ports| ports.borrow_mut().remove(&name));
            if let Some(factory) = closed {
                factory.stop_factory();
            }
        };
        Ok(Port::new(address, Rc::new(stop)))
    }

    fn connect(&self, endpoint: &ClientEndpoint, factory: Rc<dyn Factory>) -> Deferred<Connection> {
        let (bottom, factory) = match endpoint.resolve(self, factory) {
            Ok(resolved) => resolved,
            Err(error) => return Deferred::fail(error),
        };
        let address = match &bottom {
            ClientEndpoint::Tcp(connect) => Address::Tcp(([192, 0, 2, 1], connect.port).into()),
            ClientEndpoint::Unix(connect) => Address::Unix(Some(Arc::from(connect.path.as_path()))),
            _ => return Deferred::fail(ConnectError::from_io(endpoint, no_sockets())),
        };
        let server = self.ports.borrow().get(&key(&address)).map(Rc::clone);
        let Some(server) = server else {
            let error = io::ErrorKind::ConnectionRefused.into();
            return Deferred::fail(ConnectError::from_io(endpoint, error));
        };
        let Some([client, _]) = self.join(&*factory, &*server, address) else {
            return Deferred::fail(ConnectError::FactoryRefused);
        };
        let connection = self.handle(client).unwrap_or_default();
        let (resolver, made) = Deferred::with_canceller(move || {
            connection.abort_connection();
        });
        if let Some(end) = self.ends.borrow_mut().get_mut(&client) {
            end.awaited = Some((resolver, endpoint.to_string()));
        }
        made
    }
}

fn no_sockets() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "there are no sockets in memory; take an endpoint that stands on `tcp` or `unix`",
    )
}
