//! What was begun on a loop and has not ended, and where: noted only for those who ask for it.
//!
//! A loop that is not tracked has one empty cell, and looks at it when something is begun. In one
//! that is, each thing that a user begins is an entry: a handle to it, by which its end is seen,
//! and the stack of whoever began it. So nothing is told to a ledger when something ends; entries of
//! what has ended are swept out when there are twice as many as were left by the last sweep.
//!
//! The loop's own timers and tasks do not come through here.

mod live;
mod origin;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as ArcWeak};
use std::time::Duration;

use ropewalk_core::{
    ConnectionId, DatagramPort, Deferred, DelayedCall, Failure, JobName, Process, Task,
};

use tracing::dispatcher::{self, Dispatch};

pub use self::live::{Ledger, Live, LiveKind};
use self::origin::Origin;
use crate::connect::Attempt;
use crate::driver::ListenerId;
use crate::event_loop::EventLoop;
use crate::threads::run_guarded;

/// Fewer entries than these are not swept.
const FEW: usize = 64;

type Call = Box<dyn FnOnce()>;

type Job = Box<dyn FnOnce() + Send>;

/// A loop's own: empty, unless it is tracked.
#[derive(Default)]
pub(crate) struct Book(OnceCell<Rc<Entries>>);

#[derive(Default)]
struct Entries {
    /// In the order in which they were made.
    all: RefCell<Vec<Entry>>,
    made: Cell<u64>,
    sweep_at: Cell<usize>,
    /// Entries below this number were there when somebody began to wait until all has ended.
    before_the_end: Cell<u64>,
    /// Timers of these that have run since.
    late: RefCell<Vec<Live>>,
}

struct Entry {
    number: u64,
    thing: Thing,
    origin: Rc<Origin>,
}

/// A job that nobody waits for.
pub(crate) struct LooseJob {
    name: JobName,
    /// Of the thread that gave it.
    log: Dispatch,
    /// Its entry sees that this is gone.
    held: Arc<()>,
}

enum Thing {
    Timer(DelayedCall),
    Task(Task),
    Port(ListenerId, u64),
    DatagramPort(DatagramPort, &'static str),
    Connection(ConnectionId, String),
    Attempt(Weak<Attempt>),
    /// A job whose result is waited for; the flag is set when it has come.
    Job(JobName, Rc<Cell<bool>>),
    /// A job that nobody waits for: it holds the other end.
    LooseJob(JobName, ArcWeak<()>),
    Process(Process, String),
}

impl Book {
    /// Begins to note, if it does not already.
    pub(crate) fn open(&self, event_loop: Weak<EventLoop>) -> Ledger {
        Ledger::new(event_loop, Rc::clone(self.0.get_or_init(Rc::default)))
    }

    pub(crate) fn call_later(
        &self,
        event_loop: &EventLoop,
        delay: Duration,
        call: Call,
    ) -> DelayedCall {
        let Some(entries) = self.0.get() else {
            return event_loop.call_later(delay, call);
        };
        let (noted, number) = (Rc::clone(entries), entries.made.get());
        let timer = event_loop.call_later(
            delay,
            Box::new(move || {
                noted.ran(number);
                call();
            }),
        );
        entries.add(event_loop, Thing::Timer(timer.clone()));
        timer
    }

    pub(crate) fn spawn(
        &self,
        event_loop: &EventLoop,
        future: Pin<Box<dyn Future<Output = ()>>>,
    ) -> Task {
        let task = event_loop.spawn(future);
        self.note(event_loop, || Thing::Task(task.clone()));
        task
    }

    pub(crate) fn port(&self, event_loop: &EventLoop, listener: ListenerId, serial: u64) {
        self.note(event_loop, || Thing::Port(listener, serial));
    }

    pub(crate) fn datagram_port(
        &self,
        event_loop: &EventLoop,
        port: &DatagramPort,
        protocol: &'static str,
    ) {
        self.note(event_loop, || Thing::DatagramPort(port.clone(), protocol));
    }

    pub(crate) fn process(&self, event_loop: &EventLoop, process: &Process, name: String) {
        self.note(event_loop, || Thing::Process(process.clone(), name));
    }

    pub(crate) fn attempt(&self, event_loop: &EventLoop, attempt: &Rc<Attempt>) {
        self.note(event_loop, || Thing::Attempt(Rc::downgrade(attempt)));
    }

