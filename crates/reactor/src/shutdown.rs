//! The end of a run, in three phases.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::{Deferred, Resolver};

use crate::connections::Side;
use crate::event_loop::{EventLoop, guard};

/// When a trigger runs in a shutdown.
///
/// Each phase ends when all its triggers' Deferreds have fired, and the next one begins. The whole
/// has a [deadline](crate::Handle::set_shutdown_deadline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No more connections are accepted, and those that were are told to
    /// [`drain`](ropewalk_core::Protocol::drain). The phase lasts until they are gone.
    Before,
    /// The connections that this side made are told to drain, and processes are ended
    /// ([`Spawn`](ropewalk_core::Spawn) says how). The phase lasts until they are gone,
    /// and the last job of the reactor's own [pool](crate::Handle::thread_pool) is done; it takes no
    /// more from when the connections are gone. When the triggers have fired, no connection can be
    /// made any more, so that who connects again and again does not keep the phase; those that were
    /// made meanwhile are told to drain too. At its end datagram ports are closed.
    During,
    /// Nothing is left to talk to.
    After,
}

type Trigger = Box<dyn FnOnce() -> Deferred<()>>;

/// The triggers, and how far the shutdown has come.
pub(crate) struct Shutdown {
    triggers: RefCell<[Vec<Trigger>; 3]>,
    deadline: Cell<Duration>,
    pub(crate) begun: Cell<bool>,
    /// No connection is made any more.
    pub(crate) connects_no_more: Cell<bool>,
    /// It took longer than it may.
    pub(crate) overdue: Cell<bool>,
    /// Who waits for connections to be gone, and for which.
    waiting: RefCell<Option<(Option<Side>, Resolver<()>)>>,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        Self {
            triggers: RefCell::default(),
            deadline: Cell::new(Duration::from_secs(30)),
            begun: Cell::new(false),
            connects_no_more: Cell::new(false),
            overdue: Cell::new(false),
            waiting: RefCell::default(),
        }
    }

    pub(crate) fn add(&self, phase: Phase, trigger: Trigger) {
        self.triggers.borrow_mut()[phase as usize].push(trigger);
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline.get()
    }

    pub(crate) fn set_deadline(&self, after: Duration) {
        self.deadline.set(after);
    }

    /// Forgets all triggers, and how far it is.
    pub(crate) fn reset(&self) {
        let triggers = self.triggers.take();
        let waiting = self.waiting.borrow_mut().take();
        self.begun.set(false);
        self.connects_no_more.set(false);
        self.overdue.set(false);
        if let Some((_, resolver)) = waiting {
            // Whoever waits is being dropped. Not to fire it would be reported as a mistake.
            resolver.callback(());
        }
        guard("dropping shutdown triggers", || drop(triggers));
    }

    /// A connection is gone: lets those go on who wait for the last one.
    pub(crate) fn connection_gone(&self, event_loop: &EventLoop) {
        let done = match &*self.waiting.borrow() {
            Some((side, _)) => event_loop.is_gone(*side),
            None => return,
        };
        if done && let Some((_, resolver)) = self.waiting.take() {
            resolver.callback(());
        }
    }

    /// Runs those of a phase, with those that they add to it.
    async fn run_triggers(&self, phase: Phase) {
        loop {
            let triggers = mem::take(&mut self.triggers.borrow_mut()[phase as usize]);
            if triggers.is_empty() {
                return;
            }
            let mut started = Vec::new();
            for trigger in triggers {
                started.extend(guard("a shutdown trigger", trigger));
            }
            for deferred in started {
                if let Err(failure) = deferred.await {
                    let failure = &*failure.to_error();
                    tracing::error!(?phase, failure, "a shutdown trigger failed");
                }
            }
        }
    }

    async fn drained(&self, event_loop: &EventLoop, side: Option<Side>) {
        if event_loop.is_gone(side) {
            return;
        }
        let (resolver, gone) = Deferred::pair();
        *self.waiting.borrow_mut() = Some((side, resolver));
        // It fails only when the run has ended otherwise, and this with it.
        let _ = gone.await;
    }
}

/// The whole of a shutdown.
pub(crate) async fn shut_down(event_loop: Rc<EventLoop>) {
    let shutdown = &event_loop.shutdown;
    event_loop.close_ports();
    event_loop.drain(Some(Side::Accepted), &BTreeSet::new());
    shutdown.run_triggers(Phase::Before).await;
    shutdown.drained(&event_loop, Some(Side::Accepted)).await;
    event_loop.give_up_attempts();
    let told = event_loop.drain(None, &BTreeSet::new());
    shutdown.run_triggers(Phase::During).await;
    shutdown.connects_no_more.set(true);
    event_loop.give_up_attempts();
    event_loop.drain(None, &told.into_iter().collect());
    event_loop.processes.end(&event_loop).await;
    shutdown.drained(&event_loop, None).await;
    event_loop.jobs.drain(&event_loop).await;
    event_loop.datagrams.stop_all(&event_loop);
    shutdown.run_triggers(Phase::After).await;
    event_loop.finish();
}
