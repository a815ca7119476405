//! Connections that are watched: the callbacks of their protocols come in order, and what a
//! connection has goes when it does.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use ropewalk_core::{Address, Factory, Failure, Policy, Protocol, Transport};

use crate::checker::{Checker, Live};

/// What a protocol has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Made,
    Lost,
}

/// The order of the callbacks of one connection: `connection_made` first and once,
/// `connection_lost` last and once, however it ends.
pub(crate) struct Order {
    what: &'static str,
    told: Told,
    checker: Rc<Checker>,
    _live: Live,
}

impl Order {
    pub(crate) fn new(checker: &Rc<Checker>, what: &'static str) -> Self {
        Self {
            what,
            told: Told::Nothing,
            checker: Rc::clone(checker),
            _live: checker.live(what),
        }
    }

    pub(crate) fn made(&mut self) {
        self.expect(Told::Nothing, "connection_made");
        self.told = Told::Made;
    }

    pub(crate) fn runs(&self, callback: &str) {
        self.expect(Told::Made, callback);
    }

    pub(crate) fn lost(&mut self) {
        self.expect(Told::Made, "connection_lost");
        self.told = Told::Lost;
    }

    fn expect(&self, told: Told, callback: &str) {
        if self.told != told {
            let (what, before) = (self.what, self.told);
            self.checker
                .violation(format!("{what}: {callback} after {before:?}"));
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if self.told == Told::Made {
            let what = self.what;
            self.checker
                .violation(format!("{what}: it is gone, and had no connection_lost"));
        }
    }
}

/// The connections of any factory, watched. Their protocols are wrapped: for those that nobody calls
/// by their type.
pub(crate) struct WatchedFactory<F> {
    inner: F,
    what: &'static str,
    checker: Rc<Checker>,
    most: usize,
}

impl<F: Factory> WatchedFactory<F> {
    pub(crate) fn new(inner: F, checker: &Rc<Checker>, what: &'static str) -> Self {
        let checker = Rc::clone(checker);
        Self {
            inner,
            what,
            checker,
            most: usize::MAX,
        }
    }

    /// No more than so many are alive at once.
    pub(crate) fn most(self, most: usize) -> Self {
        Self { most, ..self }
    }
}

impl<F: Factory> Factory for WatchedFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let inner = self.inner.build_protocol(peer)?;
        let order = Order::new(&self.checker, self.what);
        let (what, living) = (self.what, self.checker.living(self.what));
        if living > self.most {
            let most = self.most;
            self.checker
                .violation(format!("{what}: {living} are alive at once, not {most}"));
        }
        Some(Box::new(Watched { inner, order }))
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }
}

/// The connections of any factory, counted. Their protocols are not wrapped: those who call them by
/// their type (`Connection::with`) find them.
pub(crate) struct CountedFactory<F> {
    inner: F,
    what: &'static str,
    checker: Rc<Checker>,
}

impl<F: Factory> CountedFactory<F> {
    pub(crate) fn new(inner: F, checker: &Rc<Checker>, what: &'static str) -> Self {
        let checker = Rc::clone(checker);
        Self {
            inner,
            what,
            checker,
        }
    }
}

impl<F: Factory> Factory for CountedFactory<F> {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.inner.build_protocol(peer)
    }

    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.inner)
    }

    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.inner.build_policies(peer);
        policies.push(Box::new(Counted(self.checker.live(self.what))));
        policies
    }
}

/// Is there as long as its connection.
struct Counted(#[expect(dead_code, reason = "it counts by its drop")] Live);

impl Policy for Counted {}

struct Watched {
    inner: Box<dyn Protocol>,
    order: Order,
}

impl Protocol for Watched {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.order.made();
        self.inner.connection_made(transport);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.order.runs("data_received");
        self.inner.data_received(transport, data);
    }

    fn descriptor_received(&mut self, transport: &mut Transport, descriptor: OwnedFd) {
        self.order.runs("descriptor_received");
        self.inner.descriptor_received(transport, descriptor);
    }

    fn read_closed(&mut self, transport: &mut Transport) {
        self.order.runs("read_closed");
        self.inner.read_closed(transport);
    }

    fn write_paused(&mut self, transport: &mut Transport) {
        self.order.runs("write_paused");
        self.inner.write_paused(transport);
    }

    fn write_resumed(&mut self, transport: &mut Transport) {
        self.order.runs("write_resumed");
        self.inner.write_resumed(transport);
    }

    fn timeout_connection(&mut self, transport: &mut Transport) {
        self.order.runs("timeout_connection");
        self.inner.timeout_connection(transport);
    }

    fn drain(&mut self, transport: &mut Transport) {
        self.order.runs("drain");
        self.inner.drain(transport);
    }

    fn type_name(&self) -> &'static str {
        self.inner.type_name()
    }

    fn connection_lost(&mut self, reason: Failure) {
        self.order.lost();
        self.inner.connection_lost(reason);
    }
}
