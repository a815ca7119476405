//! The loop: what happens in a turn.
//!
//! A turn is, in this order: completions from the driver, due timers, calls from other threads,
//! woken tasks, and the connections that were touched from outside their own callbacks. Time is
//! read once, when the driver has waited. A connection is flushed when its callback has returned.
//!
//! The loop borrows nothing of its own while it runs code of others, so that they may call
//! anything on it; a [`Channel`] at work is out of its entry.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::{
    ClientEndpoint, ClientKind, DatagramClientEndpoint, DatagramEndpoint, ServerEndpoint,
    ServerKind,
};
use ropewalk_core::timer::{Timers, Wheel};
use ropewalk_core::{
    Address, Channel, Commons, ConnectError, Connection, ConnectionAborted, ConnectionId,
    ConnectionLimits, DatagramChannel, DatagramError, DatagramPort, DatagramProtocol, Deferred,
    DelayedCall, Doing, Factory, Failure, Incoming, JobName, ListenError, LoopContext,
    NameResolver, Panicked, Port, Process, ProcessProtocol, Protocol, ReactorCore, Spawn,
    SpawnError, Step, Task, Tasks,
};

use crate::connect::Attempt;
use crate::connections::{Connections, Entry, Side};
use crate::datagrams::Datagrams;
use crate::driver::{Accept, Completions, DatagramId, Driver, ListenerId, QueryId, WatchId};
use crate::keeping::Keeping;
use crate::ledger::Book;
use crate::names::Names;
use crate::ports::Ports;
use crate::processes::Processes;
use crate::reactor::{Handle, RunError, stopped_connect};
use crate::remote::Remote;
use crate::shutdown::{Shutdown, shut_down};
use crate::stdio::{self, Streams};
use crate::threads::jobs::Jobs;
use crate::watchdog::{self, Stalls};
use crate::{exec, inherited, kinds};

/// A connection takes so many steps in a row before others get their turn.
const STEPS_IN_A_ROW: usize = 64;

/// Connections that touch one another are served so many rounds in one turn.
const TOUCH_ROUNDS: usize = 16;

/// How long a port rests that could not accept.
const ACCEPT_REST: Duration = Duration::from_millis(100);

type Call = Box<dyn FnOnce()>;

pub(crate) struct EventLoop {
    me: Weak<EventLoop>,
    pub(crate) driver: Rc<dyn Driver>,
    pub(crate) context: Rc<LoopContext>,
    timers: Timers,
    tasks: Tasks,
    /// The deadlines of connections.
    deadlines: RefCell<Wheel<ConnectionId>>,
    pub(crate) connections: RefCell<Connections>,
    pub(crate) ports: Ports,
    /// Connections that are being made.
    pub(crate) attempts: RefCell<BTreeMap<ConnectionId, Rc<Attempt>>>,
    begun: Cell<u64>,
    /// Attempts that wait for the look-up of a name, by their numbers.
    pub(crate) looking_up: RefCell<BTreeMap<u64, Rc<Attempt>>>,
    pub(crate) names: Names,
    pub(crate) datagrams: Datagrams,
    /// Attempts whose connection is up, and whose layers are not ready.
    pub(crate) awaited: RefCell<BTreeMap<ConnectionId, Rc<Attempt>>>,
    /// Connections that took all their steps in a row, and go on in the next turn.
    unfinished: RefCell<Vec<ConnectionId>>,
    pub(crate) remote: Arc<Remote>,
    pub(crate) jobs: Jobs,
    pub(crate) processes: Processes,
    pub(crate) stalls: Arc<Stalls>,
    /// What tests ask for what is left.
    pub(crate) ledger: Book,
    startup: RefCell<Vec<Call>>,
    pub(crate) shutdown: Shutdown,
    state: Cell<State>,
    /// It is within a [step](Self::step): all of that has one time.
    has_turn: Cell<bool>,
    stop_wanted: Cell<bool>,
    outcome: Cell<Option<Outcome>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Running,
    /// The reactor was dropped.
    Gone,
}

/// How a run ends.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    Finished,
    EndedAtOnce,
    TimedOut,
}

