//! Sends back each datagram, until it is signalled; then says how many there were.
//! `cargo run -p ropewalk-examples --example datagram_echo -- udp:1234`
use ropewalk::{Address, DatagramProtocol, DatagramTransport, Failure, Phase, Reactor};

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

fn main() -> Result<(), Failure> {
    let endpoint = std::env::args().nth(1).unwrap_or("udp:1234".to_owned());
    let reactor = Reactor::new()?;
    let port = reactor.listen_datagram(&endpoint.parse()?, Echo)?;
    println!(
        "listening on {}",
        port.act(|port| port.host().to_string()).unwrap_or_default()
    );
    reactor.add_system_event_trigger(Phase::Before, move || {
        let counts = port.counts().unwrap_or_default();
        println!(
            "received {}, sent back {}, dropped {}",
            counts.received, counts.sent, counts.dropped
        );
    });
    Ok(reactor.run_until_signalled()?)
}
