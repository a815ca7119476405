//! Sends back each line. `cargo run -p ropewalk-examples --example lines -- tcp:1234`
use std::rc::Rc;

use ropewalk::framing::{LineProtocol, LineReceiver, LineTransport};
use ropewalk::{Address, Failure, Reactor};

struct Echo;

impl LineProtocol for Echo {
    fn connection_made(&mut self, transport: &mut LineTransport<'_>) {
        println!("client connected: {}", transport.peer());
    }

    fn line_received(&mut self, transport: &mut LineTransport<'_>, line: &[u8]) {
        println!("received: {}", line.escape_ascii());
        transport.send_line(line);
    }
}

fn main() -> Result<(), Failure> {
    let endpoint = std::env::args().nth(1).unwrap_or("tcp:1234".to_owned());
    let factory = Rc::new(|_: &Address| LineReceiver::new(Echo));
    let reactor = Reactor::new()?;
    let port = reactor.listen(&endpoint.parse()?, factory)?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}
