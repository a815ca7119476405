//! All that happens to one process, in the promised order, with no I/O in it.
//!
//! A reactor makes a [`ChildProcess`] for what it has started, gives it a connection for each pipe
//! ([`ChildProcess::pipe`]), and tells it when the process has ended. What is told to a
//! [`ProcessProtocol`], when and how often is decided here, once for all reactors.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use super::{
    ExitStatus, Process, ProcessProtocol, ProcessTransport, Signal, SignalError, Spawn, WindowSize,
};
use crate::context::LoopContext;
use crate::{Connection, Failure, Panicked, Protocol, Transport};

/// What a reactor can do to a process that it has started.
pub trait ChildControl {
    /// Sends it `signal`; with `group`, its whole process group, if it has one of its own.
    ///
    /// # Errors
    /// What the operating system refused. [`io::ErrorKind::Unsupported`]: there is no such signal.
    fn signal(&self, signal: Signal, group: bool) -> io::Result<()>;

    /// Gives its terminal another size.
    ///
    /// # Errors
    /// It has none, or what the operating system refused.
    fn set_window_size(&self, size: WindowSize) -> io::Result<()>;

    /// The connection of `descriptor` is closed, and nothing is left that the process could miss:
    /// what else is open of it is to be closed. (A terminal that is closed while a process that has
    /// closed its side is still ending would end it with SIGHUP.)
    fn closed(&self, descriptor: u32) {
        let _ = descriptor;
    }
}

/// A process that was started, for those who implement a reactor. Cheap to clone; whoever waits
/// for the end of the process keeps one.
#[derive(Clone)]
pub struct ChildProcess {
    shared: Rc<Shared>,
}

/// What the pipes' ends, the transport and the handles share.
pub(super) struct Shared {
    pub(super) context: Rc<LoopContext>,
    pub(super) program: String,
    pub(super) pid: u32,
    pub(super) has_terminal: bool,
    pub(super) control: Box<dyn ChildControl>,
    grace: Duration,
    /// `None` while it runs, and after its end.
    protocol: RefCell<Option<Box<dyn ProcessProtocol>>>,
    /// What happened while the protocol was running.
    waiting: RefCell<VecDeque<Event>>,
    pipes: RefCell<BTreeMap<u32, Pipe>>,
    status: Cell<Option<ExitStatus>>,
    stage: Cell<Stage>,
    terminating: Cell<bool>,
}

struct Pipe {
    /// Dead until it is joined.
    connection: Connection,
    is_writable: bool,
    /// The protocol wants no data from it.
    paused: bool,
    /// The process has closed it.
    at_end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Started,
    /// `connection_made` was called.
    Made,
    /// `process_ended` was called, or is being called.
    Ended,
}

enum Event {
    Made,
    Data(u32, Vec<u8>),
    Paused(u32),
    Resumed(u32),
    Lost(u32, Failure),
    Exited(ExitStatus),
}

impl ChildProcess {
    /// The process `pid`, which was started as `spawn` says.
    #[must_use]
    pub fn new(
        context: Rc<LoopContext>,
        spawn: &Spawn,
        pid: u32,
        control: Box<dyn ChildControl>,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Self {
        Self {
            shared: Rc::new(Shared {
                context,
                program: spawn.name(),
                pid,
                has_terminal: spawn.terminal.is_some(),
                control,
                grace: spawn.grace,
                protocol: RefCell::new(Some(protocol)),
                waiting: RefCell::default(),
                pipes: RefCell::default(),
                status: Cell::new(None),
                stage: Cell::new(Stage::Started),
                terminating: Cell::new(false),
            }),
        }
    }

    /// What is to be the protocol of the connection that is the pipe at `descriptor`. All of them
    /// must be made in the turn in which the process was started, and be [joined](Self::joined).
    #[must_use]
    pub fn pipe(&self, descriptor: u32, is_writable: bool) -> Box<dyn Protocol> {
        let pipe = Pipe {
            connection: Connection::default(),
            is_writable,
            paused: false,
            at_end: false,
        };
        self.shared.pipes.borrow_mut().insert(descriptor, pipe);
        Box::new(PipeEnd {
            shared: Rc::clone(&self.shared),
            descriptor,
        })
    }

    /// The connection that has the protocol which was made for `descriptor`. Nothing is received
    /// before `connection_made`, which may want to have none.
    pub fn joined(&self, descriptor: u32, connection: Connection) {
        connection.pause_producing();
        if let Some(pipe) = self.shared.pipes.borrow_mut().get_mut(&descriptor) {
            pipe.connection = connection;
        }
    }

    /// The turn after the one in which it was started has come.
    pub fn start(&self) {
        self.shared.tell(Event::Made);
    }

    /// The process has ended, and its number is free. To be called once; a second call does
    /// nothing.
    pub fn exited(&self, status: ExitStatus) {
        if !self.shared.has_exited() {
            self.shared.status.set(Some(status));
            self.shared.tell(Event::Exited(status));
        }
    }

    /// Ends it: see [`ProcessTransport::terminate`].
    pub fn terminate(&self) {
        self.shared.terminate();
    }

    /// Kills it, with its group if it has one of its own.
    pub fn kill(&self) {
        self.shared.send(Signal::Kill, true);
    }

    /// Closes its pipes when what was written is sent.
    pub fn lose_connection(&self) {
        for connection in self.shared.connections() {
            connection.lose_connection();
        }
    }

    /// Closes the pipes of one that has ended, which others may hold for as long as they like. What
    /// is unsent is dropped: it is not for them.
    pub fn abandon_pipes(&self) {
        for connection in self.shared.connections() {
            match connection.unsent() {
                None | Some(0) => connection.lose_connection(),
                Some(_) => connection.abort_connection(),
            };
        }
    }

    /// The process of a handle. `None` if all has been told of it.
    #[must_use]
    pub fn of(process: &Process) -> Option<Self> {
        let shared = process.shared.upgrade()?;
        (!shared.has_ended()).then_some(Self { shared })
    }

    /// A handle for users.
    #[must_use]
    pub fn handle(&self) -> Process {
        Process {
            shared: Rc::downgrade(&self.shared),
        }
    }
}

impl Shared {
    pub(super) fn has_exited(&self) -> bool {
        self.status.get().is_some()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.stage.get() == Stage::Ended
    }