impl EventLoop {
    pub(crate) fn new(driver: Rc<dyn Driver>) -> Rc<Self> {
        Rc::new_cyclic(|me: &Weak<Self>| {
            let epoch = driver.now();
            let remote = Arc::new(Remote::new(driver.waker()));
            let for_tasks = Arc::clone(&remote);
            // What the context knows of the reactor is a handle that keeps nothing alive.
            let reactor: Weak<dyn ReactorCore> = me.clone();
            Self {
                me: me.clone(),
                context: Rc::new(LoopContext::new(epoch, reactor)),
                timers: Timers::new(epoch),
                tasks: Tasks::new(move || for_tasks.wake()),
                deadlines: RefCell::new(Wheel::new()),
                connections: RefCell::default(),
                ports: Ports::default(),
                attempts: RefCell::default(),
                begun: Cell::new(0),
                looking_up: RefCell::default(),
                names: Names::new(me),
                datagrams: Datagrams::default(),
                awaited: RefCell::default(),
                unfinished: RefCell::default(),
                remote,
                jobs: Jobs::new(driver.pool_threads()),
                processes: Processes::default(),
                stalls: Stalls::new(),
                ledger: Book::default(),
                startup: RefCell::default(),
                shutdown: Shutdown::new(),
                state: Cell::new(State::Idle),
                has_turn: Cell::new(false),
                stop_wanted: Cell::new(false),
                outcome: Cell::new(None),
                driver,
            }
        })
    }

    pub(crate) fn run(&self) -> Result<(), RunError> {
        self.begin_run()?;
        let here = 0_u8;
        let base = std::ptr::from_ref(&here).addr();
        let activity = self.context.activity();
        let watch = watchdog::watch(&self.stalls, activity, &self.remote, base);
        let outcome = loop {
            if let Some(outcome) = self.step(Self::timeout) {
                break outcome;
            }
        };
        let ended = self.end_run(outcome);
        drop(watch);
        ended
    }

    /// A run begins: its [steps](Self::step) come next, and then its [end](Self::end_run).
    pub(crate) fn begin_run(&self) -> Result<(), RunError> {
        if self.state.get() != State::Idle {
            return Err(RunError::AlreadyRunning);
        }
        self.state.set(State::Running);
        self.outcome.set(None);
        self.remote.begin_run();
        self.jobs.pool.reopen();
        self.wake_up();
        Ok(())
    }

    /// One turn, which waits no longer than `timeout` says. `Some` when the run is over.
    pub(crate) fn step(
        &self,
        timeout: impl FnOnce(&Self) -> Option<Duration>,
    ) -> Option<Result<Outcome, RunError>> {
        self.has_turn.set(true);
        let over = self.take_step(timeout);
        self.has_turn.set(false);
        over
    }

    fn take_step(
        &self,
        timeout: impl FnOnce(&Self) -> Option<Duration>,
    ) -> Option<Result<Outcome, RunError>> {
        self.run_startup();
        if self.stop_wanted.replace(false) {
            self.begin_shutdown();
        }
        if let Some(outcome) = self.outcome.get() {
            return Some(Ok(outcome));
        }
        if let Err(error) = self.turn(timeout(self)) {
            return Some(Err(RunError::Driver(error)));
        }
        // After the turn: it may have completed the shutdown in time, if only just.
        if self.shutdown.overdue.get() && self.outcome.get().is_none() {
            self.outcome.set(Some(Outcome::TimedOut));
        }
        None
    }

    /// Ends all that is left of the run.
    pub(crate) fn end_run(&self, outcome: Result<Outcome, RunError>) -> Result<(), RunError> {
        let connections = self.connections.borrow().len();
        let jobs = self.clear();
        // It was meant for the run that is over.
        self.stop_wanted.set(false);
        self.state.set(State::Idle);
        match outcome? {
            Outcome::Finished => Ok(()),
            Outcome::EndedAtOnce => Err(RunError::EndedAtOnce { connections }),
            Outcome::TimedOut => Err(RunError::ShutdownTimedOut {
                after: self.shutdown.deadline(),
                connections,
                jobs,
            }),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.get() == State::Running
    }

    fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.context.activity().begin(Doing::Waiting);
        self.remote.fall_asleep();
        let busy = self.has_work() || self.remote.has_calls();
        let timeout = if busy { Some(Duration::ZERO) } else { timeout };
        let unfinished = self.unfinished.take();
        let polled = self.driver.poll(timeout, &mut Sink(self));
        self.remote.awake();
        polled?;
        self.run_deadlines();
        if !self.timers.is_empty() {
            let activity = self.context.activity();
            self.timers
                .run_due_each(self.context.now(), || activity.begin(Doing::DelayedCall));
        }
        self.run_remote_calls();
        let activity = self.context.activity();
        self.tasks.run_woken_each(|| activity.begin(Doing::Task));
        for id in unfinished {
            self.with_channel(id, |_| ());
        }
        self.settle_touched();
        if self.datagrams.has_touched() && self.datagrams.settle_touched(self) {
            // What a datagram has brought about goes out in this turn, too.
            self.settle_touched();
        }
        Ok(())
    }

