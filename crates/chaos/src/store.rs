//! A store of numbers on a disk: a program that is killed forgets what it has not written there.
//!
//! Each client writes keys of its own, one version after the other, and reads them. Holds: what was
//! acknowledged is there from then on, whatever happens to the server; no version is read that was
//! never written.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::framing::{FrameTransport, NetstringReceiver, StringProtocol};
use ropewalk_core::{Address, Failure};
use ropewalk_sim::Disk;

use crate::checker::{Phase, Request};
use crate::program::Program;
use crate::questions::PATIENCE;
use crate::watched::{Order, WatchedFactory};

const NAME: &str = "store";

/// How often a client writes and reads its key, and on how many connections at most.
const STEPS: u64 = 6;
const COMES_BACK: Duration = Duration::from_secs(5);

/// The newest version of a key on the disk; 0 if there is none.
fn read(disk: &Disk, key: u64) -> u64 {
    let kept = disk.read(&key.to_string()).unwrap_or_default();
    numbers(&kept).first().copied().unwrap_or(0)
}

/// Puts a version on the disk, for good. An older one, that comes late, changes nothing.
fn write(disk: &Disk, key: u64, version: u64) {
    let (name, newest) = (key.to_string(), version.max(read(disk, key)));
    disk.write(&name, newest.to_string().as_bytes());
    disk.sync(&name);
}

type Receiver = NetstringReceiver<Keeper>;

pub(crate) fn serve(program: &Program) {
    let for_each = program.clone();
    let build = move |_: &Address| {
        Receiver::new(Keeper {
            order: Order::new(for_each.checker(), "server of a store"),
            program: for_each.clone(),
        })
    };
    program.serve("tcp:7010", build);
}

pub(crate) fn call(program: &Program) {
    let begin = |program: &Program| {
        let history = Rc::new(History::new(program.checker().next_number()));
        connect(program, &history);
    };
    program.every(Duration::from_secs(60), begin, || ());
}

/// The server's end of a connection. What is to be written is acknowledged when it is on the disk.
struct Keeper {
    order: Order,
    program: Program,
}

impl StringProtocol for Keeper {
    fn connection_made(&mut self, _: &mut FrameTransport<'_>) {
        self.order.made();
    }

    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        self.order.runs("string_received");
        let disk = self.program.around.disk.clone();
        match numbers(string)[..] {
            [key] => transport.send_string(format!("{key} {}", read(&disk, key)).as_bytes()),
            [key, version] => {
                let connection = transport.connection();
                // As long as it takes, the program may come to its end.
                let waited = self.program.reactor.defer_to_thread::<(), ()>(|| ());
                let told = waited.add_both(move |waited: Result<(), Failure>| {
                    if waited.is_ok() {
                        write(&disk, key, version);
                    }
                    Receiver::with(&connection, move |_, transport| match waited {
                        Ok(()) => transport.send_string(format!("{key} {version}").as_bytes()),
                        Err(failure) => transport.abort_with(failure),
                    });
                });
                drop(told);
            }
            _ => transport.abort_connection(),
        }
    }

    fn connection_lost(&mut self, _: Failure) {
        self.order.lost();
    }
}

fn numbers(string: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(string);
    let numbers = text.split(' ').map(|number| number.parse().ok());
    numbers.collect::<Option<_>>().unwrap_or_default()
}

/// What the client of one key knows.
struct History {
    key: u64,
    /// The newest version that was sent, and the newest that is known to be kept.
    sent: Cell<u64>,
    kept: Cell<u64>,
    steps: Cell<u64>,
    connections: Cell<u64>,
}

impl History {
    fn new(key: u64) -> Self {
        Self {
            key,
            sent: Cell::new(0),
            kept: Cell::new(0),
            steps: Cell::new(STEPS),
            connections: Cell::new(STEPS),
        }
    }
}

fn connect(program: &Program, history: &Rc<History>) {
    let (for_each, history) = (program.clone(), Rc::clone(history));
    history.connections.set(history.connections.get() - 1);
    let request = program.checker().ask(NAME);
    let build = {
        let history = Rc::clone(&history);
        move |_: &Address| {
            NetstringReceiver::new(Client {
                program: for_each.clone(),
                history: Rc::clone(&history),
                open: None,
            })
        }
    };
    let factory = WatchedFactory::new(build, program.checker(), "client of a store");
    let again = program.clone();
    program.attempt_or(request, "tcp:server:7010", Rc::new(factory), move || {
        come_back(&again, &history);
    });
}

/// Goes on later on another connection, if something is left to do.
fn come_back(program: &Program, history: &Rc<History>) {
    let is_over = history.steps.get() == 0 || history.connections.get() == 0;
    if is_over || program.checker().phase() == Phase::Quiet {
        return;
    }
    let (again, history) = (program.clone(), Rc::clone(history));
    let call = move || connect(&again, &history);
    drop(program.reactor.call_later(COMES_BACK, call));
}

struct Client {
    program: Program,
    history: Rc<History>,
    open: Option<Request>,
}

impl Client {
    fn next(&mut self, transport: &mut FrameTransport<'_>) {
        let history = &self.history;
        let Some(steps) = history.steps.get().checked_sub(1) else {
            return transport.lose_connection();
        };
        history.steps.set(steps);
        self.open = Some(self.program.checker().ask(NAME));
        transport.set_timeout(Some(PATIENCE));
        let key = history.key;
        if steps % 2 == 1 {
            let version = history.sent.get() + 1;
            history.sent.set(version);
            transport.send_string(format!("{key} {version}").as_bytes());
        } else {
            transport.send_string(key.to_string().as_bytes());
        }
    }
}

impl StringProtocol for Client {
    fn connection_made(&mut self, transport: &mut FrameTransport<'_>) {
        self.next(transport);
    }

    fn string_received(&mut self, transport: &mut FrameTransport<'_>, string: &[u8]) {
        let history = &self.history;
        let (kept, sent) = (history.kept.get(), history.sent.get());
        match (&numbers(string)[..], self.open.take()) {
            ([key, version], Some(request))
                if *key == history.key && (kept..=sent).contains(version) =>
            {
                history.kept.set(*version);
                request.answered();
            }
            (_, request) => {
                let text = String::from_utf8_lossy(string);
                let key = history.key;
                self.program.checker().violation(format!(
                    "{NAME}: of key {key}, version {kept} was acknowledged and {sent} sent last; \
                     got {text:?} to {}",
                    if request.is_some() {
                        "a request"
                    } else {
                        "nothing"
                    }
                ));
            }
        }
        self.next(transport);
    }

    fn connection_lost(&mut self, _: Failure) {
        come_back(&self.program, &self.history);
    }
}
