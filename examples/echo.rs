//! Sends back whatever comes. `cargo run -p ropewalk-examples --example echo -- tcp:8000`
use std::rc::Rc;

use ropewalk::{Address, Failure, Protocol, Reactor, Transport};

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

fn main() -> Result<(), Failure> {
    let endpoint = std::env::args().nth(1).unwrap_or("tcp:8000".to_owned());
    let reactor = Reactor::new()?;
    let port = reactor.listen(&endpoint.parse()?, Rc::new(|_: &Address| Echo))?;
    println!("listening on {}", port.address());
    Ok(reactor.run()?)
}