    /// When the next turn has something to do, if nothing happens before: `None` for never. It is
    /// taken for asleep from here on, so that who hands something over wakes it.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        self.remote.fall_asleep();
        if self.has_work() || self.remote.has_calls() {
            return Some(self.driver.now());
        }
        self.next_due()
    }

    fn has_work(&self) -> bool {
        self.tasks.has_woken()
            || self.context.has_touched()
            || self.datagrams.has_touched()
            || !self.unfinished.borrow().is_empty()
            || self.stop_wanted.get()
            || self.outcome.get().is_some()
            || !self.startup.borrow().is_empty()
    }

    /// How long there is nothing to do, if nothing happens.
    fn timeout(&self) -> Option<Duration> {
        let next = self.next_due()?;
        Some(next.saturating_duration_since(self.driver.now()))
    }

    /// When the next timer or deadline is due.
    fn next_due(&self) -> Option<Instant> {
        let deadline = self.deadlines.borrow().next_wake();
        let deadline = deadline.map(|nanos| self.context.instant(nanos));
        [deadline, self.timers.next_wake()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Reads the time for this turn.
    pub(crate) fn wake_up(&self) {
        let now = self.driver.now();
        self.context.set_now(now);
        self.timers.set_now(now);
    }

    /// The time of this turn. Between turns, those that a guest is given, and between runs, the time
    /// is read.
    pub(crate) fn now(&self) -> Instant {
        if !self.has_turn.get() {
            self.wake_up();
        }
        self.context.now()
    }

    pub(crate) fn wall_clock(&self) -> SystemTime {
        self.driver.wall_clock()
    }

    /// What these ask for anew waits for the next turn, so that they cannot keep the loop.
    fn run_startup(&self) {
        for call in self.startup.take() {
            self.context.activity().begin(Doing::CallWhenRunning);
            guard("a call_when_running", call);
        }
    }

    fn run_remote_calls(&self) {
        if !self.remote.has_calls() {
            return;
        }
        let Some(handle) = self.handle() else { return };
        for call in self.remote.take_calls() {
            self.context.activity().begin(Doing::CallFromThread);
            guard("a call_from_thread", || call(&handle));
        }
    }

    fn run_deadlines(&self) {
        let now = self.context.now_nanos();
        self.deadlines.borrow_mut().advance(now);
        loop {
            let due = self.deadlines.borrow_mut().pop_due();
            let Some((_, id)) = due else { return };
            if let Some(entry) = self.connections.borrow_mut().get(id) {
                entry.timer = None;
            }
            self.with_channel(id, |channel| {
                if channel.deadline().is_some_and(|deadline| deadline <= now) {
                    channel.deadline_passed();
                }
            });
        }
    }

    fn settle_touched(&self) {
        let mut touched = Vec::new();
        for _ in 0..TOUCH_ROUNDS {
            if !self.context.has_touched() {
                return;
            }
            self.context.take_touched(&mut touched);
            for id in touched.drain(..) {
                self.with_channel(id, |_| ());
            }
        }
    }

    /// Tells a channel of an event, then does what it asks for.
    pub(crate) fn with_channel(&self, id: ConnectionId, event: impl FnOnce(&mut Channel)) {
        let channel = {
            let mut connections = self.connections.borrow_mut();
            connections.get(id).and_then(|entry| entry.channel.take())
        };
        let Some(mut channel) = channel else { return };
        let settled = guard("a layer of a connection", || {
            event(&mut channel);
            self.settle(channel);
        });
        if settled.is_none() {
            // The channel guards its protocol. What came through was a layer's or a destructor's,
            // and has taken the channel with it.
            self.driver.abort(id);
            if let Some(entry) = self.close_entry(id) {
                drop(entry);
                self.ended(id, &Failure::msg("a layer of the connection panicked"));
            }
        }
    }

    fn settle(&self, mut channel: Channel) {
        let id = channel.id();
        for _ in 0..STEPS_IN_A_ROW {
            match channel.next_step() {
                Step::Send => channel.send(|queue| self.driver.send(id, queue)),
                Step::ShutdownWrite => {
                    if let Err(error) = self.driver.shutdown_write(id) {
                        channel.failed(error);
                    }
                }
                Step::SetOption(option) => {
                    if let Err(error) = self.driver.set_option(id, option) {
                        tracing::warn!(connection = %id, ?option, %error, "cannot set an option");
                    }
                }
                Step::Close => {
                    self.driver.close(id);
                    return self.forget(channel);
                }
                Step::Abort => {
                    self.driver.abort(id);
                    return self.forget(channel);
                }
                Step::Wait => return self.put_back(channel),
            }
        }
        self.unfinished.borrow_mut().push(id);
        self.put_back(channel);
    }

    fn put_back(&self, channel: Channel) {
        let id = channel.id();
        let ready = channel.is_made().then(|| self.awaited_by(id)).flatten();
        let ready = ready.map(|attempt| (attempt, channel.connection()));
        let deadline = channel.deadline();
        let reading = channel.wants_read();
        let mut connections = self.connections.borrow_mut();
        let Some(entry) = connections.get(id) else {
            debug_assert!(false, "a channel at work has an entry");
            return;
        };
        entry.channel = Some(channel);
        if let Some(deadline) = deadline {
            let mut wheel = self.deadlines.borrow_mut();
            match entry.timer {
                Some(_) if entry.armed <= deadline => {}
                Some(timer) => {
                    wheel.reset(timer, deadline);
                    entry.armed = deadline;
                }
                None => {
                    entry.timer = Some(wheel.insert(deadline, id));
                    entry.armed = deadline;
                }
            }
        }
        let told = std::mem::replace(&mut entry.reading, reading);
        drop(connections);
        if told != reading {
            self.driver.set_reading(id, reading);
        }
        if let Some((attempt, connection)) = ready {
            attempt.ready(connection);
        }
    }

    /// The connection has ended, and its socket is closed.
    fn forget(&self, channel: Channel) {
        let id = channel.id();
        let entry = self.close_entry(id);
        drop(entry);
        if channel.is_made()
            && let Some(attempt) = self.awaited_by(id)
        {
            // It was up, if only for the length of its `connection_made`.
            attempt.ready(channel.connection());
        }
        let reason = channel.lost();
        self.ended(id, &reason);
    }

    fn close_entry(&self, id: ConnectionId) -> Option<Entry> {
        let entry = self.connections.borrow_mut().close(id)?;
        if let Some(timer) = entry.timer {
            self.deadlines.borrow_mut().cancel(timer);
        }
        Some(entry)
    }

    fn ended(&self, id: ConnectionId, reason: &Failure) {
        if let Some(attempt) = self.awaited_by(id) {
            attempt.lost(reason.clone());
        }
        self.shutdown.connection_gone(self);
    }

    /// The attempt that waits for the connection to be ready; it does no longer.
    fn awaited_by(&self, id: ConnectionId) -> Option<Rc<Attempt>> {
        let mut awaited = self.awaited.borrow_mut();
        // Looked at for each event of each connection: mostly there is none.
        (!awaited.is_empty()).then(|| awaited.remove(&id)).flatten()
    }

    /// Builds what stands on a new connection, and puts it in its entry, not yet told that it is
    /// up. `false` when the factory refuses it, or panics.
    pub(crate) fn adopt(
        &self,
        id: ConnectionId,
        factory: &dyn Factory,
        limits: impl FnOnce() -> Rc<ConnectionLimits>,
        peer: Address,
        host: &Rc<Address>,
    ) -> bool {
        self.context.activity().begin(Doing::BuildProtocol);
        let built = guard("building a protocol", || {
            let protocol = factory.build_protocol(&peer)?;
            let layers = factory.build_layers(&peer);
            Some((protocol, layers, factory.build_policies(&peer), limits()))
        });
        let Some((protocol, layers, policies, limits)) = built.flatten() else {
            return false;
        };
        let context = Rc::clone(&self.context);
        let host = Rc::clone(host);
        let channel =
            Channel::new(context, id, protocol, layers, limits, peer, host).with_policies(policies);
        // The factory may have ended what it was to build for, by cancelling an attempt.
        let mut channel = Some(channel);
        if let Some(entry) = self.connections.borrow_mut().get(id) {
            entry.channel = channel.take();
        }
        channel.is_none()
    }

    /// Makes what serves a connection that came to `listener`. `None` refuses it.
    fn accept(
        &self,
        listener: ListenerId,
        peer: Address,
        host: &Rc<Address>,
    ) -> Option<ConnectionId> {
        let (factory, limits) = self.ports.factory(listener)?;
        let id = self.connections.borrow_mut().open(Side::Accepted);
        if !self.adopt(id, &*factory, || limits, peer, host) {
            self.free(id);
            return None;
        }
        self.ledger.accepted(self, id, listener);
        Some(id)
    }

    /// Serves a connection that another loop has accepted for the same port.
    pub(crate) fn take_over(
        &self,
        listener: ListenerId,
        socket: OwnedFd,
        peer: Address,
        host: Address,
    ) {
        let Some(id) = self.accept(listener, peer, &Rc::new(host)) else {
            return;
        };
        match self.driver.take_over(id, socket) {
            Ok(()) => self.with_channel(id, Channel::connected),
            Err(error) => {
                tracing::error!(%error, "cannot take a connection over from another worker");
                self.free(id);
            }
        }
    }

    /// A connection over descriptors that need not be sockets, which nobody serves yet:
    /// [`begin_attached`](Self::begin_attached) comes next.
    pub(crate) fn open_attached(
        &self,
        read: Option<OwnedFd>,
        write: Option<OwnedFd>,
    ) -> io::Result<ConnectionId> {
        let id = self.connections.borrow_mut().open(Side::Connected);
        let attached = self.driver.attach(id, read, write);
        attached.inspect_err(|_| self.free(id)).map(|()| id)
    }

    /// Lets `protocol` serve it.
    pub(crate) fn begin_attached(
        &self,
        id: ConnectionId,
        protocol: Box<dyn Protocol>,
        limits: &Rc<ConnectionLimits>,
        peer: Address,
    ) -> Connection {
        let context = Rc::clone(&self.context);
        let host = Rc::new(peer.clone());
        let limits = Rc::clone(limits);
        let channel = Channel::new(context, id, protocol, Vec::new(), limits, peer, host);
        let connection = channel.connection();
        if let Some(entry) = self.connections.borrow_mut().get(id) {
            entry.channel = Some(channel);
        }
        self.with_channel(id, Channel::connected);
        connection
    }

    /// A handle to a connection that is not at work.
    pub(crate) fn connection(&self, id: ConnectionId) -> Option<Connection> {
        let mut connections = self.connections.borrow_mut();
        Some(connections.get(id)?.channel.as_ref()?.connection())
    }

    /// What serves a connection that is not at work.
    pub(crate) fn protocol_name(&self, id: ConnectionId) -> Option<&'static str> {
        let mut connections = self.connections.borrow_mut();
        Some(connections.get(id)?.channel.as_ref()?.protocol_name())
    }

    /// Frees the name of a connection that never was.
    pub(crate) fn free(&self, id: ConnectionId) {
        let entry = self.close_entry(id);
        guard("dropping a protocol", || drop(entry));
        self.shutdown.connection_gone(self);
    }

    pub(crate) fn call_later(&self, delay: Duration, call: Call) -> DelayedCall {
        let call = self.timers.call_later(self.now(), delay, call);
        if self.is_over() {
            call.cancel();
        }
        call
    }

    pub(crate) fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task {
        let task = self.tasks.spawn(future);
        if self.is_over() {
            task.cancel();
        }
        task
    }

    pub(crate) fn call_when_running(&self, call: Call) {
        if !self.is_over() {
            self.startup.borrow_mut().push(call);
        }
    }

    /// Whether the reactor was dropped. What is handed over then is dropped too: it would be kept
    /// for ever by whoever in it keeps a handle.
    pub(crate) fn is_over(&self) -> bool {
        self.state.get() == State::Gone
    }

    pub(crate) fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: &Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        let (bottom, factory) = endpoint.resolve(self, Rc::clone(factory))?;
        if bottom == ServerEndpoint::Stdio {
            return self.listen_stdio(endpoint, factory);
        }
        let listen = |driver: &dyn Driver, id| Ok((open_bottom(driver, id, &bottom)?, ()));
        let (port, ()) = self.open_port(endpoint.to_string(), &factory, listen)?;
        Ok(port)
    }

    /// Accepts one connection, over the standard streams, in the next turn.
    fn listen_stdio(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        if self.is_over() {
            return Err(ListenError::ReactorStopped);
        }
        let taken = stdio::take().map_err(|error| ListenError::from_io(endpoint, error))?;
        let factory: Rc<dyn Factory> = Rc::new(Keeping::new(factory, taken.restore));
        let name = Address::Pipe(stdio::NAME.into());
        let open = |_: &dyn Driver, id| Ok((name.clone(), id));
        let (port, listener) = self.open_port(endpoint.to_string(), &factory, open)?;
        let me = self.weak();
        let accept = move || {
            if let Some(me) = me.upgrade() {
                me.accept_stdio(listener, taken.streams, name);
            }
        };
        self.call_when_running(Box::new(accept));
        Ok(port)
    }

    fn accept_stdio(&self, listener: ListenerId, streams: Streams, name: Address) {
        let Some(id) = self.accept(listener, name.clone(), &Rc::new(name)) else {
            return;
        };
        let opened = match streams {
            Streams::Socket(socket) => self.driver.take_over(id, socket),
            Streams::Pair { read, write } => self.driver.attach(id, Some(read), Some(write)),
        };
        match opened {
            Ok(()) => self.with_channel(id, Channel::connected),
            Err(error) => {
                tracing::error!(%error, "cannot serve the standard streams");
                self.free(id);
            }
        }
    }

    /// Accepts from a socket that listens already.
    pub(crate) fn adopt_port(
        &self,
        socket: OwnedFd,
        factory: &Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        let name = format!("the inherited socket {}", socket.as_raw_fd());
        let adopt = |driver: &dyn Driver, id| Ok((driver.adopt(id, socket)?, ()));
        let (port, ()) = self.open_port(name, factory, adopt)?;
        Ok(port)
    }

    pub(crate) fn open_port<T>(
        &self,
        name: String,
        factory: &Rc<dyn Factory>,
        begin: impl FnOnce(&dyn Driver, ListenerId) -> io::Result<(Address, T)>,
    ) -> Result<(Port, T), ListenError> {
        if self.is_over() {
            return Err(ListenError::ReactorStopped);
        }
        self.ports.open(self, name, factory, begin)
    }

    pub(crate) fn connect(
        &self,
        endpoint: &ClientEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Deferred<Connection> {
        let connects = !self.is_over() && !self.shutdown.connects_no_more.get();
        let Some(me) = self.me.upgrade().filter(|_| connects) else {
            return stopped_connect();
        };
        let (bottom, factory) = match endpoint.resolve(self, factory) {
            Ok(resolved) => resolved,
            Err(error) => return Deferred::fail(error),
        };
        let prepared = match &bottom {
            ClientEndpoint::Exec(connect) => exec::open(&me, connect, factory).map(|opened| {
                let known = (Some(opened.peer), None);
                (opened.bottom, opened.factory, known)
            }),
            ClientEndpoint::Stdio => stdio::take().map(|taken| {
                let factory: Rc<dyn Factory> = Rc::new(Keeping::new(factory, taken.restore));
                let peer = Address::Pipe(stdio::NAME.into());
                (bottom, factory, (Some(peer), Some(taken.streams)))
            }),
            _ => Ok((bottom, factory, (None, None))),
        };
        match prepared {
            Ok((bottom, factory, known)) => {
                Attempt::begin(&me, endpoint.clone(), bottom, factory, known)
            }
            Err(error) => Deferred::fail(ConnectError::from_io(endpoint, error)),
        }
    }

    pub(crate) fn close_ports(&self) {
        self.ports.close_all(&*self.driver);
    }

    /// Tells connections that the program is shutting down, but those that were `told`. Returns
    /// which there are.
    pub(crate) fn drain(
        &self,
        side: Option<Side>,
        told: &BTreeSet<ConnectionId>,
    ) -> Vec<ConnectionId> {
        let ids = self.connections.borrow().ids(side);
        for id in ids.iter().filter(|id| !told.contains(id)) {
            self.with_channel(*id, Channel::drain);
        }
        ids
    }

    pub(crate) fn give_up_attempts(&self) {
        let attempts = self.attempts.take();
        let looking_up = self.looking_up.take();
        for attempt in attempts.into_values().chain(looking_up.into_values()) {
            attempt.give_up();
        }
    }

    /// Whether no connection of this kind is left.
    pub(crate) fn is_gone(&self, side: Option<Side>) -> bool {
        let connections = self.connections.borrow();
        match side {
            Some(Side::Accepted) => connections.accepted() == 0,
            _ => connections.len() == 0,
        }
    }

    pub(crate) fn stop(&self) {
        self.stop_wanted.set(true);
    }

    pub(crate) fn stop_now(&self) {
        self.outcome.set(Some(Outcome::EndedAtOnce));
    }

    /// The shutdown is complete.
    pub(crate) fn finish(&self) {
        if self.outcome.get().is_none() {
            self.outcome.set(Some(Outcome::Finished));
        }
    }

    fn begin_shutdown(&self) {
        if self.shutdown.begun.replace(true) {
            return;
        }
        let Some(me) = self.me.upgrade() else { return };
        self.spawn(Box::pin(shut_down(me)));
        let me = self.me.clone();
        let late = Box::new(move || {
            if let Some(me) = me.upgrade() {
                me.shutdown.overdue.set(true);
            }
        });
        self.call_later(self.shutdown.deadline(), late);
    }

    /// Ends all that is left of a run. Returns the names of the jobs in threads that go on.
    fn clear(&self) -> Vec<String> {
        let jobs = self.jobs.abandon();
        self.remote.end_run();
        self.close_ports();
        self.shutdown.reset();
        self.tasks.clear();
        // What ends may start something anew; it is ended too, a bounded number of times.
        for _ in 0..TOUCH_ROUNDS {
            self.give_up_attempts();
            self.processes.abandon(self);
            self.names.abandon(self);
            self.datagrams.stop_all(self);
            let ids = self.connections.borrow().ids(None);
            for id in &ids {
                self.with_channel(*id, |channel| {
                    channel.end(Failure::from(ConnectionAborted).context("the reactor has ended"));
                });
            }
            self.timers.clear();
            self.tasks.clear();
            self.shutdown.reset();
            self.close_ports();
            if ids.is_empty() && self.datagrams.len() == 0 {
                break;
            }
        }
        jobs
    }

    /// The reactor is dropped: ends everything, for good.
    pub(crate) fn end(&self) {
        self.state.set(State::Gone);
        let startup = self.startup.take();
        drop(startup);
        self.clear();
        self.remote.close();
    }

    fn handle(&self) -> Option<Handle> {
        self.me.upgrade().map(|inner| Handle { inner })
    }

    /// A number for an attempt to connect.
    pub(crate) fn next_attempt(&self) -> u64 {
        let number = self.begun.get();
        self.begun.set(number + 1);
        number
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        self.me.clone()
    }
}

