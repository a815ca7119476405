//! What a program says about a process: [`ProcessProtocol`].

use std::any::Any;

use super::{ExitStatus, ProcessTransport};
use crate::Failure;

/// What happens to one process, told to one object: Twisted's `ProcessProtocol`.
///
/// The order is a promise. `connection_made` comes first and once, in a turn after the one that
/// started the process. `process_exited` comes once, when the process has ended; what it wrote may
/// still be on its way, before or after it. `child_connection_lost` comes once for each descriptor
/// that was a pipe, and after all of its data. `process_ended` comes last and once, when the process
/// has ended and all of its pipes are closed, whatever fails: nothing comes after it. What the
/// process has started itself may hold a pipe for longer than it lives; to wait no longer, call
/// [`lose_connection`](ProcessTransport::lose_connection) in `process_exited`.
///
/// While one of these runs, no other runs for this process. After a panic in one the pipes are
/// closed and the process is told to end; `process_exited` and `process_ended` still come.
pub trait ProcessProtocol: Any {
    /// The process runs.
    fn connection_made(&mut self, transport: &mut ProcessTransport) {
        let _ = transport;
    }

    /// The process has written to `descriptor`: as many bytes as the pipe gave, split anywhere. What
    /// a process with a terminal writes comes as from descriptor 1. Unless told otherwise, they go
    /// to [`out_received`](Self::out_received) and [`err_received`](Self::err_received).
    fn child_data_received(
        &mut self,
        transport: &mut ProcessTransport,
        descriptor: u32,
        data: &[u8],
    ) {
        match descriptor {
            1 => self.out_received(transport, data),
            2 => self.err_received(transport, data),
            _ => {}
        }
    }

    /// The process has written to its standard output.
    fn out_received(&mut self, transport: &mut ProcessTransport, data: &[u8]) {
        let _ = (transport, data);
    }

    /// The process has written to its standard error.
    fn err_received(&mut self, transport: &mut ProcessTransport, data: &[u8]) {
        let _ = (transport, data);
    }

    /// More is unsent to `descriptor` than [`ConnectionLimits::high_water`](crate::ConnectionLimits::high_water):
    /// write no more to it until [`write_resumed`](Self::write_resumed).
    fn write_paused(&mut self, transport: &mut ProcessTransport, descriptor: u32) {
        let _ = (transport, descriptor);
    }

    /// Writing to `descriptor` may go on.
    fn write_resumed(&mut self, transport: &mut ProcessTransport, descriptor: u32) {
        let _ = (transport, descriptor);
    }

    /// The pipe at `descriptor` is closed. `reason` is a [`ConnectionDone`](crate::ConnectionDone)
    /// when either side has closed it; a [`ConnectionLost`](crate::ConnectionLost) when the process
    /// has closed what this side writes to.
    fn child_connection_lost(
        &mut self,
        transport: &mut ProcessTransport,
        descriptor: u32,
        reason: Failure,
    ) {
        let _ = (transport, descriptor, reason);
    }

    /// The process has ended. Pipes may still be open.
    fn process_exited(&mut self, transport: &mut ProcessTransport, status: ExitStatus) {
        let _ = (transport, status);
    }

    /// The process has ended, and all of its pipes are closed.
    fn process_ended(&mut self, status: ExitStatus) {
        let _ = status;
    }

    /// What this is called in logs: the name of its type.
    fn type_name(&self) -> &'static str {
        std::any::type_name::<Self>()
    }
}