    /// The connection of an attempt is up.
    pub(crate) fn connected(&self, event_loop: &EventLoop, id: ConnectionId, by: &Rc<Attempt>) {
        let Some(entries) = self.0.get() else { return };
        let is_it = |entry: &Entry| match &entry.thing {
            Thing::Attempt(attempt) => std::ptr::eq(attempt.as_ptr(), Rc::as_ptr(by)),
            _ => false,
        };
        if let Some(origin) = entries.origin(is_it) {
            let what = format!("the connection to {}", by.endpoint());
            entries.add_with(event_loop, Thing::Connection(id, what), origin);
        }
    }

    /// A port has accepted a connection.
    pub(crate) fn accepted(&self, event_loop: &EventLoop, id: ConnectionId, at: ListenerId) {
        let Some(entries) = self.0.get() else { return };
        let is_it = |entry: &Entry| match &entry.thing {
            Thing::Port(listener, serial) => {
                *listener == at && event_loop.ports.endpoint(at, *serial).is_some()
            }
            _ => false,
        };
        if let Some(origin) = entries.origin(is_it) {
            let thing = Thing::Connection(id, "a connection that was accepted".to_owned());
            entries.add_with(event_loop, thing, origin);
        }
    }

    /// A job whose result is `ran`.
    pub(crate) fn job(
        &self,
        event_loop: &EventLoop,
        name: JobName,
        ran: Deferred<()>,
    ) -> Deferred<()> {
        let Some(entries) = self.0.get() else {
            return ran;
        };
        let ended = Rc::new(Cell::new(false));
        entries.add(event_loop, Thing::Job(name, Rc::clone(&ended)));
        ran.add_both(move |result: Result<(), Failure>| {
            ended.set(true);
            result
        })
    }

    /// A job that nobody waits for, and how it is to be run.
    pub(crate) fn loose_job(&self, event_loop: &EventLoop, name: JobName) -> Option<LooseJob> {
        let entries = self.0.get()?;
        let held = Arc::new(());
        let thing = Thing::LooseJob(name.clone(), Arc::downgrade(&held));
        entries.add(event_loop, thing);
        Some(LooseJob {
            name,
            log: dispatcher::get_default(Clone::clone),
            held,
        })
    }

    /// A job whose log is that of this thread: who watches a test hears of what its jobs say.
    pub(crate) fn with_log(&self, job: Job) -> Job {
        if self.0.get().is_none() {
            return job;
        }
        let log = dispatcher::get_default(Clone::clone);
        Box::new(move || dispatcher::with_default(&log, job))
    }

    fn note(&self, event_loop: &EventLoop, thing: impl FnOnce() -> Thing) {
        if let Some(entries) = self.0.get() {
            entries.add(event_loop, thing());
        }
    }
}

impl LooseJob {
    /// Runs it, on its thread. It has ended when its panic, if there is one, is in the log.
    pub(crate) fn run(self, job: impl FnOnce()) {
        let Self { name, log, held } = self;
        dispatcher::with_default(&log, || {
            if let Err(panicked) = run_guarded(job) {
                let panic = panicked.as_error();
                tracing::error!(job = %name, panic, "a job in a thread panicked");
            }
        });
        drop(held);
    }
}

impl Entries {
    fn add(&self, event_loop: &EventLoop, thing: Thing) {
        self.add_with(event_loop, thing, Rc::new(Origin::here()));
    }

    fn add_with(&self, event_loop: &EventLoop, thing: Thing, origin: Rc<Origin>) {
        let number = self.made.get();
        self.made.set(number + 1);
        if self.all.borrow().len() >= self.sweep_at.get().max(FEW) {
            self.sweep(event_loop);
        }
        self.all.borrow_mut().push(Entry {
            number,
            thing,
            origin,
        });
    }

    /// Drops the entries of what has ended. (None of these has a destructor that is a user's.)
    fn sweep(&self, event_loop: &EventLoop) {
        let mut all = self.all.borrow_mut();
        all.retain(|entry| entry.thing.is_live(event_loop));
        self.sweep_at.set(all.len() * 2);
    }

    fn noted(&self) -> usize {
        self.all.borrow().len()
    }

    fn origin(&self, is_it: impl Fn(&Entry) -> bool) -> Option<Rc<Origin>> {
        let all = self.all.borrow();
        let entry = all.iter().rev().find(|entry| is_it(entry))?;
        Some(Rc::clone(&entry.origin))
    }