/// Lets the driver listen at an endpoint that stands on no other.
pub(crate) fn open_bottom(
    driver: &dyn Driver,
    id: ListenerId,
    bottom: &ServerEndpoint,
) -> io::Result<Address> {
    match bottom {
        ServerEndpoint::Fd(descriptor) => driver.adopt(id, inherited::take(descriptor)?),
        _ => driver.listen(id, bottom),
    }
}

/// Runs code of others. A panic in it is logged, and the loop goes on.
pub(crate) fn guard<R>(what: &'static str, call: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => Some(result),
        Err(payload) => {
            let panicked = Panicked::new(what, &*payload);
            tracing::error!(panic = panicked.as_error(), "a callback panicked");
            None
        }
    }
}

impl ropewalk_core::ReactorTime for EventLoop {
    fn now(&self) -> Instant {
        self.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.wall_clock()
    }

    fn call_later(&self, delay: Duration, call: Call) -> DelayedCall {
        self.ledger.call_later(self, delay, call)
    }
}

impl ropewalk_core::ReactorTasks for EventLoop {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()>>>) -> Task {
        self.ledger.spawn(self, future)
    }
}

impl ropewalk_core::ReactorThreads for EventLoop {
    fn run_in_thread(&self, name: JobName, job: Box<dyn FnOnce() + Send>) -> Deferred<()> {
        let job = self.ledger.with_log(job);
        let ran = self.jobs.defer(self, &self.jobs.pool, name.clone(), job);
        self.ledger.job(self, name, ran)
    }
}

