//! How fast the time of a simulated world passes: hosts that talk to one another.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use ropewalk::sim::World;
use ropewalk::{Address, Factory, Handle, Protocol, Transport};

use crate::Sizes;
use crate::figure::{Figure, print, time};
use crate::sizes::{CONNECTIONS, MESSAGE, simulated};

const SECOND: Duration = Duration::from_secs(1);

/// Sends back what comes.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Sends a message, and the next a second after its answer.
struct Ping {
    got: usize,
}

impl Protocol for Ping {
    fn connection_made(&mut self, transport: &mut Transport) {
        transport.write(&[b'.'; MESSAGE]);
    }

    fn data_received(&mut self, transport: &mut Transport, data: &[u8]) {
        self.got += data.len();
        if self.got >= MESSAGE {
            self.got = 0;
            let connection = transport.connection();
            let ping = move || {
                connection.write(&[b'.'; MESSAGE]);
            };
            drop(transport.reactor().call_later(SECOND, Box::new(ping)));
        }
    }
}

pub(super) fn run(sizes: &Sizes) -> Result<(), Box<dyn Error>> {
    let (hosts, seconds) = (sizes.hosts, sizes.virtual_seconds);
    let figure = Figure::measure(simulated(hosts), seconds, || {
        let world = World::new(1);
        for number in 0..hosts {
            let host = world.host(&format!("host{number}"));
            host.start(move |reactor| serve(reactor, number, hosts));
        }
        // All have begun.
        world.run_for(SECOND);
        time(|| world.run_for(Duration::from_secs(seconds)))
    });
    Ok(print(&figure)?)
}

fn serve(reactor: &Handle, number: usize, hosts: usize) {
    let factory: Rc<dyn Factory> = Rc::new(|_: &Address| Echo);
    let port = reactor.listen(&"tcp:7".parse().expect("an endpoint"), factory);
    port.expect("nobody else listens on this host");
    for step in 1..=CONNECTIONS {
        let to = format!("tcp:host{}:7", (number + step) % hosts);
        let (to, own) = (to.parse().expect("an endpoint"), reactor.clone());
        // When all listen.
        let connect = move || drop(own.connect(&to, Rc::new(|_: &Address| Ping { got: 0 })));
        drop(reactor.call_later(SECOND / 2, connect));
    }
}
