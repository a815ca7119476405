//! A panic ends what it happened in, and nothing else.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use ropewalk_core::endpoint::TcpConnect;
use ropewalk_core::{
    Address, ConnectionLimits, Factory, Failure, Layer, LayerIo, OutputQueue, Panicked, Protocol,
};
use ropewalk_reactor::{Phase, Reactor};

use crate::support::{On, factory, run_with, serve};

fn echoes(address: std::net::SocketAddr) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.write_all(b"well").unwrap();
    let mut back = [0; 4];
    peer.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"well");
}

/// Whether the connection to `address` is ended by the other side when `sent` was sent.
fn ends(address: std::net::SocketAddr, sent: &[u8]) {
    let mut peer = TcpStream::connect(address).unwrap();
    // It may be gone already.
    let _ = peer.write_all(sent);
    assert!(matches!(peer.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_callback_that_panics_ends_its_connection_with_that_reason() {
    let reactor = Reactor::new().unwrap();
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    let address = serve(
        &reactor,
        factory(move || {
            let count = Rc::clone(&count);
            On::nothing()
                .data(|transport, data| {
                    assert_ne!(data, b"boom", "as asked");
                    transport.write(data);
                })
                .lost(move |reason| {
                    if let Some(panicked) = reason.check::<Panicked>() {
                        assert_eq!(panicked.callback, "data_received");
                        count.set(count.get() + 1);
                    }
                })
        }),
    );
    run_with(&reactor, move || {
        let mut before = TcpStream::connect(address).unwrap();
        ends(address, b"boom");
        echoes(address);
        before.write_all(b"x").unwrap();
        before.read_exact(&mut [0]).unwrap();
    });
    assert_eq!(seen.get(), 1);
}

#[test]
fn timers_tasks_and_calls_that_panic_are_alone_in_it() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    reactor.call_when_running(|| panic!("startup"));
    reactor.call_later(Duration::ZERO, || panic!("timer"));
    reactor.spawn(async { panic!("task") });
    reactor.remote().call_from_thread(|_| panic!("call"));
    reactor.add_system_event_trigger(Phase::Before, || -> () { panic!("trigger") });
    let after = Rc::new(Cell::new(false));
    let reached = Rc::clone(&after);
    reactor.add_system_event_trigger(Phase::After, move || reached.set(true));
    run_with(&reactor, move || echoes(address));
    assert!(after.get(), "the shutdown did not go on");
}

/// Panics in each place where a factory or a layer is asked something.
struct Panicking(&'static str);

struct PanickingLayer(&'static str);

impl Factory for Panicking {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        assert_ne!(self.0, "build_protocol");
        Some(Box::new(On::echo()))
    }

    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        assert_ne!(self.0, "build_layers");
        vec![Box::new(PanickingLayer(self.0))]
    }

    fn stop_factory(&self) {
        assert_ne!(self.0, "stop_factory");
    }
}

impl Layer for PanickingLayer {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        assert_ne!(self.0, "layer start");
        io.ready();
        Ok(())
    }

    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        assert_ne!(self.0, "layer received");
        io.up().extend_from_slice(data);
        Ok(())
    }

    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        assert_ne!(self.0, "layer send");
        io.down().append(output);
        Ok(())
    }
}

#[test]
fn a_factory_or_layer_that_panics_ends_the_connection_and_not_the_loop() {
    for place in [
        "build_protocol",
        "build_layers",
        "layer start",
        "layer received",
        "layer send",
    ] {
        let reactor = Reactor::new().unwrap();
        let bad = serve(&reactor, Rc::new(Panicking(place)));
        let good = serve(&reactor, factory(On::echo));
        run_with(&reactor, move || {
            ends(bad, b"x");
            echoes(good);
        });
        assert_eq!(reactor.connections(), 0, "{place}");
    }
    let reactor = Reactor::new().unwrap();
    let bad = serve(&reactor, Rc::new(Panicking("stop_factory")));
    run_with(&reactor, move || echoes(bad));
}

#[test]
fn a_client_factory_that_panics_fails_the_attempt() {
    struct Limits;
    impl Factory for Limits {
        fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
            Some(Box::new(On::echo()))
        }

        fn limits(&self) -> ConnectionLimits {
            panic!("limits")
        }
    }
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let endpoint = TcpConnect::new(address.ip(), address.port()).into();
    let handle = reactor.handle();
    let failed = reactor
        .connect(&endpoint, Rc::new(Limits))
        .add_both::<(), _>(move |result| {
            assert!(result.is_err());
            handle.stop();
        });
    reactor.run().unwrap();
    assert!(failed.is_fired());
}

#[test]
fn a_callback_of_a_connect_that_panics_leaves_the_connection_well() {
    let reactor = Reactor::new().unwrap();
    let address = serve(&reactor, factory(On::echo));
    let endpoint = TcpConnect::new(address.ip(), address.port()).into();
    let handle = reactor.handle();
    let client = factory(move || {
        let handle = handle.clone();
        On::nothing()
            .made(|transport| transport.write(b"still here"))
            .data(move |_, _| handle.stop())
    });
    let doomed = reactor
        .connect(&endpoint, client)
        .add_callback(|_| -> () { panic!("a user's callback") })
        .add_errback(|_| ());
    reactor.run().unwrap();
    assert!(doomed.is_fired());
}
