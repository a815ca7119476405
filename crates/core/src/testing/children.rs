//! Processes of the reactor in memory, seen from the side of the program.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use crate::{
    ChildControl, ChildProcess, Connection, ExitStatus, Failure, Protocol, Signal, Spawn,
    Transport, WindowSize,
};

/// The side of the program, in the hands of a test: see
/// [`MemoryReactor::take_children`](super::MemoryReactor::take_children).
///
/// What it sends and closes is heard when the reactor is run. No signal does anything by itself.
pub struct MemoryChild {
    spawn: Spawn,
    child: ChildProcess,
    ends: Ends,
}

/// What the program has seen.
#[derive(Clone, Default)]
pub(super) struct Ends(Rc<Seen>);

#[derive(Default)]
struct Seen {
    connections: RefCell<BTreeMap<u32, Connection>>,
    received: RefCell<BTreeMap<u32, Vec<u8>>>,
    closed: RefCell<BTreeSet<u32>>,
    signals: RefCell<Vec<Signal>>,
    window: Cell<Option<WindowSize>>,
}

impl MemoryChild {
    pub(super) fn new(spawn: Spawn, child: ChildProcess, ends: Ends) -> Self {
        Self { spawn, child, ends }
    }

    /// What it was started as.
    #[must_use]
    pub fn spawn(&self) -> &Spawn {
        &self.spawn
    }

    /// All that has come at `descriptor`.
    #[must_use]
    pub fn received(&self, descriptor: u32) -> Vec<u8> {
        let received = self.ends.0.received.borrow();
        received.get(&descriptor).cloned().unwrap_or_default()
    }

    /// Whether the other side has closed `descriptor`: a read would find the end.
    #[must_use]
    pub fn is_closed(&self, descriptor: u32) -> bool {
        self.ends.0.closed.borrow().contains(&descriptor)
    }

    /// The signals that were sent, in their order.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        self.ends.0.signals.borrow().clone()
    }

    /// The size of its terminal.
    #[must_use]
    pub fn window_size(&self) -> Option<WindowSize> {
        self.ends.0.window.get().or(self.spawn.terminal)
    }

    /// Writes to `descriptor`. `false` if it is closed, or no pipe.
    pub fn send(&self, descriptor: u32, data: &[u8]) -> bool {
        let connection = self.connection(descriptor);
        connection.is_some_and(|connection| connection.write(data))
    }

    /// Closes `descriptor`.
    pub fn close(&self, descriptor: u32) {
        if let Some(connection) = self.connection(descriptor) {
            connection.lose_connection();
        }
    }

    /// Ends, with all of its descriptors.
    pub fn exit(&self, status: ExitStatus) {
        let connections: Vec<_> = {
            let connections = self.ends.0.connections.borrow();
            connections.values().cloned().collect()
        };
        for connection in connections {
            connection.lose_connection();
        }
        self.exit_leaving_pipes(status);
    }

    /// Ends, while what it has started has its descriptors. [`close`](Self::close) closes them.
    pub fn exit_leaving_pipes(&self, status: ExitStatus) {
        self.child.exited(status);
    }

    fn connection(&self, descriptor: u32) -> Option<Connection> {
        self.ends.0.connections.borrow().get(&descriptor).cloned()
    }
}

impl Ends {
    pub(super) fn joined(&self, descriptor: u32, connection: Connection) {
        let mut connections = self.0.connections.borrow_mut();
        connections.insert(descriptor, connection);
    }
}

impl ChildControl for Ends {
    fn signal(&self, signal: Signal, _group: bool) -> io::Result<()> {
        self.0.signals.borrow_mut().push(signal);
        Ok(())
    }

    fn set_window_size(&self, size: WindowSize) -> io::Result<()> {
        self.0.window.set(Some(size));
        Ok(())
    }
}

/// The program's end of a pipe.
pub(super) struct ChildEnd {
    ends: Ends,
    descriptor: u32,
}

impl ChildEnd {
    pub(super) fn new(ends: &Ends, descriptor: u32) -> Self {
        Self {
            ends: ends.clone(),
            descriptor,
        }
    }
}

impl Protocol for ChildEnd {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        let mut received = self.ends.0.received.borrow_mut();
        received.entry(self.descriptor).or_default().extend(data);
    }

    fn connection_lost(&mut self, _: Failure) {
        self.ends.0.closed.borrow_mut().insert(self.descriptor);
    }
}
