//! What a client service does when something happens.
//!
//! Each event sets the state first, then does what that means, and tells others last; no borrow is
//! held while code of others runs. So whatever they call finds a state that is true. Attempts are
//! numbered: what comes of an earlier one is nobody's any more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::observers::Observers;
use super::{ClientState, lost_early};
use crate::endpoint::ClientEndpoint;
use crate::{
    Address, Backoff, Cancelled, Connection, Deferred, DelayedCall, Factory, Failure, Layer,
    Policy, Protocol, ReactorCore, Resolver, TooManyWaiters,
};

/// So many may wait for a connection.
const MAX_WAITERS: usize = 65_536;

pub(super) struct Setup {
    pub(super) reactor: Rc<dyn ReactorCore>,
    pub(super) endpoint: ClientEndpoint,
    pub(super) factory: Rc<dyn Factory>,
    pub(super) backoff: Backoff,
    pub(super) random: Box<dyn FnMut() -> f64>,
    pub(super) prepare: Option<Prepare>,
}

type Prepare = Rc<dyn Fn(Connection) -> Deferred<()>>;

/// What cancels what is under way.
type Cancel = Box<dyn FnOnce()>;

pub(super) struct Machine {
    reactor: Rc<dyn ReactorCore>,
    endpoint: ClientEndpoint,
    factory: Rc<dyn Factory>,
    backoff: Backoff,
    random: Cell<Option<Box<dyn FnMut() -> f64>>>,
    prepare: Option<Prepare>,
    phase: RefCell<Phase>,
    /// The number of the present attempt.
    attempt: Cell<u64>,
    /// How many attempts have failed since it was connected.
    failures: Cell<u32>,
    waiters: RefCell<Vec<Waiter>>,
    /// Who waits for it to be down.
    stops: RefCell<Vec<Resolver<()>>>,
    /// It is to start again when it is down.
    restart: Cell<bool>,
    was_stopped: Cell<bool>,
    pub(super) observers: Observers,
}

/// The state, and what belongs to it.
enum Phase {
    Stopped,
    Connecting(Option<Cancel>),
    Preparing(Connection, Option<Cancel>),
    Connected(Connection),
    Waiting(DelayedCall),
    /// It was stopped while it connected: what comes of that is awaited.
    Cancelling,
    /// It was stopped, and its connection closes.
    Closing,
    /// The preparation has failed, and the connection closes.
    Failing(Failure),
}

struct Waiter {
    resolver: Resolver<Connection>,
    /// After so many more failures it fails.
    left: Option<u32>,
}

impl Machine {
    pub(super) fn new(setup: Setup) -> Rc<Self> {
        Rc::new(Self {
            reactor: setup.reactor,
            endpoint: setup.endpoint,
            factory: setup.factory,
            backoff: setup.backoff,
            random: Cell::new(Some(setup.random)),
            prepare: setup.prepare,
            phase: RefCell::new(Phase::Stopped),
            attempt: Cell::new(0),
            failures: Cell::new(0),
            waiters: RefCell::default(),
            stops: RefCell::default(),
            restart: Cell::new(false),
            was_stopped: Cell::new(false),
            observers: Observers::default(),
        })
    }

    pub(super) fn endpoint(&self) -> &ClientEndpoint {
        &self.endpoint
    }

    pub(super) fn state(&self) -> ClientState {
        match &*self.phase.borrow() {
            Phase::Stopped => ClientState::Stopped,
            Phase::Connecting(_) => ClientState::Connecting,
            Phase::Preparing(..) => ClientState::Preparing,
            Phase::Connected(_) => ClientState::Connected,
            Phase::Waiting(_) => ClientState::Waiting {
                failures: self.failures.get(),
            },
            Phase::Cancelling | Phase::Closing | Phase::Failing(_) => ClientState::Disconnecting,
        }
    }

    pub(super) fn start(self: &Rc<Self>) {
        match self.state() {
            ClientState::Stopped => {
                self.was_stopped.set(false);
                self.failures.set(0);
                self.connect();
            }
            // A preparation that has failed leads to another attempt anyway.
            ClientState::Disconnecting => self.restart.set(self.was_stopped.get()),
            _ => {}
        }
        self.observers.tell();
    }

