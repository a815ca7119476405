//! Processes: what to start, what happens to it, and what a reactor offers for it.
//!
//! Nothing is started here. A [`Spawn`] says what to start; a reactor does it
//! ([`ReactorProcess`]), and tells a [`ProcessProtocol`] what happens. Each pipe to the process is a
//! [`Channel`](crate::Channel) of its own, with the back-pressure and the bounds of any connection;
//! [`ChildProcess`] joins what is told of them, and of the process, in the promised order. So it
//! holds on real processes and on those of [`MemoryReactor`](crate::testing::MemoryReactor) alike.

mod child;
mod error;
mod output;
mod protocol;
mod signal;
mod spawn;
mod status;
mod transport;

pub use child::{ChildControl, ChildProcess};
pub use error::{SignalError, SpawnError};
pub use output::{Output, OutputTooLong, process_output, process_value};
pub use protocol::ProcessProtocol;
pub use signal::{ParseSignalError, Signal};
pub use spawn::{ChildDescriptor, Grouping, Spawn, WindowSize};
pub use status::{ExitStatus, ProcessTerminated};
pub use transport::{Process, ProcessTransport};

/// Processes that are started by this one.
pub trait ReactorProcess {
    /// Starts what `spawn` says, and tells `protocol` what happens to it, from the next turn on:
    /// Twisted's `spawnProcess`.
    ///
    /// When this returns, the program is being executed: that it is not there, or may not be
    /// executed, is an error of this call.
    ///
    /// # Errors
    /// [`SpawnError`]; the protocol is dropped, and no process is left behind.
    ///
    /// ```
    /// use ropewalk_core::testing::MemoryReactor;
    /// use ropewalk_core::{ExitStatus, ProcessProtocol, ProcessTransport, Spawn};
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    ///
    /// /// Asks a calculator.
    /// struct Ask(Rc<RefCell<String>>);
    ///
    /// impl ProcessProtocol for Ask {
    ///     fn connection_made(&mut self, transport: &mut ProcessTransport) {
    ///         transport.write(b"6 * 7\n");
    ///         transport.close_stdin();
    ///     }
    ///     fn out_received(&mut self, _: &mut ProcessTransport, data: &[u8]) {
    ///         self.0.borrow_mut().push_str(std::str::from_utf8(data).unwrap());
    ///     }
    ///     fn process_ended(&mut self, status: ExitStatus) {
    ///         assert!(status.success());
    ///     }
    /// }
    ///
    /// let reactor = MemoryReactor::new();
    /// let answer = Rc::new(RefCell::new(String::new()));
    /// let ask = Ask(Rc::clone(&answer));
    /// reactor.spawn_process(&Spawn::new("bc"), Box::new(ask)).unwrap();
    /// reactor.run();
    ///
    /// // In a test, the test is the program.
    /// let program = reactor.take_children().remove(0);
    /// assert_eq!(program.received(0), b"6 * 7\n");
    /// program.send(1, b"42\n");
    /// program.exit(ExitStatus::Exited(0));
    /// reactor.run();
    /// assert_eq!(*answer.borrow(), "42\n");
    /// ```
    fn spawn_process(
        &self,
        spawn: &Spawn,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError>;
}
