//! One host of the world, and what can befall it.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_reactor::driver::Driver;
use ropewalk_reactor::{Handle, Reactor};

use crate::disk::Disk;
use crate::driver::SimDriver;
use crate::machine::{HostId, PathOwner, new_commons};
use crate::net::{Net, nanos};
use crate::threads::{Worker, Working};
use crate::trace::What;
use crate::world::{Main, World};

/// How long until it is looked again whether a program has ended that was asked to.
const ENDED_AGAIN: Duration = Duration::from_millis(500);

/// A host of a [`World`]. Cheap to clone: a handle to the same host.
#[derive(Clone)]
pub struct Host {
    world: World,
    id: HostId,
}

impl Host {
    pub(crate) fn new(world: World, id: HostId) -> Self {
        Self { world, id }
    }

    pub(crate) fn id(&self) -> HostId {
        self.id
    }

    fn net<R>(&self, action: impl FnOnce(&mut Net) -> R) -> R {
        action(&mut self.world.net().borrow_mut())
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> Rc<str> {
        self.net(|net| net.name_of(self.id))
    }

    /// Its addresses: an IPv4 one of 198.18.0.0/15 and an IPv6 one of 2001:db8::/32.
    #[must_use]
    pub fn addresses(&self) -> [IpAddr; 2] {
        self.net(|net| net.machine(self.id).addresses)
    }

    /// What it keeps when its program ends, and when its power fails. A program that was killed, or
    /// lost its power, must not write to it any more: it is dropped then, and its destructors run.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.net(|net| net.machine(self.id).disk.clone())
    }

    /// Runs a program on it, from the next turn on: `main` is called with its reactor, and again
    /// each time that it is [restarted](Self::restart).
    ///
    /// # Panics
    /// When a program runs on it already.
    pub fn start(&self, main: impl Fn(&Handle) + 'static) {
        assert!(
            !self.is_running(),
            "a program runs on {} already",
            self.name()
        );
        self.begin(Rc::new(main));
    }

    fn begin(&self, main: Main) {
        // Jobs that the last program has left are left to themselves.
        let left = self.net(|net| net.take_threads(self.id));
        drop(left);
        self.net(|net| net.new_program(self.id, false));
        self.world.start(self.id, main);
    }

    /// A reactor on this host that its owner runs, as a program does: [`Reactor::run`] moves the whole
    /// world while it waits.
    ///
    /// # Panics
    /// When a program runs on it already.
    #[must_use]
    pub fn reactor(&self) -> Reactor {
        assert!(
            !self.is_running(),
            "a program runs on {} already",
            self.name()
        );
        let reactor = Reactor::with_driver(self.driver());
        reactor.set_stall_threshold(None);
        reactor
    }

    /// The driver of such a [`reactor`](Self::reactor). One that was asked for before serves nobody
    /// any more.
    #[must_use]
    pub fn driver(&self) -> Rc<dyn Driver> {
        self.net(|net| net.new_program(self.id, true));
        Rc::new(SimDriver::new(&self.world, self.id, true))
    }