    pub(super) fn stop(self: &Rc<Self>) -> Deferred<()> {
        self.restart.set(false);
        self.was_stopped.set(true);
        let (resolver, stopped) = Deferred::pair();
        self.stops.borrow_mut().push(resolver);
        // Those who wait from here on wait for the next start.
        let waiters = self.waiters.take();
        match self.phase.replace(Phase::Stopped) {
            Phase::Stopped => self.fire_stops(),
            Phase::Waiting(call) => {
                call.cancel();
                self.down();
            }
            Phase::Connecting(cancel) => {
                self.enter(Phase::Cancelling);
                cancel_with(cancel);
            }
            Phase::Preparing(connection, cancel) => {
                self.enter(Phase::Closing);
                cancel_with(cancel);
                connection.lose_connection();
            }
            Phase::Connected(connection) => {
                self.enter(Phase::Closing);
                connection.lose_connection();
            }
            Phase::Failing(_) => {
                // It closes already; nothing is to follow.
                self.phase.replace(Phase::Closing);
            }
            phase @ (Phase::Cancelling | Phase::Closing) => {
                self.phase.replace(phase);
            }
        }
        for waiter in waiters {
            waiter.resolver.errback(Cancelled);
        }
        self.observers.tell();
        stopped
    }

    pub(super) fn when_connected(&self, fail_after: Option<u32>) -> Deferred<Connection> {
        if let Phase::Connected(connection) = &*self.phase.borrow() {
            return Deferred::succeed(connection.clone());
        }
        if self.was_stopped.get() && !self.restart.get() {
            return Deferred::fail(Cancelled);
        }
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() >= MAX_WAITERS {
            waiters.retain(|waiter| !waiter.resolver.is_cancelled());
        }
        if waiters.len() >= MAX_WAITERS {
            return Deferred::fail(TooManyWaiters { limit: MAX_WAITERS });
        }
        let (resolver, connected) = Deferred::pair();
        waiters.push(Waiter {
            resolver,
            left: fail_after.map(|count| count.max(1)),
        });
        connected
    }

    /// Comes into a phase. What was there before is dropped when the borrow is over.
    fn enter(&self, phase: Phase) {
        let before = self.phase.replace(phase);
        self.observers.note(self.state());
        drop(before);
    }

    fn connect(self: &Rc<Self>) {
        let attempt = self.attempt.get() + 1;
        self.attempt.set(attempt);
        self.enter(Phase::Connecting(None));
        let factory = Rc::new(Watched {
            factory: Rc::clone(&self.factory),
            machine: Rc::clone(self),
            attempt,
        });
        let machine = Rc::clone(self);
        let connecting: Deferred<()> = self
            .reactor
            .connect(&self.endpoint, factory)
            .add_both(move |result| machine.connected(attempt, result));
        let mut cancel = canceller(&connecting);
        if self.attempt.get() == attempt
            && let Phase::Connecting(kept) = &mut *self.phase.borrow_mut()
        {
            *kept = cancel.take();
        }
        // What an endpoint does meanwhile may have stopped it.
        cancel_with(cancel);
    }

    fn connected(self: &Rc<Self>, attempt: u64, result: Result<Connection, Failure>) {
        if self.attempt.get() != attempt {
            if let Ok(connection) = result {
                connection.lose_connection();
            }
            return;
        }
        let is_stopped = matches!(&*self.phase.borrow(), Phase::Cancelling);
        match result {
            Ok(connection) if !connection.is_connected() => match is_stopped {
                true => self.down(),
                false => self.failed(&lost_early()),
            },
            Ok(connection) if is_stopped => {
                // It was made before it could be cancelled.
                self.phase.replace(Phase::Closing);
                connection.lose_connection();
            }
            Ok(connection) => self.made(attempt, connection),
            Err(_) if is_stopped => self.down(),
            Err(failure) => self.failed(&failure),
        }
        self.observers.tell();
    }

    fn made(self: &Rc<Self>, attempt: u64, connection: Connection) {
        let Some(prepare) = &self.prepare else {
            return self.established(&connection);
        };
        self.enter(Phase::Preparing(connection.clone(), None));
        let machine = Rc::clone(self);
        let preparing: Deferred<()> =
            prepare(connection).add_both(move |result| machine.prepared(attempt, result));
        let mut cancel = canceller(&preparing);
        if self.attempt.get() == attempt
            && let Phase::Preparing(_, kept) = &mut *self.phase.borrow_mut()
        {
            *kept = cancel.take();
        }
        // It may have stopped the service that it prepares for.
        cancel_with(cancel);
    }

