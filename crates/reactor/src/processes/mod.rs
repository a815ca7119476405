//! The processes of a loop: started, waited for, and ended with it.
//!
//! `start` makes a process of a [`Spawn`]; `setup` is what runs in it before its program does;
//! `handle` is what can be done to it. Its pipes are connections of the loop. That it has ended is
//! learnt from its process descriptor (pidfd_open(2)), which the driver watches, so no handler of
//! SIGCHLD is needed, and nobody else's process is ever reaped; where there is none, from a thread
//! that waits.

mod handle;
mod setup;
mod start;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{
    Address, ChildProcess, ConnectionId, Deferred, ExitStatus, Process, ProcessProtocol, Resolver,
    Spawn, SpawnError,
};
use slab::Slab;

use crate::driver::WatchId;
use crate::event_loop::EventLoop;
use crate::remote::ReactorRemote;
use handle::{ChildHandle, Control, reap_in_background};
use start::{Pipe, Started};

#[derive(Default)]
pub(crate) struct Processes {
    running: RefCell<Slab<Running>>,
    /// Those that have ended while others may hold their pipes.
    lingering: RefCell<Vec<Process>>,
    started: Cell<u64>,
    /// The shutdown has come to them.
    ending: Cell<bool>,
    /// Who waits for the last one.
    waiting: RefCell<Option<Resolver<()>>>,
}

struct Running {
    /// Tells it from an earlier one in the same place.
    serial: u64,
    child: ChildProcess,
    handle: Rc<ChildHandle>,
    detached: bool,
    shutdown_wait: Duration,
}