    /// A timer runs.
    fn ran(&self, number: u64) {
        if number >= self.before_the_end.get() {
            return;
        }
        let all = self.all.borrow();
        if let Ok(at) = all.binary_search_by_key(&number, |entry| entry.number) {
            self.late.borrow_mut().push(Live {
                kind: LiveKind::Timer,
                what: "a timer, which ran after the end".to_owned(),
                made_at: all[at].origin.place(),
            });
        }
    }

    /// From now on a timer that runs is late.
    fn end(&self) {
        self.before_the_end.set(self.made.get());
    }

    /// The timers that were late. The wait is over: those that run from now on are not.
    fn ran_late(&self) -> Vec<Live> {
        self.before_the_end.set(0);
        self.late.take()
    }

    fn live(&self, event_loop: &EventLoop) -> Vec<Live> {
        self.sweep(event_loop);
        let all = self.all.borrow();
        let live = all.iter().filter_map(|entry| {
            let (kind, what) = entry.thing.describe(event_loop)?;
            let made_at = entry.origin.place();
            Some(Live {
                kind,
                what,
                made_at,
            })
        });
        live.collect()
    }

    fn may_end_by_itself(&self, event_loop: &EventLoop) -> bool {
        self.sweep(event_loop);
        let waits = |entry: &Entry| !matches!(entry.thing, Thing::Timer(_) | Thing::Port(..));
        self.all.borrow().iter().any(waits)
    }
}

impl Thing {
    fn is_live(&self, event_loop: &EventLoop) -> bool {
        match self {
            Self::Timer(timer) => timer.is_active(),
            Self::Task(task) => !task.is_finished(),
            Self::Port(listener, serial) => event_loop.ports.endpoint(*listener, *serial).is_some(),
            Self::DatagramPort(port, _) => port.is_open(),
            Self::Connection(id, _) => event_loop.connections.borrow_mut().get(*id).is_some(),
            Self::Attempt(attempt) => attempt.upgrade().is_some_and(|one| one.is_trying()),
            Self::Job(_, ended) => !ended.get(),
            Self::LooseJob(_, held) => held.strong_count() > 0,
            Self::Process(process, _) => process.act(|_| ()).is_some(),
        }
    }

    /// `None` if it has ended.
    fn describe(&self, event_loop: &EventLoop) -> Option<(LiveKind, String)> {
        Some(match self {
            Self::Timer(timer) => {
                let due = timer.time()?.saturating_duration_since(event_loop.now());
                (LiveKind::Timer, format!("a timer, due in {due:?}"))
            }
            Self::Task(_) => (LiveKind::Task, "a task".to_owned()),
            Self::Port(listener, serial) => {
                let endpoint = event_loop.ports.endpoint(*listener, *serial)?;
                (LiveKind::Port, format!("the port {endpoint}"))
            }
            Self::DatagramPort(port, protocol) => {
                let at = port.address()?;
                let what = format!("the datagram port {at} with {protocol}");
                (LiveKind::DatagramPort, what)
            }
            Self::Connection(id, what) => {
                let what = format!("{what}{}", connection(event_loop, *id));
                (LiveKind::Connection, what)
            }
            Self::Attempt(attempt) => {
                let endpoint = attempt.upgrade()?.endpoint();
                let what = format!("an attempt to connect to {endpoint}");
                (LiveKind::Attempt, what)
            }
            Self::Job(name, _) | Self::LooseJob(name, _) => {
                (LiveKind::Job, format!("the job {name} in a thread"))
            }
            Self::Process(process, name) => {
                let what = match process.pid() {
                    Some(pid) => format!("the process {name} ({pid})"),
                    None => format!("a pipe of the process {name}, which has ended"),
                };
                (LiveKind::Process, what)
            }
        })
    }
}

/// Whom a connection is with, and what serves it.
fn connection(event_loop: &EventLoop, id: ConnectionId) -> String {
    let Some(connection) = event_loop.connection(id) else {
        return ", which is at work".to_owned();
    };
    let ends = connection.act(|transport| (transport.peer(), transport.host().clone()));
    let protocol = event_loop.protocol_name(id).unwrap_or("no protocol");
    match ends {
        Some((peer, host)) => format!(", of {host} with {peer}, served by {protocol}"),
        None => format!(", which has ended, served by {protocol}"),
    }
}