    fn prepared(self: &Rc<Self>, attempt: u64, result: Result<(), Failure>) {
        let is_preparing = matches!(&*self.phase.borrow(), Phase::Preparing(..));
        if self.attempt.get() != attempt || !is_preparing {
            return;
        }
        let Phase::Preparing(connection, _) = self.phase.replace(Phase::Stopped) else {
            return;
        };
        match result {
            Ok(()) if connection.is_connected() => self.established(&connection),
            Ok(()) => self.failed(&lost_early()),
            Err(failure) if connection.is_connected() => {
                self.enter(Phase::Failing(failure));
                connection.lose_connection();
            }
            Err(failure) => self.failed(&failure),
        }
        self.observers.tell();
    }

    fn established(&self, connection: &Connection) {
        self.failures.set(0);
        self.enter(Phase::Connected(connection.clone()));
        for waiter in self.waiters.take() {
            waiter.resolver.callback(connection.clone());
        }
    }

    /// The connection of an attempt is gone.
    fn lost(self: &Rc<Self>, attempt: u64) {
        if self.attempt.get() != attempt {
            return;
        }
        let phase = self.phase.replace(Phase::Stopped);
        match phase {
            // What comes of the attempt says more.
            phase @ (Phase::Connecting(_) | Phase::Cancelling) => {
                self.phase.replace(phase);
            }
            Phase::Preparing(_, cancel) => {
                self.failed(&lost_early());
                cancel_with(cancel);
            }
            Phase::Connected(_) => self.wait(1),
            Phase::Failing(failure) => self.failed(&failure),
            Phase::Closing => self.down(),
            phase @ (Phase::Stopped | Phase::Waiting(_)) => {
                self.phase.replace(phase);
            }
        }
        self.observers.tell();
    }

    fn failed(self: &Rc<Self>, failure: &Failure) {
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        tracing::debug!(endpoint = %self.endpoint, failures, %failure, "cannot connect");
        self.wait(failures);
        let mut given_up = Vec::new();
        let waiters = self.waiters.take();
        let mut left = Vec::with_capacity(waiters.len());
        for mut waiter in waiters {
            waiter.left = waiter.left.map(|left| left - 1);
            match waiter.left {
                Some(0) => given_up.push(waiter.resolver),
                _ => left.push(waiter),
            }
        }
        self.waiters.replace(left);
        for resolver in given_up {
            resolver.errback(failure.clone());
        }
    }

    /// Waits as long as after so many failures in a row, and connects.
    fn wait(self: &Rc<Self>, failures: u32) {
        let mut random = self.random.take();
        let chance = random.as_mut().map_or(0.5, |random| random());
        self.random.set(random);
        let delay = self.backoff.delay(failures, chance);
        // What is waited for is nobody's any more when the service was stopped and started.
        let attempt = self.attempt.get();
        let machine = Rc::clone(self);
        let call = move || {
            let waits = matches!(&*machine.phase.borrow(), Phase::Waiting(_));
            if waits && machine.attempt.get() == attempt {
                machine.connect();
                machine.observers.tell();
            }
        };
        let call = self.reactor.call_later(delay, Box::new(call));
        self.enter(Phase::Waiting(call));
    }

    /// All is down.
    fn down(self: &Rc<Self>) {
        let was = self.phase.replace(Phase::Stopped);
        drop(was);
        // Of what was under way, nothing is awaited any more.
        self.attempt.set(self.attempt.get() + 1);
        self.observers.note(ClientState::Stopped);
        self.fire_stops();
        if self.restart.replace(false) && self.state() == ClientState::Stopped {
            self.start();
        }
    }

    fn fire_stops(&self) {
        for resolver in self.stops.take() {
            resolver.callback(());
        }
    }
}

fn canceller(deferred: &Deferred<()>) -> Option<Cancel> {
    let cancel = deferred.weak_cancel()?;
    Some(Box::new(cancel))
}

fn cancel_with(cancel: Option<Cancel>) {
    if let Some(cancel) = cancel {
        cancel();
    }
}

/// The user's factory, whose connections say when they are gone.
struct Watched {
    factory: Rc<dyn Factory>,
    machine: Rc<Machine>,
    attempt: u64,
}

impl Factory for Watched {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.factory.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&*self.factory)
    }

    fn build_layers(&self, peer: &Address) -> Vec<Box<dyn Layer>> {
        self.factory.build_layers(peer)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.factory.build_policies(peer);
        policies.push(Box::new(Presence {
            machine: Rc::clone(&self.machine),
            attempt: self.attempt,
        }));
        policies
    }
}

/// Is there as long as the connection is: policies are dropped with it, however it ends, and whatever
/// became of its protocol.
struct Presence {
    machine: Rc<Machine>,
    attempt: u64,
}

impl Policy for Presence {}

impl Drop for Presence {
    fn drop(&mut self) {
        self.machine.lost(self.attempt);
    }
}