    pub(super) fn connection(&self, descriptor: u32) -> Option<Connection> {
        self.find(descriptor, |_| true)
    }

    /// The connection that writes to `descriptor`.
    pub(super) fn writable(&self, descriptor: u32) -> Option<Connection> {
        self.find(descriptor, |pipe| pipe.is_writable)
    }

    fn find(&self, descriptor: u32, wanted: impl FnOnce(&Pipe) -> bool) -> Option<Connection> {
        let descriptor = self.with_terminal(descriptor);
        let pipes = self.pipes.borrow();
        let pipe = pipes.get(&descriptor).filter(|pipe| wanted(pipe));
        pipe.map(|pipe| pipe.connection.clone())
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        let pipes = self.pipes.borrow();
        pipes.values().map(|pipe| pipe.connection.clone()).collect()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        if self.has_exited() {
            return Err(SignalError::ProcessExitedAlready { signal });
        }
        self.control
            .signal(signal, false)
            .map_err(|source| match source.kind() {
                io::ErrorKind::Unsupported => SignalError::NoSuchSignal { signal },
                _ => SignalError::Io {
                    signal,
                    pid: self.pid,
                    source,
                },
            })
    }

    pub(super) fn terminate(self: &Rc<Self>) {
        if self.has_exited() || self.terminating.replace(true) {
            return;
        }
        self.send(Signal::Term, true);
        let me = Rc::downgrade(self);
        let kill = move || {
            if let Some(me) = me.upgrade() {
                me.send(Signal::Kill, true);
            }
        };
        if let Some(reactor) = self.context.reactor() {
            reactor.call_later(self.grace, Box::new(kill));
        }
    }

    fn send(&self, signal: Signal, group: bool) {
        if self.has_exited() {
            return;
        }
        if let Err(error) = self.control.signal(signal, group) {
            tracing::warn!(program = self.program, pid = self.pid, %signal, %error,
                "cannot end a process");
        }
    }

    /// Tells the protocol of an event: now, or as soon as it has returned from another one.
    fn tell(self: &Rc<Self>, event: Event) {
        match self.protocol.take() {
            Some(protocol) => self.run(protocol, |me, protocol| me.tell_now(protocol, event)),
            None => self.waiting.borrow_mut().push_back(event),
        }
    }

    /// As `tell`, and copies nothing where it need not.
    fn tell_data(self: &Rc<Self>, descriptor: u32, data: &[u8]) {
        match self.protocol.take() {
            Some(protocol) => self.run(protocol, |me, protocol| {
                me.tell_data_now(protocol, descriptor, data);
            }),
            None => {
                let event = Event::Data(descriptor, data.to_vec());
                self.waiting.borrow_mut().push_back(event);
            }
        }
    }

