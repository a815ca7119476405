//! A protocol's side of its process: [`ProcessTransport`] while it runs, [`Process`] at any time.

use std::fmt;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::child::Shared;
use super::{Signal, SignalError, WindowSize};
use crate::{ReactorCore, Transport};

/// The process, lent to its protocol for the length of a callback.
///
/// What acts on a descriptor does nothing, and returns `false`, when that is no open pipe that goes
/// the right way. On a process with a terminal, 0 and 1 are both the terminal.
pub struct ProcessTransport {
    pub(super) shared: Rc<Shared>,
}

impl ProcessTransport {
    /// Its number. After `process_exited`, another process may have it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.pid
    }

    /// Appends a copy of `data` to what is sent to its standard input.
    pub fn write(&mut self, data: &[u8]) -> bool {
        self.write_to_child(0, data)
    }

    /// Appends a copy of `data` to what is sent to `descriptor`: Twisted's `writeToChild`. As any
    /// connection, it is ended when too much is unsent: write no more after `write_paused`.
    pub fn write_to_child(&mut self, descriptor: u32, data: &[u8]) -> bool {
        let connection = self.shared.writable(descriptor);
        connection.is_some_and(|connection| connection.write(data))
    }

    /// Appends `data` to what is sent to `descriptor`, without copying it (unless it is short).
    pub fn write_bytes(&mut self, descriptor: u32, data: Bytes) -> bool {
        let connection = self.shared.writable(descriptor);
        connection.is_some_and(|connection| connection.write_bytes(data))
    }

    /// Closes its standard input when all that was written is sent. A terminal stays open: it is
    /// sent the character that means the end (Ctrl-D), which a program that reads lines takes for
    /// it.
    pub fn close_stdin(&mut self) -> bool {
        if self.shared.has_terminal {
            return self.write(b"\x04");
        }
        self.close_child_descriptor(0)
    }

    /// Closes the pipe at `descriptor`: Twisted's `closeChildFD`. What was written is sent before;
    /// nothing more is received.
    pub fn close_child_descriptor(&mut self, descriptor: u32) -> bool {
        let connection = self.shared.connection(descriptor);
        connection.is_some_and(|connection| connection.lose_connection())
    }

    /// Closes all pipes. The process lives on.
    pub fn lose_connection(&mut self) {
        for connection in self.shared.connections() {
            connection.lose_connection();
        }
    }

    /// Asks for no more data from `descriptor` until [`resume_producing`](Self::resume_producing):
    /// the pipe fills, and holds the process back.
    pub fn pause_producing(&mut self, descriptor: u32) -> bool {
        self.shared.set_reading(descriptor, false)
    }

    /// Asks for data from `descriptor` again.
    pub fn resume_producing(&mut self, descriptor: u32) -> bool {
        self.shared.set_reading(descriptor, true)
    }

    /// Unsent bytes to `descriptor`.
    #[must_use]
    pub fn unsent(&self, descriptor: u32) -> u64 {
        let connection = self.shared.writable(descriptor);
        let unsent = connection.and_then(|connection| connection.unsent());
        unsent.unwrap_or(0)
    }

    /// Asks for one `write_resumed`, as soon as what is unsent to `descriptor` is little: see
    /// [`Transport::await_drain`].
    pub fn await_drain(&mut self, descriptor: u32) -> bool {
        let connection = self.shared.writable(descriptor);
        connection.is_some_and(|connection| connection.act(Transport::await_drain).is_some())
    }

    /// Sends it a signal: Twisted's `signalProcess`.
    ///
    /// # Errors
    /// [`SignalError`]: it has ended, for instance.
    pub fn signal(&mut self, signal: Signal) -> Result<(), SignalError> {
        self.shared.signal(signal)
    }

    /// Ends it: SIGTERM, and SIGKILL when it has not ended after [`grace`](super::Spawn#structfield.grace).
    /// One with a [group](super::Grouping) of its own is ended with its group.
    pub fn terminate(&mut self) {
        self.shared.terminate();
    }

    /// Gives its terminal another size. `false` if it has none.
    pub fn set_window_size(&mut self, size: WindowSize) -> bool {
        self.shared.has_terminal && self.shared.control.set_window_size(size).is_ok()
    }

    /// The reactor that runs this.
    ///
    /// # Panics
    /// When the reactor is gone: not within a callback.
    #[must_use]
    pub fn reactor(&self) -> Rc<dyn ReactorCore> {
        let reactor = self.shared.context.reactor();
        reactor.expect("a transport is lent only while its reactor lives")
    }

    /// A handle that may be kept.
    #[must_use]
    pub fn process(&self) -> Process {
        Process {
            shared: Rc::downgrade(&self.shared),
        }
    }
}

impl fmt::Debug for ProcessTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessTransport")
            .field("program", &self.shared.program)
            .field("pid", &self.shared.pid)
            .finish_non_exhaustive()
    }
}

/// A handle to a process that may be kept anywhere on its thread.
///
/// It keeps nothing alive, and dropping it changes nothing. Acting on a process that has ended does
/// nothing, and says so.
#[derive(Clone, Default)]
pub struct Process {
    pub(super) shared: Weak<Shared>,
}

impl Process {
    /// Does what a callback may do, from anywhere on the loop's thread: its protocol may be
    /// running. `None` if the process has ended.
    ///
    /// ```
    /// # use ropewalk_core::testing::MemoryReactor;
    /// # use ropewalk_core::{ProcessProtocol, ProcessTransport, Spawn};
    /// # struct Silent;
    /// # impl ProcessProtocol for Silent {}
    /// # let reactor = MemoryReactor::new();
    /// let process = reactor.spawn_process(&Spawn::new("cat"), Box::new(Silent)).unwrap();
    /// process.act(|transport| transport.write(b"hello"));
    /// reactor.run();
    /// assert_eq!(reactor.take_children()[0].received(0), b"hello");
    /// ```
    pub fn act<R>(&self, action: impl FnOnce(&mut ProcessTransport) -> R) -> Option<R> {
        let shared = self.shared.upgrade().filter(|shared| !shared.has_ended())?;
        Some(action(&mut ProcessTransport { shared }))
    }

    /// See [`ProcessTransport::signal`].
    ///
    /// # Errors
    /// [`SignalError`]: it has ended, for instance.
    pub fn signal(&self, signal: Signal) -> Result<(), SignalError> {
        self.act(|transport| transport.signal(signal))
            .unwrap_or(Err(SignalError::ProcessExitedAlready { signal }))
    }

    /// See [`ProcessTransport::terminate`].
    pub fn terminate(&self) -> bool {
        self.act(ProcessTransport::terminate).is_some()
    }

    /// Its number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        let shared = self.shared.upgrade()?;
        (!shared.has_exited()).then_some(shared.pid)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shared.upgrade() {
            Some(shared) => write!(f, "Process({}, {})", shared.program, shared.pid),
            None => f.write_str("Process(ended)"),
        }
    }
}
