//! What the tests share: a protocol that notes all it is told, and what this process has open.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ropewalk_core::endpoint::ServerEndpoint;
use ropewalk_core::{
    Address, ConnectionId, Deferred, ExitStatus, Failure, Output, OutputQueue, ProcessProtocol,
    ProcessTransport, SendStatus, SocketOption, Spawn, process_output,
};
use ropewalk_reactor::driver::{Completions, Driver, ListenerId, QueryId, Target, Wake};
use ropewalk_reactor::{Handle, PollDriver, Reactor};

/// While it lives, no other test has children.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened, in order.
pub(crate) type Log = Rc<RefCell<Vec<String>>>;

type On = Box<dyn FnMut(&str, &mut ProcessTransport)>;

/// Notes what it is told, and collects what is written. `on` is called after each note.
pub(crate) struct Noting {
    log: Log,
    out: Rc<RefCell<Vec<u8>>>,
    on: On,
    ended: Option<Box<dyn FnOnce()>>,
}

/// What a process has said, for those who look at it later.
#[derive(Clone, Default)]
pub(crate) struct Said {
    pub(crate) log: Log,
    pub(crate) out: Rc<RefCell<Vec<u8>>>,
}

impl Said {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.borrow().clone()).unwrap()
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    pub(crate) fn status(&self) -> String {
        let log = self.log.borrow();
        let last = log.last().expect("something happened");
        last.strip_prefix("ended: ")
            .expect("it has ended")
            .to_owned()
    }

    /// A protocol that notes here, and calls `ended` when its process has ended.
    pub(crate) fn protocol(
        &self,
        on: impl FnMut(&str, &mut ProcessTransport) + 'static,
        ended: impl FnOnce() + 'static,
    ) -> Noting {
        Noting {
            log: Rc::clone(&self.log),
            out: Rc::clone(&self.out),
            on: Box::new(on),
            ended: Some(Box::new(ended)),
        }
    }
}

impl Noting {
    fn note(&mut self, transport: &mut ProcessTransport, event: &str) {
        self.log.borrow_mut().push(event.to_owned());
        (self.on)(event, transport);
    }
}

impl ProcessProtocol for Noting {
    fn connection_made(&mut self, transport: &mut ProcessTransport) {
        self.note(transport, "made");
    }

    fn child_data_received(&mut self, transport: &mut ProcessTransport, from: u32, data: &[u8]) {
        self.out.borrow_mut().extend_from_slice(data);
        (self.on)(&format!("data {from}"), transport);
    }

    fn write_paused(&mut self, transport: &mut ProcessTransport, to: u32) {
        self.note(transport, &format!("paused {to}"));
    }

    fn write_resumed(&mut self, transport: &mut ProcessTransport, to: u32) {
        self.note(transport, &format!("resumed {to}"));
    }

    fn child_connection_lost(&mut self, transport: &mut ProcessTransport, at: u32, why: Failure) {
        let how = match why.check::<ropewalk_core::ConnectionDone>() {
            Some(_) => "closed",
            None => "lost",
        };
        self.note(transport, &format!("{how} {at}"));
    }

    fn process_exited(&mut self, transport: &mut ProcessTransport, status: ExitStatus) {
        self.note(transport, &format!("exited: {status}"));
    }

    fn process_ended(&mut self, status: ExitStatus) {
        self.log.borrow_mut().push(format!("ended: {status}"));
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }
}

/// Runs `spawn` to its end, on a reactor of its own.
pub(crate) fn run(spawn: &Spawn, on: impl FnMut(&str, &mut ProcessTransport) + 'static) -> Said {
    run_on(&Reactor::new().unwrap(), spawn, on)
}

pub(crate) fn run_on(
    reactor: &Reactor,
    spawn: &Spawn,
    on: impl FnMut(&str, &mut ProcessTransport) + 'static,
) -> Said {
    let said = Said::default();
    let stop = reactor.handle();
    let protocol = said.protocol(on, move || stop.stop());
    reactor.spawn_process(spawn, protocol).unwrap();
    reactor.run().unwrap();
    said
}

/// Closes its standard input as soon as it runs.
pub(crate) fn nothing_to_say(event: &str, transport: &mut ProcessTransport) {
    if event == "made" {
        transport.close_stdin();
    }
}