    /// Runs the protocol, then tells it what happened meanwhile, and of the end if that has come.
    fn run(
        self: &Rc<Self>,
        mut protocol: Box<dyn ProcessProtocol>,
        first: impl FnOnce(&Rc<Self>, &mut dyn ProcessProtocol),
    ) {
        if self.stage.get() == Stage::Started {
            // Data may come before the turn in which `start` is called.
            self.stage.set(Stage::Made);
            self.guard("connection_made", || {
                protocol.connection_made(&mut self.transport());
            });
            self.begin_reading();
        }
        first(self, &mut *protocol);
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(event) = next else { break };
            self.tell_now(&mut *protocol, event);
        }
        let has_pipes = !self.pipes.borrow().is_empty();
        match self.status.get() {
            Some(status) if !has_pipes => {
                self.stage.set(Stage::Ended);
                self.guard("process_ended", || {
                    protocol.process_ended(status);
                    drop(protocol);
                });
            }
            _ => *self.protocol.borrow_mut() = Some(protocol),
        }
    }

    fn tell_now(self: &Rc<Self>, protocol: &mut dyn ProcessProtocol, event: Event) {
        let transport = &mut self.transport();
        match event {
            Event::Made => {}
            Event::Data(descriptor, data) => self.tell_data_now(protocol, descriptor, &data),
            Event::Paused(descriptor) => self.guard("write_paused", || {
                protocol.write_paused(transport, descriptor);
            }),
            Event::Resumed(descriptor) => self.guard("write_resumed", || {
                protocol.write_resumed(transport, descriptor);
            }),
            Event::Lost(descriptor, reason) => {
                let pipe = self.pipes.borrow_mut().remove(&descriptor);
                let at_end = pipe.is_some_and(|pipe| pipe.at_end);
                if !at_end || self.has_exited() {
                    self.control.closed(descriptor);
                }
                self.guard("child_connection_lost", || {
                    protocol.child_connection_lost(transport, descriptor, reason);
                });
            }
            Event::Exited(status) => {
                if self.has_terminal && !self.pipes.borrow().contains_key(&1) {
                    self.control.closed(1);
                }
                self.guard("process_exited", || {
                    protocol.process_exited(transport, status);
                });
            }
        }
    }

    fn tell_data_now(
        self: &Rc<Self>,
        protocol: &mut dyn ProcessProtocol,
        descriptor: u32,
        data: &[u8],
    ) {
        self.guard("child_data_received", || {
            protocol.child_data_received(&mut self.transport(), descriptor, data);
        });
    }

    fn transport(self: &Rc<Self>) -> ProcessTransport {
        ProcessTransport {
            shared: Rc::clone(self),
        }
    }

    /// Lets those pipes be read that the protocol has not paused.
    fn begin_reading(&self) {
        let wanted: Vec<_> = {
            let pipes = self.pipes.borrow();
            let wanted = pipes.values().filter(|pipe| !pipe.paused);
            wanted.map(|pipe| pipe.connection.clone()).collect()
        };
        for connection in wanted {
            connection.resume_producing();
        }
    }

    /// Whether the protocol wants data from `descriptor`. `false` if there is none to have.
    pub(super) fn set_reading(&self, descriptor: u32, on: bool) -> bool {
        let descriptor = self.with_terminal(descriptor);
        let connection = match self.pipes.borrow_mut().get_mut(&descriptor) {
            Some(pipe) => {
                pipe.paused = !on;
                pipe.connection.clone()
            }
            None => return false,
        };
        match on {
            true => connection.resume_producing(),
            false => connection.pause_producing(),
        }
    }

    /// A terminal is the descriptor 1, whichever of its numbers is asked for.
    fn with_terminal(&self, descriptor: u32) -> u32 {
        match descriptor {
            0 if self.has_terminal => 1,
            other => other,
        }
    }

    /// Runs a callback. When it panics, nobody knows what the protocol still knows: the pipes are
    /// closed, and the process is told to end.
    fn guard(self: &Rc<Self>, callback: &'static str, call: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
            let panicked = Panicked::new(callback, &*payload);
            tracing::error!(
                program = self.program,
                pid = self.pid,
                panic = panicked.as_error(),
                "a callback panicked; its process is ended"
            );
            for connection in self.connections() {
                connection.abort_connection();
            }
            self.terminate();
        }
    }
}

/// The protocol of one pipe's connection.
struct PipeEnd {
    shared: Rc<Shared>,
    descriptor: u32,
}

impl Protocol for PipeEnd {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.shared.tell_data(self.descriptor, data);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        if let Some(pipe) = self.shared.pipes.borrow_mut().get_mut(&self.descriptor) {
            pipe.at_end = true;
        }
        transport.lose_connection();
    }

    fn write_paused(&mut self, _: &mut Transport) {
        self.shared.tell(Event::Paused(self.descriptor));
    }

    fn write_resumed(&mut self, _: &mut Transport) {
        self.shared.tell(Event::Resumed(self.descriptor));
    }

    /// What becomes of a process in a shutdown is decided for the process, not for its pipes.
    fn drain(&mut self, _: &mut Transport) {}

    fn connection_lost(&mut self, reason: Failure) {
        self.shared.tell(Event::Lost(self.descriptor, reason));
    }
}
