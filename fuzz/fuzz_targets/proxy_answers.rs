//! What SOCKS5 and HTTP proxies answer: the same outcome, and the same bytes for the protocol, at
//! whatever cut. The first byte says which proxy it is, and how the rest is cut.

#![no_main]

use std::cell::RefCell;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use ropewalk_core::testing::MemoryReactor;
use ropewalk_core::{Address, Connection, Failure, Protocol, Transport};

/// Says all at once.
struct Proxy(Vec<u8>);

impl Protocol for Proxy {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&self.0);
    }
    fn data_received(&mut self, _: &mut Transport, _: &[u8]) {}
}

struct Client(Rc<RefCell<Vec<u8>>>);

impl Protocol for Client {
    fn data_received(&mut self, _: &mut Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

fn outcome(endpoint: &str, answer: &[u8], split: usize) -> (String, Vec<u8>) {
    let reactor = MemoryReactor::new();
    reactor.set_split(split);
    let says = answer.to_vec();
    let proxies = move |_: &Address| Proxy(says.clone());
    let listen = "tcp:80".parse().expect("an endpoint");
    let listening = reactor.listen(&listen, Rc::new(proxies));
    assert!(listening.is_ok());
    let heard = Rc::new(RefCell::new(Vec::new()));
    let hears = Rc::clone(&heard);
    let clients = move |_: &Address| Client(Rc::clone(&hears));
    let told = Rc::new(RefCell::new("nothing yet".to_owned()));
    let tell = Rc::clone(&told);
    let connecting = reactor
        .connect(&endpoint.parse().expect("an endpoint"), Rc::new(clients))
        .add_both(move |result: Result<Connection, Failure>| {
            *tell.borrow_mut() = match result {
                Ok(_) => "open".to_owned(),
                Err(failure) => failure.to_string(),
            };
        });
    reactor.run();
    drop::<ropewalk_core::Deferred<()>>(connecting);
    (told.take(), heard.take())
}

fuzz_target!(|input: &[u8]| {
    let Some((&how, answer)) = input.split_first() else {
        return;
    };
    let endpoint = match how % 3 {
        0 => "socks5:proxy.example.com:80:tcp:example.com:443",
        1 => "socks5:proxy.example.com:80:user=ada:password=x:tcp:example.com:443",
        _ => "connect:proxy.example.com:80:tcp:example.com:443",
    };
    let whole = outcome(endpoint, answer, usize::MAX);
    assert_eq!(outcome(endpoint, answer, 1 + usize::from(how / 3)), whole);
});
