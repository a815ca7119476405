//! The app `datagrams`.

use std::num::NonZeroUsize;
use std::sync::OnceLock;

use bench_contract::{Arguments, announce};
use ropewalk::{Address, DatagramProtocol, DatagramTransport, Failure, Workers};

/// A socket for each worker, which share the port.
pub fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let workers = NonZeroUsize::new(arguments.workers).unwrap_or(NonZeroUsize::MIN);
    let bound = OnceLock::new();
    Workers::new(workers).run(|worker| {
        // The others get the port that the first one got.
        let address = bound.get().copied().unwrap_or(arguments.address);
        let (host, port) = (address.ip(), address.port());
        let endpoint = format!("udp:{port}:interface={host}:reuse_port=yes").parse()?;
        let port = worker.reactor().listen_datagram(&endpoint, Echo)?;
        let address = port.address().and_then(|address| address.socket_addr());
        let address = address.map(|address| *bound.get_or_init(|| address));
        if worker.index() + 1 == worker.count()
            && let Some(address) = address
        {
            announce(address);
        }
        Ok(())
    })?;
    Ok(())
}

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
