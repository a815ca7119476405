//! How long.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::policies::TimeoutFactory;
use ropewalk::{
    Address, ConnectionLimits, Deadline, DeadlinePassed, Factory, Failure, Layer, LayerIo,
    OutputQueue, Policy, Protocol, Transport,
};

use crate::protocols::{ALL, Peer};

const SHORT: Duration = Duration::from_millis(100);

/// Tells why its connection was lost.
struct Noting(Box<dyn Protocol>, Rc<RefCell<Vec<Failure>>>);

impl Protocol for Noting {
    fn connection_made(&mut self, transport: &mut Transport) {
        self.0.connection_made(transport);
    }
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.0.data_received(transport, data);
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.1.borrow_mut().push(reason.clone());
        self.0.connection_lost(reason);
    }
}

struct NotingFactory(Rc<dyn Factory>, Rc<RefCell<Vec<Failure>>>);

impl Factory for NotingFactory {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        let inner = self.0.build_protocol(peer)?;
        Some(Box::new(Noting(inner, Rc::clone(&self.1))))
    }
    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.0)
    }
}

#[test]
fn the_deadline_that_passes_ends_the_connection_and_is_named() {
    for spoken in ALL {
        for which in [Deadline::Idle, Deadline::FirstByte, Deadline::Lifetime] {
            let ask = spoken.ask;
            let reasons = Rc::new(RefCell::new(Vec::new()));
            let noted = Rc::clone(&reasons);
            spoken.serve(
                |factory, _| {
                    let factory = NotingFactory(factory, noted);
                    let timed = TimeoutFactory::new(factory).idle(None).first_byte(None);
                    Rc::new(match which {
                        Deadline::Idle => timed.idle(Some(SHORT)),
                        Deadline::FirstByte => timed.first_byte(Some(SHORT)),
                        _ => timed.lifetime(Some(SHORT)),
                    })
                },
                move |address| {
                    let mut peer = Peer::connect(address, ask);
                    if which != Deadline::FirstByte {
                        peer.ask(10);
                    }
                    peer.rest();
                },
            );
            let reasons = reasons.take();
            let passed = DeadlinePassed {
                deadline: which,
                after: SHORT,
            };
            assert_eq!(reasons.len(), 1, "{} {which:?}", spoken.name);
            assert_eq!(reasons[0].check(), Some(&passed), "{}", spoken.name);
        }
    }
}

/// A layer that is never ready.
struct Never;

impl Layer for Never {
    fn start(&mut self, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn received(&mut self, _: &[u8], _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
    fn send(&mut self, _: &mut OutputQueue, _: &mut LayerIo<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

struct NeverReady(Rc<dyn Factory>);

impl Factory for NeverReady {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.build_protocol(peer)
    }
    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.0)
    }
    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        vec![Box::new(Never)]
    }
    fn limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            handshake: SHORT,
            ..self.0.limits()
        }
    }
}

#[test]
fn a_handshake_that_is_never_finished_ends_without_any_wrapper() {
    for spoken in ALL {
        let ask = spoken.ask;
        let said = spoken.serve(
            |factory, _| Rc::new(NeverReady(factory)),
            move |address| {
                let mut peer = Peer::connect(address, ask);
                peer.ask(10);
                peer.rest()
            },
        );
        assert!(said.is_empty(), "{}", spoken.name);
    }
}

/// Policies are dropped with the connection, on real sockets too.
struct Counted(Rc<std::cell::Cell<u32>>);

impl Policy for Counted {}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

struct Counting(Rc<dyn Factory>, Rc<std::cell::Cell<u32>>);

impl Factory for Counting {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.build_protocol(peer)
    }
    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&self.0)
    }
    fn build_policies(&self, peer: &Address) -> Vec<Box<dyn Policy>> {
        let mut policies = self.0.build_policies(peer);
        policies.push(Box::new(Counted(Rc::clone(&self.1))));
        policies
    }
}

#[test]
fn a_policy_of_a_users_own_goes_with_its_connection() {
    for spoken in ALL {
        let ask = spoken.ask;
        let gone = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&gone);
        spoken.serve(
            |factory, _| Rc::new(Counting(factory, count)),
            move |address| {
                for _ in 0..5 {
                    let mut peer = Peer::connect(address, ask);
                    peer.exchange(10);
                    peer.close_write();
                    peer.rest();
                }
            },
        );
        assert_eq!(gone.get(), 5, "{}", spoken.name);
    }
}
