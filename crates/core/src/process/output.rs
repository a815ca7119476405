//! What a program writes, as one result: Twisted's `getProcessOutputAndValue` and
//! `getProcessValue`.

use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::rc::Rc;

use super::{
    ChildDescriptor, ExitStatus, Process, ProcessProtocol, ProcessTransport, ReactorProcess, Spawn,
};
use crate::{Deferred, Failure, Resolver};

/// What a program has written, and how it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it has ended: look at it, or [`check`](ExitStatus::check) it.
    pub status: ExitStatus,
    /// What it has written to its standard output.
    pub stdout: Vec<u8>,
    /// What it has written to its standard error.
    pub stderr: Vec<u8>,
}

/// A program has written more than [`Spawn::output_limit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputTooLong {
    /// What was run.
    pub program: String,
    /// The limit that was passed, in bytes.
    pub limit: usize,
}

impl fmt::Display for OutputTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} wrote more than {} bytes, and was ended; raise Spawn::output_limit, or take its \
             output piece by piece with spawn_process",
            self.program, self.limit
        )
    }
}

impl Error for OutputTooLong {}

/// Runs a program to its end and collects what it writes: Twisted's `getProcessOutputAndValue`.
///
/// A pipe to its standard input is closed at once. The Deferred fires when the program has ended,
/// however it has ended, and all who had its output have closed it. It fails with a
/// [`SpawnError`](super::SpawnError), and with [`OutputTooLong`], in which case the program is
/// ended. Cancelling it ends the program, as [`ProcessTransport::terminate`] does.
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{ExitStatus, Output, Spawn, process_output};
///
/// let reactor = MemoryReactor::new();
/// let listed = process_output(&*reactor, &Spawn::new("ls").arg("/srv"))
///     .add_callback(|output: Output| assert_eq!(output.stdout, b"site\n"));
/// reactor.run();
/// let ls = reactor.take_children().remove(0);
/// ls.send(1, b"site\n");
/// ls.exit(ExitStatus::Exited(0));
/// reactor.run();
/// assert!(listed.is_fired());
/// # let _: ropewalk_core::Deferred<()> = listed;
/// ```
#[track_caller]
pub fn process_output(reactor: &(impl ReactorProcess + ?Sized), spawn: &Spawn) -> Deferred<Output> {
    collect(reactor, spawn, Some(spawn.output_limit))
}

/// Runs a program to its end, and tells how it has ended: Twisted's `getProcessValue`. What it
/// writes to standard output and error goes to `/dev/null`, unless `spawn` gives it something other
/// than pipes; what it writes to a terminal is thrown away. The rest is as with [`process_output`].
///
/// ```
/// use ropewalk_core::testing::MemoryReactor;
/// use ropewalk_core::{ExitStatus, Spawn, process_value};
///
/// let reactor = MemoryReactor::new();
/// let checked = process_value(&*reactor, &Spawn::new("true"))
///     .add_callback(|status: ExitStatus| assert!(status.success()));
/// reactor.run();
/// reactor.take_children()[0].exit(ExitStatus::Exited(0));
/// reactor.run();
/// assert!(checked.is_fired());
/// # let _: ropewalk_core::Deferred<()> = checked;
/// ```
#[track_caller]
pub fn process_value(
    reactor: &(impl ReactorProcess + ?Sized),
    spawn: &Spawn,
) -> Deferred<ExitStatus> {
    let mut spawn = spawn.clone();
    for descriptor in spawn.descriptors.values_mut() {
        if matches!(
            descriptor,
            ChildDescriptor::PipeIn | ChildDescriptor::PipeOut
        ) {
            *descriptor = ChildDescriptor::Null;
        }
    }
    collect(reactor, &spawn, None).add_callback(|output: Output| output.status)
}

/// With no limit, nothing is kept.
#[track_caller]
fn collect(
    reactor: &(impl ReactorProcess + ?Sized),
    spawn: &Spawn,
    limit: Option<usize>,
) -> Deferred<Output> {
    let process = Rc::new(Cell::new(Process::default()));
    let cancelled = Rc::clone(&process);
    let (resolver, deferred) = Deferred::with_canceller(move || {
        cancelled.take().act(|transport| {
            transport.terminate();
            transport.lose_connection();
        });
    });
    let resolver = Rc::new(Cell::new(Some(resolver)));
    let collector = Collector {
        program: spawn.name(),
        limit,
        stdout: Vec::new(),
        stderr: Vec::new(),
        resolver: Rc::clone(&resolver),
    };
    match reactor.spawn_process(spawn, Box::new(collector)) {
        Ok(started) => process.set(started),
        Err(error) => {
            if let Some(resolver) = resolver.take() {
                resolver.errback(error);
            }
        }
    }
    deferred
}

struct Collector {
    program: String,
    limit: Option<usize>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// `None` when it has fired.
    resolver: Rc<Cell<Option<Resolver<Output>>>>,
}

impl Collector {
    fn take(&mut self, transport: &mut ProcessTransport, data: &[u8], is_error: bool) {
        let Some(limit) = self.limit else { return };
        let collected = match is_error {
            true => &mut self.stderr,
            false => &mut self.stdout,
        };
        if collected.len() + data.len() <= limit {
            return collected.extend_from_slice(data);
        }
        transport.terminate();
        transport.lose_connection();
        if let Some(resolver) = self.resolver.take() {
            let program = self.program.clone();
            resolver.errback(Failure::from(OutputTooLong { program, limit }));
        }
    }
}

impl ProcessProtocol for Collector {
    fn connection_made(&mut self, transport: &mut ProcessTransport) {
        transport.close_stdin();
    }

    fn out_received(&mut self, transport: &mut ProcessTransport, data: &[u8]) {
        self.take(transport, data, false);
    }

    fn err_received(&mut self, transport: &mut ProcessTransport, data: &[u8]) {
        self.take(transport, data, true);
    }

    fn process_ended(&mut self, status: ExitStatus) {
        if let Some(resolver) = self.resolver.take() {
            resolver.callback(Output {
                status,
                stdout: std::mem::take(&mut self.stdout),
                stderr: std::mem::take(&mut self.stderr),
            });
        }
    }
}