    /// Whether a program runs on it.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.world.runs(self.id)
    }

    /// The reactor of its program, for code outside of it; `None` if none runs, or it has its turn.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.world.handle(self.id)
    }

    /// Begins the shutdown of its program, as SIGTERM would.
    pub fn stop(&self) {
        if let Some(handle) = self.handle() {
            handle.stop();
            self.net(|net| net.schedule_turn(self.id, net.now));
        }
    }

    /// Its program is killed: the kernel closes what it had open, and the peers are told.
    pub fn kill(&self) {
        self.net(|net| {
            net.trace(self.id, What::Killed, 0, 0);
            net.end_program(self.id);
        });
        self.world.end_program(self.id);
        let threads = self.net(|net| net.take_threads(self.id));
        drop(threads);
    }

    /// The power fails: nobody is told, and what comes to it from now on gets no answer. After a
    /// [restart](Self::restart) its kernel knows nothing of the connections that there were.
    pub fn crash(&self) {
        self.net(|net| {
            net.trace(self.id, What::Crashed, 0, 0);
            net.forget_program(self.id);
            net.machine(self.id).is_up = false;
        });
        self.world.end_program(self.id);
        let threads = self.net(|net| net.take_threads(self.id));
        drop(threads);
        self.disk().lose_unsynced();
    }

    /// Runs its program anew, after it has ended, was killed, or the host has crashed. Nothing happens
    /// if it runs, or there never was one.
    pub fn restart(&self) {
        if !self.is_running()
            && let Some(main) = self.world.main(self.id)
        {
            self.begin(main);
        }
    }

    /// Stops its program, of which [`restart_when_ended`](Self::restart_when_ended) is to know.
    pub(crate) fn ask_to_end(&self) {
        self.net(|net| {
            let machine = net.machine(self.id);
            machine.asked_to_end = Some(machine.incarnation);
        });
        self.stop();
    }

    /// Runs its program anew, as soon as the one has ended that was asked to.
    pub(crate) fn restart_when_ended(&self) {
        let goes_on = self.net(|net| {
            let machine = net.machine(self.id);
            machine.asked_to_end == Some(machine.incarnation)
        });
        if !goes_on || !self.is_running() {
            return self.restart();
        }
        let (world, id) = (self.world.downgrade(), self.id);
        self.world.call_later(ENDED_AGAIN, move || {
            if let Some(world) = world.upgrade() {
                Self::new(world, id).restart_when_ended();
            }
        });
    }

    /// Its program stands still for so long: stopped, or collecting garbage. Its kernel goes on.
    pub fn pause(&self, time: Duration) {
        self.net(|net| {
            net.trace(self.id, What::Paused, 0, nanos(time));
            let until = net.now + nanos(time);
            let machine = net.machine(self.id);
            machine.paused_until = machine.paused_until.max(until);
            net.cancel_turn(self.id);
            net.schedule_turn(self.id, until);
        });
    }

    /// Its clocks run faster than the world's by so many parts per million, or slower.
    pub fn set_drift(&self, parts_per_million: i64) {
        self.net(|net| {
            let now = net.now;
            net.machine(self.id).clock.set_drift(now, parts_per_million);
            // Its timers are due at other times now.
            net.schedule_turn(self.id, now);
        });
    }

    /// Its time of day jumps ahead.
    pub fn jump_clock_ahead(&self, by: Duration) {
        self.net(|net| net.machine(self.id).clock.jump(by.as_nanos() as i128));
    }

    /// Its time of day jumps back.
    pub fn jump_clock_back(&self, by: Duration) {
        self.net(|net| net.machine(self.id).clock.jump(-(by.as_nanos() as i128)));
    }

    /// How many descriptors its program may have: sockets, listening ones and datagram ports.
    pub fn set_descriptor_limit(&self, limit: usize) {
        self.net(|net| net.machine(self.id).descriptor_limit = limit);
    }

    /// How many descriptors its program has.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.net(|net| net.machine(self.id).descriptors)
    }

    /// How long it is until its program has something to do, if nothing comes from the network: its
    /// next timer is due. `None` if it would wait for ever.
    #[must_use]
    pub fn next_turn(&self) -> Option<Duration> {
        self.net(|net| {
            let now = net.now;
            let (at, _) = net.machine(self.id).turn?;
            Some(Duration::from_nanos(at.saturating_sub(now)))
        })
    }

    /// The ports that it gives out where any is wanted. 32768 to 60999.
    pub fn set_ephemeral_ports(&self, ports: RangeInclusive<u16>) {
        self.net(|net| net.machine(self.id).ephemeral = ports);
    }
}

impl Net {
    fn new_program(&mut self, host: HostId, drives: bool) {
        let now = self.now;
        let machine = self.machine(host);
        machine.is_up = true;
        machine.drives = drives;
        machine.incarnation += 1;
        machine.commons = new_commons(&machine.clock, now);
    }

    /// What a program had is forgotten, without a word to anybody.
    fn forget_program(&mut self, host: HostId) {
        let ids: Vec<_> = self.sockets_of(host);
        for id in ids {
            self.remove_socket(id);
        }
        self.clear_machine(host);
    }

    /// A program has ended: its kernel closes what it had.
    fn end_program(&mut self, host: HostId) {
        let open: Vec<_> = self
            .machine(host)
            .connections
            .iter()
            .flatten()
            .copied()
            .collect();
        let listeners: Vec<_> = self.machine(host).listeners.keys().copied().collect();
        for id in open {
            self.close(id);
        }
        for id in listeners {
            // A path stays where it is.
            for owner in self.machine(host).paths.values_mut() {
                if *owner == PathOwner::Listener(id) {
                    *owner = PathOwner::Nobody;
                }
            }
            self.close_listener(host, id);
        }
        self.clear_machine(host);
    }

    fn sockets_of(&self, host: HostId) -> Vec<crate::socket::SocketId> {
        let all = self.sockets.iter().map(|(_, socket)| socket);
        all.filter(|socket| socket.host == host)
            .map(|socket| socket.id)
            .collect()
    }

    fn clear_machine(&mut self, host: HostId) {
        self.cancel_turn(host);
        let machine = self.machine(host);
        machine.incarnation += 1;
        machine.ready.clear();
        machine.connections.clear();
        machine.listeners.clear();
        machine.ports.clear();
        for owner in machine.paths.values_mut() {
            *owner = PathOwner::Nobody;
        }
        machine.descriptors = 0;
        machine.busy_until = 0;
        machine.paused_until = 0;
    }

    /// The threads of a program that has ended. They are dropped by the caller, who holds nothing.
    pub(crate) fn take_threads(&mut self, host: HostId) -> impl Sized + use<> {
        let machine = self.machine(host);
        let begun = machine.waker.take_begun();
        machine.waker.take_answered();
        let mut left = Vec::new();
        for Worker { thread, state } in machine.threads.drain() {
            match state {
                Working::Waiting(turns) => turns.abandon(thread),
                // The job first: its thread is not idle before.
                state => left.push((state, thread)),
            }
        }
        (begun, left)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.name())
    }
}
