//! The forwarder on real sockets, where one address has several names.

use std::cell::{Cell, OnceCell};
use std::io::Read;
use std::net::TcpStream;
use std::rc::Rc;

use ropewalk::wire::Forward;
use ropewalk::{Address, Factory, Protocol, Reactor};

/// More than are accepted in one turn, and fewer than there are descriptors for.
const MANY: usize = 200;

/// A forwarder that is made when its port is known, and refuses connections when there were many.
#[derive(Default)]
struct Counted {
    forward: OnceCell<Forward>,
    accepted: Cell<usize>,
}

impl Factory for Counted {
    fn build_protocol(&self, peer: &Address) -> Option<Box<dyn Protocol>> {
        self.accepted.set(self.accepted.get() + 1);
        let forward = self.forward.get()?;
        (self.accepted.get() <= MANY)
            .then(|| forward.build_protocol(peer))
            .flatten()
    }
}

#[test]
fn a_forwarder_to_itself_is_known_by_any_name_of_its_address() {
    for (interface, to) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
    ] {
        let reactor = Reactor::new().unwrap();
        let factory = Rc::new(Counted::default());
        let listen = format!("tcp:0:interface={interface}").parse().unwrap();
        let port = reactor.listen(&listen, Rc::clone(&factory) as _).unwrap();
        let number = port.address().port().unwrap();
        let itself = format!("tcp:{to}:{number}").parse().unwrap();
        assert!(factory.forward.set(Forward::new(itself)).is_ok());
        let remote = reactor.remote();
        let client = std::thread::spawn(move || {
            let mut client = TcpStream::connect(("127.0.0.1", number)).unwrap();
            let read = client.read(&mut [0]);
            remote.call_from_thread(|reactor| reactor.stop());
            read
        });
        reactor.run().unwrap();
        assert_eq!(client.join().unwrap().unwrap(), 0);
        let accepted = factory.accepted.get();
        assert!(accepted < MANY, "{interface} {to}: {accepted}");
    }
}
