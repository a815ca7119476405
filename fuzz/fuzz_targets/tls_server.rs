//! Bytes from the network into the server's end of TLS: from nothing, or behind a good hello. Nothing
//! may panic, and a peer that has no keys is never told to the protocol.
#![no_main]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Protocol, Transport};
use ropewalk_tls::{ClientTls, ServerTls, TlsClientFactory, TlsFactory};

struct Good {
    server: ServerTls,
    hello: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["example.com".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = ServerTls::builder()
        .pem(format!("{certificate}{key}"))
        .client_roots_pem(certificate.clone(), false)
        .build();
    let client = ClientTls::builder().roots_pem(certificate).build();
    Good {
        server: server.unwrap(),
        hello: hello(client.unwrap()),
    }
});

/// What a client says first.
fn hello(client: ClientTls) -> Vec<u8> {
    let heard = Rc::new(RefCell::new(Vec::new()));
    let reactor = MemoryReactor::new();
    let ear = Rc::clone(&heard);
    let listen = "tcp:443".parse().unwrap();
    let factory = Rc::new(move |_: &Address| Ear(Rc::clone(&ear)));
    reactor.listen(&listen, factory).unwrap();
    let factory = TlsClientFactory::new(|_: &Address| Untold, client, "example.com").unwrap();
    let connect = "tcp:example.com:443".parse().unwrap();
    let _connecting = reactor.connect(&connect, Rc::new(factory));
    reactor.run();
    heard.take()
}

struct Ear(Rc<RefCell<Vec<u8>>>);

impl Protocol for Ear {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

/// What nobody without keys gets to.
struct Untold;

impl Protocol for Untold {
    fn connection_made(&mut self, _: &mut Transport) {
        panic!("the handshake was done by nobody");
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

struct Raw(Vec<u8>);

impl Protocol for Raw {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&self.0);
        transport.lose_write_connection();
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

fuzz_target!(|data: &[u8]| {
    let [flags, split, rest @ ..] = data else {
        return;
    };
    let mut bytes = match flags & 1 {
        0 => Vec::new(),
        _ => GOOD.hello.clone(),
    };
    bytes.extend_from_slice(rest);
    let reactor = MemoryReactor::new();
    reactor.set_split(match split {
        0 => usize::MAX,
        some => usize::from(*some),
    });
    let listen = "tcp:443".parse().unwrap();
    let factory = TlsFactory::new(|_: &Address| Untold, GOOD.server.clone());
    reactor.listen(&listen, Rc::new(factory)).unwrap();
    let connect = "tcp:example.com:443".parse().unwrap();
    let _connecting = reactor.connect(&connect, Rc::new(move |_: &Address| Raw(bytes.clone())));
    reactor.run();
});
