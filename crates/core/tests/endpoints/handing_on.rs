//! `Transport::hand_to`: what goes along when a connection is given to another factory, and what does
//! not.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use ropewalk_core::handshake::ProxyFactory;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{
    Address, Channel, Connection, ConnectionId, Factory, Failure, Layer, LayerIo, LoopContext,
    OutputQueue, Policy, Protocol, Step, Transport,
};

use super::rig::{Log, dial, listening};

/// Hands the connection on with the first byte, which it takes off.
struct HandsOn {
    log: Log,
    to: Rc<dyn Factory>,
    before: &'static [u8],
    handle: Rc<RefCell<Connection>>,
}

impl Protocol for HandsOn {
    fn connection_made(&mut self, transport: &mut Transport) {
        *self.handle.borrow_mut() = transport.connection();
    }
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(self.before);
        let peer = Address::Tcp(([198, 51, 100, 7], 4096).into());
        let host = transport.host().clone();
        transport.hand_to(Rc::clone(&self.to), peer, host, &data[1..]);
    }
    fn read_closed(&mut self, _: &mut Transport) {
        self.log.add("the first: read closed");
    }
    fn connection_lost(&mut self, reason: Failure) {
        self.log.add(format!("the first: lost {reason}"));
    }
}

struct Rig {
    reactor: MemoryReactor,
    log: Log,
    first: Rc<RefCell<Connection>>,
}

fn rig(to: impl FnOnce(&Log) -> Rc<dyn Factory>, before: &'static [u8]) -> Rig {
    let log = Log::default();
    let to = to(&log);
    let first = Rc::new(RefCell::new(Connection::default()));
    let (notes, handle) = (log.clone(), Rc::clone(&first));
    let factory = move |_: &Address| HandsOn {
        log: notes.clone(),
        to: Rc::clone(&to),
        before,
        handle: Rc::clone(&handle),
    };
    let reactor = listening("tcp:80", Rc::new(factory));
    Rig {
        reactor,
        log,
        first,
    }
}

#[test]
fn handles_of_before_are_dead_and_the_first_protocol_hears_no_more() {
    let rig = rig(Log::factory, b"");
    let client = dial(&rig.reactor);
    let before = rig.first.borrow().clone();
    assert!(before.is_connected());
    client.write(b"!hello");
    rig.reactor.run();
    assert!(!before.is_connected());
    assert!(!before.write(b"too late"));
    client.lose_connection();
    rig.reactor.run();
    let told = rig.log.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("made 198.51.100.7:4096"), "{told:?}");
    assert!(told[1].starts_with("lost \"hello\""), "{told:?}");
}

#[test]
fn the_end_of_a_peer_that_was_there_before_is_told_to_the_new_protocol() {
    for split in [1, 100] {
        let rig = rig(Log::factory, b"");
        rig.reactor.set_split(split);
        let client = dial(&rig.reactor);
        client.write(b"!hello");
        client.lose_connection();
        rig.reactor.run();
        assert_eq!(rig.reactor.connections(), 0);
        let told = rig.log.take();
        assert!(told[1].starts_with("lost \"hello\""), "{told:?}");
    }
}

#[test]
fn a_factory_that_refuses_closes_the_connection_and_the_first_protocol_is_told() {
    struct Refuses;
    impl Factory for Refuses {
        fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
            None
        }
    }
    let rig = rig(|_| Rc::new(Refuses), b"");
    let client = dial(&rig.reactor);
    client.write(b"!");
    rig.reactor.run();
    assert!(!client.is_connected());
    let refused = "the first: lost the factory built no protocol for this peer";
    assert_eq!(rig.log.take(), [refused]);
}

#[test]
fn one_who_waits_for_the_first_to_be_drained_is_not_left_waiting() {
    let rig = rig(Log::factory, b"");
    let client = dial(&rig.reactor);
    rig.reactor.set_window(1);
    let first = rig.first.borrow().clone();
    first.write(&[0; 1000]);
    let drained = first.drained(0);
    rig.reactor.run();
    let fired: ropewalk_core::Deferred<()> = drained.add_both(|_| ());
    client.write(b"!");
    rig.reactor.run();
    assert!(fired.is_fired());
}

#[test]
fn the_end_of_a_peer_that_is_known_before_the_handing_on_goes_along() {
    let told = Log::default();
    let factory = HandsOn {
        log: Log::default(),
        to: told.factory(),
        before: b"",
        handle: Rc::default(),
    };
    // The channel by hand: all of it comes before the first callback's wishes are served.
    let reactor = MemoryReactor::new();
    let context = Rc::new(LoopContext::new(
        reactor.now(),
        Rc::downgrade(&reactor.handle()),
    ));
    let mut channel = Channel::new(
        context,
        ConnectionId::new(0, 0),
        Box::new(factory),
        Vec::new(),
        Rc::default(),
        Address::Unix(None),
        Rc::new(Address::Unix(None)),
    );
    channel.connected();
    channel.received(b"!hello");
    channel.read_closed();
    assert_eq!(channel.next_step(), Step::Close);
    channel.lost();
    let told = told.take();
    assert!(told[1].starts_with("lost \"hello\""), "{told:?}");
}

