//! The simulated world: hosts, the network between them, and its time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk_core::capture::append_header;
use ropewalk_reactor::{Guest, Handle, Reactor};

use crate::driver::SimDriver;
use crate::host::Host;
use crate::link::Link;
use crate::machine::{HostId, Machine};
use crate::net::{END, Event, Nanos, Net, Next, nanos};
use crate::random::Random;
use crate::threads::{self, Worker, Working};
use crate::trace::What;
use crate::waker::{SimWaker, Wakes};

/// How long it is waited, in real time, for another thread to do something when nothing is left to
/// happen in the world.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a job takes.
const JOB_LEAST: Duration = Duration::from_micros(10);
const JOB_MOST: Duration = Duration::from_millis(20);

/// A world of hosts, joined by a network, in which nothing happens but by its seed.
///
/// Time passes only from one event to the next: a day in which little happens takes no time. All of
/// it runs on one thread. Cheap to clone: a handle to the same world.
///
/// ```
/// use ropewalk_core::{Address, Protocol, Transport};
/// use ropewalk_sim::World;
/// use std::{rc::Rc, time::Duration};
///
/// struct Echo;
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
/// struct Ask;
/// impl Protocol for Ask {
///     fn connection_made(&mut self, transport: &mut Transport) {
///         transport.write(b"hello");
///     }
///     fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
///         transport.lose_connection();
///     }
/// }
///
/// let world = World::new(7);
/// let server = world.host("server");
/// server.start(|reactor| {
///     let port = reactor.listen(&"tcp:7".parse().unwrap(), Rc::new(|_: &Address| Echo));
///     port.unwrap();
/// });
/// let client = world.host("client");
/// client.start(|reactor| {
///     drop(reactor.connect(&"tcp:server:7".parse().unwrap(), Rc::new(|_: &Address| Ask)));
/// });
/// world.run_for(Duration::from_secs(1));
/// assert!(world.trace().contains("#1 is connected"));
/// ```
#[derive(Clone)]
pub struct World {
    inner: Rc<Inner>,
}

struct Inner {
    net: Rc<RefCell<Net>>,
    seed: u64,
    epoch: Instant,
    wakes: Arc<Wakes>,
    programs: RefCell<Vec<Program>>,
    calls: RefCell<BTreeMap<u64, Box<dyn FnOnce()>>>,
    called: Cell<u64>,
    /// It is being run: whoever asks for that from within is mistaken.
    runs: Cell<bool>,
}

/// What a program does first.
pub(crate) type Main = Rc<dyn Fn(&Handle)>;

/// What runs on a host.
#[derive(Default)]
struct Program {
    main: Option<Main>,
    /// `None` while it has its turn, too.
    guest: Option<Guest>,
    has_turn: bool,
    /// It was ended in its own turn.
    is_doomed: bool,
}

