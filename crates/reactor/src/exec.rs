//! A connection to a program that is started for it: [`ExecConnect`].

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ropewalk_core::endpoint::{ClientEndpoint, Descriptor, ExecConnect, ExecStderr};
use ropewalk_core::{
    Address, ChildDescriptor, ExitStatus, Factory, Grouping, Process, ProcessProtocol,
    ProcessTransport, ReactorProcess, Spawn,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::event_loop::EventLoop;
use crate::keeping::Keeping;

/// How long a program has to end by itself when its connection is closed.
const GRACE: Duration = Duration::from_secs(5);

/// The longest line of standard error that is kept for the log.
const LINE: usize = 4096;

/// A connection to a program that runs, and who is at its other end.
pub(crate) struct Opened {
    pub(crate) bottom: ClientEndpoint,
    pub(crate) peer: Address,
    pub(crate) factory: Rc<dyn Factory>,
}

/// Starts the program.
pub(crate) fn open(
    event_loop: &Rc<EventLoop>,
    connect: &ExecConnect,
    factory: Rc<dyn Factory>,
) -> io::Result<Opened> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let theirs = Arc::new(File::from(theirs));
    let stderr = match connect.stderr {
        ExecStderr::Log => ChildDescriptor::PipeOut,
        ExecStderr::Null => ChildDescriptor::Null,
        _ => ChildDescriptor::Inherit,
    };
    let spawn = Spawn::new(&connect.program)
        .args(&connect.arguments)
        .descriptor(0, ChildDescriptor::File(Arc::clone(&theirs)))
        .descriptor(1, ChildDescriptor::File(theirs))
        .descriptor(2, stderr)
        // An interrupt from a terminal is for this process, which lets what is under way end.
        .grouping(Grouping::Group)
        .shutdown_wait(GRACE)
        .grace(GRACE);
    let program = Program {
        name: connect.program.clone(),
        pid: 0,
        line: Vec::new(),
    };
    let process = event_loop
        .spawn_process(&spawn, Box::new(program))
        .map_err(io::Error::other)?;
    let pid = process.pid().unwrap_or_default();
    let end = EndWithConnection {
        event_loop: Rc::downgrade(event_loop),
        process,
    };
    let ours: Arc<OwnedFd> = Arc::new(ours);
    Ok(Opened {
        bottom: ClientEndpoint::Fd(Descriptor::Given(ours)),
        peer: Address::Pipe(format!("{} ({pid})", connect.program).into()),
        factory: Rc::new(Keeping::new(factory, Box::new(end))),
    })
}

/// The connection has ended: the program finds its input at its end, and is ended if that does not
/// end it.
struct EndWithConnection {
    event_loop: std::rc::Weak<EventLoop>,
    process: Process,
}

impl Drop for EndWithConnection {
    fn drop(&mut self) {
        let Some(event_loop) = self.event_loop.upgrade() else {
            return;
        };
        if self.process.pid().is_some() {
            let process = std::mem::take(&mut self.process);
            let end = move || {
                process.terminate();
            };
            event_loop.call_later(GRACE, Box::new(end));
        }
    }
}

/// Logs what the program has to say about itself.
struct Program {
    name: String,
    pid: u32,
    line: Vec<u8>,
}

impl Program {
    fn log_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        tracing::info!(target: "ropewalk::exec", program = self.name, pid = self.pid, "{line}");
        self.line.clear();
    }
}

impl ProcessProtocol for Program {
    fn connection_made(&mut self, transport: &mut ProcessTransport) {
        self.pid = transport.pid();
    }

    fn err_received(&mut self, _: &mut ProcessTransport, data: &[u8]) {
        for byte in data {
            if *byte != b'\n' {
                self.line.push(*byte);
            }
            if *byte == b'\n' || self.line.len() == LINE {
                self.log_line();
            }
        }
    }

    fn process_ended(&mut self, status: ExitStatus) {
        if !self.line.is_empty() {
            self.log_line();
        }
        let (program, pid) = (&self.name, self.pid);
        if status.success() {
            tracing::debug!(target: "ropewalk::exec", pid, "{program} {status}");
        } else if status.code().is_some() {
            tracing::info!(target: "ropewalk::exec", pid, "{program} {status}");
        } else {
            tracing::warn!(target: "ropewalk::exec", pid, "{program} {status}");
        }
    }
}