#[test]
fn one_who_drains_hands_that_on_too() {
    /// Hands the connection on when it is to drain.
    struct Draining(Rc<dyn Factory>);
    impl Protocol for Draining {
        fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
        fn drain(&mut self, transport: &mut Transport) {
            let host = transport.host().clone();
            transport.hand_to(Rc::clone(&self.0), transport.peer(), host, b"");
        }
    }
    for to in [Log::default().factory(), Rc::new(Greets(Log::default()))] {
        let reactor = listening(
            "tcp:80",
            Rc::new(move |_: &Address| Draining(Rc::clone(&to))),
        );
        let client = dial(&reactor);
        reactor.drain();
        reactor.run();
        assert!(!client.is_connected());
        assert_eq!(reactor.connections(), 0);
    }
}

/// Below `proxy:`, so that its policies are there before the header.
struct Around(Rc<dyn Factory>, Log);

impl Factory for Around {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.0.build_protocol(peer)
    }
    fn wrapped(&self) -> Option<&dyn Factory> {
        Some(&*self.0)
    }
    fn build_policies(&self, _: &Address) -> Vec<Box<dyn Policy>> {
        vec![Box::new(NotingPolicy(self.1.clone()))]
    }
}

#[test]
fn policies_of_before_stay_and_are_told_once_that_it_is_ready() {
    let log = Log::default();
    let proxy = ProxyFactory::new(Rc::new(Greets(Log::default())));
    let proxy = proxy.trusted(["192.0.2.0/24".parse().unwrap()]);
    let reactor = listening("tcp:80", Rc::new(Around(Rc::new(proxy), log.clone())));
    let client = dial(&reactor);
    client.write(b"PROXY UNKNOWN\r\n");
    reactor.run();
    assert_eq!(
        log.take(),
        ["policy: connected", "policy: ready", "policy: received 15"],
    );
    client.lose_connection();
    reactor.run();
    assert_eq!(log.take(), ["policy: dropped"]);
}

/// Puts `<` and `>` around what is sent, and starts with `(`.
struct Brackets;

impl Layer for Brackets {
    fn start(&mut self, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().write(b"(");
        io.ready();
        Ok(())
    }
    fn received(&mut self, data: &[u8], io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.up().extend_from_slice(data);
        Ok(())
    }
    fn send(&mut self, output: &mut OutputQueue, io: &mut LayerIo<'_>) -> Result<(), Failure> {
        io.down().write(b"<");
        io.down().append(output);
        io.down().write(b">");
        Ok(())
    }
}

/// Notes what it is told.
struct NotingPolicy(Log);

impl Policy for NotingPolicy {
    fn connected(&mut self, _: Instant) {
        self.0.add("policy: connected");
    }
    fn ready(&mut self, _: Instant) {
        self.0.add("policy: ready");
    }
    fn received(&mut self, count: u64, _: Instant) {
        self.0.add(format!("policy: received {count}"));
    }
}

impl Drop for NotingPolicy {
    fn drop(&mut self) {
        self.0.add("policy: dropped");
    }
}

/// Greets, below brackets, under a policy.
struct Greets(Log);

struct Greeter;

impl Protocol for Greeter {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(b"after");
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

impl Factory for Greets {
    fn build_protocol(&self, _: &Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Greeter))
    }
    fn build_layers(&self, _: &Address) -> Vec<Box<dyn Layer>> {
        vec![Box::new(Brackets)]
    }
    fn build_policies(&self, _: &Address) -> Vec<Box<dyn Policy>> {
        vec![Box::new(NotingPolicy(self.0.clone()))]
    }
}

#[test]
fn what_was_written_before_goes_past_the_new_layers_and_policies_begin_anew() {
    let rig = rig(|log| Rc::new(Greets(log.clone())), b"before");
    let heard = Log::default();
    let made = rig
        .reactor
        .connect(&"tcp:example.com:80".parse().unwrap(), heard.factory());
    let client: ropewalk_core::Deferred<()> = made.add_callback(|client: Connection| {
        client.write(b"!hello");
    });
    rig.reactor.run();
    assert!(client.is_fired());
    assert_eq!(
        rig.log.take(),
        ["policy: connected", "policy: received 5", "policy: ready"],
    );
    rig.reactor.drain();
    rig.reactor.run();
    assert_eq!(rig.log.take(), ["policy: dropped"]);
    let told = heard.take();
    assert!(told[1].starts_with("lost \"before(<after>\""), "{told:?}");
}