impl Processes {
    pub(crate) fn spawn(
        &self,
        event_loop: &EventLoop,
        spawn: &Spawn,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError> {
        if event_loop.is_over() || self.ending.get() {
            return Err(SpawnError::ReactorStopped);
        }
        let Started { handle, pipes } = start::start(spawn)?;
        let handle = Rc::new(handle);
        let pid = handle.pid();
        let name = spawn.name();
        let opened = open_pipes(event_loop, pipes).inspect_err(|_| handle.discard());
        let opened = opened.map_err(|error| start::explain(spawn, error))?;
        let context = Rc::clone(&event_loop.context);
        let control = Box::new(Control(Rc::clone(&handle)));
        let child = ChildProcess::new(context, spawn, pid, control, protocol);
        let limits = Rc::new(spawn.limits.clone());
        for (id, descriptor, is_writable) in opened {
            let what = format!("descriptor {descriptor} of {name} ({pid})");
            let protocol = child.pipe(descriptor, is_writable);
            let peer = Address::Pipe(what.into());
            let connection = event_loop.begin_attached(id, protocol, &limits, peer);
            child.joined(descriptor, connection);
        }
        let serial = self.started.get();
        self.started.set(serial + 1);
        let key = self.running.borrow_mut().insert(Running {
            serial,
            child: child.clone(),
            handle: Rc::clone(&handle),
            detached: spawn.detached,
            shutdown_wait: spawn.shutdown_wait,
        });
        self.watch(event_loop, key, serial, &handle);
        let first = child.clone();
        event_loop.call_later(Duration::ZERO, Box::new(move || first.start()));
        tracing::debug!(program = name, pid, "started a process");
        Ok(child.handle())
    }

    /// Sees to it that the end of the process is noticed.
    fn watch(&self, event_loop: &EventLoop, key: usize, serial: u64, handle: &Rc<ChildHandle>) {
        let watched = handle.descriptor().is_some_and(|descriptor| {
            let watched = event_loop.driver.watch(watch_id(key), descriptor);
            watched.is_ok()
        });
        if watched {
            return;
        }
        let remote = ReactorRemote::new(event_loop.remote.clone());
        let ended = move || {
            remote.call_from_thread(move |reactor| {
                let event_loop = &reactor.inner;
                event_loop.processes.look(event_loop, key, Some(serial));
            });
        };
        if let Err(error) = handle.wait_in_thread(ended) {
            tracing::error!(pid = handle.pid(), %error,
                "cannot wait for a process: there is no thread for it; it is killed");
            handle.kill();
            self.gone(key, ExitStatus::Unknown);
        }
    }

    /// The driver says that a process may have ended.
    pub(crate) fn ready(&self, event_loop: &EventLoop, watch: WatchId) {
        self.look(event_loop, watch.0 as usize, None);
    }

    /// Reaps a process, if it has ended.
    fn look(&self, event_loop: &EventLoop, key: usize, serial: Option<u64>) {
        let found = {
            let running = self.running.borrow();
            running
                .get(key)
                .filter(|running| serial.is_none_or(|serial| serial == running.serial))
                .map(|running| (running.serial, Rc::clone(&running.handle)))
        };
        let Some((serial, handle)) = found else {
            return;
        };
        match handle.reap() {
            Some(status) => self.gone(key, status),
            // It was told too early.
            None => self.watch(event_loop, key, serial, &handle),
        }
    }

    fn gone(&self, key: usize, status: ExitStatus) {
        let Some(running) = self.running.borrow_mut().try_remove(key) else {
            return;
        };
        tracing::debug!(pid = running.handle.pid(), "a process {status}");
        running.child.exited(status);
        match self.ending.get() {
            true => running.child.abandon_pipes(),
            false => self.linger(&running.child),
        }
        self.tell_waiting();
    }

    /// Remembers one whose pipes a shutdown is not to wait for.
    fn linger(&self, child: &ChildProcess) {
        let mut lingering = self.lingering.borrow_mut();
        lingering.retain(|process| ChildProcess::of(process).is_some());
        lingering.push(child.handle());
    }

    fn tell_waiting(&self) {
        if self.is_gone()
            && let Some(resolver) = self.waiting.take()
        {
            resolver.callback(());
        }
    }

    /// Whether none is left that the shutdown waits for.
    fn is_gone(&self) -> bool {
        let running = self.running.borrow();
        running.iter().all(|(_, running)| running.detached)
    }

    /// The shutdown: those that are not detached are ended, the others lose their pipes, and so do
    /// those that have ended before. Waits for the first.
    pub(crate) async fn end(&self, event_loop: &EventLoop) {
        self.ending.set(true);
        for process in self.lingering.take() {
            if let Some(child) = ChildProcess::of(&process) {
                child.abandon_pipes();
            }
        }
        let all: Vec<_> = {
            let running = self.running.borrow();
            let all = running.iter();
            all.map(|(_, running)| {
                let child = running.child.clone();
                (child, running.detached, running.shutdown_wait)
            })
            .collect()
        };
        for (child, detached, wait) in all {
            if detached {
                child.lose_connection();
            } else if wait.is_zero() {
                child.terminate();
            } else {
                event_loop.call_later(wait, Box::new(move || child.terminate()));
            }
        }
        if !self.is_gone() {
            let (resolver, gone) = Deferred::pair();
            *self.waiting.borrow_mut() = Some(resolver);
            // It fails only when the run has ended otherwise, and this with it.
            let _ = gone.await;
        }
    }

    /// The run ends: those that are not detached are killed, and all are reaped by a thread, as
    /// they end.
    pub(crate) fn abandon(&self, event_loop: &EventLoop) {
        self.ending.set(false);
        self.lingering.take();
        if let Some(resolver) = self.waiting.take() {
            // Whoever waits is being dropped. Not to fire it would be reported as a mistake.
            resolver.callback(());
        }
        let left = self.running.take();
        let mut unreaped = Vec::new();
        for (key, running) in left {
            event_loop.driver.unwatch(watch_id(key));
            if !running.detached {
                tracing::warn!(
                    pid = running.handle.pid(),
                    "the reactor has ended before a process; it is killed"
                );
                running.handle.kill();
            }
            unreaped.push(running.handle.left());
            running.child.exited(ExitStatus::Unknown);
        }
        reap_in_background(unreaped);
    }
}

/// The pipes as connections that nobody serves yet: all of them, or none.
fn open_pipes(
    event_loop: &EventLoop,
    pipes: Vec<Pipe>,
) -> io::Result<Vec<(ConnectionId, u32, bool)>> {
    let mut opened = Vec::new();
    for pipe in pipes {
        let is_writable = pipe.write.is_some();
        match event_loop.open_attached(pipe.read, pipe.write) {
            Ok(id) => opened.push((id, pipe.descriptor, is_writable)),
            Err(error) => {
                for (id, _, _) in opened {
                    event_loop.driver.abort(id);
                    event_loop.free(id);
                }
                return Err(error);
            }
        }
    }
    Ok(opened)
}

fn watch_id(key: usize) -> WatchId {
    WatchId(u32::try_from(key).expect("fewer than 2^32 processes"))
}