impl ropewalk_core::ReactorProcess for EventLoop {
    fn spawn_process(
        &self,
        spawn: &Spawn,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError> {
        let process = self.processes.spawn(self, spawn, protocol)?;
        self.ledger.process(self, &process, spawn.name());
        Ok(process)
    }
}

impl ropewalk_core::ReactorNet for EventLoop {
    fn commons(&self) -> Arc<Commons> {
        self.driver.commons()
    }

    fn listen(
        &self,
        endpoint: &ServerEndpoint,
        factory: Rc<dyn Factory>,
    ) -> Result<Port, ListenError> {
        self.listen(endpoint, &factory)
    }

    fn connect(&self, endpoint: &ClientEndpoint, factory: Rc<dyn Factory>) -> Deferred<Connection> {
        self.connect(endpoint, factory)
    }

    fn server_kind(&self, endpoint: &ServerEndpoint) -> io::Result<Arc<dyn ServerKind>> {
        kinds::server(endpoint)
    }

    fn client_kind(&self, endpoint: &ClientEndpoint) -> io::Result<Arc<dyn ClientKind>> {
        kinds::client(endpoint)
    }
}

impl ropewalk_core::ReactorDatagrams for EventLoop {
    fn listen_datagram(
        &self,
        endpoint: &DatagramEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Result<DatagramPort, ListenError> {
        self.datagrams.listen(self, endpoint, protocol)
    }

    fn connect_datagram(
        &self,
        endpoint: &DatagramClientEndpoint,
        protocol: Box<dyn DatagramProtocol>,
    ) -> Deferred<DatagramPort> {
        self.datagrams.connect(self, endpoint, protocol)
    }
}

impl ropewalk_core::ReactorNames for EventLoop {
    fn name_resolver(&self) -> Rc<dyn NameResolver> {
        self.names.resolver()
    }