/// The whole output of a program, on a reactor of its own.
pub(crate) fn output(spawn: &Spawn) -> Result<Output, Failure> {
    let reactor = Reactor::new().unwrap();
    finish(&reactor, |reactor| process_output(reactor, spawn))
}

/// Runs the reactor until a Deferred has fired.
pub(crate) fn finish<T: 'static>(
    reactor: &Reactor,
    begin: impl FnOnce(&Handle) -> Deferred<T>,
) -> Result<T, Failure> {
    let result = Rc::new(RefCell::new(None));
    let (ok, failed) = (Rc::clone(&result), Rc::clone(&result));
    let (stop, stop_too) = (reactor.handle(), reactor.handle());
    let told: Deferred<()> = begin(reactor).add_callbacks(
        move |value| {
            ok.replace(Some(Ok(value)));
            stop.stop();
        },
        move |failure: Failure| {
            failed.replace(Some(Err(failure)));
            stop_too.stop();
        },
    );
    reactor.run().unwrap();
    drop(told);
    result.take().expect("it has fired")
}

/// What a shell command writes.
pub(crate) fn sh(command: &str) -> String {
    let output = output(&Spawn::shell(command)).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The descriptors of this process, and what they are.
pub(crate) fn open_descriptors() -> Vec<String> {
    let mut open: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            // The one that reads this folder is gone by now.
            let target = fs::read_link(&path).ok()?;
            Some(format!("{} {}", path.display(), target.display()))
        })
        .filter(|line| !line.ends_with("/fd"))
        .collect();
    open.sort();
    open
}

/// What is open now and was not then. (What other threads still had of an earlier test may be gone
/// meanwhile.)
pub(crate) fn opened_since(before: &[String]) -> Vec<String> {
    let mut open = open_descriptors();
    open.retain(|descriptor| !before.contains(descriptor));
    open
}

/// The children of this process, zombies too.
pub(crate) fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| {
            // After the name in parentheses come the state and the parent.
            let rest = stat.rsplit_once(')').unwrap().1;
            rest.split_whitespace().nth(1) == Some(own.as_str())
        })
        .collect()
}

/// The poll driver, which watches no descriptors: as where there is no pidfd.
pub(crate) struct WatchingNothing(PollDriver);

impl WatchingNothing {
    pub(crate) fn reactor() -> Reactor {
        Reactor::with_driver(Rc::new(Self(PollDriver::new().unwrap())))
    }
}

impl Driver for WatchingNothing {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.0.wall_clock()
    }

    fn listen(&self, listener: ListenerId, endpoint: &ServerEndpoint) -> io::Result<Address> {
        self.0.listen(listener, endpoint)
    }

    fn resume_accepting(&self, listener: ListenerId) {
        self.0.resume_accepting(listener);
    }

    fn close_listener(&self, listener: ListenerId) {
        self.0.close_listener(listener);
    }

    fn resolve(&self, query: QueryId, host: &str, port: u16) {
        self.0.resolve(query, host, port);
    }

    fn connect(&self, connection: ConnectionId, target: Target<'_>) -> io::Result<()> {
        self.0.connect(connection, target)
    }

    fn attach(
        &self,
        connection: ConnectionId,
        read: Option<OwnedFd>,
        write: Option<OwnedFd>,
    ) -> io::Result<()> {
        self.0.attach(connection, read, write)
    }

    fn send(&self, connection: ConnectionId, output: &mut OutputQueue) -> io::Result<SendStatus> {
        self.0.send(connection, output)
    }

    fn set_reading(&self, connection: ConnectionId, on: bool) {
        self.0.set_reading(connection, on);
    }

    fn shutdown_write(&self, connection: ConnectionId) -> io::Result<()> {
        self.0.shutdown_write(connection)
    }

    fn set_option(&self, connection: ConnectionId, option: SocketOption) -> io::Result<()> {
        self.0.set_option(connection, option)
    }

    fn close(&self, connection: ConnectionId) {
        self.0.close(connection);
    }

    fn abort(&self, connection: ConnectionId) {
        self.0.abort(connection);
    }

    fn poll(&self, timeout: Option<Duration>, completions: &mut dyn Completions) -> io::Result<()> {
        self.0.poll(timeout, completions)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.0.waker()
    }
}
