//! Sends a million datagrams to an echo, as fast as it can while no more than so many are under
//! way, and says what came back and what was lost, and where.
//! `cargo run --release -p ropewalk-examples --example datagram_storm -- 1000000 256`
use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::endpoint::{UdpConnect, UdpListen};
use ropewalk::{
    Address, DatagramPort, DatagramProtocol, DatagramTransport, Failure, Handle, Phase, Reactor,
    ReactorRemote,
};

/// What has not come back for so long is lost.
const PATIENCE: Duration = Duration::from_millis(100);

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

/// Keeps `window` datagrams under way until all were sent.
struct Storm {
    left: u64,
    window: u64,
    under_way: u64,
    back: Rc<Cell<u64>>,
    lost: Rc<Cell<u64>>,
    stop: Handle,
}

impl Storm {
    fn send(&mut self, transport: &mut DatagramTransport) {
        while self.under_way < self.window && self.left > 0 {
            self.left -= 1;
            self.under_way += u64::from(transport.write(&self.left.to_be_bytes()));
        }
        if self.under_way == 0 && self.left == 0 {
            self.stop.stop();
        }
    }

    /// Gives up what has not come back between two looks.
    fn look(port: &DatagramPort, reactor: &Handle, before: u64) {
        let (port, again) = (port.clone(), reactor.clone());
        reactor.call_later(PATIENCE, move || {
            let next = (port.clone(), again.clone());
            port.with(move |storm: &mut Self, transport| {
                let back = storm.back.get();
                if back == before {
                    storm.lost.set(storm.lost.get() + storm.under_way);
                    storm.under_way = 0;
                    storm.send(transport);
                }
                Self::look(&next.0, &next.1, back);
            });
        });
    }
}

impl DatagramProtocol for Storm {
    fn start_protocol(&mut self, transport: &mut DatagramTransport) {
        self.send(transport);
    }

    fn datagram_received(&mut self, transport: &mut DatagramTransport, _: &[u8], _: &Address) {
        self.back.set(self.back.get() + 1);
        self.under_way = self.under_way.saturating_sub(1);
        // By halves, so that they go together.
        if self.under_way <= self.window / 2 {
            self.send(transport);
        }
    }
}

fn echo(tell: &std::sync::mpsc::Sender<(u16, ReactorRemote)>) -> Result<(), Failure> {
    let reactor = Reactor::new()?;
    let endpoint = UdpListen::new(0).interface([127, 0, 0, 1]).max_size(2048);
    let port = reactor.listen_datagram(&endpoint.into(), Echo)?;
    let number = port.address().and_then(|address| address.port());
    tell.send((number.unwrap_or_default(), reactor.remote()))
        .ok();
    reactor.add_system_event_trigger(Phase::Before, move || {
        println!("the echo: {:?}", port.counts().unwrap_or_default());
    });
    Ok(reactor.run()?)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let count = arguments.next().unwrap_or(Ok(1_000_000))?;
    let window = arguments.next().unwrap_or(Ok(256))?;
    let (tell, told) = std::sync::mpsc::channel();
    let echo = thread::spawn(move || echo(&tell).map_err(|failure| failure.to_string()));
    let (port, remote) = told.recv()?;
    let reactor = Reactor::new()?;
    let (back, lost) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let storm = Storm {
        left: count,
        window,
        under_way: 0,
        back: Rc::clone(&back),
        lost: Rc::clone(&lost),
        stop: reactor.handle(),
    };
    let began = Instant::now();
    let endpoint = UdpConnect::new("127.0.0.1", port).max_size(2048);
    let look = reactor.handle();
    let connected = reactor.connect_datagram(&endpoint.into(), storm);
    let looking = connected.add_callback(move |port: DatagramPort| Storm::look(&port, &look, 0));
    reactor.run()?;
    drop(looking);
    remote.call_from_thread(|reactor| reactor.stop());
    echo.join()
        .map_err(|_| Failure::msg("the echo panicked"))?
        .map_err(Failure::msg)?;
    println!(
        "{count} sent, {} back, {} lost, in {:?}",
        back.get(),
        lost.get(),
        began.elapsed()
    );
    Ok(())
}