    fn install_name_resolver(&self, resolver: Rc<dyn NameResolver>) -> Rc<dyn NameResolver> {
        self.names.install(resolver)
    }
}

/// What the driver reports, told to the loop.
struct Sink<'a>(&'a EventLoop);

impl Completions for Sink<'_> {
    fn waited(&mut self) {
        self.0.remote.awake();
        watchdog::loop_woke();
        self.0.wake_up();
    }

    fn accepted(&mut self, listener: ListenerId, peer: Address, host: &Rc<Address>) -> Accept {
        if let Some(hand_over) = self.0.ports.hand_over(listener) {
            let host = (**host).clone();
            return Accept::HandOver(Box::new(|socket| hand_over(socket, peer, host)));
        }
        self.0
            .accept(listener, peer, host)
            .map_or(Accept::Refuse, Accept::As)
    }

    fn accept_failed(&mut self, listener: ListenerId, error: io::Error) {
        self.0.ports.rest(self.0, listener, &error, ACCEPT_REST);
    }

    fn resolved(&mut self, query: QueryId, result: io::Result<Vec<SocketAddr>>) {
        self.0.context.activity().begin(Doing::Connect);
        self.0.names.resolved(query, result);
    }

    fn opened(&mut self, connection: ConnectionId, host: &Rc<Address>) {
        self.0.context.activity().begin(Doing::Connect);
        let attempt = self.0.attempts.borrow_mut().remove(&connection);
        if let Some(attempt) = attempt
            && !attempt.opened(connection, host)
        {
            return;
        }
        self.0.with_channel(connection, Channel::connected);
    }