impl World {
    /// A world with no hosts.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an `Instant` can't be made up; only its distance from other ones is ever seen"
        )]
        let epoch = Instant::now();
        Self {
            inner: Rc::new(Inner {
                net: Rc::new(RefCell::new(Net::new(seed))),
                seed,
                epoch,
                wakes: Arc::default(),
                programs: RefCell::default(),
                calls: RefCell::default(),
                called: Cell::new(0),
                runs: Cell::new(false),
            }),
        }
    }

    /// Its seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// Chance for whoever plays in this world, from its seed: of a stream of its own, so that what
    /// is drawn from it changes nothing of the network's.
    #[must_use]
    pub fn random(&self, stream: u64) -> Random {
        Random::stream(self.inner.seed, stream.saturating_add(1000))
    }

    /// Adds a host, which others find under its name.
    ///
    /// It has the addresses [`Host::addresses`], and on itself those of the loopback.
    pub fn host(&self, name: &str) -> Host {
        let mut net = self.inner.net.borrow_mut();
        let id = HostId(u32::try_from(net.machines.len()).expect("fewer than 2^32 hosts"));
        let waker = Arc::new(SimWaker::new(Arc::clone(&self.inner.wakes)));
        let machine = Machine::new(id, name, waker);
        let address = machine.addresses[0];
        net.machines.push(machine);
        net.names.add(name, vec![address]);
        drop(net);
        self.inner.programs.borrow_mut().push(Program::default());
        Host::new(self.clone(), id)
    }

    /// Gives a name addresses, in the order in which they are found; none for one that is not found.
    pub fn set_name(&self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().collect();
        self.inner.net.borrow_mut().names.add(name, addresses);
    }

    /// What all ways between hosts are like from now on.
    pub fn set_default_link(&self, link: &Link) {
        self.inner.net.borrow_mut().links.set_default(link);
    }

    /// What the way between two hosts is like from now on, in both directions.
    pub fn set_link(&self, one: &Host, other: &Host, link: &Link) {
        self.set_link_one_way(one, other, link);
        self.set_link_one_way(other, one, link);
    }

    /// What the way from one host to another is like from now on.
    pub fn set_link_one_way(&self, from: &Host, to: &Host, link: &Link) {
        let mut net = self.inner.net.borrow_mut();
        net.links.get(from.id(), to.id()).link = link.clone();
    }

    /// The time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.inner.net.borrow().now)
    }

    /// Runs `call` when `after` has passed, outside of all hosts.
    pub fn call_later(&self, after: Duration, call: impl FnOnce() + 'static) {
        let number = self.inner.called.get();
        self.inner.called.set(number + 1);
        self.inner.calls.borrow_mut().insert(number, Box::new(call));
        let mut net = self.inner.net.borrow_mut();
        net.schedule_in(after, Event::Call(number));
    }

    /// Lets so much time pass, with all that happens in it.
    ///
    /// # Panics
    /// When it is called by what the world itself runs.
    pub fn run_for(&self, time: Duration) {
        let end = self.inner.net.borrow().after(time);
        self.run_while(end, || true);
        self.inner.net.borrow_mut().pass_until(end);
    }

    /// Lets time pass until `done`, which is asked after each event, and no longer than `most`.
    /// Returns whether it was done.
    ///
    /// # Panics
    /// When it is called by what the world itself runs.
    pub fn run_until(&self, most: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = self.inner.net.borrow().after(most);
        if done() {
            return true;
        }
        let mut is_done = false;
        self.run_while(end, || {
            is_done = done();
            !is_done
        });
        if !is_done {
            self.inner.net.borrow_mut().pass_until(end);
        }
        is_done
    }

    fn run_while(&self, end: Nanos, mut goes_on: impl FnMut() -> bool) {
        let entered = Running::enter(&self.inner.runs);
        self.notice();
        while self.step(end) && goes_on() {}
        drop(entered);
    }

    /// Something may have been asked of a host from outside of its turns.
    fn notice(&self) {
        let mut net = self.inner.net.borrow_mut();
        let now = net.now;
        for (number, program) in self.inner.programs.borrow().iter().enumerate() {
            if program.guest.is_some() {
                net.schedule_turn(HostId(number as u32), now);
            }
        }
    }

    /// A call has come from outside of all hosts: it may have asked something of any of them.
    fn reconsider(&self) {
        let programs = self.inner.programs.borrow();
        for (number, program) in programs.iter().enumerate() {
            let next = program.guest.as_ref().and_then(Guest::next_turn);
            if let Some(next) = next {
                self.plan_turn(HostId(number as u32), next);
            }
        }
    }

    /// The loop of a host has something to do at `next`, by its own clock.
    fn plan_turn(&self, host: HostId, next: Instant) {
        let own = nanos(next.saturating_duration_since(self.inner.epoch));
        let mut net = self.inner.net.borrow_mut();
        let at = net.machine(host).clock.when(own);
        net.schedule_turn(host, at);
    }

    /// Lets the next thing happen that is not after `limit`. `false` if there is none.
    fn step(&self, limit: Nanos) -> bool {
        self.take_wakes();
        let next = self.inner.net.borrow_mut().next(limit);
        match next {
            None => return false,
            Some(Next::Turn(host)) => self.turn(host),
            Some(Next::Event(event)) => self.happen(event),
        }
        true
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Call(number) => {
                let call = self.inner.calls.borrow_mut().remove(&number);
                if let Some(call) = call {
                    call();
                    self.reconsider();
                }
                return;
            }
            Event::Thread(host, incarnation, thread) => {
                return self.work(host, incarnation, thread);
            }
            _ => {}
        }
        let mut net = self.inner.net.borrow_mut();
        match event {
            Event::Packet(packet) => net.arrive(packet),
            Event::Timer(socket) => net.timer(socket),
            Event::Rested(socket) => net.queue(socket),
            Event::Writable(socket) => net.writable(socket),
            Event::PortWritable(host, port) => net.port_writable(host, port),
            Event::Resolve(host, incarnation, query, name, port) => {
                net.resolved(host, incarnation, query, (&name, port));
            }
            Event::Call(_) | Event::Thread(..) => {}
        }
    }

    /// Hosts that were woken from outside get a turn, and threads that begin take their first job.
    fn take_wakes(&self) {
        if !self.inner.wakes.take_any() {
            return;
        }
        let mut net = self.inner.net.borrow_mut();
        let now = net.now;
        for number in 0..net.machines.len() {
            let host = HostId(number as u32);
            let machine = net.machine(host);
            let (is_woken, incarnation) = (machine.waker.is_woken(), machine.incarnation);
            let (begun, answered) = (machine.waker.take_begun(), machine.waker.take_answered());
            for thread in begun {
                let state = Working::Idle;
                let key = net.machine(host).threads.insert(Worker { thread, state });
                let begins = now + net.random.below(50_000);
                net.schedule(begins, Event::Thread(host, incarnation, key));
            }
            for key in answered {
                let goes_on = now + net.random.below(50_000);
                net.schedule(goes_on, Event::Thread(host, incarnation, key));
            }
            if is_woken {
                net.schedule_turn(host, now);
            }
        }
    }

    /// A thread of a pool goes on with its job, if it has one, and takes the next.
    fn work(&self, host: HostId, incarnation: u32, key: usize) {
        let (state, waker) = {
            let mut net = self.inner.net.borrow_mut();
            let machine = net.machine(host);
            let waker = Arc::clone(&machine.waker);
            let worker = machine.threads.get_mut(key);
            let runs = machine.incarnation == incarnation;
            match worker.filter(|_| runs) {
                Some(worker) => (mem::replace(&mut worker.state, Working::Idle), waker),
                None => return,
            }
        };
        let has_worked = !matches!(state, Working::Idle);
        let waits = match state {
            Working::Idle => None,
            Working::Job(job) => threads::run(job, &waker, key),
            Working::Waiting(turns) => turns.resume().then_some(turns),
        };
        let mut net = self.inner.net.borrow_mut();
        if let Some(turns) = waits {
            if let Some(worker) = net.machine(host).threads.get_mut(key) {
                worker.state = Working::Waiting(turns);
            }
            return;
        }
        if has_worked {
            net.trace(host, What::JobEnded, key as u64, 0);
        }
        let Some(worker) = net.machine(host).threads.get_mut(key) else {
            return;
        };
        let Some(job) = worker.thread.next_job() else {
            let ended = net.machine(host).threads.remove(key);
            drop(net);
            return drop(ended);
        };
        worker.state = Working::Job(job);
        net.trace(host, What::JobBegan, key as u64, 0);
        let takes = net.random.between(JOB_LEAST, JOB_MOST);
        net.schedule_in(takes, Event::Thread(host, incarnation, key));
    }

    /// Gives a host its turn.
    fn turn(&self, host: HostId) {
        let mut guest = {
            let mut programs = self.inner.programs.borrow_mut();
            let program = &mut programs[host.0 as usize];
            let Some(guest) = program.guest.take() else {
                return;
            };
            program.has_turn = true;
            guest
        };
        let turned = guest.turn();
        let next = guest.next_turn();
        let was_doomed = {
            let mut programs = self.inner.programs.borrow_mut();
            let program = &mut programs[host.0 as usize];
            program.has_turn = false;
            mem::take(&mut program.is_doomed)
        };
        if was_doomed || turned.is_break() {
            if let ControlFlow::Break(ended) = turned {
                self.stopped(host, ended);
            }
            drop(guest);
            // Jobs that waited for it are left to themselves, and their numbers are others' soon.
            if was_doomed {
                self.inner
                    .net
                    .borrow_mut()
                    .machine(host)
                    .waker
                    .take_answered();
            }
            return;
        }
        self.inner.programs.borrow_mut()[host.0 as usize].guest = Some(guest);
        let mut net = self.inner.net.borrow_mut();
        if !net.machine(host).ready.is_empty() {
            let now = net.now;
            net.schedule_turn(host, now);
        } else if let Some(next) = next {
            drop(net);
            self.plan_turn(host, next);
        }
    }

    /// The program of a host has come to its end.
    fn stopped(&self, host: HostId, ended: Result<(), ropewalk_reactor::RunError>) {
        let mut net = self.inner.net.borrow_mut();
        net.trace(host, What::Stopped, 0, u64::from(ended.is_err()));
        let name = net.name_of(host);
        drop(net);
        if let Err(error) = ended {
            tracing::warn!(host = &*name, %error, "a program did not end as it should");
        }
    }

    /// Waits until there is something for the loop of a host that runs by itself, or for as long as
    /// it says.
    pub(crate) fn wait_for(&self, host: HostId, timeout: Option<Duration>) -> io::Result<()> {
        let entered = Running::enter(&self.inner.runs);
        // By its own clock, whose pace may change while it waits.
        let deadline = {
            let mut net = self.inner.net.borrow_mut();
            let now = net.now;
            let own = net.machine(host).clock.at(now);
            timeout.map(|timeout| own.saturating_add(nanos(timeout)))
        };
        loop {
            self.take_wakes();
            let (now, limit) = {
                let mut net = self.inner.net.borrow_mut();
                let now = net.now;
                let machine = net.machine(host);
                let has_news = !machine.ready.is_empty() || machine.waker.is_woken();
                let free = machine.busy_until.max(machine.paused_until).max(now);
                let limit = match has_news {
                    true => Some(free),
                    false => deadline.map(|own| machine.clock.when(own).max(free)),
                };
                let comes = |limit: &Nanos| *limit < END && machine.stands_still == 0;
                (now, limit.filter(comes))
            };
            if limit.is_some_and(|limit| limit <= now) {
                break;
            }
            if self.step(limit.unwrap_or(END)) {
                continue;
            }
            match limit {
                Some(limit) => self.inner.net.borrow_mut().now = limit,
                None if self.inner.wakes.wait(PATIENCE) => {}
                None => {
                    return Err(io::Error::new(
                        io::ErrorKind::Deadlock,
                        "nothing is left to happen in the simulated world, and no thread has woken \
                         it; what is waited for will never come",
                    ));
                }
            }
        }
        drop(entered);
        Ok(())
    }

    /// What has happened, in words: the last 10,000 events, a line each.
    #[must_use]
    pub fn trace(&self) -> String {
        let net = self.inner.net.borrow();
        net.trace
            .print(|host| match net.machines.get(host.0 as usize) {
                Some(machine) => Rc::clone(&machine.name),
                None => "-".into(),
            })
    }

    /// Captures all packets that are sent from now on.
    pub fn capture(&self) {
        let mut file = Vec::new();
        append_header(&mut file);
        self.inner.net.borrow_mut().captured = Some(file);
    }

    /// The packets that were [captured](Self::capture), in the pcap format that Wireshark reads. All
    /// that was sent is in it, what was lost too, at the time of its sender. Captures nothing more.
    ///
    /// ```
    /// use ropewalk_sim::World;
    /// use std::time::Duration;
    ///
    /// let world = World::new(1);
    /// world.capture();
    /// world.run_for(Duration::from_secs(1));
    /// assert_eq!(world.take_capture().len(), 24, "the header alone");
    /// ```
    #[must_use]
    pub fn take_capture(&self) -> Vec<u8> {
        let captured = self.inner.net.borrow_mut().captured.take();
        captured.unwrap_or_default()
    }

    /// A number that stands for all that has happened: two runs with the same one were the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.inner.net.borrow().trace.hash()
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inner.net.borrow().trace.count()
    }

    /// Notes something in the trace, and in its hash.
    pub fn say(&self, text: &str) {
        let mut net = self.inner.net.borrow_mut();
        let now = net.now;
        net.trace.say(now, HostId(u32::MAX), text);
    }

    /// The host of this name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Host> {
        let net = self.inner.net.borrow();
        let number = net.machines.iter().position(|one| &*one.name == name)?;
        Some(Host::new(self.clone(), HostId(number as u32)))
    }

    /// Ends all programs, without a word to them, and forgets them and what was to
    /// [come](Self::call_later), as dropping the world does: for a world that its own programs know,
    /// who would keep it for ever.
    ///
    /// # Panics
    /// When it is called by what the world itself runs.
    pub fn clear(&self) {
        let entered = Running::enter(&self.inner.runs);
        self.inner.clear();
        drop(entered);
    }

    /// For those that the world itself keeps.
    pub(crate) fn downgrade(&self) -> WeakWorld {
        WeakWorld(Rc::downgrade(&self.inner))
    }

    pub(crate) fn net(&self) -> &Rc<RefCell<Net>> {
        &self.inner.net
    }

    pub(crate) fn epoch(&self) -> Instant {
        self.inner.epoch
    }

    /// A program runs on a host from now on.
    pub(crate) fn start(&self, host: HostId, main: Main) {
        let driver = SimDriver::new(self, host, false);
        let reactor = Reactor::with_driver(Rc::new(driver));
        reactor.set_stall_threshold(None);
        let (guest, begin) = (reactor.into_guest(), Rc::clone(&main));
        let handle = guest.handle();
        guest.call_when_running(move || begin(&handle));
        let mut programs = self.inner.programs.borrow_mut();
        let program = &mut programs[host.0 as usize];
        program.main = Some(main);
        program.guest = Some(guest);
        drop(programs);
        let mut net = self.inner.net.borrow_mut();
        net.trace(host, What::Started, 0, 0);
        let now = net.now;
        net.schedule_turn(host, now);
    }

    pub(crate) fn main(&self, host: HostId) -> Option<Main> {
        self.inner.programs.borrow()[host.0 as usize].main.clone()
    }

    /// Whether a program runs on the host.
    pub(crate) fn runs(&self, host: HostId) -> bool {
        let programs = self.inner.programs.borrow();
        let program = &programs[host.0 as usize];
        program.guest.is_some() || program.has_turn && !program.is_doomed
    }

    pub(crate) fn handle(&self, host: HostId) -> Option<Handle> {
        let programs = self.inner.programs.borrow();
        Some(programs[host.0 as usize].guest.as_ref()?.handle())
    }

    /// Ends a program, with no chance to do anything: what it still tries comes to nothing.
    pub(crate) fn end_program(&self, host: HostId) {
        let guest = {
            let mut programs = self.inner.programs.borrow_mut();
            let program = &mut programs[host.0 as usize];
            program.is_doomed = program.has_turn;
            program.guest.take()
        };
        drop(guest);
    }
}

/// Keeps no world alive.
pub(crate) struct WeakWorld(Weak<Inner>);

impl WeakWorld {
    pub(crate) fn upgrade(&self) -> Option<World> {
        self.0.upgrade().map(|inner| World { inner })
    }
}

/// Marks that the world is being run.
struct Running<'a>(&'a Cell<bool>);

impl<'a> Running<'a> {
    fn enter(runs: &'a Cell<bool>) -> Self {
        assert!(
            !runs.replace(true),
            "the world is running already: what runs in it cannot run it"
        );
        Self(runs)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Inner {
    /// Ends all programs, and forgets what was to come.
    fn clear(&self) {
        let (programs, calls) = (&self.programs, &self.calls);
        let ended: Vec<_> = programs.borrow_mut().iter_mut().map(mem::take).collect();
        let forgotten = calls.take();
        drop((ended, forgotten));
        let mut net = self.net.borrow_mut();
        let hosts = (0..net.machines.len() as u32).map(HostId);
        let threads: Vec<_> = hosts.map(|host| net.take_threads(host)).collect();
        drop(net);
        drop(threads);
    }
}

/// The programs go first: they know their world.
impl Drop for Inner {
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed())
            .field("now", &self.now())
            .finish_non_exhaustive()
    }
}
