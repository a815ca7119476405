//! Datagrams with Twisted at the other end, as server and as client.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::rc::Rc;

use ropewalk::endpoint::UdpConnect;
use ropewalk::{Address, DatagramProtocol, DatagramTransport, Handle, Reactor};

use crate::twisted;

struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(
        &mut self,
        transport: &mut DatagramTransport,
        data: &[u8],
        from: &Address,
    ) {
        transport.write_to(data, from);
    }
}

#[test]
fn twisteds_client_has_each_datagram_back() {
    let Some(mut client) = twisted("datagrams.py") else {
        return;
    };
    let reactor = Reactor::new().unwrap();
    let endpoint = "udp:0:interface=127.0.0.1".parse().unwrap();
    let port = reactor.listen_datagram(&endpoint, Echo).unwrap();
    let number = port.address().unwrap().port().unwrap();
    let mut client = client
        .args(["connect", &number.to_string()])
        .spawn()
        .unwrap();
    let remote = reactor.remote();
    let waiter = std::thread::spawn(move || {
        let status = client.wait();
        remote.call_from_thread(|reactor| reactor.stop());
        status
    });
    reactor.run().unwrap();
    assert!(waiter.join().unwrap().unwrap().success());
}

/// Sends datagrams of these sizes, one when the last one is back.
struct Ask {
    sizes: Vec<usize>,
    back: Rc<RefCell<Vec<usize>>>,
    stop: Handle,
}

impl Ask {
    fn ask(&mut self, transport: &mut DatagramTransport) {
        match self.sizes.pop() {
            Some(size) => assert!(transport.write(&vec![5; size])),
            None => self.stop.stop(),
        }
    }
}

impl DatagramProtocol for Ask {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        self.ask(transport);
    }

    fn datagram_received(&mut self, transport: &mut DatagramTransport, data: &[u8], _: &Address) {
        assert!(data.iter().all(|byte| *byte == 5));
        self.back.borrow_mut().push(data.len());
        self.ask(transport);
    }
}

#[test]
fn twisteds_server_sends_each_datagram_back() {
    let Some(mut server) = twisted("datagrams.py") else {
        return;
    };
    let mut server = server.arg("serve").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(server.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let reactor = Reactor::new().unwrap();
    let back = Rc::new(RefCell::new(Vec::new()));
    let ask = Ask {
        sizes: vec![60_000, 8000, 1472, 1, 0],
        back: Rc::clone(&back),
        stop: reactor.handle(),
    };
    let endpoint = UdpConnect::new("127.0.0.1", line.trim().parse().unwrap());
    assert!(reactor.connect_datagram(&endpoint.into(), ask).is_fired());
    reactor.run().unwrap();
    assert_eq!(back.take(), [0, 1, 1472, 8000, 60_000]);
    server.kill().unwrap();
    server.wait().unwrap();
}