    fn connect_failed(&mut self, connection: ConnectionId, error: io::Error) {
        self.0.context.activity().begin(Doing::Connect);
        let attempt = self.0.attempts.borrow_mut().remove(&connection);
        if let Some(attempt) = attempt {
            attempt.failed(connection, error);
        }
        // Last, so that an attempt that goes on with another address is never nothing in between.
        self.0.free(connection);
    }

    fn descriptors(&mut self, connection: ConnectionId, descriptors: Vec<OwnedFd>) {
        self.0.with_channel(connection, |channel| {
            channel.descriptors_received(descriptors);
        });
    }

    fn received(&mut self, connection: ConnectionId, data: &[u8]) {
        self.0
            .with_channel(connection, |channel| channel.received(data));
    }

    fn read_closed(&mut self, connection: ConnectionId) {
        self.0.with_channel(connection, Channel::read_closed);
    }

    fn writable(&mut self, connection: ConnectionId) {
        self.0.with_channel(connection, Channel::writable);
    }

    fn failed(&mut self, connection: ConnectionId, error: io::Error) {
        self.0
            .with_channel(connection, |channel| channel.failed(error));
    }

    fn ready(&mut self, watch: WatchId) {
        self.0.context.activity().begin(Doing::Process);
        self.0.processes.ready(self.0, watch);
    }

    fn datagrams(&mut self, port: DatagramId, batch: &mut dyn Iterator<Item = Incoming<'_>>) {
        let datagrams = &self.0.datagrams;
        datagrams.with(self.0, port, |channel| channel.received(batch));
    }

    fn datagrams_writable(&mut self, port: DatagramId) {
        let datagrams = &self.0.datagrams;
        datagrams.with(self.0, port, DatagramChannel::writable);
    }

    fn datagram_failed(&mut self, port: DatagramId, error: DatagramError) {
        let datagrams = &self.0.datagrams;
        datagrams.with(self.0, port, |channel| channel.failed(error));
    }
}
